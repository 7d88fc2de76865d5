"""MedMNIST's OrganA/C/SMNIST: 28×28 crops of eleven organs from LiTS scans, for demonstrations, not for lesions.

One npz with train_images, train_labels, val_…, test_…; images (n, 28, 28) uint8, an abdominal window made grey; labels
(n, 1) uint8 in the order of `ORGANS`. Yang et al., Scientific Data 10 (2023) 41; doi 10.5281/zenodo.6496656, CC BY 4.0.

There is no lesion, no patient and no scan in it, so it is read as a table: the mean grey of 7×7 blocks of 4×4 pixels,
49 numbers from 0 to 1. What it can be used for is to see a federation work on images that fit in an e-mail: is this
crop liver or another organ. Each crop counts as a patient; crops of one scan lie in several hospitals and on both sides
of a split, so figures are better than those of new scans would be. Left and right of an organ are exchanged in none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fl_liver.errors import DataError
from simulation.public.cohort import PublicCohort
from simulation.public.question import Question
from simulation.public.tables import listing

PATTERN = "organ[acs]mnist.npz"
ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right"),
    *("liver", "lung-left", "lung-right", "pancreas", "spleen"),
)
PARTS = ("train", "val", "test")
SIDE, BLOCK = 28, 4
_BLOCKS = SIDE // BLOCK
GREYS = tuple(f"grey_{row}_{column}" for row in range(_BLOCKS) for column in range(_BLOCKS))
QUESTION = Question(
    title="Is a 28×28 crop of a CT liver or another organ?",
    outcome="liver",
    classes={"other": "0", "liver": "1"},
    positive=("liver",),
    factors=tuple(
        {"name": name, "column": name, "label": f"Mean grey of block {name[5:].replace('_', ',')}", "center": 0.5}
        | {"scale": 0.25}
        for name in GREYS
    ),
)


def read(folder: Path) -> PublicCohort:
    """Read the one npz in a folder.

    Returns:
        Columns patient_id (train-00000, …), liver (0/1), organ (`ORGANS`), and 49 greys.
    Raises:
        DataError: no such file or several, or arrays of another form (OrganMNIST3D, or the larger sizes).
    """
    paths = sorted(folder.glob(PATTERN))
    if len(paths) != 1:
        raise DataError(f"{folder}: {len(paths)} files {PATTERN} (found {listing(folder)}); wanted one")
    tables = [_table(part, *_arrays(paths[0], part)) for part in PARTS]
    clinical = pd.concat(tables, ignore_index=True)
    return PublicCohort(
        name="organ_mnist",
        clinical=clinical,
        outcomes=("organ", "liver"),
        partition_columns={
            "part": clinical["patient_id"].str.partition("-")[0].to_numpy(dtype=np.str_),
            "organ": clinical["organ"].to_numpy(dtype=np.str_),
        },
        refused={"patient_id": "an id is no finding"},
        notes=("each crop counts as a patient, and crops of one scan are not told from each other: a demonstration",),
        question=QUESTION,
    )


def _arrays(path: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            images, labels = file[f"{part}_images"], file[f"{part}_labels"].reshape(-1)
            shape = " × ".join(map(str, images.shape))
    except Exception as error:  # the one broad catch of archives: numpy and zipfile raise a dozen types on damaged ones
        raise DataError(
            f"{path}: no {part}_images and {part}_labels ({type(error).__name__}); fetch it again"
        ) from error
    shaped = images.shape[1:] == (SIDE, SIDE) and images.dtype == np.uint8
    if not shaped or not len(images) or len(images) != len(labels):
        raise DataError(f"{path}: {part}_images of {shape} {images.dtype}; wanted n × 28 × 28 uint8, one label each")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: {part}_labels are {labels.dtype}; wanted whole numbers from 0 to 10")
    strange = labels[(labels < 0) | (labels >= len(ORGANS))]
    if len(strange):
        raise DataError(f"{path}: label {int(strange[0])} in {part}; wanted 0 to 10")
    return images, labels.astype(np.int64)


def _table(part: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> pd.DataFrame:
    blocks = images.reshape(len(images), _BLOCKS, BLOCK, _BLOCKS, BLOCK).mean(axis=(2, 4)) / 255
    table = pd.DataFrame(np.round(blocks.reshape(len(images), -1), 4), columns=list(GREYS))
    table.insert(0, "organ", np.array(ORGANS)[labels])
    table.insert(0, "liver", (labels == ORGANS.index("liver")).astype(np.int64))
    table.insert(0, "patient_id", [f"{part}-{number:05d}" for number in range(len(images))])
    return table
