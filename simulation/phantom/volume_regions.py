"""The true lesions as a hospital keeps them: a NIfTI mask, a DICOM segmentation, or contours (RTSTRUCT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RTStructureSetStorage

from fl_liver.client.cohort.series.grid import Grid, to_sitk
from simulation.phantom.body import lesion_mask
from simulation.phantom.dicom import new_object, save, uid
from simulation.phantom.lesion import SolidLesion
from simulation.phantom.volume_enhanced import coded, group
from simulation.phantom.volume_files import frame_time
from simulation.phantom.volumes import Case, TrueSeries, Truth

RegionForm = Literal["nifti", "seg", "rtstruct"]
"""`masks/<patient_id>.nii.gz`; `SEG00001.dcm` or `RTS00001.dcm` beside the images. A segmentation needs highdicom."""
_FINER = 2
"""Points of a contour's field per pixel."""
_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def write_regions(case: Case, truth: Truth, folder: Path, forms: tuple[RegionForm, ...]) -> Truth:
    """Write the lesions in each form into a hospital's data folder; the truth then names the files."""
    write: dict[RegionForm, Callable[[Case, Truth, Path], Path]] = {
        "nifti": _write_nifti, "seg": _write_segmentation, "rtstruct": _write_contours,
    }  # fmt: skip
    return replace(truth, regions=tuple(write[form](case, truth, folder) for form in forms))


def contours(lesion: SolidLesion, grid: Grid) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Slice and (n, 3) points in mm of each closed outline of a lesion on a grid's slices."""
    from contourpy import contour_generator

    reach = np.asarray(lesion.reach_mm) @ np.abs(np.linalg.inv(grid.steps_mm)) + 1
    middle = grid.index_of(lesion.centre_mm)
    first, last = np.floor(middle - reach), np.ceil(middle + reach)
    rows, columns = (np.arange(first[axis], last[axis] + 1e-9, 1 / _FINER) for axis in (1, 2))
    for number in range(max(0, int(first[0])), min(grid.shape[0], int(last[0]) + 1)):
        index = np.stack(np.meshgrid(number, rows, columns, indexing="ij"), axis=-1)[0]
        x, y, z = np.moveaxis(grid.position_mm(index), -1, 0).astype(np.float32)
        for line in contour_generator(columns, rows, lesion.depth(x, y, z)).lines(1.0):
            column, row = np.asarray(line)[:-1].T
            yield number, grid.position_mm(np.stack([np.full(row.shape, float(number)), row, column], axis=-1))


def _write_nifti(case: Case, truth: Truth, folder: Path) -> Path:
    import SimpleITK

    path = folder / "masks" / f"{case.patient.patient_id}.nii.gz"
    path.parent.mkdir(exist_ok=True)
    image = to_sitk(truth.lesion_mask(truth.drawn_on), truth.of(truth.drawn_on).grid)
    SimpleITK.WriteImage(image, str(path), useCompression=True)
    return path


def _write_segmentation(case: Case, truth: Truth, folder: Path) -> Path:
    import highdicom

    series = truth.of(truth.drawn_on)
    images = [dcmread(path) for path in series.files]
    mask = lesion_mask(case.body, series.grid).astype(np.uint8)
    names = (case.patient.patient_id, *case.patient.entropy, series.uid, "segmentation")
    whole = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=_in_file_order(mask, series, images),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(number) for number in range(1, len(case.body.lesions) + 1)],
        series_instance_uid=uid(*names, "series"),
        series_number=900,
        sop_instance_uid=uid(*names, "instance"),
        instance_number=1,
        manufacturer="Phantom Workstation",
        manufacturer_model_name="Outliner",
        software_versions="1",
        device_serial_number="1",
        series_description="Lesions",
    )
    _make_repeatable(whole, images[0], names)
    path = series.files[0].parent / "SEG00001.dcm"
    whole.save_as(path, enforce_file_format=True)
    return path


def _in_file_order(mask: NDArray[np.uint8], series: TrueSeries, images: list[Dataset]) -> NDArray[np.uint8]:
    """Slices of the mask in the order of the files, or of the one file's frames."""
    places = _places(series, images)
    return mask[[number for number, _, _ in places]]


def _places(series: TrueSeries, images: list[Dataset]) -> list[tuple[int, str, int | None]]:
    """Slice, SOPInstanceUID and frame number (from 1; None in single-frame files) of every image of a series."""
    found: list[tuple[int, str, int | None]] = []
    for image in images:
        frames = image.get("PerFrameFunctionalGroupsSequence")
        if frames is None:
            found.append((_slice_of(series.grid, image), str(image.SOPInstanceUID), None))
            continue
        for number, frame in enumerate(frames, start=1):
            place = _slice_of(series.grid, frame.PlanePositionSequence[0])
            found.append((place, str(image.SOPInstanceUID), number))
    return found


def _slice_of(grid: Grid, holder: Dataset) -> int:
    return round(float(grid.index_of([float(v) for v in holder.ImagePositionPatient])[0]))


def _segment(number: int) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"Lesion {number}",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def _make_repeatable(whole: Dataset, image: Dataset, names: tuple[object, ...]) -> None:
    """Times of the study and UIDs of ours where highdicom takes the clock and chance."""
    whole.ContentDate, whole.ContentTime = image.StudyDate, image.ContentTime
    for keyword in ("InstanceCreationDate", "SeriesDate"):
        if keyword in whole:
            setattr(whole, keyword, image.StudyDate)
    for keyword in ("InstanceCreationTime", "SeriesTime"):
        if keyword in whole:
            setattr(whole, keyword, image.ContentTime)
    for one in (*whole.DimensionOrganizationSequence, *whole.DimensionIndexSequence):
        one.DimensionOrganizationUID = uid(*names, "dimensions")


def _write_contours(case: Case, truth: Truth, folder: Path) -> Path:
    series = truth.of(truth.drawn_on)
    images = [dcmread(path, stop_before_pixels=True) for path in series.files]
    modality = str(images[0].Modality)
    dataset = new_object(
        case.patient, case.hospital, "RTSTRUCT", RTStructureSetStorage, 1, series="contours", study=modality
    )
    dataset.Manufacturer = "Phantom Workstation"
    dataset.SeriesNumber = 901
    dataset.FrameOfReferenceUID = series.frame_uid
    dataset.StructureSetLabel = "Lesions"
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.StudyDate, dataset.StudyTime
    places = _places(series, images)
    dataset.ReferencedFrameOfReferenceSequence = Sequence([_referenced(series, images, places)])
    rois, outlines, observations = [], [], []
    for number, lesion in enumerate(case.body.lesions, start=1):
        rois.append(
            group(
                ROINumber=number,
                ReferencedFrameOfReferenceUID=series.frame_uid,
                ROIName=f"Lesion {number}",
                ROIGenerationAlgorithm="MANUAL",
            )
        )
        outlines.append(_outlines(lesion, number, series, str(images[0].SOPClassUID), places))
        observations.append(
            group(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="GTV", ROIInterpreter="")
        )
    dataset.StructureSetROISequence = Sequence(rois)
    dataset.ROIContourSequence = Sequence(outlines)
    dataset.RTROIObservationsSequence = Sequence(observations)
    path = series.files[0].parent / "RTS00001.dcm"
    save(dataset, path)
    return path
