"""From files to series: read every header, group, put in order, tell what each series is, and name what is wrong.

The one way from a folder to series, for `fl-liver site check` and for training alike. No pixel is decoded here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fl_liver.client.cohort.codes import counted, finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.read.dicom import Reading, examine
from fl_liver.client.cohort.read.folder import Listed, stays_inside
from fl_liver.client.cohort.series.mapping import NO_MAPPING, Mapping
from fl_liver.client.cohort.series.recognise import KIND_NAMES, facts_of, guessed_fault, recognise
from fl_liver.client.cohort.series.series import Series, Slice, describe_series, group_into_series

Examine = Callable[[Listed, str], Reading]


@dataclass(frozen=True, slots=True)
class Survey:
    """Series in the order of their first files, and findings in the order found."""

    series: tuple[Series, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where files lie and under which names they are told of.

    root        links may not lead out of it
    case        pseudonym of the patient whose files these are; "" where each file's own header says whose it is
    named_for   folders of a path that are named after the patient because this layout asks for it: 1 below dicom/
    """

    root: Path = field(repr=False)
    names: Pseudonyms
    case: str = ""
    named_for: int = 0
    mapping: Mapping = NO_MAPPING


def survey(files: Sequence[Listed], place: Place, read: Examine | None = None) -> Survey:
    """Series and findings of some files; numbers in causes are places among `files`, in name order, from 1.

    Args:
        read: gives the reading of a file; by default it is read now.
    """
    slices: list[Slice] = []
    findings: list[Finding] = []
    for number, one in enumerate(files, start=1):
        where = f"file {number} of {len(files)} in name order"
        if not stays_inside(place.root, one.path):
            cause = f"{where}: a link out of the folder"
            findings.append(finding("W_SYMLINK_OUTSIDE_ROOT", place.case or place.names.file(one.relative), cause))
            continue
        relative = "/".join(one.relative.split("/")[place.named_for :])
        reading = (read or _examine)(one, relative)
        if reading.header is not None and (reading.header.series_uid or reading.refusal is None):
            slices.append(Slice(number, one.path, reading.header, reading))
        else:
            findings.append(_lone(reading, place.case or place.names.file(one.relative), where))
    found: list[Series] = []
    for uid, group in group_into_series(slices, place.mapping.split):
        series, faults = describe_series(uid, group, place.names, place.case)
        found.append(series)
        findings += faults
    recognised, guessed = _recognised(found, files, place.mapping)
    return Survey(recognised, (*findings, *guessed, *_named_after_patient(slices, place)))


def _examine(one: Listed, relative: str) -> Reading:
    return examine(one.path, relative)


def _recognised(
    found: list[Series], files: Sequence[Listed], mapping: Mapping
) -> tuple[tuple[Series, ...], list[Finding]]:
    """What each volume is, told study by study, since phases are told from each other."""
    relative = {one.path: one.relative for one in files}
    by_study: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(found):
        if one.usable and one.modality in ("CT", "MR"):
            by_study[one.header.study_uid].append(index)
    series, findings = list(found), []
    for study in by_study.values():
        facts = [facts_of([one.header for one in found[i].members]) for i in study]
        folders = [relative[found[i].members[0].path].rpartition("/")[0] for i in study]
        for i, guess in zip(study, recognise(facts, mapping, folders), strict=True):
            kind = KIND_NAMES[found[i].modality, guess.kind] if guess.kind is not None else found[i].kind
            series[i] = replace(found[i], guess=guess, kind=kind)
            fault = guessed_fault(guess)
            findings += [finding(fault[0], found[i].case, fault[1], found[i].id)] if fault else []
    return tuple(series), findings


def _lone(reading: Reading, case: str, where: str) -> Finding:
    """A finding for a file whose series is not known."""
    if reading.refusal is None:
        return finding("E_UNREADABLE", case, f"{where}: no header")
    return finding(reading.refusal.code, case, f"{where}: {reading.refusal.cause}")


def _named_after_patient(slices: list[Slice], place: Place) -> list[Finding]:
    """Once for each patient."""
    files = {(one.number, one.header.patient_id) for one in slices if one.reading.names_patient}
    patients = Counter(place.case or place.names.patient(patient) for _, patient in files)
    return [
        finding("W_PHI_IN_FILENAME", case, f"{counted(count, 'file')} named after the patient of the header")
        for case, count in patients.items()
    ]
