"""One patient of a CT or MR phantom in a hospital's data folder: the person, the images of one study, and the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from fl_liver.study_cohort import SequenceKind
from simulation.phantom.lesion import LesionKind
from simulation.phantom.volume_regions import RegionForm, write_regions
from simulation.phantom.volumes import Case, TrueSeries, Truth, draw_body, imaged_patient

WriteImages = Callable[[Case, Path], tuple[TrueSeries, ...]]
"""Writes the series of one study into an existing folder."""


class PatientOptions(TypedDict, total=False):
    """Who is imaged, as keywords of every writer.

    kind      of all lesions; "hcc" by default
    lesions   their number; 1 by default
    size_mm   longest diameter of the first; by default the patient's own
    regions   written forms of the truth, see `volume_regions`; a NIfTI mask by default
    hospital  "H01" by default
    """

    kind: LesionKind
    lesions: int
    size_mm: float | None
    regions: tuple[RegionForm, ...]
    hospital: str


def of_patient(options: Mapping[str, Any]) -> tuple[PatientOptions, dict[str, Any]]:
    """A writer's keywords parted: those of `PatientOptions`, and those that say how the patient is scanned."""
    who = PatientOptions(**{name: value for name, value in options.items() if name in PatientOptions.__annotations__})  # type: ignore[typeddict-item]
    return who, {name: value for name, value in options.items() if name not in who}


def write_patient(
    patient_id: str,
    seed: int,
    folder: Path,
    write: WriteImages,
    drawn_on: Sequence[SequenceKind],
    **who: Unpack[PatientOptions],
) -> Truth:
    """A patient in a hospital's data folder: `dicom/<patient_id>/` and the regions.

    Args:
        seed: ≥ 0; the same arguments give the same bytes.
        drawn_on: the regions lie on the first of these kinds that was written.
    Raises:
        ConfigError: an unknown kind of lesion, or one that does not fit.
    """
    kind = who.get("kind", "hcc")
    patient = imaged_patient(patient_id, seed, kind)
    case = Case(
        patient, who.get("hospital", "H01"), draw_body(patient, kind, who.get("lesions", 1), who.get("size_mm"))
    )
    return write_case(case, folder, write, drawn_on, who.get("regions", ("nifti",)))


def write_case(
    case: Case,
    folder: Path,
    write: WriteImages,
    drawn_on: Sequence[SequenceKind],
    regions: tuple[RegionForm, ...] = ("nifti",),
) -> Truth:
    """As `write_patient`, for a body that the caller drew; one without lesions gets no regions."""
    images = folder / "dicom" / case.patient.patient_id
    images.mkdir(parents=True)
    series = write(case, images)
    written = {kind for one in series for kind in one.kinds}
    truth = Truth(case.patient, case.body, series, next(one for one in drawn_on if one in written))
    return write_regions(case, truth, folder, regions if case.body.lesions else ())
