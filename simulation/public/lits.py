"""Liver CT with drawn tumours as NIfTI: the Medical Segmentation Decathlon's Task03, and LiTS, from which it was made.

    Task03_Liver/  dataset.json  imagesTr/liver_0.nii.gz …  labelsTr/liver_0.nii.gz …  imagesTs/ (without labels)
    LiTS           volume-0.nii …  segmentation-0.nii …     in one folder, or in a folder for each batch

Antonelli et al., Nature Communications 13 (2022) 4128; Bilic et al., Medical Image Analysis 84 (2023) 102680. 131
labelled patients of seven hospitals, portal venous phase by and large, labels 1 liver and 2 tumour. Neither says which
hospital, which phase, or what a tumour is: it may be primary or metastasis, and some scans hold none. So no lesion can
be told from another, only whether a slice shows one. All tumours have one label: parts that hang together become
lesions of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fl_liver.client.cohort.layout import DICOM_FOLDER, MASK_FOLDER
from fl_liver.errors import DataError
from simulation.public.cohort import PublicCohort
from simulation.public.images import PublicImages, Written
from simulation.public.nifti import nifti_stem, read_nifti, separate_lesions, spacing_mm, write_mask
from simulation.public.question import Question
from simulation.public.series_files import SeriesName, write_series
from simulation.public.tables import band, listing

LIVER, TUMOUR = 1, 2
_MSD, _LITS_IMAGE, _LITS_LABEL = (re.compile(one) for one in (r"liver_\d+", r"volume-(\d+)", r"segmentation-(\d+)"))
REFUSED = {
    "patient_id": "an id is no finding",
    "tumour_ml": "it is measured on the labels, so it would tell what is asked",
}
QUESTION = Question(
    title="Does the slice show a tumour of the liver?",
    outcome="tumour",
    classes={"tumour_free": "0", "tumour": "1"},
    positive=("tumour",),
    lesion_free=("tumour_free",),
)


def read_msd(folder: Path) -> PublicCohort:
    """MSD Task03. Patients are called liver_0, …

    Returns:
        Columns patient_id, tumour (0/1), slice_mm, pixel_mm. Every label file is read once for `tumour`.
    Raises:
        DataError: another folder, a label of another set, or no file that is a volume. Patients whose files are
            damaged are left out, with a note.
    """
    labels = {nifti_stem(path): path for path in sorted((folder / "labelsTr").glob("liver_*.nii*"))}
    images = {nifti_stem(path): path for path in sorted((folder / "imagesTr").glob("liver_*.nii*"))}
    return _cohort("msd_liver", folder, _pairs(images, labels, _MSD), len(images), "imagesTr/liver_0.nii.gz, labelsTr/")


def read_lits(folder: Path) -> PublicCohort:
    """LiTS. Patients are called volume-0, …; otherwise as `read_msd`."""
    found = {stem: path for path in sorted(folder.rglob("*.nii*")) if (stem := nifti_stem(path))}
    images = {stem: path for stem, path in found.items() if _LITS_IMAGE.fullmatch(stem)}
    labels = {
        stem.replace("segmentation", "volume"): path for stem, path in found.items() if _LITS_LABEL.fullmatch(stem)
    }
    wanted = "volume-0.nii and segmentation-0.nii"
    return _cohort("lits", folder, _pairs(images, labels, _LITS_IMAGE), len(images), wanted)


@dataclass(frozen=True, slots=True)
class _Pair:
    image: Path
    label: Path


def _pairs(images: dict[str, Path], labels: dict[str, Path], name: re.Pattern[str]) -> dict[str, _Pair]:
    both = [stem for stem in images if stem in labels and name.fullmatch(stem)]
    both.sort(key=lambda stem: int(re.sub(r"\D", "", stem)))
    return {stem: _Pair(images[stem], labels[stem]) for stem in both}


def _cohort(name: str, folder: Path, pairs: dict[str, _Pair], images: int, wanted: str) -> PublicCohort:
    if not pairs:
        raise DataError(
            f"{folder}: no volume with a label (found {listing(folder)}; wanted {wanted}); give another folder"
        )
    rows, faults = _rows(pairs)
    if not rows:
        raise DataError(f"{folder}: none of {len(pairs)} volumes with a label can be read; the first: {faults[0]}")
    clinical = pd.DataFrame(rows)
    columns = {
        "slice_mm": np.array(band(clinical["slice_mm"], (1.5, 3, 5), "mm"), dtype=np.str_),
        "pixel_mm": np.array(band(clinical["pixel_mm"], (0.7, 0.8), "mm"), dtype=np.str_),
    }
    left_out = {
        "volumes without a label are left out": images - len(pairs),
        f"patients whose files cannot be read are left out; the first: {next(iter(faults), '')}": len(faults),
    }
    return PublicCohort(
        name=name,
        clinical=clinical,
        outcomes=("tumour",),
        partition_columns=columns,
        refused=REFUSED,
        notes=tuple(f"{count} {what}" for what, count in left_out.items() if count),
        images=PublicImages(
            modality="CT",
            patients=frozenset(clinical["patient_id"]),
            lesions="masks",
            write=_Writer(name, pairs),
            sequences=("portal",),
            drawn_on=("portal",),
            lesion_free={"tumour": ("0",)},
            series=(("*/portal", "portal"),),
        ),
        question=QUESTION,
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    reader: str
    pairs: dict[str, _Pair] = field(repr=False)

    def __call__(self, patient: str, folder: Path) -> Written:
        pair = self.pairs[patient]
        labels, drawn_on = read_nifti(pair.label)
        lesions: tuple[int, ...] = ()
        if (labels == TUMOUR).any():
            parted = separate_lesions(labels == TUMOUR, drawn_on)
            write_mask(parted, drawn_on, folder / MASK_FOLDER / f"{patient}.nii.gz")
            lesions = tuple(range(1, int(parted.max()) + 1))
        values, grid = read_nifti(pair.image)
        series = SeriesName(self.reader, patient, "CT", "portal")
        write_series(values, grid, series, folder / DICOM_FOLDER / patient / "portal")
        return Written(lesions=lesions)


def _rows(pairs: dict[str, _Pair]) -> tuple[list[dict[str, str | int | float]], list[str]]:
    """A row each of the patients whose files can be read, and what is wrong with the others'."""
    rows: list[dict[str, str | int | float]] = []
    faults: list[str] = []
    for patient, pair in pairs.items():
        try:
            within, between = spacing_mm(pair.image)
            labels, _ = read_nifti(pair.label)
        except (DataError, OSError) as error:
            faults.append(str(error))
            continue
        tumour = _tumour(labels, pair.label)
        rows.append(
            {"patient_id": patient, "tumour": tumour, "slice_mm": round(between, 3), "pixel_mm": round(within, 4)}
        )
    return rows, faults


def _tumour(labels: NDArray[Any], path: Path) -> int:
    """1 where a tumour is drawn; labels other than 0, 1 and 2 are not those of this set."""
    strange = sorted(set(np.unique(labels).tolist()) - {0, LIVER, TUMOUR})
    if strange:
        raise DataError(f"{path}: label {strange[0]:g}, wanted 0, 1 liver, 2 tumour; is it another data set's?")
    return int((labels == TUMOUR).any())
