"""Write the page about an analysis plan: overview, all AUCs, a section for each analysis, what intervals mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_liver.errors import ConfigError
from fl_liver.server.report.analysis import (
    accuracy,
    groups,
    performance,
    predicted,
    private_roc,
    reader_mean,
    readers_with_ai,
    regression,
)
from fl_liver.server.report.analysis.asked import asked
from fl_liver.server.report.analysis.content import Content
from fl_liver.server.report.forest import Row, forest_figure
from fl_liver.server.report.number_text import listed
from fl_liver.server.report.pieces import Estimate, Missing, Summary, table
from fl_liver.server.report.style import Drawing, Rendered, clipped, render_svg
from fl_liver.server.report.template import fill
from fl_liver.stats.derived import Derived
from fl_liver.stats.plan_entry import Analysis

SECTIONS: dict[str, Callable[[Any, Summary], Content]] = {
    "roc": performance.roc,
    "compare_paired": performance.paired,
    "compare_joint": performance.joint,
    "compare_unpaired": performance.unpaired,
    "diagnostic": accuracy.diagnostic,
    "proportion": groups.proportion,
    "mcnemar": groups.mcnemar,
    "cohen_kappa": groups.cohen_kappa,
    "fleiss_kappa": groups.fleiss_kappa,
    "rank_sum": groups.rank_sum,
    "kruskal_wallis": groups.kruskal_wallis,
    "logistic": regression.logistic,
    "hosmer_lemeshow": predicted.hosmer_lemeshow,
    "calibration": predicted.calibration,
    "decision_curve": predicted.decision_curve,
    "nomogram": regression.nomogram,
    "table_one": groups.table_one,
    "multiclass": accuracy.multiclass,
    "readers": accuracy.readers,
    "readers_with_ai": readers_with_ai.readers_with_ai,
    "reader_mean": reader_mean.reader_mean,
    "low_confidence": accuracy.low_confidence,
    "private_roc": private_roc.private_roc,
}
"""How each kind of a plan is shown."""

INTERVALS = {
    "auc": {"roc", "compare_paired", "compare_joint", "compare_unpaired", "multiclass", "reader_mean"},
    "proportion": {"diagnostic", "proportion", "multiclass", "readers", "readers_with_ai", "low_confidence"},
    "odds": {"logistic"},
    "calibration": {"calibration", "hosmer_lemeshow"},
}


SPELLED_OUT = 3
"""Levels of an analysis that the overview shows one by one."""


def level_of(heading: str) -> str:
    """
    >>> level_of("test = internal")
    'internal'
    """
    return heading.partition(" = ")[2]


@dataclass(frozen=True, slots=True)
class Block:
    """One result of a section: of all patients (no heading), or of one level of `by`; content, or a refusal."""

    heading: str
    content: Content | None
    figures: tuple[Rendered, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One analysis of the plan."""

    anchor: str
    entry: Analysis
    asked: str
    blocks: tuple[Block, ...]
    strata: Rendered | None = None

    @property
    def headline(self) -> str:
        """The answer in one line; of many levels, how many there are."""
        if len(self.blocks) == 1 and not self.blocks[0].heading:
            content = self.blocks[0].content
            return "refused" if content is None else content.headline
        refused = sum(block.content is None for block in self.blocks)
        if len(self.blocks) <= SPELLED_OUT and not refused:
            each = {level_of(block.heading): block.content for block in self.blocks}
            return "; ".join(f"{level}: {one.headline}" for level, one in each.items() if one is not None)
        return f"{len(self.blocks)} levels" + (f", {refused} of them refused" if refused else "")

    @property
    def refused(self) -> bool:
        """Whether it has no answer, or a level has none."""
        return any(block.content is None for block in self.blocks)


def write_analysis_report(
    plan_entries: Sequence[Analysis],
    results: Mapping[str, Summary],
    folder_or_file: Path,
    *,
    sites: Sequence[str],
    min_cell: int,
    title: str = "Analysis plan",
    secure_sum: str = "plain",
    made: Sequence[Derived] = (),
) -> Path:
    """Write one self-contained page about a plan's results.

    Args:
        plan_entries: the analyses, in the plan's order.
        results: {id: result as JSON, or {"not_released": reason} for a refusal}, with what `beside` adds to them.
        folder_or_file: a path that ends in .html is the page; any other is a folder, which gets `analysis.html`.
        sites: names of the sites, in the order in which they were given.
        min_cell: the floor under which the plan was answered.
        secure_sum: how sums were added, "plain" or "masked"; the page warns of the first and says what the second is.
        made: the columns that the plan makes.
    Returns:
        Path of the page. Equal arguments give equal bytes.
    Raises:
        DataError: a piece is there with the wrong type or shape. Nothing is written then.
        ConfigError: the page cannot be written.
    """
    page = page_html(
        plan_entries, results, sites=sites, min_cell=min_cell, title=title, secure_sum=secure_sum, made=made
    )
    path = folder_or_file if folder_or_file.suffix == ".html" else folder_or_file / "analysis.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({type(error).__name__}); give another --report path") from error
    return path


def page_html(
    plan_entries: Sequence[Analysis],
    results: Mapping[str, Summary],
    *,
    sites: Sequence[str],
    min_cell: int,
    title: str = "Analysis plan",
    secure_sum: str = "plain",
    made: Sequence[Derived] = (),
) -> str:
    """The page as text, every value escaped."""
    sections = [_section(place, entry, results.get(entry.id, {})) for place, entry in enumerate(plan_entries, start=1)]
    refused = [section for section in sections if section.refused]
    return fill(
        "analysis/analysis.html.jinja",
        title=title,
        sites=listed(list(sites)),
        site_count=len(sites),
        min_cell=min_cell,
        secure_sum=secure_sum,
        sections=sections,
        refused=refused,
        forest=_all_aucs(sections),
        topics=_topics(plan_entries, results),
        made=made,
    )


def _topics(plan_entries: Sequence[Analysis], results: Mapping[str, Summary]) -> set[str]:
    """Which intervals of this plan need a word about what they mean."""
    kinds = {entry.kind for entry in plan_entries}
    topics = {topic for topic, of in INTERVALS.items() if kinds & of}
    asked_centres = [one for one in results.values() if "centres" in one or "'centres'" in str(one.get("strata"))]
    return topics | ({"centres"} if asked_centres else set())


def _section(place: int, entry: Analysis, result: Summary) -> Section:
    strata = {} if entry.by is None else _levels(result)
    if not strata:
        return Section(f"analysis-{place}", entry, asked(entry), (_block("", entry, result),))
    blocks = tuple(_block(f"{entry.by} = {level}", entry, one) for level, one in strata.items())
    return Section(f"analysis-{place}", entry, asked(entry), blocks, _strata_forest(blocks))


def _levels(result: Summary) -> dict[str, Summary]:
    found = table(result, "strata")
    return {} if isinstance(found, Missing) else {str(level): one for level, one in found.items()}


def _block(heading: str, entry: Analysis, result: Summary) -> Block:
    found = table(result)
    if isinstance(found, Missing):
        return Block(heading, None, refusal=found.reason.removeprefix("not released: "))
    if not found:
        return Block(heading, None, refusal="the results hold no answer of this analysis")
    content = SECTIONS[entry.kind](entry, found)
    return Block(heading, content, tuple(render_svg(drawing) for drawing in content.drawings))


def _strata_forest(blocks: Sequence[Block]) -> Rendered | None:
    rows = [
        row
        for block in blocks
        if block.content is not None
        for row in _under(clipped(block.heading, 80), block.content.forest)
    ]
    return _forest("strata", rows)


def _all_aucs(sections: Sequence[Section]) -> Rendered | None:
    """Every AUC of the plan under the id of its analysis; None where there are fewer than two."""
    rows: list[Row] = []
    for section in sections:
        found = [
            row
            for block in section.blocks
            if block.content is not None
            for row in _of_block(block.heading, block.content.forest)
        ]
        rows += _under(clipped(section.entry.id, 80), found)
    return _forest("all_aucs", rows) if sum(isinstance(row.auc, Estimate) for row in rows) > 1 else None


def _of_block(heading: str, rows: Sequence[Row]) -> list[Row]:
    """Rows of a level carry the level's name; where a level has several, also the score's."""
    if not heading:
        return list(rows)
    names = [heading if len(rows) == 1 else f"{level_of(heading)}: {row.label}" for row in rows]
    return [
        Row(clipped(name, performance.NAME_LENGTH), row.auc, row.patients)
        for name, row in zip(names, rows, strict=True)
    ]


def _under(heading: str, rows: Sequence[Row]) -> list[Row]:
    return [Row(heading), *rows] if rows else []


def _forest(name: str, rows: Sequence[Row]) -> Rendered | None:
    known = [row for row in rows if isinstance(row.auc, Estimate)]
    if not known:
        return None
    caption = "Circles: AUC with its 95 % interval. Dotted line: chance. Rows may share patients."
    alt = f"Forest plot of AUC with intervals for {', '.join(row.label for row in known)}."
    return render_svg(Drawing(name, forest_figure(rows), alt, caption))
