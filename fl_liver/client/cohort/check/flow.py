"""How many patients are left after each step, and why the others are not: the numbers of a CONSORT flow chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fl_liver.client.cohort.cohort import Finding

NOT_ASKED = "not asked about by the study"
UNLISTED = ""
"""Stands for a code where no finding says why a patient is gone."""
_WITHOUT_IMAGES = frozenset({"E_NO_IMAGES", "E_NO_PATIENT_ID", "E_DUPLICATE_ROW"})
_ROWS = "rows in the clinical table"
_NOT_IN_THE_TABLE = "E_NO_CLINICAL_ROW"


@dataclass(frozen=True, slots=True)
class Step:
    """One box of the chart: `count` patients reach it, and `left` (code, patients) do not reach the next."""

    label: str
    count: int
    left: tuple[tuple[str, int], ...] = ()


def flow_of(
    rows: int,
    with_images: int,
    findings: Sequence[Finding],
    usable: int,
    excluded: Collection[str] | None = None,
    not_asked: int = 0,
) -> tuple[Step, ...]:
    """Rows of the clinical table → with images → usable; each patient leaves once, under the first E code.

    A patient whose findings hold "no images", "no patient id" or "duplicate row" leaves at the first step, any other at
    the second. Images without a row, and findings of single files or of the whole folder, are not patients here. Where
    fewer patients have a finding than are gone, the rest leave as `UNLISTED`.

    Args:
        rows: 0 where the hospital has no clinical table; the chart then starts with the images.
        with_images: patients of the table that have images.
        findings: in the report's order.
        excluded: cases that are left out, where not every E finding leaves its case out (one series of several); by
            default every case with one.
        not_asked: rows of patients whom the study is not about; they leave first, and are counted nowhere else.

    >>> from fl_liver.client.cohort.codes import finding
    >>> flow_of(3, 2, [finding("E_NO_IMAGES", "a", ""), finding("E_ROI_EMPTY", "b", "")], 1)[1]
    Step(label='with images', count=2, left=(('E_ROI_EMPTY', 1),))
    """
    codes: dict[str, list[str]] = {}
    for one in findings:
        if one.severity == "E" and _is_patient(one.case) and (excluded is None or one.case in excluded):
            codes.setdefault(one.case, []).append(one.code)
    patients = [found for found in codes.values() if _NOT_IN_THE_TABLE not in found]
    early = [found[0] for found in patients if _WITHOUT_IMAGES & set(found)]
    late = [found[0] for found in patients if not _WITHOUT_IMAGES & set(found)]
    steps = [Step("with images", with_images, _reasons(late, with_images - usable)), Step("usable", usable)]
    if rows:
        asked = rows - not_asked
        label = "asked about" if not_asked else _ROWS
        steps.insert(0, Step(label, asked, _reasons(early, asked - with_images)))
    if rows and not_asked:
        steps.insert(0, Step(_ROWS, rows, ((NOT_ASKED, not_asked),)))
    return tuple(steps)


def adds_up(steps: Sequence[Step]) -> bool:
    """Whether the reasons account for exactly the patients that are gone after each step."""
    return all(one.count - sum(n for _, n in one.left) == following.count for one, following in pairwise(steps))


def _is_patient(case: str) -> bool:
    """Not the whole folder (""), and not a file of an unknown patient."""
    return bool(case) and not case.startswith("file-")


def _reasons(first_codes: Iterable[str], gone: int) -> tuple[tuple[str, int], ...]:
    """The most frequent first; patients without a finding last."""
    counts = sorted(Counter(first_codes).items(), key=lambda entry: (-entry[1], entry[0]))
    unlisted = gone - sum(n for _, n in counts)
    return (*counts, (UNLISTED, unlisted)) if unlisted > 0 else tuple(counts)
