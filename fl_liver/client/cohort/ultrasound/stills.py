"""Ultrasound stills: from one patient's files and boxes to standardised crops of lesion and liver background."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError, counted, finding, unusable
from fl_liver.client.cohort.layout import PatientFolder
from fl_liver.client.cohort.lesions.boxes import Box, box_mask, crop, require_inside, square_round, standardise
from fl_liver.client.cohort.lesions.cutout import Cutout
from fl_liver.client.cohort.read.dicom import read_header
from fl_liver.client.cohort.read.folder import stays_inside
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.image_hash import image_hashes
from fl_liver.client.cohort.read.pixels import read_frames
from fl_liver.client.cohort.recipe import PatientImages, PatientItem, Recipe, people_in, told_by
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.ultrasound.brightness import standard_image
from fl_liver.client.cohort.ultrasound.screen import eight_bit, find_window, screen_faults
from fl_liver.client.cohort.ultrasound.window import Window


@dataclass(frozen=True, slots=True)
class _View:
    """One frame with its lesion boxes, the largest first, and its largest background box where one is wanted."""

    path: Path
    header: Header
    frame: int
    lesions: tuple[Box, ...] = ()
    background: Box | None = None

    @property
    def place(self) -> tuple[int, str, int]:
        """By instance number, then frame."""
        return self.header.instance_number, self.header.sop_uid, self.frame


def read_stills(item: PatientItem) -> PatientImages:
    """The first `views` boxed frames of a patient, by instance number, then frame; without a lesion, the first frames.

    Raises:
        UnusableError: any file, box or crop of the patient cannot be used.
    """
    folder, recipe = item.folder, item.recipe
    if folder.unreadable_boxes:
        found = f"{counted(folder.unreadable_boxes, 'row')} without a kind, four edges in order and a frame"
        raise unusable("E_BOX_UNREADABLE", found)
    headers = _headers(item)
    people = people_in((header for _, header in headers.values()), item.names)
    if len(people) > 1:
        return PatientImages({}, people)
    if item.lesion_free:
        views, without = _free_views(folder, headers, recipe), 0
    else:
        views, without = _views(folder, headers, recipe)
    told = _told(len(views), without, recipe)
    images, hashes = _images(views[: recipe.views], recipe)
    return PatientImages(
        images=images,
        people=people,
        sop_uids=frozenset(headers),
        hashes=hashes,
        told=told_by(header for _, header in headers.values()),
        findings=tuple(finding(code, item.case, cause) for code, cause in told),
    )


def _told(views: int, without_background: int, recipe: Recipe) -> list[Fault]:
    """What is worth a word of how many views there are."""
    found: list[Fault] = []
    if without_background:
        found.append(("W_NO_BACKGROUND_BOX", f"{counted(without_background, 'image')} left out"))
    if views < recipe.views:
        found.append(("W_FEW_VIEWS", f"{counted(views, 'image')}, the study takes {recipe.views}"))
    if views > recipe.views:
        left = views - recipe.views
        found.append(("W_MORE_VIEWS", f"{left} of {counted(views, 'image')} not used, the study takes {recipe.views}"))
    return found


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
        if header.sop_uid in found and found[header.sop_uid][0].read_bytes() != listed.path.read_bytes():
            raise unusable("E_DUPLICATE_UID", f"{where} has the SOPInstanceUID of a different file")
        found.setdefault(header.sop_uid, (listed.path, header))
    return found


def _views(patient: PatientFolder, headers: dict[str, tuple[Path, Header]], recipe: Recipe) -> tuple[list[_View], int]:
    """All frames that can be used, in order, and how many lack a background box."""
    lesions: dict[tuple[str, int], list[Box]] = defaultdict(list)
    background: dict[tuple[str, int], Box] = {}
    for box in sorted(patient.boxes, key=lambda one: one.width_px * one.height_px):
        if box.kind == "lesion":
            lesions[box.sop_uid, box.frame].insert(0, box)
        else:
            background[box.sop_uid, box.frame] = box
    if not lesions:
        raise unusable("E_NO_LESION_BOX", f"{counted(len(headers), 'image')}, no lesion box")
    absent = sum(sop_uid not in headers for sop_uid, _ in lesions)
    if absent:
        raise unusable("E_BOX_WITHOUT_IMAGE", f"{absent} of {len(lesions)} lesion boxes name images that are not there")
    views = [
        _View(*headers[sop_uid], frame, tuple(boxes), background.get((sop_uid, frame)))
        for (sop_uid, frame), boxes in lesions.items()
        if (sop_uid, frame) in background or not recipe.background
    ]
    if not views:
        raise unusable("E_NO_BACKGROUND_BOX", f"{counted(len(lesions), 'image')} with a lesion box, none with both")
    return sorted(views, key=lambda view: view.place), len(lesions) - len(views)


def _free_views(patient: PatientFolder, headers: dict[str, tuple[Path, Header]], recipe: Recipe) -> list[_View]:
    """Frames of a patient without a lesion: the first of every image; where these are too few, the second, and so on.

    Raises:
        UnusableError: E_LESION_UNEXPECTED, or E_NO_IMAGES.
    """
    drawn = sum(box.kind == "lesion" for box in patient.boxes)
    if drawn:
        raise unusable("E_LESION_UNEXPECTED", f"rows of lesions.csv that say lesion: {drawn}")
    if not headers:
        raise unusable("E_NO_IMAGES", "no file of the patient is an image")
    frames = [
        _View(path, header, frame)
        for path, header in headers.values()
        for frame in range(min(recipe.views, header.frames))
    ]
    frames.sort(key=lambda view: (view.frame, *view.place))
    return frames[: max(recipe.views, len(headers))]


def _images(views: list[_View], recipe: Recipe) -> tuple[dict[str, NDArray[np.float16]], frozenset[str]]:
    """Images by name, and the hashes of the whole frames."""
    images: dict[str, list[NDArray[np.float16]]] = {name: [] for name in recipe.names}
    hashes: set[str] = set()
    for view in views:
        frame = read_frames(view.path, view.header, [view.frame])[0]
        hashes |= image_hashes(frame[None])
        for box in view.lesions if recipe.masks else ():
            require_inside(box, *frame.shape)
        made = (_whole if recipe.whole else _crops)(view, frame, _window(view, frame), recipe)
        for name in recipe.names:
            images[name].append(made[name])
    return {name: np.stack(many) for name, many in images.items()}, frozenset(hashes)


def _whole(view: _View, frame: NDArray[np.generic], window: Window, recipe: Recipe) -> dict[str, NDArray[np.float16]]:
    """The scan at its standard brightness, shape and size, and where the boxes lie on it."""
    rows, columns = recipe.size_px
    scan, cut = standard_image(eight_bit(view.header, window.cut(frame)), rows, columns)
    boxes = [cut.place(_shifted(box, window), rows, columns) for box in view.lesions]
    mask = box_mask(boxes, Cutout(0, 0, rows, columns), (rows, columns))
    if recipe.masks and boxes and not mask.any():
        raise unusable("E_BOX_OUTSIDE", "a lesion box beside what is scan")
    return {"lesion": (scan / 255).astype(np.float16), "mask": mask}


def _crops(view: _View, frame: NDArray[np.generic], window: Window, recipe: Recipe) -> dict[str, NDArray[np.float16]]:
    """Squares round the largest lesion box and round the background box, and every lesion box in the first."""
    scan = window.cut(frame)
    made: dict[str, NDArray[np.float16]] = {}
    for name, box in (("lesion", view.lesions[0]), ("background", view.background)):
        if name in recipe.names and box is not None:
            require_inside(box, *frame.shape)
            shifted = _shifted(box, window)
            require_inside(shifted, *scan.shape)
            made[name] = standardise(crop(scan, shifted, recipe.image_px, recipe.lesion_margin))
    if recipe.masks:
        boxes = [_shifted(box, window) for box in view.lesions]
        made["mask"] = box_mask(boxes, square_round(boxes[0], recipe.lesion_margin), recipe.size_px)
    return made


def _window(view: _View, frame: NDArray[np.generic]) -> Window:
    """The scan without the machine's own writing round it, which a network would learn to read.

    Raises:
        UnusableError: E_US_NO_CROP, or E_BURNED_IN where text lies within what would be used.
    """
    centre = None
    if view.lesions:
        largest = view.lesions[0]
        centre = (largest.y_min_px + largest.height_px / 2, largest.x_min_px + largest.width_px / 2)
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
