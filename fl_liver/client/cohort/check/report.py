"""What a check found, as people and scripts get it: series, findings, an exit status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fl_liver.client.cohort.check.case import CaseFiles
from fl_liver.client.cohort.check.fingerprint import Intensity
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.series.series import Series


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Series stand in the order of their first files, findings by code, case, series and cause.

    rows         patients in the clinical table; None where there is none
    cases        everybody with usable images, ready to be looked at again for pictures
    intensities  percentiles of grey values by series
    not_asked    those whom the study is not about; they are in no other figure here
    """

    files: int
    series: tuple[Series, ...]
    findings: tuple[Finding, ...]
    names: Pseudonyms = field(repr=False)
    rows: int | None = None
    cases: tuple[CaseFiles, ...] = field(default=(), repr=False)
    intensities: Mapping[str, Sequence[Intensity]] = field(default_factory=dict, repr=False)
    not_asked: frozenset[str] = frozenset()

    @property
    def patients(self) -> tuple[str, ...]:
        """Pseudonyms of everybody with images, less those whom the study is not about."""
        return tuple(sorted({one.case for one in self.series if one.header.is_image} - self.not_asked))

    @property
    def excluded(self) -> frozenset[str]:
        """Cases with an E finding of their own, or without any usable series left."""
        own = {one.case for one in self.findings if one.severity == "E" and not one.series and one.case}
        usable = {one.case for one in self.series if one.usable and one.header.is_image}
        return frozenset(own | (set(self.patients) - usable))

    @property
    def exit_code(self) -> int:
        """0 clean (warnings allowed), 1 usable with exclusions, 2 nothing usable or the hospital must stop."""
        severities = {one.severity for one in self.findings}
        if "F" in severities or not any(one.usable for one in self.series):
            return 2
        return 1 if "E" in severities else 0

    def to_json(self) -> dict[str, list[dict[str, object]]]:
        """`series` and `findings` as plain lists and dicts, ready for `json.dumps`; spacing is row, column, slice."""
        return {
            "series": [
                {
                    "id": one.id,
                    "modality": one.modality,
                    "kind": one.kind,
                    "slices": one.slices,
                    "spacing_mm": None if one.spacing_mm is None else list(one.spacing_mm),
                    "orientation": one.orientation,
                    "usable": one.usable,
                }
                for one in self.series
            ],
            "findings": [
                {
                    "code": one.code,
                    "severity": one.severity,
                    "case": one.case,
                    "series": one.series,
                    "cause": one.cause,
                    "remedy": one.remedy,
                }
                for one in self.findings
            ],
        }
