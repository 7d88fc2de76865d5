"""What was drawn of one patient, whatever the file: masks, DICOM SEG, RTSTRUCT, overlays, each with its series.

The series is found by the lattice, never by a file's name: a mask belongs to the image whose voxels it counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.lesions.carry import carry_labels
from fl_liver.client.cohort.lesions.masks import on_grid_of, read_mask_file
from fl_liver.client.cohort.lesions.overlay import closed_contours, read_overlays
from fl_liver.client.cohort.lesions.rtstruct import read_rtstruct
from fl_liver.client.cohort.lesions.seg import check_references, read_seg
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.series.grid import Mask
from fl_liver.client.cohort.series.series import Series

DRAWN = frozenset({"SEG", "RTSTRUCT"})
"""Modalities that hold no image but what was drawn on one."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawnMask:
    """A mask in the order of the voxels of its series, with their frame of reference where they share one.

    series_ids   all that lie on its lattice: the phases of one CT have one, and what fits one fits all
    """

    mask: Mask
    series_ids: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Every mask of a patient that fits a series, and what is wrong with the others.

    faults   with the series of the object; "" for a mask file
    """

    masks: tuple[DrawnMask, ...] = ()
    faults: tuple[tuple[Fault, str], ...] = field(default=())

    def of(self, series_id: str) -> Mask | None:
        """All that was drawn on one series in one array; where two masks overlap, the first one's label stands."""
        here = [one.mask for one in self.masks if series_id in one.series_ids]
        if not here:
            return None
        labels = here[0].labels
        for other in here[1:]:
            labels = np.where(labels == 0, other.labels, labels)
        return replace(here[0], labels=labels)

    def on(self, series: Series) -> NDArray[np.uint16] | None:
        """Labels on the grid of `series`: drawn there, or carried from another one of the same frame of reference.

        None where nothing can be carried. For pictures and spot checks; `carry` has the gates.
        """
        own = self.of(series.id)
        if own is not None:
            return own.labels
        for one in self.masks:
            if series.grid is not None and one.mask.frame_uid and one.mask.frame_uid == series.header.frame_uid:
                labels = carry_labels(one.mask, series.grid)
                return labels if labels.any() else None
        return None


def read_drawn(masks: Sequence[Path], series: Sequence[Series]) -> Drawn:
    """Read all masks of a patient and find the series of each.

    Args:
        masks: mask files, in name order.
        series: of the patient; those of modality SEG and RTSTRUCT are read as masks. Where there is neither, closed
            contours in overlay planes count.
    """
    images = [one for one in series if one.grid is not None and one.usable]
    objects = [one for one in series if one.modality in DRAWN]
    reads = [
        *((f"mask {n} of {len(masks)}", "", partial(_of_file, path, images)) for n, path in enumerate(masks, start=1)),
        *((f"object {n}", one.id, partial(_of_object, one, images)) for n, one in enumerate(objects, start=1)),
    ]
    found: list[DrawnMask] = []
    faults: list[tuple[Fault, str]] = []
    for where, series_id, read in reads:
        try:
            found += read()
        except UnusableError as error:
            faults.append(((error.code, f"{where}: {error.cause}"), series_id))
    if not reads:
        for one in images:
            try:
                found += _of_overlays(one)
            except UnusableError as error:
                faults.append(((error.code, f"overlay: {error.cause}"), one.id))
    return Drawn(tuple(found), tuple(faults))


def _of_overlays(series: Series) -> list[DrawnMask]:
    """Contours that a radiologist left in overlay planes; asked for only where nothing else was drawn."""
    if series.grid is None or not any(one.header.overlay for one in series.members):
        return []
    labels = np.zeros(series.grid.shape, dtype=np.uint16)
    for place, one in enumerate(series.members):
        for overlay in read_overlays(one.path) if one.header.overlay else ():
            for contour in closed_contours(overlay):
                labels[place][contour] = 1
    mask = Mask(labels, series.grid, frame_uid=series.header.frame_uid)
    return [DrawnMask(mask, frozenset({series.id}))] if labels.any() else []


def _of_file(path: Path, images: Sequence[Series]) -> list[DrawnMask]:
    return [_fitted(read_mask_file(path), images)]


def _of_object(drawn: Series, images: Sequence[Series]) -> list[DrawnMask]:
    """The masks of every file of a SEG or RTSTRUCT series."""
    masks: list[DrawnMask] = []
    for one in drawn.members:
        if drawn.modality == "SEG":
            masks += [_fitted(mask, _referenced(mask, images)) for mask in read_seg(one.path)]
        else:
            masks += [_fitted(mask, images) for mask in _contours(one.path, images)]
    return masks


def _referenced(mask: Mask, images: Sequence[Series]) -> Sequence[Series]:
    """All series, where one of them holds every image that a segmentation names, or it names none.

    Raises:
        UnusableError: E_SEG_REFERENCES: there is no such series.
    """
    uids = [{member.header.sop_uid for member in one.members} for one in images]
    if not mask.references or any(mask.references <= there for there in uids):
        return images
    nearest = max(uids, key=lambda there: len(mask.references & there), default=set())
    fault = check_references(mask, nearest)
    raise unusable(*fault) if fault else unusable("E_SEG_REFERENCES", "no image series is here")


def _contours(path: Path, images: Sequence[Series]) -> list[Mask]:
    """Contours say their frame of reference, not always their series: the first series they fit gives the lattice."""
    refused: UnusableError | None = None
    for one in images:
        if one.grid is None:
            continue
        try:
            return read_rtstruct(path, one.grid, one.header.frame_uid)
        except UnusableError as error:
            # The most telling refusal is that of a series which shares the frame.
            refused = error if refused is None or refused.code == "E_ROI_FRAME" else refused
    raise refused or unusable("E_SEG_REFERENCES", "no image series is here")


def _fitted(mask: Mask, images: Sequence[Series]) -> DrawnMask:
    """Raises UnusableError E_ROI_GRID_MISMATCH where a mask counts the voxels of no series, or E_ROI_EMPTY."""
    refused: UnusableError | None = None
    fits: list[tuple[Series, Mask]] = []
    for one in images:
        if one.grid is not None and mask.frame_uid in ("", one.header.frame_uid):
            try:
                fits.append((one, on_grid_of(mask, one.grid)))
            except UnusableError as error:
                refused = refused or error
    if not fits:
        raise refused or unusable("E_ROI_GRID_MISMATCH", "there is no image series that it could belong to")
    frames = {one.header.frame_uid for one, _ in fits}
    placed = replace(fits[0][1], frame_uid=frames.pop() if len(frames) == 1 else "")
    return DrawnMask(placed, frozenset(one.id for one, _ in fits))
