"""Files grouped into series: what each is, in which order its slices lie, and whether it can be used."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fl_liver.client.cohort.codes import counted, finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.read.dicom import Reading
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.series.geometry import Fault, Geometry, volume_geometry

_VOLUMES = frozenset({"CT", "MR", "PT", "NM"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.128.1")


@dataclass(frozen=True, slots=True)
class Slice:
    """One file with a header. `number` is its place among all files in name order, from 1."""

    number: int
    path: Path = field(repr=False)
    header: Header
    reading: Reading


@dataclass(frozen=True, slots=True)
class Series:
    """What was found of one series.

    id, case     pseudonyms of series and patient
    kind         "CT axial", "ultrasound", "segmentation", …; None where it cannot be told
    slices       slices or frames
    spacing_mm   row, column, slice; None where the headers do not say, or the kind has none
    files        in slice order; names stay inside the hospital
    reordered    whether slice order is another than name order
    """

    id: str
    case: str
    modality: str
    kind: str | None
    slices: int
    spacing_mm: tuple[float | None, float | None, float | None] | None
    orientation: str | None
    usable: bool
    files: tuple[Path, ...] = field(repr=False)
    reordered: bool = False


def group_into_series(slices: Iterable[Slice]) -> list[list[Slice]]:
    """By SeriesInstanceUID, in the order of each series' first file; files without one are taken one by one."""
    groups: dict[str, list[Slice]] = defaultdict(list)
    for one in slices:
        groups[one.header.series_uid or f"no series, file {one.number}"].append(one)
    return list(groups.values())


def describe_series(slices: list[Slice], names: Pseudonyms) -> tuple[Series, list[Finding]]:
    """One series and its findings; `slices` come from `group_into_series`."""
    series_id = names.series(slices[0].header.series_uid or str(slices[0].number))
    case = names.patient(Counter(one.header.patient_id for one in slices).most_common(1)[0][0])
    slices, faults = _without_copies(slices)
    headers = [one.header for one in slices]
    faults += _identity_faults(headers) + _refused(slices)
    geometry = _geometry(headers)
    faults += geometry.faults
    ordered = [slices[i] for i in geometry.order]
    numbers = [one.number for one in ordered]
    series = Series(
        id=series_id,
        case=case,
        modality=headers[0].modality,
        kind=_kind(headers[0], geometry.orientation),
        slices=sum(header.frames for header in headers) if headers[0].is_image else 0,
        spacing_mm=geometry.spacing_mm,
        orientation=geometry.orientation,
        usable=headers[0].is_image and not any(code.startswith("E") for code, _ in faults),
        files=tuple(one.path for one in ordered),
        reordered=numbers not in (sorted(numbers), sorted(numbers, reverse=True)),
    )
    return series, [finding(code, case, cause, series_id) for code, cause in faults]


def _geometry(headers: list[Header]) -> Geometry:
    first = headers[0]
    if first.sop_class.startswith(_ENHANCED):
        fault = ("W_ENHANCED_MULTIFRAME", f"{first.frames} frames in one file")
        return Geometry(tuple(range(len(headers))), None, None, (fault,))
    if first.modality in _VOLUMES and first.sop_class != _SECONDARY_CAPTURE:
        return volume_geometry(headers)
    order = sorted(range(len(headers)), key=lambda i: (headers[i].instance_number, i))
    return Geometry(tuple(order), None, None, ())


def _kind(header: Header, orientation: str | None) -> str | None:
    if header.sop_class == _SECONDARY_CAPTURE:
        return "secondary capture"
    named = {"US": "ultrasound", "SEG": "segmentation", "RTSTRUCT": "contours", "SR": "report"}.get(header.modality)
    if named or header.modality not in _VOLUMES:
        return named
    return f"{header.modality} {orientation}" if orientation else header.modality


def _identity_faults(headers: list[Header]) -> list[Fault]:
    """What one series may have only one of, and what is not an original image."""
    faults: list[Fault] = []
    patients = len({header.patient_id for header in headers})
    studies = len({header.study_uid for header in headers})
    if patients > 1:
        faults.append(("E_MIXED_PATIENT", f"{patients} patients in one series"))
    elif studies > 1:
        faults.append(("E_MIXED_STUDY", f"{studies} studies in one series"))
    if headers[0].sop_class == _SECONDARY_CAPTURE:
        faults.append(("E_SECONDARY_CAPTURE", f"{counted(len(headers), 'screenshot')} or scans of paper"))
    burned_in = sum(header.burned_in for header in headers)
    if burned_in:
        faults.append(("W_BURNED_IN", f"{counted(burned_in, 'image')} with text burned in, as the header says"))
    lossy = sum(header.lossy for header in headers)
    if lossy:
        faults.append(("W_LOSSY", f"{counted(lossy, 'image')} once compressed with loss, as the header says"))
    return faults


def _refused(slices: list[Slice]) -> list[Fault]:
    """The files of this series that were refused, by their number in name order: names may hold a patient's."""
    refusals = [(one.number, one.reading.refusal) for one in slices]
    return [(refusal.code, f"file {number} in name order: {refusal.cause}") for number, refusal in refusals if refusal]


def _without_copies(slices: list[Slice]) -> tuple[list[Slice], list[Fault]]:
    """Drop identical copies of a file; different files with one SOPInstanceUID are a fault."""
    by_uid: dict[str, list[Slice]] = defaultdict(list)
    for one in slices:
        by_uid[one.header.sop_uid or f"no uid {one.number}"].append(one)
    if len(by_uid) == len(slices):
        return slices, []
    kept: list[Slice] = []
    copies = clashes = 0
    for same in by_uid.values():
        distinct = {_digest(one.path): one for one in reversed(same)} if len(same) > 1 else {b"": same[0]}
        copies += len(same) - len(distinct)
        clashes += len(distinct) - 1
        kept += distinct.values()
    faults: list[Fault] = []
    if copies:
        faults.append(("W_DUPLICATE_FILE", f"{counted(copies, 'file')} dropped: the same bytes as another"))
    if clashes:
        faults.append(("E_DUPLICATE_UID", f"{counted(clashes, 'file')} with the SOPInstanceUID of a different one"))
    return sorted(kept, key=lambda one: one.number), faults


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
