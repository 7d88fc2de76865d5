"""The tables of the check page: findings grouped by code, series by kind, and the verdict in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fl_liver.client.cohort.check.figures import short
from fl_liver.client.cohort.check.fingerprint import Spread, spread
from fl_liver.client.cohort.codes import counted
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.series.series import Series

EXIT_MEANING = {
    0: "clean; warnings are allowed",
    1: "usable, with exclusions",
    2: "nothing usable, or a finding that stops this hospital",
}
VERDICT_CLASS = {0: "all", 1: "some", 2: "none"}
_EFFECT = {"F": "stops this hospital", "E": "leaves the case out", "W": "keeps the case"}


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """All findings of one code; `cause` is the most frequent, `other_causes` how many others there are."""

    code: str
    severity: str
    effect: str
    cases: int
    times: int
    cause: str
    other_causes: int
    remedy: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ShortFinding:
    """One code on a case's card; `more` findings of the case have the same code."""

    code: str
    cause: str
    more: int


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """All series of one kind, as text."""

    kind: str
    n: int
    usable: int
    slices: str
    in_plane_mm: str
    slice_mm: str
    orientations: str


def verdict_in_words(cases: int, usable: int) -> str:
    """The first sentence of the page.

    >>> verdict_in_words(231, 219)
    '231 cases with images: 219 usable, 12 excluded.'
    """
    return f"{counted(cases, 'case')} with images: {usable} usable, {cases - usable} excluded."


def finding_groups(findings: Iterable[Finding]) -> tuple[FindingGroup, ...]:
    """What stops the hospital first, then what leaves cases out, then the rest; within, the most cases first."""
    by_code: dict[str, list[Finding]] = defaultdict(list)
    for one in findings:
        by_code[one.code].append(one)
    groups = [_group(code, many) for code, many in by_code.items()]
    return tuple(sorted(groups, key=lambda g: ("FEW".find(g.severity), -g.cases, g.code)))


def short_findings(findings: Iterable[Finding]) -> tuple[ShortFinding, ...]:
    """One line a code, in the given order."""
    by_code: dict[str, list[Finding]] = defaultdict(list)
    for one in findings:
        by_code[one.code].append(one)
    return tuple(ShortFinding(code, many[0].cause, len(many) - 1) for code, many in by_code.items())


def series_rows(series: Iterable[Series]) -> tuple[SeriesRow, ...]:
    """By name of the kind."""
    by_kind: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        by_kind[one.kind or one.modality or "unknown"].append(one)
    return tuple(_series_row(kind, by_kind[kind]) for kind in sorted(by_kind))


def _group(code: str, many: Sequence[Finding]) -> FindingGroup:
    causes = Counter(one.cause for one in many)
    return FindingGroup(
        code=code,
        severity=code[0],
        effect=_EFFECT.get(code[0], ""),
        cases=len({one.case for one in many if one.case}),
        times=len(many),
        cause=causes.most_common(1)[0][0],
        other_causes=len(causes) - 1,
        remedy=many[0].remedy,
        findings=tuple(many),
    )


def _series_row(kind: str, many: Sequence[Series]) -> SeriesRow:
    row, column, between = (spread(one.spacing_mm[axis] for one in many if one.spacing_mm) for axis in range(3))
    orientations = Counter(one.orientation for one in many if one.orientation)
    return SeriesRow(
        kind=kind,
        n=len(many),
        usable=sum(one.usable for one in many),
        slices=_median_and_range(spread(one.slices for one in many)),
        in_plane_mm=_in_plane(row, column),
        slice_mm=_median_and_range(between),
        orientations=", ".join(f"{name} {n}" for name, n in sorted(orientations.items())) or "–",
    )


def _in_plane(row: Spread | None, column: Spread | None) -> str:
    if row is None or column is None:
        return "–"
    low, high = min(row.minimum, column.minimum), max(row.maximum, column.maximum)
    usual = f"{short(row.median)} × {short(column.median)}"
    return usual if low == high else f"{usual} [{short(low)}, {short(high)}]"


def _median_and_range(one: Spread | None) -> str:
    if one is None:
        return "–"
    if one.minimum == one.maximum:
        return short(one.median)
    return f"{short(one.median)} [{short(one.minimum)}, {short(one.maximum)}]"
