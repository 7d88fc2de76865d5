"""Write the report: one self-contained page, and every figure beside it as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fl_liver.server.report import further_tables, headline, run_tables, tables
from fl_liver.server.report.calibration import draw_calibration
from fl_liver.server.report.confusion import draw_confusion
from fl_liver.server.report.forest import draw_forest
from fl_liver.server.report.learning import draw_learning
from fl_liver.server.report.noised import noised_section
from fl_liver.server.report.odds import draw_odds
from fl_liver.server.report.pieces import Missing, Summary, table, text, texts
from fl_liver.server.report.roc import draw_roc
from fl_liver.server.report.sample_images import Image, draw_samples
from fl_liver.server.report.style import LOOKS, Drawing, Rendered, render
from fl_liver.server.report.template import fill

Pieces = dict[str, Rendered | Missing]

_DRAW: dict[str, Callable[[Summary], Drawing | Missing]] = {
    "learning_curve": draw_learning,
    "roc": draw_roc,
    "forest_auc": draw_forest,
    "calibration": draw_calibration,
    "odds_ratios": draw_odds,
}


def write_report(
    summary: Summary,
    folder: Path,
    samples: Mapping[str, Sequence[Image]] | None = None,
    explained: Sequence[Rendered] = (),
) -> Path:
    """Write `folder/report.html` and `folder/figures/NAME.svg` and `.png`.

    Args:
        summary: what `summary.json` holds. Pieces may be absent, null or {"not_released": reason}; the page says so.
            Optional beside the fixed form: `task` {positive: [..], negative: [..]} (class names for the first
            sentence), `data_note` (a warning above it) and `not_drawn` (why figures of `explained` are missing).
        folder: made if it is not there.
        samples: hospital → (height, width) uint8 images of phantom patients; the page then says that data are phantoms.
        explained: figures of phantom patients that show what the model looks at.
    Returns:
        Path of the page. Equal arguments give equal bytes.
    Raises:
        DataError: a piece is there with the wrong type or shape. Nothing is written then.
    """
    figures = draw_figures(summary, samples) | {one.name: one for one in explained}
    page = page_html(summary, figures, phantom=bool(samples), explained=[one.name for one in explained])
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for figure in figures.values():
        if isinstance(figure, Rendered):
            (folder / "figures" / f"{figure.name}.svg").write_bytes(figure.svg)
            (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def draw_figures(summary: Summary, samples: Mapping[str, Sequence[Image]] | None = None) -> Pieces:
    """Every figure of the page by name; one that cannot be drawn is the reason why."""
    drawn: dict[str, Drawing | Missing] = {name: draw(summary) for name, draw in _DRAW.items()}
    drawn["samples"] = draw_samples(samples) if samples else Missing("no sample images: real patients are not shown")
    for model in LOOKS:
        matrix = draw_confusion(summary, model)
        if isinstance(matrix, Drawing):
            drawn[matrix.name] = matrix
    return {name: one if isinstance(one, Missing) else render(one) for name, one in drawn.items()}


def page_html(
    summary: Summary, figures: Mapping[str, Rendered | Missing], *, phantom: bool, explained: Sequence[str] = ()
) -> str:
    """The page as text. Every value is escaped; only the style sheet of this package is taken as it is."""
    return fill("report.html.jinja", figures=figures, explanations=explained, **_contents(summary, phantom=phantom))


def _contents(summary: Summary, *, phantom: bool) -> dict[str, Any]:
    """What the template prints, section by section."""
    return {
        "title": text(summary, "title") or text(summary, "study") or "Federated study",
        "source": text(summary, "source"),
        "warnings": headline.warnings_of(summary, phantom=phantom),
        "result": headline.result_in_words(summary),
        "sums": headline.sums_in_words(summary),
        "rows": headline.rows_in_words(summary),
        "cohort": tables.cohort_table(summary),
        "models": tables.models_table(summary),
        "noised": noised_section(summary),
        "endpoints": further_tables.endpoints_table(summary),
        "snapshots": further_tables.snapshots_in_words(summary),
        "cross_validation": further_tables.cross_validation_table(summary),
        "tasks": further_tables.tasks_table(summary),
        "task_endpoints": further_tables.task_endpoints_table(summary),
        "between_tasks": further_tables.between_tasks_table(summary),
        "repeats": further_tables.repeats_table(summary),
        "grid": further_tables.grid_table(summary),
        "comparisons": tables.comparisons_table(summary),
        "classes": tables.class_table(summary),
        "calibration_groups": tables.calibration_table(summary),
        "cutoff": tables.cutoff_table(summary),
        "fusion": table(summary, "fusion"),
        "screening": run_tables.screening_table(summary),
        "left_out": run_tables.left_out(summary),
        "multivariable": run_tables.terms_table(summary, "multivariable"),
        "fused": run_tables.terms_table(summary, "fused"),
        "left_out_centres": run_tables.left_out_centres(summary),
        "pooled_analyses": run_tables.pooled_analyses(summary),
        "other_analyses": run_tables.other_analyses(summary),
        "not_drawn": texts(summary, "not_drawn"),
        "paper": table(summary, "paper"),
        "rounds": run_tables.rounds_table(summary),
        "run": run_tables.run_table(summary),
        "explained": [] if isinstance(models := table(summary, "models"), Missing) else list(models),
    }
