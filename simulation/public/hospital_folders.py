"""Virtual hospitals written from a public data set: tables, and where a study reads them, images one patient at a time.

What is written of a patient is noted in `public.jsonl` once it is whole, so a run that was cut off goes on with the
next patient, and one whose files were damaged is tried, and told, again by every run. Nobody who belongs to another
division of the set is left in a folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import tomli_w
from numpy.typing import NDArray

from fl_liver.client.cohort.layout import BOX_FILE, DICOM_FOLDER, MAPPING_FILE, MASK_FOLDER
from fl_liver.client.cohort.lesions.boxes import COLUMNS
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError, FLLiverError
from fl_liver.study import Study
from simulation.public.cohort import PublicCohort
from simulation.public.images import PublicImages, Written

JOURNAL = "public.jsonl"
WRITER_VERSION = 2
"""Raise when the same set would give other bytes, so that old folders are made again."""

Assignment = Sequence[tuple[str, NDArray[np.int64]]]
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_virtual_hospitals(
    cohort: PublicCohort,
    assignment: Assignment,
    root: Path,
    external: Collection[str],
    study: Study | None = None,
    *,
    on_patient: Callable[[int, int], None] | None = None,
    on_fault: Callable[[str], None] | None = None,
) -> tuple[Path, ...]:
    """Write one hospital folder per entry: `clinical.csv`, `site.toml`, and the images that `study` reads.

    Same input, same bytes. Images that are already there are left as they are.

    Args:
        assignment: (name, indices into the cohort) as `partition` returns them.
        root: Parent of the folders; made where it is not there. Tables are overwritten.
        external: Names of the hospitals that only test.
        study: None, or one of tables: no images.
        on_patient: told patients done and patients in all, where images are written.
        on_fault: told why a patient's images could not be written. His row stays: the cohort finds it without images.
    Returns:
        The folders, in the order of `assignment`.
    Raises:
        ConfigError: a patient is in no hospital or in two, or `external` names a hospital that is not there.
        DataError: the images of nobody in a hospital could be written, or the disk is full.
    """
    _check_assignment(cohort, assignment, external)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if on_patient is not None:
            on_patient(done, len(cohort.clinical))

    folders = []
    for name, rows in assignment:
        table = cohort.clinical.iloc[rows]
        (root / name).mkdir(parents=True, exist_ok=True)
        if study is not None and study.task.modality != "table" and cohort.images is not None:
            patients = list(table["patient_id"])
            written = _write_images(cohort, cohort.images, root / name, patients, count, on_fault or _nobody_told)
            table = _lesion_rows(table, written) if study.cohort.unit == "lesion" else table
        folders.append(_write_tables(table, root / name, name in external))
    return tuple(folders)


def _check_assignment(cohort: PublicCohort, assignment: Assignment, external: Collection[str]) -> None:
    owners = np.bincount(np.concatenate([rows for _, rows in assignment]), minlength=len(cohort.clinical))
    if len(owners) != len(cohort.clinical) or (owners != 1).any():
        raise ConfigError(
            f"{cohort.name}: {int((owners != 1).sum())} patients are in no hospital or in two; wanted one"
        )
    stray = sorted(set(external) - {name for name, _ in assignment})
    if stray:
        raise ConfigError(f"external hospitals {', '.join(stray)} are not among the virtual hospitals; name those")


def _write_tables(table: pd.DataFrame, folder: Path, external: bool) -> Path:
    table.to_csv(folder / "clinical.csv", index=False, lineterminator="\n", encoding="utf-8")
    role: Literal["train", "external"] = "external" if external else "train"
    site = SiteConfig(site=folder.name, role=role, release="named", plain_sums=True, audit=False, durable=False)
    (folder / "site.toml").write_text(tomli_w.dumps(site.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    return folder


def _nobody_told(_: str) -> None:
    pass


def _write_images(
    cohort: PublicCohort,
    images: PublicImages,
    folder: Path,
    patients: list[str],
    count: Callable[[], None],
    on_fault: Callable[[str], None],
) -> dict[str, Written]:
    written = _begun(folder, _head(cohort, patients))
    with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
        for patient in patients:
            found = None if patient in written else _write_patient(images, patient, folder, on_fault)
            if found is not None:
                written[patient] = found
                row = {"patient": patient, "boxes": found.boxes, "lesions": found.lesions}
                journal.write(json.dumps(row) + "\n")
                journal.flush()
            count()
    if not any((folder / DICOM_FOLDER).iterdir()):
        raise DataError(f"{cohort.name}: no images of any patient of {folder.name} could be written; is the set whole?")
    boxes = [box for patient in patients if patient in written for box in written[patient].boxes]
    _write_image_tables(images, folder, boxes)
    return written


def _write_patient(images: PublicImages, patient: str, folder: Path, on_fault: Callable[[str], None]) -> Written | None:
    """None where it cannot be: one damaged file in a set of 100 GB costs its patient, not the run."""
    if patient != Path(patient).name or patient == "..":
        on_fault(f"{patient}: images left out (the id is no name of a folder)")
        return None
    _clear(folder, patient)
    try:
        return images.write(patient, folder)
    except Exception as error:  # the one broad catch of foreign images: decoders raise a dozen types on damaged files
        _clear(folder, patient)
        if isinstance(error, FLLiverError) and not isinstance(error, DataError):
            raise
        if isinstance(error, OSError) and error.errno in _FULL:
            raise DataError(f"{folder}: the disk is full; make room and run again, it goes on from here") from error
        ours = isinstance(error, FLLiverError | OSError)
        reason = " ".join((str(error) if ours else f"{type(error).__name__}: {error}").split())
        on_fault(f"{patient}: images left out ({reason})")
        return None


def _clear(folder: Path, patient: str) -> None:
    """Nothing of what a call that was cut off, or failed, wrote of one patient."""
    shutil.rmtree(folder / DICOM_FOLDER / patient, ignore_errors=True)
    shutil.rmtree(folder / MASK_FOLDER / patient, ignore_errors=True)
    (folder / MASK_FOLDER / f"{patient}.nii.gz").unlink(missing_ok=True)


def _write_image_tables(images: PublicImages, folder: Path, boxes: list[tuple[str, ...]]) -> None:
    """`series.toml` and `lesions.csv`, where the images need them."""
    if images.series or images.split:
        mapping: dict[str, Any] = {"series": [{"folder": glob, "kind": kind} for glob, kind in images.series]}
        mapping |= {"split": {"by": list(images.split)}} if images.split else {}
        (folder / MAPPING_FILE).write_text(tomli_w.dumps(mapping), encoding="utf-8")
    if images.modality == "US":
        table = pd.DataFrame(boxes, columns=list(COLUMNS), dtype=str)
        table.to_csv(folder / BOX_FILE, index=False, lineterminator="\n", encoding="utf-8")


def _head(cohort: PublicCohort, patients: list[str]) -> dict[str, Any]:
    digest = hashlib.sha256("\n".join(patients).encode()).hexdigest()
    return {"reader": cohort.name, "version": WRITER_VERSION, "patients": digest}


def _begun(folder: Path, head: dict[str, Any]) -> dict[str, Written]:
    """What an earlier call wrote of the same patients; of any others, and of another version, the images go."""
    path = folder / JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]  # the last line may have been cut off
    if whole and whole[0] == head:
        path.write_text("".join(json.dumps(one) + "\n" for one in whole), encoding="utf-8")
        return {one["patient"]: Written(tuple(map(tuple, one["boxes"])), tuple(one["lesions"])) for one in whole[1:]}
    for name in (DICOM_FOLDER, MASK_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / DICOM_FOLDER).mkdir()
    path.write_text(json.dumps(head) + "\n", encoding="utf-8")
    return {}


def _lesion_rows(table: pd.DataFrame, written: dict[str, Written]) -> pd.DataFrame:
    """One row a lesion, named by its label in the mask in the column `lesion`."""
    labels = table["patient_id"].map(lambda patient: list(written[patient].lesions) if patient in written else [])
    rows = table.assign(lesion=labels).explode("lesion").dropna(subset="lesion")
    first = ["patient_id", "lesion"]
    return rows[first + [name for name in rows if name not in first]]
