"""Ultrasound stills: from one patient's files and boxes to standardised crops of lesion and liver background."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError, counted, finding, unusable
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.lesions.boxes import Box, crop, require_inside, standardise
from fl_liver.client.cohort.read.dicom import read_header
from fl_liver.client.cohort.read.folder import Listed, stays_inside
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.pixels import read_frames
from fl_liver.study import Study


@dataclass(frozen=True, slots=True)
class Recipe:
    """How images are made; part of the cache's key together with `VERSION`."""

    views: int
    image_px: int
    lesion_margin: float
    background: bool

    VERSION = 1
    """Raise it whenever the same files would give other arrays."""

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of `Cohort.images`."""
        return ("lesion", "background") if self.background else ("lesion",)


def recipe_of(study: Study) -> Recipe:
    """What `study` says about images; backgrounds are cropped where the study names their column."""
    return Recipe(
        views=study.cohort.views,
        image_px=study.model.image_px,
        lesion_margin=study.cohort.lesion_margin,
        background=study.task.background is not None,
    )


@dataclass(frozen=True, slots=True)
class PatientFiles:
    """One patient's folder: the site's own id, its files in name order, its boxes, and how many rows were bad."""

    patient_id: str = field(repr=False)
    files: tuple[Listed, ...] = field(repr=False)
    boxes: tuple[Box, ...]
    unreadable_boxes: int = 0


@dataclass(frozen=True, slots=True)
class PatientImages:
    """images (k, H, W) float16 by name, k from 1 to `views`; sop_uids of every file; warnings."""

    images: dict[str, NDArray[np.float16]]
    sop_uids: frozenset[str] = field(repr=False)
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _View:
    """One frame with its largest lesion box and, where wanted, its largest background box."""

    path: Path
    header: Header
    lesion: Box
    background: Box | None


def read_patient(
    patient: PatientFiles, others: frozenset[str], recipe: Recipe, *, case: str, root: Path
) -> PatientImages:
    """The first `recipe.views` boxed frames of a patient, by instance number, then frame.

    Args:
        others: ids of the other patients of this hospital; a file that carries one lies in the wrong folder.
        case: the patient's pseudonym, for findings.
    Raises:
        UnusableError: any file, box or crop of the patient cannot be used.
    """
    if patient.unreadable_boxes:
        found = f"{counted(patient.unreadable_boxes, 'row')} without a kind, four edges in order and a frame"
        raise unusable("E_BOX_UNREADABLE", found)
    headers = _headers(patient, others, root)
    views, without = _views(patient, headers, recipe)
    findings = [finding("W_NO_BACKGROUND_BOX", case, f"{counted(without, 'image')} left out")] if without else []
    if len(views) < recipe.views:
        findings.append(finding("W_FEW_VIEWS", case, f"{counted(len(views), 'image')}, the study takes {recipe.views}"))
    images = _crops(views[: recipe.views], recipe)
    return PatientImages(images, frozenset(headers), tuple(findings))


def _headers(patient: PatientFiles, others: frozenset[str], root: Path) -> dict[str, tuple[Path, Header]]:
    """SOPInstanceUID → file and header, of every file in the patient's folder."""
    found: dict[str, tuple[Path, Header]] = {}
    for number, listed in enumerate(patient.files, start=1):
        where = f"file {number} of {len(patient.files)} in name order"
        if not stays_inside(root, listed.path):
            raise unusable("E_NOT_REGULAR", f"{where}: a link out of the folder")
        try:
            header = read_header(listed.path)
        except UnusableError as error:
            if error.code.startswith("W"):
                continue
            raise unusable(error.code, f"{where}: {error.cause}") from None
        if header.patient_id in others:
            raise unusable("E_WRONG_PATIENT", f"{where} carries the id of another patient")
        if header.sop_uid in found and found[header.sop_uid][0].read_bytes() != listed.path.read_bytes():
            raise unusable("E_DUPLICATE_UID", f"{where} has the SOPInstanceUID of a different file")
        found.setdefault(header.sop_uid, (listed.path, header))
    if len({header.patient_id for _, header in found.values()}) > 1:
        raise unusable("E_MIXED_PATIENT", "the files carry more than one patient id")
    return found


def _views(patient: PatientFiles, headers: dict[str, tuple[Path, Header]], recipe: Recipe) -> tuple[list[_View], int]:
    """All frames that can be used, in order, and how many lack a background box."""
    frames: dict[tuple[str, int], dict[str, Box]] = defaultdict(dict)
    for box in sorted(patient.boxes, key=lambda one: one.width_px * one.height_px):
        frames[box.sop_uid, box.frame][box.kind] = box
    lesions = {key: boxes for key, boxes in frames.items() if "lesion" in boxes}
    if not lesions:
        raise unusable("E_NO_LESION_BOX", f"{counted(len(headers), 'image')}, no lesion box")
    absent = sum(sop_uid not in headers for sop_uid, _ in lesions)
    if absent:
        raise unusable("E_BOX_WITHOUT_IMAGE", f"{absent} of {len(lesions)} lesion boxes name images that are not there")
    views = [
        _View(*headers[sop_uid], boxes["lesion"], boxes.get("background"))
        for (sop_uid, _), boxes in lesions.items()
        if "background" in boxes or not recipe.background
    ]
    if not views:
        raise unusable("E_NO_BACKGROUND_BOX", f"{counted(len(lesions), 'image')} with a lesion box, none with both")
    views.sort(key=lambda view: (view.header.instance_number, view.header.sop_uid, view.lesion.frame))
    return views, len(lesions) - len(views)


def _crops(views: list[_View], recipe: Recipe) -> dict[str, NDArray[np.float16]]:
    images: dict[str, list[NDArray[np.float16]]] = {name: [] for name in recipe.names}
    for view in views:
        frame = read_frames(view.path, view.header, [view.lesion.frame])[0]
        for name, box in (("lesion", view.lesion), ("background", view.background)):
            if name in images and box is not None:
                require_inside(box, *frame.shape)
                images[name].append(standardise(crop(frame, box, recipe.image_px, recipe.lesion_margin)))
    return {name: np.stack(many) for name, many in images.items()}
