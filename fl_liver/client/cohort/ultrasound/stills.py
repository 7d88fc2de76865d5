"""Ultrasound stills: from one patient's files and boxes to standardised crops of lesion and liver background."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError, counted, finding, unusable
from fl_liver.client.cohort.layout import PatientFolder
from fl_liver.client.cohort.lesions.boxes import Box, crop, require_inside, standardise
from fl_liver.client.cohort.read.dicom import read_header
from fl_liver.client.cohort.read.folder import stays_inside
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.image_hash import image_hashes
from fl_liver.client.cohort.read.pixels import read_frames
from fl_liver.client.cohort.recipe import PatientImages, PatientItem, Recipe, told_by
from fl_liver.client.cohort.ultrasound.brightness import standard_image
from fl_liver.client.cohort.ultrasound.screen import eight_bit, find_window, screen_faults
from fl_liver.client.cohort.ultrasound.window import Window


@dataclass(frozen=True, slots=True)
class _View:
    """One frame with its largest lesion box and, where wanted, its largest background box."""

    path: Path
    header: Header
    lesion: Box
    background: Box | None


def read_stills(item: PatientItem) -> PatientImages:
    """The first `views` boxed frames of a patient, by instance number, then frame.

    Raises:
        UnusableError: any file, box or crop of the patient cannot be used.
    """
    folder, recipe = item.folder, item.recipe
    if folder.unreadable_boxes:
        found = f"{counted(folder.unreadable_boxes, 'row')} without a kind, four edges in order and a frame"
        raise unusable("E_BOX_UNREADABLE", found)
    headers = _headers(item)
    views, without = _views(folder, headers, recipe)
    findings = [finding("W_NO_BACKGROUND_BOX", item.case, f"{counted(without, 'image')} left out")] if without else []
    if len(views) < recipe.views:
        found = f"{counted(len(views), 'image')}, the study takes {recipe.views}"
        findings.append(finding("W_FEW_VIEWS", item.case, found))
    images, hashes = _crops(views[: recipe.views], recipe)
    told = told_by(header for _, header in headers.values())
    return PatientImages(images, frozenset(headers), hashes, told, tuple(findings))


def _headers(item: PatientItem) -> dict[str, tuple[Path, Header]]:
    """SOPInstanceUID → file and header, of every file in the patient's folder."""
    found: dict[str, tuple[Path, Header]] = {}
    for number, listed in enumerate(item.folder.files, start=1):
        where = f"file {number} of {len(item.folder.files)} in name order"
        if not stays_inside(item.root, listed.path):
            continue
        try:
            header = read_header(listed.path)
        except UnusableError as error:
            if error.code.startswith("W"):
                continue
            raise unusable(error.code, f"{where}: {error.cause}") from None
        if header.patient_id in item.others:
            raise unusable("E_WRONG_PATIENT", f"{where} carries the id of another patient")
        if header.sop_uid in found and found[header.sop_uid][0].read_bytes() != listed.path.read_bytes():
            raise unusable("E_DUPLICATE_UID", f"{where} has the SOPInstanceUID of a different file")
        found.setdefault(header.sop_uid, (listed.path, header))
    if len({header.patient_id for _, header in found.values()}) > 1:
        raise unusable("E_MIXED_PATIENT", "the files carry more than one patient id")
    return found


def _views(patient: PatientFolder, headers: dict[str, tuple[Path, Header]], recipe: Recipe) -> tuple[list[_View], int]:
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


def _crops(views: list[_View], recipe: Recipe) -> tuple[dict[str, NDArray[np.float16]], frozenset[str]]:
    """Crops by name, and the hashes of the whole frames."""
    images: dict[str, list[NDArray[np.float16]]] = {name: [] for name in recipe.names}
    hashes: set[str] = set()
    for view in views:
        frame = read_frames(view.path, view.header, [view.lesion.frame])[0]
        hashes |= image_hashes(frame[None])
        window = _window(view, frame)
        if recipe.whole:
            scan, _ = standard_image(eight_bit(view.header, window.cut(frame)), *recipe.image_shape)
            images["lesion"].append((scan / 255).astype(np.float16))
            continue
        for name, box in (("lesion", view.lesion), ("background", view.background)):
            if name in images and box is not None:
                require_inside(box, *frame.shape)
                scan, shifted = window.cut(frame), _shifted(box, window)
                require_inside(shifted, *scan.shape)
                images[name].append(standardise(crop(scan, shifted, recipe.image_px, recipe.lesion_margin)))
    return {name: np.stack(many) for name, many in images.items()}, frozenset(hashes)


def _window(view: _View, frame: NDArray[np.generic]) -> Window:
    """The scan without the machine's own writing round it, which a network would learn to read.

    Raises:
        UnusableError: E_US_NO_CROP, or E_BURNED_IN where text lies within what would be used.
    """
    centre = (view.lesion.y_min_px + view.lesion.height_px / 2, view.lesion.x_min_px + view.lesion.width_px / 2)
    window = find_window(view.header, frame, holding=centre)
    # Text beside a region of the header is cut away; only what was guessed from pixels is searched for it.
    searched = frame if window.source == "pixels" or view.header.burned_in else None
    for code, cause in screen_faults(view.header, window, searched):
        if code.startswith("E"):
            raise unusable(code, cause)
    return window


def _shifted(box: Box, window: Window) -> Box:
    """In the window's own pixels."""
    x, y = window.column_min_px, window.row_min_px
    return replace(
        box,
        x_min_px=box.x_min_px - x,
        x_max_px=box.x_max_px - x,
        y_min_px=box.y_min_px - y,
        y_max_px=box.y_max_px - y,
    )
