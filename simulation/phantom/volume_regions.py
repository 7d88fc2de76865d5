"""The true lesions as a hospital keeps them: a NIfTI mask, a DICOM segmentation, or contours (RTSTRUCT)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from fl_liver.client.cohort.series.grid import to_sitk
from simulation.phantom.volume_contours import write_contours
from simulation.phantom.volume_segmentation import write_segmentation
from simulation.phantom.volumes import Case, Truth

RegionForm = Literal["nifti", "seg", "rtstruct"]
"""`masks/<patient_id>.nii.gz`; `SEG00001.dcm` or `RTS00001.dcm` beside the images. A segmentation needs highdicom."""


def write_regions(case: Case, truth: Truth, folder: Path, forms: tuple[RegionForm, ...]) -> Truth:
    """Write the lesions in each form into a hospital's data folder; the truth then names the files."""
    write: dict[RegionForm, Callable[[Path], Path]] = {
        "nifti": lambda root: _write_mask(truth, root / "masks" / f"{case.patient.patient_id}.nii.gz"),
        "seg": lambda root: write_segmentation(case, truth, root / "dicom" / case.patient.patient_id / "SEG00001.dcm"),
        "rtstruct": lambda root: write_contours(case, truth, root / "dicom" / case.patient.patient_id / "RTS00001.dcm"),
    }
    return replace(truth, regions=tuple(write[form](folder) for form in forms))


def _write_mask(truth: Truth, path: Path) -> Path:
    import SimpleITK

    path.parent.mkdir(parents=True, exist_ok=True)
    image = to_sitk(truth.lesion_mask(truth.drawn_on), truth.of(truth.drawn_on).grid)
    SimpleITK.WriteImage(image, str(path), useCompression=True)
    return path
