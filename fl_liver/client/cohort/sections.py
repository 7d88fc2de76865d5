"""CT and MR: from one patient's series and drawn lesions to square sections through each lesion, or to whole slices.

The lesion is carried from the series it was drawn on to the others in physical space, all are brought to one grid, and
of each lesion the slices with the largest area are cut out, one channel for each sequence. `whole_slices` has the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import finding, unusable
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.lesions.boxes import Box, scaled, square_round
from fl_liver.client.cohort.lesions.carry import Carried, CarryRules, carry
from fl_liver.client.cohort.lesions.cutout import Cutout, mask_of, resample
from fl_liver.client.cohort.lesions.drawn import DRAWN, Drawn, read_drawn
from fl_liver.client.cohort.lesions.roi_checks import roi_faults
from fl_liver.client.cohort.read.image_hash import image_hashes
from fl_liver.client.cohort.recipe import PatientImages, PatientItem, Recipe, people_in, told_by
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.series.grid import Grid, Mask, Volume
from fl_liver.client.cohort.series.recognise import KIND_NAMES, best_of_kind, facts_of, passed_over
from fl_liver.client.cohort.series.series import Series
from fl_liver.client.cohort.series.survey import Place, survey
from fl_liver.client.cohort.series.volume import read_volume
from fl_liver.client.cohort.whole_slices import whole_slices
from fl_liver.study_cohort import SequenceKind

_CONTEXT_MM = 40.0


def read_sections(item: PatientItem) -> PatientImages:
    """Up to `views` sections of each drawn lesion, or whole slices.

    Raises:
        UnusableError: a sequence, the drawn lesion or a decoder is missing, or the lesion cannot be carried.
    """
    place = Place(item.root, item.names, item.case, 1, item.mapping)
    told = survey(item.folder.files, place)
    headers = [member.header for one in told.series for member in one.members]
    people = people_in(headers, item.names)
    if len(people) > 1:
        return PatientImages({}, people)
    chosen, warned = _chosen(told.series, item)
    drawn_on = chosen[_reference(item.recipe)]
    used = [*chosen.values(), *(one for one in told.series if one.modality in DRAWN)]
    mask = _mask(read_drawn([one.path for one in item.folder.masks], used), drawn_on, item)
    if mask is not None:
        warned += _roi_warnings(mask, drawn_on, item.case)
    volumes = {kind: read_volume(one) for kind, one in chosen.items()}
    made = _made(mask, volumes, item.recipe)
    warned += [finding(code, item.case, cause) for code, cause in made.faults]
    ids = {one.id for one in used}
    warned += [one for one in told.findings if one.severity == "W" and one.series in ids]
    return PatientImages(
        images=made.images,
        people=people,
        sop_uids=frozenset(header.sop_uid for header in headers),
        hashes=image_hashes(volumes[_reference(item.recipe)].values),
        told=told_by(headers),
        findings=tuple(warned),
        lesions=made.lesions,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """As in `PatientImages`; faults are warnings."""

    images: dict[str, NDArray[np.float16]]
    lesions: tuple[int, ...]
    faults: tuple[Fault, ...]


def _made(mask: Mask | None, volumes: Mapping[SequenceKind, Volume], recipe: Recipe) -> _Made:
    rules = CarryRules(spacing_mm=recipe.spacing_mm, other_frames=recipe.other_frames)
    if recipe.whole or mask is None:
        images, faults = whole_slices(mask, _reference(recipe), volumes, recipe, rules)
        return _Made(images, (), faults)
    margin_mm = max(_CONTEXT_MM, recipe.patch_mm or 0.0)
    carried = carry(mask, _reference(recipe), volumes, rules, margin_mm)
    sections = list(_sections(carried, recipe))
    images = {"lesion": np.stack([one.image for one in sections])}
    if recipe.masks:
        images["mask"] = np.stack([one.mask for one in sections if one.mask is not None])
    return _Made(images, tuple(one.label for one in sections), carried.faults)


def _reference(recipe: Recipe) -> SequenceKind:
    if recipe.drawn_on is None:
        raise unusable("E_MISSING_SEQUENCE", "the study names no series")
    return recipe.drawn_on


def _chosen(series: tuple[Series, ...], item: PatientItem) -> tuple[dict[SequenceKind, Series], list[Finding]]:
    """The best series of each kind that the study wants, and a word on each other one of those kinds.

    Raises:
        UnusableError: E_MISSING_SEQUENCE; the cause names what is missing and what there is.
    """
    recipe = item.recipe
    volumes = [one for one in series if one.usable and one.modality == recipe.modality and one.guess is not None]
    guesses = [one.guess for one in volumes if one.guess is not None]
    facts = [facts_of([member.header for member in one.members]) for one in volumes]
    best = best_of_kind(guesses, facts)
    missing = [KIND_NAMES[recipe.modality, kind] for kind in recipe.sequences if kind not in best]
    if missing:
        there = ", ".join(sorted({one.kind or one.modality for one in volumes})) or "none"
        spoilt = sum(not one.usable and one.modality == recipe.modality for one in series)
        also = f"; {spoilt} more cannot be used" if spoilt else ""
        raise unusable("E_MISSING_SEQUENCE", f"no {' and no '.join(missing)} series; there are: {there}{also}")
    passed = [
        finding("W_SERIES_PASSED_OVER", item.case, f"another {volumes[i].kind} is used: {why}", volumes[i].id)
        for i, why in passed_over(guesses, facts).items()
        if guesses[i].kind in recipe.sequences
    ]
    return {kind: volumes[best[kind]] for kind in recipe.sequences}, passed


def _mask(drawn: Drawn, drawn_on: Series, item: PatientItem) -> Mask | None:
    """What was drawn on a series; None where the diagnosis says that there is nothing, and nothing is drawn."""
    if item.lesion_free:
        spoilt = [fault for fault, _ in drawn.faults if fault[0] != "E_ROI_EMPTY"]
        if drawn.masks:
            raise unusable("E_LESION_UNEXPECTED", f"masks that hold a lesion: {len(drawn.masks)}")
        if spoilt:
            raise unusable(*spoilt[0])
        return None
    mask = drawn.of(drawn_on.id)
    if mask is not None:
        return mask
    if drawn.faults:
        raise unusable(*drawn.faults[0][0])
    what = "is drawn on another series" if drawn.masks else "is drawn nowhere"
    raise unusable("E_ROI_MISSING", f"the lesion {what}; wanted on {drawn_on.kind}")


def _roi_warnings(mask: Mask, drawn_on: Series, case: str) -> list[Finding]:
    if drawn_on.grid is None:
        raise unusable("E_NO_GEOMETRY", "the slices of the series make no volume")
    faults = roi_faults(mask, drawn_on.grid)
    for code, cause in faults:
        if code.startswith("E"):
            raise unusable(code, cause)
    return [finding(code, case, cause, drawn_on.id) for code, cause in faults]


@dataclass(frozen=True, slots=True, eq=False)
class _Section:
    """image (H, W) or (C, H, W); mask (H, W) where the study wants it; label of the lesion that it is about."""

    label: int
    image: NDArray[np.float16]
    mask: NDArray[np.float16] | None


def _sections(carried: Carried, recipe: Recipe) -> Iterator[_Section]:
    """Lesions in the order of their labels, sections from the lowest slice up."""
    for label in np.flatnonzero(np.bincount(carried.mask.ravel())[1:]) + 1:
        region = carried.mask == label
        area = region.sum(axis=(1, 2))
        shown = np.sort(np.argsort(-area, kind="stable")[: min(recipe.views, int((area > 0).sum()))])
        cutout = _cutout(_box(region), carried.grid, recipe)
        for place in shown:
            channels = [
                scaled(resample(carried.images[kind][place], cutout, recipe.size_px), recipe.window_hu)
                for kind in recipe.sequences
            ]
            image = np.stack(channels) if len(channels) > 1 else channels[0]
            mask = mask_of(carried.mask[place], cutout, recipe.size_px) if recipe.masks else None
            yield _Section(int(label), image, mask)


def _box(region: NDArray[np.bool_]) -> Box:
    """Around all slices of a lesion, so that its sections keep one scale and place."""
    rows, columns = np.flatnonzero(region.any(axis=(0, 2))), np.flatnonzero(region.any(axis=(0, 1)))
    edges = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Box("", 0, "lesion", *edges)


def _cutout(box: Box, grid: Grid, recipe: Recipe) -> Cutout:
    """The square round a lesion's box, or the patch of a given side about its middle."""
    if recipe.patch_mm is None:
        return square_round(box, recipe.lesion_margin)
    _, row_mm, column_mm = grid.spacing_mm
    middle = (box.y_min_px + box.y_max_px) / 2, (box.x_min_px + box.x_max_px) / 2
    return Cutout.about(*middle, recipe.patch_mm / row_mm, recipe.patch_mm / column_mm)
