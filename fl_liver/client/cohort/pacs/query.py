"""What the archive has of what is wanted (QIDO-RS): studies, their series, and the objects of each.

An archive may ignore a filter that it does not know, match ids without regard to capitals, or show anything at all: its
lists are held against what was asked, and a UID that is none never becomes an address or a name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fl_liver.client.cohort.pacs.archive import Archive, Item
from fl_liver.client.cohort.pacs.wanted import Wanted, archive_fault, folder_fault, valid_uid
from fl_liver.client.cohort.read.dicom import MAX_FILE_BYTES
from fl_liver.errors import DataError, ProtocolError

PAGE = 1000
MOST = 20_000
"""Objects of one series, series of one study, studies of one patient."""

_STUDY, _SERIES, _OBJECT = "0020000D", "0020000E", "00080018"
_PATIENT, _DATE, _ACCESSION, _MODALITIES = "00100020", "00080020", "00080050", "00080061"
_MODALITY, _DESCRIPTION, _COUNT = "00080060", "0008103E", "00201209"
_ROWS, _COLUMNS, _BITS, _FRAMES, _SAMPLES = "00280010", "00280011", "00280100", "00280008", "00280002"


@dataclass(frozen=True, slots=True)
class Study:
    """One study, known to be of the patient who was asked for.

    patient_id    names the folder
    archive_id    stands in the objects
    """

    patient_id: str = field(repr=False)
    archive_id: str = field(repr=False)
    uid: str = field(repr=False)
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a study that is wanted."""

    study: Study
    uid: str = field(repr=False)
    modality: str
    announced: int | None
    """NumberOfSeriesRelatedInstances, where the archive says it."""

    @property
    def path(self) -> str:
        return f"/studies/{self.study.uid}/series/{self.uid}"


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects of one series: their SOPInstanceUIDs, and about how many bytes they are without compression.

    invalid    objects whose UID is none; they are never asked for
    """

    uids: tuple[str, ...] = field(repr=False)
    announced: int
    invalid: int
    about_bytes: int


def find_studies(archive: Archive, wanted: Wanted, modalities: Sequence[str]) -> list[Study]:
    """The studies that fit one row and may hold series of these modalities, by UID.

    Raises:
        DataError: the archive answers with studies of other patients only, or with UIDs that are none.
        ConfigError, ProtocolError, UnreachableError: from the archive.
    """
    items = _all(archive, "/studies", [*_filters(wanted), _field(_MODALITIES)], _STUDY, "the list of studies")
    mine = [item for item in items if _is_of(item, wanted)]
    if items and not mine:
        raise DataError(
            "the archive answers with studies of another patient only; is archive_id written as in the archive,"
            " capitals and zeros included?"
        )
    found = [_study(item, wanted) for item in mine if _fits(item, wanted) and _may_hold(item, modalities)]
    return sorted(found, key=lambda study: study.uid)


def find_series(archive: Archive, study: Study, modalities: Sequence[str]) -> list[Series]:
    """The series of a study whose modality and description are wanted, by UID.

    Raises:
        DataError: a UID that is none.
    """
    what = "the list of series"
    items = _all(archive, f"/studies/{study.uid}/series", [_field(_DESCRIPTION), _field(_COUNT)], _SERIES, what)
    found: list[Series] = []
    for item in items:
        modality = text(item, _MODALITY).upper()
        if modality in modalities and study.wanted.describes(text(item, _DESCRIPTION)):
            uid = text(item, _SERIES)
            if not valid_uid(uid):
                raise DataError("the archive lists a series whose UID is none; tell its administrator")
            found.append(Series(study, uid, modality, whole(item, _COUNT)))
    return sorted(found, key=lambda series: series.uid)


def list_objects(archive: Archive, series: Series) -> Listing:
    """Every object of a series."""
    fields = [_field(tag) for tag in (_ROWS, _COLUMNS, _BITS, _FRAMES, _SAMPLES)]
    items = _all(archive, f"{series.path}/instances", fields, _OBJECT, "the list of objects", series.announced or 0)
    valid = [item for item in items if valid_uid(text(item, _OBJECT))]
    return Listing(
        uids=tuple(sorted(text(item, _OBJECT) for item in valid)),
        announced=max(series.announced or 0, len(items)),
        invalid=len(items) - len(valid),
        about_bytes=sum(_about_bytes(item) for item in valid),
    )


def text(item: Item, tag: str) -> str:
    """The first value of an element of DICOM JSON, as text without spaces around it; "" where there is none."""
    first = next(iter(_values(item, tag)), None)
    return str(first).strip() if isinstance(first, str | int) else ""


def whole(item: Item, tag: str) -> int | None:
    """The first value of an element as a number from 0 on, or None."""
    found = text(item, tag)
    return int(found) if found.isdecimal() and found.isascii() and len(found) < 10 else None


def _values(item: Item, tag: str) -> list[object]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _all(
    archive: Archive, path: str, parameters: Sequence[tuple[str, str]], key: str, what: str, expected: int = 0
) -> list[Item]:
    """All pages of a list, each item once by its UID."""
    found: dict[str, Item] = {}
    passed = 0
    while True:
        offset = [("offset", str(passed))] if passed else []
        page = archive.search(path, [*parameters, ("limit", str(PAGE)), *offset], what)
        before = len(found)
        for item in page:
            found.setdefault(text(item, key), item)
        passed += len(page)
        if len(found) > MOST:
            raise ProtocolError(f"{archive.pacs.where}: more than {MOST} entries in {what}; ask for less at a time")
        if len(found) == before or (len(page) < PAGE and len(found) >= expected):
            return list(found.values())


def _filters(wanted: Wanted) -> Iterator[tuple[str, str]]:
    for name, value in (
        ("PatientID", wanted.archive_id),
        ("StudyInstanceUID", wanted.study_uid),
        ("AccessionNumber", wanted.accession_number),
    ):
        if value:
            yield name, value
    if wanted.first_day or wanted.last_day:
        yield "StudyDate", f"{wanted.first_day}-{wanted.last_day}"


def _field(tag: str) -> tuple[str, str]:
    return "includefield", tag


def _is_of(item: Item, wanted: Wanted) -> bool:
    return not wanted.archive_id or text(item, _PATIENT) in ("", wanted.archive_id.strip())


def _fits(item: Item, wanted: Wanted) -> bool:
    return (
        (not wanted.study_uid or text(item, _STUDY) == wanted.study_uid)
        and (not wanted.accession_number or text(item, _ACCESSION) in ("", wanted.accession_number))
        and wanted.is_on(text(item, _DATE))
    )


def _may_hold(item: Item, modalities: Sequence[str]) -> bool:
    held = {str(one).strip().upper() for one in _values(item, _MODALITIES)}
    return not held or bool(held & set(modalities))


def _study(item: Item, wanted: Wanted) -> Study:
    uid = text(item, _STUDY)
    archive_id = wanted.archive_id.strip() or text(item, _PATIENT)
    if not valid_uid(uid):
        raise DataError("the archive lists a study whose UID is none; tell its administrator")
    fault = folder_fault(wanted.patient_id or archive_id) or archive_fault(archive_id)
    if fault:
        raise DataError(f"the patient's id in the archive {fault}; use a worklist with patient_id and archive_id")
    return Study(wanted.patient_id or archive_id, archive_id, uid, wanted)


def _about_bytes(item: Item) -> int:
    sizes = [whole(item, _ROWS), whole(item, _COLUMNS), whole(item, _BITS)]
    if None in sizes:
        return 0
    frames, samples = whole(item, _FRAMES) or 1, whole(item, _SAMPLES) or 1
    return min(math.prod([one or 0 for one in sizes]) * frames * samples // 8, MAX_FILE_BYTES)
