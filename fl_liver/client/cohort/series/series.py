"""Files grouped into series: what each is, in which order its slices lie, and whether it can be used."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fl_liver.client.cohort.codes import counted, finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.read.dicom import Reading
from fl_liver.client.cohort.read.enhanced import ENHANCED
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.series.geometry import Fault, Geometry, volume_geometry
from fl_liver.client.cohort.series.grid import Grid
from fl_liver.client.cohort.series.phases import split_phases, told_apart_by
from fl_liver.client.cohort.series.recognise import Guess

_VOLUMES = frozenset({"CT", "MR", "PT", "NM"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NAMED = {"US": "ultrasound", "SEG": "segmentation", "RTSTRUCT": "contours", "SR": "report"}


@dataclass(frozen=True, slots=True)
class Slice:
    """One image with a header: a file, or a frame of an enhanced one.

    number   place of the file among all files in name order, from 1
    """

    number: int
    path: Path = field(repr=False)
    header: Header
    reading: Reading


@dataclass(frozen=True, slots=True)
class Series:
    """What was found of one series.

    id, case     pseudonyms of series and patient
    kind         "MR T2", "CT portal venous", "CT axial" where the phase is not told, "ultrasound", "segmentation", …;
                 None where it cannot be told
    slices       slices or frames
    spacing_mm   row, column, slice; None where the headers do not say, or the kind has none
    members      in slice order
    grid         where the voxels lie, for a series that makes a volume
    guess        which sequence or contrast phase it is, and how that was told
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
    members: tuple[Slice, ...] = field(repr=False)
    grid: Grid | None = field(default=None, repr=False)
    guess: Guess | None = None
    reordered: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """In slice order, each once; names stay inside the hospital."""
        return tuple(dict.fromkeys(one.path for one in self.members))

    @property
    def header(self) -> Header:
        """Of the first slice."""
        return self.members[0].header

    def with_findings(self, findings: Sequence[Finding]) -> Series:
        """Not usable where one of them excludes it."""
        excluded = any(one.severity == "E" and one.series == self.id for one in findings)
        return replace(self, usable=self.usable and not excluded)


def group_into_series(slices: Iterable[Slice], split_by: Sequence[str] = ()) -> list[tuple[str, list[Slice]]]:
    """(name, slices) by SeriesInstanceUID, in the order of each series' first file.

    Files without a UID are taken one by one. A series with several b-values is taken apart, and one with several
    phases where `split_by` names what tells them apart; its parts are named "UID part 1", "UID part 2", ….
    """
    groups: dict[str, list[Slice]] = defaultdict(list)
    for one in slices:
        frames = one.reading.frames if one.header.frame == 0 else ()
        uid = one.header.series_uid or f"no series, file {one.number}"
        groups[uid] += [replace(one, header=frame) for frame in frames] or [one]
    found: list[tuple[str, list[Slice]]] = []
    for uid, group in groups.items():
        parts = split_phases([one.header for one in group], split_by) if _is_volume(group[0].header) else None
        if parts is None:
            found.append((uid, group))
        else:
            found += [(f"{uid} part {n}", [group[i] for i in part]) for n, part in enumerate(parts, start=1)]
    return found


def describe_series(uid: str, slices: list[Slice], names: Pseudonyms, case: str = "") -> tuple[Series, list[Finding]]:
    """One series and its findings; `uid` and `slices` come from `group_into_series`.

    Args:
        case: pseudonym of the patient; by default of the one whom most headers name.
    """
    series_id = names.series(uid)
    case = case or names.patient(Counter(one.header.patient_id for one in slices).most_common(1)[0][0])
    slices, faults = _without_copies(slices)
    headers = [one.header for one in slices]
    first = headers[0]
    faults += _identity_faults(headers) + _refused(slices)
    geometry = _geometry(headers)
    faults += _with_what_tells_apart(geometry.faults, headers)
    if first.sop_class in ENHANCED:
        faults.append(("W_ENHANCED_MULTIFRAME", f"{counted(len(headers), 'frame')} in one file"))
    ordered = [slices[i] for i in geometry.order]
    numbers = [one.number for one in ordered]
    series = Series(
        id=series_id,
        case=case,
        modality=first.modality,
        kind=_kind(first, geometry.orientation),
        slices=_slices(headers),
        spacing_mm=geometry.spacing_mm,
        orientation=geometry.orientation,
        usable=(first.is_image or first.modality == "RTSTRUCT") and not any(code.startswith("E") for code, _ in faults),
        members=tuple(ordered),
        grid=geometry.grid,
        reordered=numbers not in (sorted(numbers), sorted(numbers, reverse=True)),
    )
    return series, [finding(code, case, cause, series_id) for code, cause in faults]


def _is_volume(header: Header) -> bool:
    return header.modality in _VOLUMES and header.sop_class != _SECONDARY_CAPTURE


def _slices(headers: list[Header]) -> int:
    if not headers[0].is_image:
        return 0
    return len(headers) if headers[0].sop_class in ENHANCED else sum(header.frames for header in headers)


def _geometry(headers: list[Header]) -> Geometry:
    if _is_volume(headers[0]):
        return volume_geometry(headers)
    order = sorted(range(len(headers)), key=lambda i: (headers[i].instance_number, i))
    return Geometry(tuple(order), None, None, ())


def _with_what_tells_apart(faults: tuple[Fault, ...], headers: list[Header]) -> list[Fault]:
    """E_MULTI_PHASE says which element would split the series, where there is one."""
    teller = told_apart_by(headers) if any(code == "E_MULTI_PHASE" for code, _ in faults) else None
    if teller is None:
        return list(faults)
    return [
        (code, f"{cause}; {teller} tells them apart" if code == "E_MULTI_PHASE" else cause) for code, cause in faults
    ]


def _kind(header: Header, orientation: str | None) -> str | None:
    if header.sop_class == _SECONDARY_CAPTURE:
        return "secondary capture"
    named = _NAMED.get(header.modality)
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
    lossy = sum(header.lossy for header in headers)
    if lossy:
        faults.append(("W_LOSSY", f"{counted(lossy, 'image')} once compressed with loss, as the header says"))
    return faults


def _refused(slices: list[Slice]) -> list[Fault]:
    """The files of this series that were refused, by their number in name order: names may hold a patient's."""
    refusals = {one.number: one.reading.refusal for one in slices if one.reading.refusal is not None}
    return [(refusal.code, f"file {number} in name order: {refusal.cause}") for number, refusal in refusals.items()]


def _without_copies(slices: list[Slice]) -> tuple[list[Slice], list[Fault]]:
    """Drop identical copies of a file; different files with one SOPInstanceUID are a fault."""
    by_uid: dict[tuple[str, int], list[Slice]] = defaultdict(list)
    for one in slices:
        by_uid[one.header.sop_uid or f"no uid {one.number}", one.header.frame].append(one)
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
