"""The true lesions as contours in an RTSTRUCT, cut from the lesions themselves and finer than the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RTStructureSetStorage

from fl_liver.client.cohort.series.grid import Grid
from simulation.phantom.dicom import new_object, save
from simulation.phantom.elements import group
from simulation.phantom.lesion import SolidLesion
from simulation.phantom.volume_files import ImagePlace, image_places
from simulation.phantom.volumes import Case, TrueSeries, Truth

_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, which the standard keeps asking for
_COLOURS = ((255, 0, 0), (0, 200, 0), (0, 0, 255), (255, 200, 0))
_FINER = 2  # points of a contour's field per pixel


def contours(lesion: SolidLesion, grid: Grid) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Slice and (n, 3) points in mm of each closed outline of a lesion on the slices of a grid."""
    from contourpy import contour_generator

    reach = np.asarray(lesion.reach_mm) @ np.abs(np.linalg.inv(grid.steps_mm)) + 1
    middle = grid.index_of(lesion.centre_mm)
    first, last = np.floor(middle - reach), np.ceil(middle + reach)
    rows, columns = (np.arange(first[axis], last[axis] + 1e-9, 1 / _FINER) for axis in (1, 2))
    for number in range(max(0, int(first[0])), min(grid.shape[0], int(last[0]) + 1)):
        index = np.stack(np.meshgrid(number, rows, columns, indexing="ij"), axis=-1)[0]
        x, y, z = np.moveaxis(grid.position_mm(index), -1, 0).astype(np.float32)
        for line in contour_generator(columns, rows, lesion.depth(x, y, z)).lines(1.0):
            column, row = np.asarray(line)[:-1].T  # the last point is the first again
            yield number, grid.position_mm(np.stack([np.full(row.shape, float(number)), row, column], axis=-1))


def write_contours(case: Case, truth: Truth, path: Path) -> Path:
    """Write them on the slices of the series that regions are drawn on."""
    series = truth.of(truth.drawn_on)
    images: list[Dataset] = [dcmread(file, stop_before_pixels=True) for file in series.files]
    study = str(images[0].Modality)
    dataset = new_object(
        case.patient, case.hospital, "RTSTRUCT", RTStructureSetStorage, 1, series="contours", study=study
    )
    del dataset.ContentDate, dataset.ContentTime  # StructureSetDate takes their place
    dataset.Manufacturer = "Phantom Workstation"
    dataset.SeriesNumber = 901
    dataset.FrameOfReferenceUID = series.frame_uid
    dataset.PositionReferenceIndicator = ""
    dataset.OperatorsName = images[0].OperatorsName
    dataset.StructureSetLabel = "LESIONS"
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.StudyDate, dataset.StudyTime
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = Sequence([_referenced(series, images)])
    numbered = list(enumerate(case.body.lesions, start=1))
    dataset.StructureSetROISequence = Sequence(_region(number, series.frame_uid) for number, _ in numbered)
    dataset.ROIContourSequence = Sequence(_outlines(lesion, number, series, images) for number, lesion in numbered)
    dataset.RTROIObservationsSequence = Sequence(
        group(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="", ROIInterpreter="")
        for number, _ in numbered
    )
    save(dataset, path)
    return path


def _region(number: int, frame_uid: str) -> Dataset:
    return group(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=frame_uid,
        ROIName=f"Lesion {number}",
        ROIGenerationAlgorithm="MANUAL",
    )


def _outlines(lesion: SolidLesion, number: int, series: TrueSeries, images: list[Dataset]) -> Dataset:
    places = {place.slice: place for place in reversed(image_places(series.grid, images))}
    drawn = [
        group(
            ContourImageSequence=_image(images[0], places[at]),
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(points),
            ContourData=np.round(points, 3).ravel().tolist(),
        )
        for at, points in contours(lesion, series.grid)
    ]
    colour = list(_COLOURS[number % len(_COLOURS)])
    return group(ReferencedROINumber=number, ROIDisplayColor=colour, ContourSequence=drawn)


def _referenced(series: TrueSeries, images: list[Dataset]) -> Dataset:
    """The frame of reference, and in it the study, the series and its images."""
    named = {place.sop_uid: place for place in image_places(series.grid, images)}
    contained = group(
        SeriesInstanceUID=series.uid,
        ContourImageSequence=[
            group(ReferencedSOPClassUID=images[0].SOPClassUID, ReferencedSOPInstanceUID=sop_uid) for sop_uid in named
        ],
    )
    study = group(
        ReferencedSOPClassUID=_STUDY_COMPONENT,
        ReferencedSOPInstanceUID=images[0].StudyInstanceUID,
        RTReferencedSeriesSequence=contained,
    )
    return group(FrameOfReferenceUID=series.frame_uid, RTReferencedStudySequence=study)


def _image(image: Dataset, place: ImagePlace) -> Dataset:
    found = group(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=place.sop_uid)
    if place.frame is not None:
        found.ReferencedFrameNumber = place.frame
    return found
