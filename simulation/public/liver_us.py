"""Annotated B-mode ultrasound of the liver (Zenodo 7272660): 735 images, of 735 patients as others count them.

    Benign/image/12.jpg  Malignant/image/…  Normal/image/…
    Benign/segmentation/{liver,mass,outline}/12.json      a polygon, [[x, y], …] in pixels; Normal has no mass

Xu et al., Zenodo (2022), doi 10.5281/zenodo.7272660: 435 malignant, 200 benign, 100 normal. Images become DICOM stills
(they were JPEG, and say so), the outline the region of the scan on the screen, a mass the lesion's box, and the largest
square of liver beside it the box of the background. Of two images (229, 306) the outline is the liver's and the
scan's is missing: an outline that is not clearly larger than the liver is not used. Which machine, which hospital
and what a mass is are not stated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UltrasoundImageStorage

from fl_liver.client.cohort.layout import DICOM_FOLDER
from fl_liver.errors import DataError
from simulation.phantom.dicom import save, set_pixels
from simulation.public.cohort import PublicCohort
from simulation.public.images import PublicImages, Written
from simulation.public.question import Question
from simulation.public.series_files import new_file
from simulation.public.tables import listing

CLASSES = {"Benign": "benign", "Malignant": "malignant", "Normal": "normal"}
_IMAGES = (".jpg", ".jpeg", ".png")
_TWO_D, _TISSUE, _NO_UNIT = 1, 1, 0
_SCAN_OVER_LIVER = 1.05
_LEAST_SQUARE_PX = 16
_LEAST_POINTS, _MOST_PX = 3, 65535
_SIZES_PX = (600, 900, 1200)
Polygon = list[tuple[float, float]]
QUESTION = Question(
    title="Mass or none, and benign or malignant, in B-mode ultrasound?",
    outcome="diagnosis",
    classes={"normal": "normal", "benign": "benign", "malignant": "malignant"},
    positive=("benign", "malignant"),
    lesion_free=("normal",),
    endpoints=(
        {
            "name": "malignant",
            "title": "Malignant, among masses",
            "among": ["benign", "malignant"],
            "positive": ["malignant"],
        },
    ),
)


@dataclass(frozen=True, slots=True)
class _Still:
    image: Path
    width: int
    polygons: dict[str, Path] = field(repr=False)


def read(folder: Path) -> PublicCohort:
    """Find the images and their polygons; patients are called benign-12, malignant-7, normal-3.

    Returns:
        Columns patient_id, diagnosis (benign, malignant, normal), malignant (0/1, missing where there is no mass).
    Raises:
        DataError: another folder, or no image that can be used. A damaged image is left out, with a note.
    """
    stills, notes = _stills(folder)
    clinical = pd.DataFrame({"patient_id": sorted(stills)})
    clinical["diagnosis"] = clinical["patient_id"].str.partition("-")[0]
    malignant = clinical["diagnosis"].map({"benign": 0, "malignant": 1})
    clinical["malignant"] = malignant.astype("Int64")
    return PublicCohort(
        name="liver_us",
        clinical=clinical,
        outcomes=("diagnosis", "malignant"),
        partition_columns={"width": _bands([stills[patient].width for patient in clinical["patient_id"]])},
        refused={"patient_id": "it begins with the diagnosis, and an id is no finding"},
        notes=notes,
        images=PublicImages(
            modality="US",
            patients=frozenset(stills),
            lesions="boxes",
            write=_Writer(stills),
            lesion_free={"diagnosis": ("normal",)},
        ),
        question=QUESTION,
    )


_KINDS = ("liver", "mass", "outline")
_DAMAGED = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises on damaged files: an UnidentifiedImageError is an OSError, and a broken PNG a SyntaxError."""


@dataclass(frozen=True, slots=True)
class _Writer:
    stills: dict[str, _Still] = field(repr=False)

    def __call__(self, patient: str, folder: Path) -> Written:
        still = self.stills[patient]
        grey = _grey(still.image)
        polygons = {kind: _polygons(path) for kind, path in still.polygons.items()}
        file = new_file("liver_us", patient, "US", UltrasoundImageStorage)
        set_pixels(file, grey, "MONOCHROME2")
        file.LossyImageCompression = "00" if still.image.suffix.lower() == ".png" else "01"
        region = _scan(polygons, grey.shape)
        if region is not None:
            file.SequenceOfUltrasoundRegions = Sequence([_region(region)])
        target = folder / DICOM_FOLDER / patient
        target.mkdir(parents=True)
        save(file, target / "IM_0001.dcm")
        boxes = [("lesion", edges) for edges in _edges(polygons.get("mass", []), grey.shape)]
        square = _background(polygons, grey.shape, region)
        boxes += [("background", square)] if square is not None else []
        return Written(boxes=tuple(_row(patient, str(file.SOPInstanceUID), kind, edges) for kind, edges in boxes))


Edges = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max in pixels, upper ones excluded."""


def _stills(folder: Path) -> tuple[dict[str, _Still], tuple[str, ...]]:
    """Patient → image and polygons, and notes on those who are left out."""
    stills: dict[str, _Still] = {}
    unmarked: list[Path] = []
    damaged: list[Path] = []
    for name, code in CLASSES.items():
        for path in _images(folder, name):
            polygons = {kind: folder / name / "segmentation" / kind / f"{path.stem}.json" for kind in _KINDS}
            there = {kind: file for kind, file in polygons.items() if file.is_file()}
            width = _width(path)
            if code != "normal" and "mass" not in there:
                unmarked.append(path)
            elif width is None:
                damaged.append(path)
            else:
                stills[f"{code}-{path.stem}"] = _Still(path, width, there)
    notes = [f"{len(unmarked)} images of a mass that nobody drew are left out"] if unmarked else []
    notes += [f"{len(damaged)} damaged images are left out; the first: {damaged[0]}"] if damaged else []
    if not stills:
        raise DataError(f"{folder}: no image that can be used ({'; '.join(notes)}); fetch the set again")
    return stills, tuple(notes)


def _images(folder: Path, name: str) -> list[Path]:
    found = [path for path in (folder / name / "image").glob("*") if path.suffix.lower() in _IMAGES]
    if not found:
        wanted = ", ".join(f"{one}/image/*.jpg" for one in CLASSES)
        raise DataError(
            f"{folder}: no images of {name} (found {listing(folder)}; wanted {wanted}); give another folder"
        )
    return sorted(path for path in found if not path.name.startswith("."))


def _polygons(path: Path) -> list[Polygon]:
    """One polygon, or several of one image.

    Raises:
        DataError: another form, fewer than 3 points, or a point that is in no image.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        several = found if isinstance(found[0][0], list) else [found]
        polygons = [[(float(x), float(y)) for x, y in one] for one in several]
    except (OSError, ValueError, TypeError, IndexError, KeyError) as error:
        raise DataError(f"{path}: no polygon ({type(error).__name__}); wanted [[x, y], …]") from error
    least = min(map(len, polygons))
    if least < _LEAST_POINTS:
        raise DataError(f"{path}: a polygon of {least} points, wanted at least {_LEAST_POINTS}; draw it again")
    far = [edge for one in polygons for point in one for edge in point if not abs(edge) <= _MOST_PX]
    if far:
        raise DataError(f"{path}: a point at {far[0]:g} px, wanted at most {_MOST_PX}; draw it again")
    return polygons


def _edges(polygons: list[Polygon], shape: tuple[int, ...]) -> Iterator[Edges]:
    """The box of each polygon that has an area within the frame."""
    for polygon in polygons:
        x, y = np.array(polygon).T
        left, right = max(0, int(np.floor(x.min()))), min(shape[1], int(np.floor(x.max())) + 1)
        top, bottom = max(0, int(np.floor(y.min()))), min(shape[0], int(np.floor(y.max())) + 1)
        if right - left > 1 and bottom - top > 1:
            yield left, top, right, bottom


def _filled(polygons: list[Polygon], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    canvas = Image.new("1", (shape[1], shape[0]))
    for polygon in polygons:
        ImageDraw.Draw(canvas).polygon(polygon, fill=1)
    return np.asarray(canvas, dtype=bool)


def _scan(polygons: dict[str, list[Polygon]], shape: tuple[int, ...]) -> Edges | None:
    """The box of the scan's outline; None where that is the liver's own."""
    outline = _filled(polygons.get("outline", []), shape).sum()
    liver = _filled(polygons.get("liver", []), shape).sum()
    if not outline or ("liver" not in polygons and "outline" in polygons and outline < 0.2 * shape[0] * shape[1]):
        return None
    if liver and outline < _SCAN_OVER_LIVER * liver:
        return None
    return max(_edges(polygons["outline"], shape), key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), default=None)


def _background(polygons: dict[str, list[Polygon]], shape: tuple[int, ...], region: Edges | None) -> Edges | None:
    """The largest square of liver without mass, inside the scan; None below 16 pixels."""
    from scipy.ndimage import distance_transform_cdt

    free = _filled(polygons.get("liver", []), shape) & ~_filled(polygons.get("mass", []), shape)
    if region is not None:
        inside = np.zeros_like(free)
        inside[region[1] : region[3], region[0] : region[2]] = True
        free &= inside
    depth = distance_transform_cdt(np.pad(free, 1), metric="chessboard")[1:-1, 1:-1]
    reach = int(depth.max()) - 1
    if 2 * reach + 1 < _LEAST_SQUARE_PX:
        return None
    row, column = (int(at) for at in np.unravel_index(int(depth.argmax()), depth.shape))
    return column - reach, row - reach, column + reach + 1, row + reach + 1


def _region(edges: Edges) -> Dataset:
    """A two-dimensional tissue region (PS3.3 C.8.5.5), last pixel included; the size of a pixel is not known."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = _TWO_D, _TISSUE, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = edges[0], edges[1]
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = edges[2] - 1, edges[3] - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = _NO_UNIT
    region.PhysicalDeltaX = region.PhysicalDeltaY = 1.0
    return region


def _row(patient: str, sop_uid: str, kind: str, edges: Edges) -> tuple[str, ...]:
    return (patient, sop_uid, kind, *(str(edge) for edge in edges), "0")


def _width(path: Path) -> int | None:
    """Of the header alone; None where it is none."""
    try:
        with Image.open(path) as image:
            return int(image.width)
    except _DAMAGED:
        return None


def _grey(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except _DAMAGED as error:
        raise DataError(f"{path}: no image ({type(error).__name__}); fetch the file again") from error


def _bands(widths: list[int]) -> NDArray[np.str_]:
    """Bands of the pictures' widths: the one thing that tells machines apart here."""
    names = ("under-600px", "600-899px", "900-1199px", "1200px-up")
    return np.array([names[sum(width >= edge for edge in _SIZES_PX)] for width in widths], dtype=np.str_)
