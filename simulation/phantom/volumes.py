"""What CT and MR phantoms share: the imaged person, the grids of a study, and the truth that a writer returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid, Triple
from fl_liver.errors import ConfigError, DataError
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.anatomy import KEPT_CLEAR, LESION_ROOM, Ellipsoid
from simulation.phantom.body import Body, lesion_mask
from simulation.phantom.lesion import LESION_KINDS, LesionKind, SolidLesion, draw_lobes
from simulation.phantom.patients import CaseMix, Patient, draw_patient
from simulation.phantom.subtypes import BENIGN, MALIGNANT, Subtype

LARGEST_MM = 100.0
"""Larger lesions do not fit into the right lobe."""
_SUBTYPE: dict[LesionKind, Subtype] = {
    "cyst": "other_benign", "hemangioma": "hemangioma", "fnh": "fnh", "other_benign": "other_benign", "hcc": "hcc",
    "metastasis": "metastasis", "other_malignant": "icc",
}  # fmt: skip
_BODY = 21  # purpose of the patient's random stream
_GAP_MM = 3.0
_PLACES = 400


@dataclass(frozen=True, slots=True)
class Case:
    """One person before a scanner, in one hospital."""

    patient: Patient
    hospital: str
    body: Body


@dataclass(frozen=True, slots=True)
class TrueSeries:
    """One series as it was written.

    kinds     of its volumes: several where b-values or contrast phases share one SeriesInstanceUID
    grid      of each volume, slices from feet to head
    files     in the order of instance numbers; one of a multi-frame series
    b_values  of a diffusion series, in the order of its volumes; else empty
    """

    kinds: tuple[SequenceKind, ...]
    uid: str
    frame_uid: str
    grid: Grid
    files: tuple[Path, ...]
    b_values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """What was drawn of one patient: known to the test, not to the hospital.

    series    in the order written; a kind may have several (b-values)
    drawn_on  the series that the written regions lie on
    regions   files of the regions; in masks and SEG lesion n from 1 has label n
    """

    patient: Patient
    body: Body
    series: tuple[TrueSeries, ...]
    drawn_on: SequenceKind
    regions: tuple[Path, ...] = ()

    @property
    def lesion(self) -> SolidLesion:
        """The first, and mostly only, lesion: `centre_mm`, `radii_mm`, `volume_mm3`."""
        return self.body.lesions[0]

    def of(self, kind: SequenceKind) -> TrueSeries:
        """The first series that holds a kind.

        Raises:
            DataError: none was written.
        """
        found = next((one for one in self.series if kind in one.kinds), None)
        if found is None:
            raise DataError(f"phantom: no series of kind {kind} was written")
        return found

    def lesion_mask(self, kind: SequenceKind) -> NDArray[np.uint16]:
        """The lesions on the grid of a series, (slices, rows, columns); n where lesion n is."""
        return lesion_mask(self.body, self.of(kind).grid)


def imaged_patient(patient_id: str, seed: int, kind: LesionKind) -> Patient:
    """The person of a seed with a lesion of that kind: the same latents as in ultrasound.

    Raises:
        ConfigError: no such kind.
    """
    if kind not in LESION_KINDS:
        raise ConfigError(f"phantom: lesion kind {kind!r}; wanted one of {', '.join(LESION_KINDS)}")
    subtype = _SUBTYPE[kind]
    benign, malignant = (tuple(float(one == subtype) for one in kinds) for kinds in (BENIGN, MALIGNANT))
    cases = CaseMix(
        patients=1,
        prevalence=float(subtype in MALIGNANT),
        benign_mix=benign,
        malignant_mix=malignant,
        log_size_shift=0.0,
    )
    return replace(draw_patient(cases, "", seed, 0), patient_id=patient_id)


def draw_body(patient: Patient, kind: LesionKind, lesions: int = 1, size_mm: float | None = None) -> Body:
    """The patient's abdomen with lesions of one kind, apart from one another in the right lobe.

    Args:
        size_mm: longest diameter of the first lesion; by default the patient's own, at most LARGEST_MM.
    Raises:
        ConfigError: a size that does not fit, or more lesions than find a place.
    """
    size_mm = min(patient.lesion.size_mm, LARGEST_MM) if size_mm is None else size_mm
    if not 2 <= size_mm <= LARGEST_MM:
        raise ConfigError(f"phantom: lesion of {size_mm} mm; wanted 2 to {LARGEST_MM:.0f}")
    random = patient.random(_BODY)
    body = draw_person(random)
    for number in range(lesions):
        size = size_mm if number == 0 else max(4.0, size_mm * float(random.uniform(0.3, 0.7)))
        shape = patient.lesion
        body = add_lesion(random, body, kind, size, aspect=shape.aspect, irregularity=shape.irregularity)
    return body


def draw_person(random: np.random.Generator) -> Body:
    """An abdomen without lesions, of a size and in a place of its own."""
    centre = np.round(random.uniform((-8, -20, -40), (8, 10, 40)), 1)
    return Body(centre_mm=_triple(centre), scale=float(random.uniform(0.97, 1.06)))


def add_lesion(
    random: np.random.Generator,
    body: Body,
    kind: LesionKind,
    size_mm: float,
    *,
    aspect: float,
    irregularity: float,
    room: Ellipsoid = LESION_ROOM,
) -> Body:
    """The body with one lesion more, clear of those it has.

    Args:
        size_mm: longest diameter.
        aspect: longest over shortest diameter, or its inverse.
        irregularity: 0..0.35 as in `patients.Lesion`.
        room: that it lies in, in body coordinates.
    Raises:
        ConfigError: there is no place left.
    """
    aspect = max(aspect, 1 / aspect)
    radii = random.permutation(size_mm / 2 / np.array([1.0, aspect**0.5, aspect]))
    lobes = draw_lobes(random, irregularity)
    free = np.maximum(np.asarray(room.radii) - size_mm / 2 / body.scale - _GAP_MM, 0)
    for attempt in range(_PLACES):
        point = random.normal(size=3)
        point *= random.random() ** (1 / 3) / np.linalg.norm(point)
        point = np.asarray(room.centre) + free * point
        centre = np.round(np.asarray(body.centre_mm) + body.scale * point, 3)
        lesion = SolidLesion(centre_mm=_triple(centre), radii_mm=_triple(np.round(radii, 3)), lobes=lobes, kind=kind)
        clear = attempt > _PLACES / 2 or all(_is_clear(point, size_mm / body.scale, part) for part in KEPT_CLEAR)
        if clear and all(_apart(lesion, other) for other in body.lesions):
            return replace(body, lesions=(*body.lesions, lesion))
    raise ConfigError(f"phantom: no room for {len(body.lesions) + 1} lesions of this size; draw fewer or smaller ones")


def moved(body: Body, by_mm: Triple) -> Body:
    """All of it elsewhere in the scanner: another breath-hold."""
    lesions = tuple(replace(one, centre_mm=_triple(np.add(one.centre_mm, by_mm))) for one in body.lesions)
    return replace(body, centre_mm=_triple(np.add(body.centre_mm, by_mm)), lesions=lesions)


def body_grid(
    body: Body,
    *,
    pixel_mm: float,
    columns: int,
    gap_mm: float,
    slices: int,
    shift_mm: Triple = (0.0, 0.0, 0.0),
    oblique_deg: float = 0.0,
) -> Grid:
    """A square grid round the body's centre, turned about the left–right axis: rows rise (> 0) towards the back.

    All numbers are rounded as DICOM headers hold them, so that a reader finds this grid again to a micrometre.
    """
    angle = math.radians(oblique_deg)
    down = np.array([0.0, round(math.cos(angle), 10), round(math.sin(angle), 10)])
    normal = np.array([0.0, -down[2], down[1]])
    pixel = round(pixel_mm, 6)
    right = np.array([1.0, 0.0, 0.0])
    middle = np.asarray(body.centre_mm) + np.asarray(shift_mm)
    origin = middle - (columns - 1) / 2 * pixel * (right + down) - (slices - 1) / 2 * gap_mm * normal
    return Grid(
        (slices, columns, columns),
        _triple(np.round(origin, 4)),
        _triple(gap_mm * normal),
        _triple(pixel * down),
        _triple(pixel * right),
    )


def cut_at_lesion(grid: Grid, lesion: SolidLesion) -> Grid:
    """The longer part of a grid up to the lesion's centre: a series that misses half of it."""
    middle = float(grid.index_of(lesion.centre_mm)[0])
    slices, rows, columns = grid.shape
    if middle >= slices / 2:
        return replace(grid, shape=(math.ceil(middle), rows, columns))
    first = math.floor(middle) + 1
    origin = _triple(np.round(grid.position_mm([first, 0, 0]), 6))
    return replace(grid, shape=(slices - first, rows, columns), origin_mm=origin)


def _is_clear(point: NDArray[np.float64], size_mm: float, part: Ellipsoid) -> bool:
    """Whether a lesion there, in body coordinates, leaves a part of the body free."""
    away = (point - np.asarray(part.centre)) / (np.asarray(part.radii) + size_mm / 2 + _GAP_MM)
    return float(np.linalg.norm(away)) > 1


def _apart(one: SolidLesion, other: SolidLesion) -> bool:
    distance = float(np.linalg.norm(np.subtract(one.centre_mm, other.centre_mm)))
    return distance > max(one.reach_mm) + max(other.reach_mm)


def _triple(vector: NDArray[np.float64]) -> Triple:
    x, y, z = (float(v) for v in vector)
    return x, y, z
