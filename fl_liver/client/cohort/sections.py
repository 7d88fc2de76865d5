"""CT and MR: from one patient's series and drawn lesions to square sections through each lesion.

The lesion is carried from the series it was drawn on to the others in physical space, all are brought to one grid, and
of each lesion the slices with the largest area are cut out, one channel for each sequence.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import finding, unusable
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.lesions.boxes import Box, crop, standardise
from fl_liver.client.cohort.lesions.carry import Carried, CarryRules, carry
from fl_liver.client.cohort.lesions.drawn import DRAWN, Drawn, read_drawn
from fl_liver.client.cohort.lesions.roi_checks import roi_faults
from fl_liver.client.cohort.read.image_hash import image_hashes
from fl_liver.client.cohort.recipe import PatientImages, PatientItem, Recipe, told_by
from fl_liver.client.cohort.series.grid import Mask
from fl_liver.client.cohort.series.recognise import KIND_NAMES, best_of_kind, facts_of, passed_over
from fl_liver.client.cohort.series.series import Series
from fl_liver.client.cohort.series.survey import Place, survey
from fl_liver.client.cohort.series.volume import read_volume
from fl_liver.study_cohort import SequenceKind

_CONTEXT_MM = 40.0


def read_sections(item: PatientItem) -> PatientImages:
    """Up to `views` sections of each drawn lesion.

    Raises:
        UnusableError: a sequence, the drawn lesion or a decoder is missing, the lesion cannot be carried, or the files
            are of several patients.
    """
    place = Place(item.root, item.names, item.case, 1, item.mapping)
    told = survey(item.folder.files, place)
    headers = [member.header for one in told.series for member in one.members]
    _require_one_person({header.patient_id for header in headers}, item)
    chosen, passed = _chosen(told.series, item)
    used = [*chosen.values(), *(one for one in told.series if one.modality in DRAWN)]
    drawn_on = chosen[_reference(item.recipe)]
    drawn = read_drawn([one.path for one in item.folder.masks], used)
    mask = _mask(drawn, drawn_on)
    warned = [*passed, *_roi_warnings(mask, drawn_on, item.case)]
    volumes = {kind: read_volume(one) for kind, one in chosen.items()}
    rules = CarryRules(spacing_mm=item.recipe.spacing_mm, other_frames=item.recipe.other_frames)
    carried = carry(mask, _reference(item.recipe), volumes, rules, _CONTEXT_MM)
    warned += [finding(code, item.case, cause) for code, cause in carried.faults]
    ids = {one.id for one in used}
    warned += [one for one in told.findings if one.severity == "W" and one.series in ids]
    return PatientImages(
        images={"lesion": np.stack(list(_sections(carried, item.recipe)))},
        sop_uids=frozenset(header.sop_uid for header in headers),
        hashes=image_hashes(volumes[_reference(item.recipe)].values),
        told=told_by(headers),
        findings=tuple(warned),
    )


def _require_one_person(ids: set[str], item: PatientItem) -> None:
    if len(ids) > 1:
        raise unusable("E_MIXED_PATIENT", "the files carry more than one patient id")
    if ids & item.others:
        raise unusable("E_WRONG_PATIENT", "the files carry the id of another patient")


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


def _mask(drawn: Drawn, drawn_on: Series) -> Mask:
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


def _sections(carried: Carried, recipe: Recipe) -> Iterator[NDArray[np.float16]]:
    """(H, W) or (C, H, W) each: lesions in the order of their labels, sections from the lowest slice up."""
    for label in np.flatnonzero(np.bincount(carried.mask.ravel())[1:]) + 1:
        region = carried.mask == label
        area = region.sum(axis=(1, 2))
        shown = np.sort(np.argsort(-area, kind="stable")[: min(recipe.views, int((area > 0).sum()))])
        box = _box(region)
        for place in shown:
            channels = [_section(carried.images[kind][place], box, recipe) for kind in recipe.sequences]
            yield np.stack(channels) if len(channels) > 1 else channels[0]


def _box(region: NDArray[np.bool_]) -> Box:
    """Around all slices of a lesion, so that its sections keep one scale and place."""
    rows, columns = np.flatnonzero(region.any(axis=(0, 2))), np.flatnonzero(region.any(axis=(0, 1)))
    edges = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Box("", 0, "lesion", *edges)


def _section(image: NDArray[np.float32], box: Box, recipe: Recipe) -> NDArray[np.float16]:
    square = crop(image, box, recipe.image_px, recipe.lesion_margin)
    if recipe.window_hu is None:
        return standardise(square)
    low, high = recipe.window_hu
    windowed: NDArray[np.float16] = ((square - low) / (high - low)).clip(0, 1).astype(np.float16)
    return windowed
