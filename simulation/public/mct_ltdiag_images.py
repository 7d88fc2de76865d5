"""MCT-LTDiag's volumes beside its tables: four CT phases a patient and the tumours drawn on the portal venous one.

The data set gives an archive a patient, unpacked to `<ID>/NIFTI/{nc,art,pvp,delay}.nii.gz` and `<ID>/mask_pvp.nii.gz`;
its benchmark's page has `Data/volume/<type>/<ID>/pvp.nii.gz` and `Data/mask/<type>/<ID>/mask_pvp.nii.gz`. Both are
read: a file belongs to the patient whose id is a folder above it. Phases were registered to the portal venous one by
the publishers (a few files lie on a grid of their own), so they share a frame of reference here.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from fl_liver.client.cohort.layout import DICOM_FOLDER, MASK_FOLDER
from fl_liver.errors import DataError
from fl_liver.study_cohort import SequenceKind
from simulation.public.images import PublicImages, Written
from simulation.public.nifti import nifti_stem, read_nifti, separate_lesions, write_mask
from simulation.public.series_files import SeriesName, write_series

PHASES: dict[str, SequenceKind] = {"nc": "plain", "art": "arterial", "pvp": "portal", "delay": "delayed"}
MASK = "mask_pvp"


def volumes(folder: Path, old_ids: dict[str, str]) -> PublicImages | None:
    """The patients who have the portal venous phase and its mask; None where nobody has.

    Args:
        old_ids: patient id in the cohort → the data set's own.
    """
    found = _files(folder, frozenset(old_ids.values()))
    files = {new: found[old] for new, old in old_ids.items() if {"pvp", MASK} <= set(found.get(old, ()))}
    if not files:
        return None
    kinds = [kind for name, kind in PHASES.items() if any(name in one for one in files.values())]
    return PublicImages(
        modality="CT",
        patients=frozenset(files),
        lesions="masks",
        write=_Writer(files),
        sequences=tuple(kinds),
        drawn_on=("portal",),
        lesion_outcomes=("diagnosis", "malignant", "hcc"),
        series=tuple((f"*/{kind}", kind) for kind in kinds),
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    files: dict[str, dict[str, Path]] = field(repr=False)

    def __call__(self, patient: str, folder: Path) -> Written:
        files = self.files[patient]
        labels, grid = read_nifti(files[MASK])
        if not (labels > 0).any():
            raise DataError(f"{files[MASK]}: nothing is drawn in this mask; fetch the file again")
        parted = separate_lesions(labels > 0, grid)
        write_mask(parted, grid, folder / MASK_FOLDER / f"{patient}.nii.gz")
        for number, (name, kind) in enumerate(PHASES.items(), start=1):
            if name in files:
                values, grid = read_nifti(files[name])
                series = SeriesName("mct_ltdiag", patient, "CT", kind, number)
                write_series(values, grid, series, folder / DICOM_FOLDER / patient / kind)
        return Written(lesions=tuple(range(1, int(parted.max()) + 1)))


def _files(folder: Path, ids: frozenset[str]) -> dict[str, dict[str, Path]]:
    """The set's own id → name without suffix → file."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for place, below, names in os.walk(folder):
        below.sort()
        owner = next((part for part in reversed(Path(place).relative_to(folder).parts) if part in ids), None)
        for name in names if owner is not None else ():
            stem = nifti_stem(Path(name)).lower()
            if owner is not None and (stem in PHASES or stem == MASK):
                found[owner][stem] = Path(place) / name
    return found
