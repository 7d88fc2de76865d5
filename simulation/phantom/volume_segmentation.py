"""The true lesions as a DICOM segmentation, one binary segment a lesion; made by highdicom, the field's own writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from simulation.phantom.body import lesion_mask
from simulation.phantom.dicom import uid
from simulation.phantom.volume_files import image_places
from simulation.phantom.volumes import Case, Truth


def write_segmentation(case: Case, truth: Truth, path: Path) -> Path:
    """Write it on the series that regions are drawn on. Needs highdicom."""
    import highdicom

    series = truth.of(truth.drawn_on)
    images = [dcmread(file) for file in series.files]
    mask = lesion_mask(case.body, series.grid).astype(np.uint8)
    names = (case.patient.patient_id, *case.patient.entropy, series.uid, "segmentation")
    whole = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=mask[[place.slice for place in image_places(series.grid, images)]],
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
    whole.save_as(path, enforce_file_format=True)
    return path


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
    """The study's times and our UIDs where highdicom takes the clock and chance."""
    for event in ("Content", "InstanceCreation", "Series"):
        for part, value in (("Date", image.StudyDate), ("Time", image.ContentTime)):
            if event + part in whole:
                setattr(whole, event + part, value)
    for one in whole.get("ContributingEquipmentSequence", ()):
        one.ContributionDateTime = str(image.StudyDate) + str(image.ContentTime)
    for one in (*whole.DimensionOrganizationSequence, *whole.DimensionIndexSequence):
        one.DimensionOrganizationUID = uid(*names, "dimensions")
