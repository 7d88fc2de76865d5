"""Hospitals of tiny CT volumes with masks, every voxel given: nobody in them is real."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid, to_sitk
from fl_liver.client.site import SiteConfig
from fl_liver.study import Study
from fl_liver.study_files import load_study
from fl_liver.toml_file import parse
from tests.client.cohort.conftest import ct_slice, save

SHAPE = (10, 32, 32)
SLICE_MM, ROW_MM, COLUMN_MM = 5.0, 1.0, 1.0


def grid_of(shape: tuple[int, int, int] = SHAPE, row_mm: float = ROW_MM, column_mm: float = COLUMN_MM) -> Grid:
    return Grid(shape, (-100, -120, 0), (0, 0, SLICE_MM), (0, row_mm, 0), (column_mm, 0, 0))


def random_hu(seed: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-100, 180, shape).astype(np.int16)


def write_volume(
    data: Path, patient: str, hu: NDArray[np.int16], *, kind: str = "portal", grid: Grid | None = None
) -> None:
    """One series of `patient` as CT slices; series.toml of `write_table` says what it is by its folder."""
    grid = grid or grid_of(hu.shape)
    for number, pixels in enumerate(hu):
        dataset = ct_slice(number, float(grid.position_mm((number, 0, 0))[2]), rows=hu.shape[1])
        dataset.PatientID = patient
        for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
            setattr(dataset, name, f"1.2.{int.from_bytes(patient.encode()) % 10**12}.{len(name)}")
        dataset.SeriesInstanceUID = f"{dataset.StudyInstanceUID}.{len(kind)}{ord(kind[0])}"
        dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{number + 1}"
        dataset.ImagePositionPatient = grid.position_mm((number, 0, 0)).tolist()
        dataset.PixelSpacing = [grid.spacing_mm[1], grid.spacing_mm[2]]
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelData = (pixels.astype(np.int32) + 1024).astype(np.uint16).tobytes()
        save(dataset, data / "dicom" / patient / kind / f"{number:02d}.dcm")


def write_mask(data: Path, patient: str, labels: NDArray[Any], grid: Grid | None = None) -> None:
    (data / "masks").mkdir(exist_ok=True)
    image = to_sitk(labels.astype(np.uint8), grid or grid_of(labels.shape))
    SimpleITK.WriteImage(image, str(data / "masks" / f"{patient}.nii.gz"))


def write_table(data: Path, rows: Sequence[str], header: str = "patient_id,class") -> SiteConfig:
    """The clinical table and what the folders of series are."""
    (data / "clinical.csv").write_text("\n".join([header, *rows]) + "\n")
    entries = [f'[[series]]\nfolder = "*/{kind}"\nkind = "{kind}"\n' for kind in ("plain", "arterial", "portal")]
    (data / "series.toml").write_text("".join(entries))
    (data / "site.toml").write_text('site = "H01"\ndecoders = 0\n')
    return SiteConfig(site="H01", data=data, work=data / "work", decoders=0)


def ball(*middles: tuple[int, int, int], radius: int = 2, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """Labels 1, 2, … : discs of `radius` on the middle's slice, of one voxel less on each neighbour."""
    labels = np.zeros(shape, dtype=np.uint8)
    rows, columns = np.indices(shape[1:])
    for label, (k, i, j) in enumerate(middles, start=1):
        for step in (-1, 0, 1):
            inside = (rows - i) ** 2 + (columns - j) ** 2 <= (radius - abs(step)) ** 2
            labels[k + step][inside] = label
    return labels


def ct_study(task: dict[str, Any] | None = None, image_px: int = 16, **cohort: Any) -> Study:
    raw = load_study("lesion_us_fusion").model_dump(mode="json", exclude_none=True)
    classes = {"modality": "CT", "outcome": "class", "classes": {"benign": "0", "malignant": "1"}}
    raw["task"] = {**classes, "positive": ["malignant"], **(task or {})}
    raw["factor"], raw["analysis"] = [], {}
    raw["model"] = {"name": "lesion_us_fusion", "image_px": image_px}
    raw["cohort"] = {"views": 2, "sequences": ["portal"], "window_hu": [-110.0, 190.0], "masks": True, **cohort}
    return parse(raw, Study, "test")
