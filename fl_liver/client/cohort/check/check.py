"""Look through any folder of DICOM: its series, what is wrong with them, and nothing that names a patient.

Used by `fl-liver site check DIR`. Series and cases carry pseudonyms, files their number in name order. Below a
`site.toml` the hospital's own key makes the names; elsewhere the key is the SHA-256 of the whole first DICOM file, so
that a second run gives the same names while nobody without the images can test a guess.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fl_liver.client.cohort.codes import finding, in_fixed_order
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms, random_pseudonyms, site_pseudonyms
from fl_liver.client.cohort.read.dicom import Reading, examine, looks_like_dicom
from fl_liver.client.cohort.read.folder import Listed, list_files, meant_as_dicom, stays_inside
from fl_liver.client.cohort.series.series import Series, Slice, describe_series, group_into_series
from fl_liver.client.site import load_site
from fl_liver.errors import DataError

_SITE_FILES = frozenset({"site.toml", "clinical.csv", "lesions.csv"})


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check_folder` found. Series stand in the order of their first files, findings by code, case and series."""

    files: int
    series: tuple[Series, ...]
    findings: tuple[Finding, ...]
    names: Pseudonyms = field(repr=False)

    @property
    def exit_code(self) -> int:
        """0 clean (warnings allowed), 1 usable with exclusions, 2 nothing usable."""
        if not any(one.usable for one in self.series):
            return 2
        return 1 if any(one.severity == "E" for one in self.findings) else 0

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


def check_folder(folder: Path, names: Pseudonyms | None = None) -> CheckReport:
    """Read every header below `folder`; pixels are not decoded.

    Args:
        names: makes the pseudonyms; by default as the module text says.
    Raises:
        DataError: no such folder, an empty one, or one without any DICOM file.
        ConfigError: a `site.toml` lies in the folder and is wrong.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds the DICOM files")
    site = load_site(folder / "site.toml") if (folder / "site.toml").is_file() else None
    here = folder.resolve()
    listed = list_files(here, leave_out=(site.work,) if site else ())
    if not listed:
        raise DataError(f"{folder}: the folder is empty; wanted DICOM files, export at least one series into it")
    wanted = [one for one in listed if meant_as_dicom(one.path)]
    if not any(looks_like_dicom(one.path) for one in wanted):
        raise DataError(f"{folder}: {len(listed)} files, none of them DICOM; export at least one series into it")
    chosen = names or (site_pseudonyms(site.work) if site else _names_from(wanted))
    slices, findings = _read_all(here, wanted, chosen)
    passed_over = sum(one.relative not in _SITE_FILES for one in listed) - len(wanted)
    if passed_over:
        findings.append(finding("W_OTHER_FILES", "", f"{passed_over} of {len(listed)} files are not DICOM"))
    series: list[Series] = []
    for group in group_into_series(slices):
        one, faults = describe_series(group, chosen)
        series.append(one)
        findings += faults
    return CheckReport(files=len(listed), series=tuple(series), findings=in_fixed_order(findings), names=chosen)


def files_in_slice_order(report: CheckReport, series_id: str) -> tuple[Path, ...]:
    """The files of one series along its normal (feet to head for axial slices), stills by instance number.

    Raises:
        DataError: the report has no such series.
    """
    for one in report.series:
        if one.id == series_id:
            return one.files
    raise DataError(f"series {series_id}: not among the {len(report.series)} that were found")


def render(report: CheckReport, console: Console) -> None:
    """Print a table of series, then one of findings, with pseudonyms only."""
    usable = sum(one.usable for one in report.series)
    console.print(f"{report.files} files, {len(report.series)} series, {usable} usable")
    if report.series:
        console.print(_series_table(report.series))
    if report.findings:
        console.print(_findings_table(report.findings))


def _names_from(wanted: list[Listed]) -> Pseudonyms:
    for one in wanted:
        if looks_like_dicom(one.path):
            with one.path.open("rb") as file:
                return Pseudonyms(hashlib.file_digest(file, "sha256").digest())
    return random_pseudonyms()


def _read_all(root: Path, wanted: list[Listed], names: Pseudonyms) -> tuple[list[Slice], list[Finding]]:
    """Headers of all files, and findings for the files that belong to no series."""
    slices: list[Slice] = []
    findings: list[Finding] = []
    for number, one in enumerate(wanted, start=1):
        if not stays_inside(root, one.path):
            where = f"file {number} of {len(wanted)} in name order"
            findings.append(finding("E_NOT_REGULAR", names.file(one.relative), f"{where}: a link out of the folder"))
            continue
        reading = examine(one.path)
        if reading.header is not None and (reading.header.series_uid or reading.refusal is None):
            slices.append(Slice(number, one.path, reading.header, reading))
        else:
            findings.append(_lone(reading, names.file(one.relative), f"file {number} of {len(wanted)} in name order"))
    return slices, findings


def _lone(reading: Reading, case: str, where: str) -> Finding:
    """A finding for a file whose series is not known."""
    if reading.refusal is None:
        return finding("E_UNREADABLE", case, f"{where}: no header")
    return finding(reading.refusal.code, case, f"{where}: {reading.refusal.cause}")


def _series_table(series: tuple[Series, ...]) -> Table:
    table = Table(title="Series")
    for name in ("series", "case", "kind", "orientation", "file order", "usable"):
        table.add_column(name)
    table.add_column("slices", justify="right")
    table.add_column("spacing mm (row, column, slice)", justify="right")
    for one in series:
        order = "sorted by position" if one.reordered else "as named"
        table.add_row(
            *(one.id, one.case, one.kind or one.modality or "unknown", one.orientation or "–", order),
            *("yes" if one.usable else "no", str(one.slices), _spacing(one.spacing_mm)),
        )
    return table


def _spacing(spacing_mm: tuple[float | None, float | None, float | None] | None) -> str:
    if spacing_mm is None:
        return "–"
    return " × ".join("–" if value is None else f"{value:.3f}" for value in spacing_mm)


def _findings_table(findings: tuple[Finding, ...]) -> Table:
    counts: Mapping[str, int] = Counter(one.severity for one in findings)
    table = Table(title=f"Findings: {counts.get('E', 0)} exclude, {counts.get('W', 0)} to know")
    for name in ("code", "case", "series", "cause", "what to do"):
        table.add_column(name, overflow="fold")
    for one in findings:
        table.add_row(one.code, one.case, one.series, one.cause, one.remedy)
    return table
