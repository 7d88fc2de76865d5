"""Made-up cases for the tests of the check page: ellipses in noise, nobody's images."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.check.contact_sheet import CaseSheet, Tile, box_tile, volume_tiles
from fl_liver.client.cohort.check.fingerprint import Intensity
from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.codes import finding, in_fixed_order
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.lesions.boxes import Box
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.series.series import Series

MADE = datetime(2026, 3, 1, 14, 5, tzinfo=UTC)
NAMES = Pseudonyms(bytes(range(32)))
SEQUENCES = ("t2", "dwi", "t1_pre", "arterial", "portal", "equilibrium")
LEFT_OUT = "left out by a person, see exclude.csv"
_CONTRAST = {"t2": 1.5, "dwi": 1.9, "t1_pre": 0.6, "arterial": 1.4, "portal": 0.8, "equilibrium": 0.7}


def one_tile(title: str = "t2 5/9", seed: int = 0, shape: tuple[int, int] = (24, 32)) -> Tile:
    """A small tile with a rectangular lesion."""
    image = np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)
    outline = np.zeros(shape, dtype=np.bool_)
    outline[8:14, 10:20] = True
    return Tile(title, image, outline, 0.5)


def one_sheet(case: str = "a1b2c3", findings: tuple[Finding, ...] = (), **more: Any) -> CaseSheet:
    """A case with one small tile."""
    return CaseSheet(case, (one_tile(),), findings, **{"usable": True, "notes": ("lesion 23 mm",), **more})


def series_of(case: str, kind: str, number: int, **changes: Any) -> Series:
    """One series; `members` hold a header with a maker and nothing else."""
    header = SimpleNamespace(manufacturer=("Siemens", "GE", "Philips")[number % 3], is_image=True)
    values: dict[str, Any] = {
        "id": NAMES.series(f"{case}{kind}"),
        "case": case,
        "modality": kind.split()[0],
        "kind": kind,
        "slices": 24 + number % 5,
        "spacing_mm": (0.7, 0.7, 7.0),
        "orientation": "axial",
        "usable": True,
        "members": (SimpleNamespace(header=header),),
    }
    known = {one.name for one in fields(Series)}
    known_values = {name: value for name, value in {**values, **changes}.items() if name in known}
    return cast(Series, cast(Any, Series)(**known_values))


def report_of(series: list[Series], findings: list[Finding]) -> CheckReport:
    """A report of 100 files."""
    return CheckReport(100, tuple(series), in_fixed_order(findings), NAMES)


def liver(seed: int, contrast: float, mm: float = 23.0) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """(24, 180, 220) values and mask of a body with a liver and one lesion; spacing 7 × 1.6 × 1.4 mm."""
    random = np.random.default_rng(seed)
    z, y, x = np.mgrid[0:24, 0:180, 0:220].astype(np.float32)
    y_mm, x_mm, z_mm = (y - 90) * 1.6, (x - 110) * 1.4, (z - 12) * 7
    body = (x_mm / 140) ** 2 + (y_mm / 120) ** 2 < 1
    organ = ((x_mm + 50) / 70) ** 2 + ((y_mm + 10) / 80) ** 2 + (z_mm / 75) ** 2 < 1
    cx, cy = -50 + random.uniform(-25, 25), -10 + random.uniform(-30, 30)
    lesion = (x_mm - cx) ** 2 + ((y_mm - cy) * 1.2) ** 2 + (z_mm / 1.2) ** 2 < (mm / 2) ** 2
    values = body * 300.0 + organ * 250.0
    values = np.where(lesion, values * contrast, values) + random.normal(0, 35, values.shape)
    return values.astype(np.float32), lesion.astype(np.uint16)


def mr_sheet(number: int, findings: tuple[Finding, ...] = ()) -> CaseSheet:
    """Seven tiles: the whole slice of T2, and the lesion in six sequences."""
    mm = 12.0 + 3 * (number % 12)
    tiles: list[Tile] = []
    for place, name in enumerate(SEQUENCES):
        values, mask = liver(100 * number, _CONTRAST[name], mm)
        drawn = None if any(one.code == "E_ROI_MISSING" for one in findings) else mask
        spacing = (7.0, 1.6, 1.4)
        tiles += volume_tiles(f"MR {name}", values, drawn, spacing, count=1, whole=place == 0)
    notes = (f"lesion {mm:.0f} mm, {mm**3 * 0.52 / 1000:.1f} ml", "drawn on t2")
    usable = not any(one.severity == "E" for one in findings)
    return CaseSheet(NAMES.patient(str(number)), tuple(tiles), findings, usable, notes)


def still_sheet(number: int) -> CaseSheet:
    """Three ultrasound stills with lesion and background boxes."""
    tiles = []
    for view in range(3):
        random = np.random.default_rng([number, view])
        y, x = np.mgrid[0:480, 0:640].astype(np.float32)
        depth = np.hypot(x - 320, y + 80)
        fan = (np.abs(x - 320) < 0.75 * (y + 80)) & (depth > 140) & (depth < 540)
        lesion = ((x - 300) / 60) ** 2 + ((y - 250) / 45) ** 2 < 1
        grey = random.rayleigh(38, fan.shape) * fan * np.where(lesion, 0.5, 1.0)
        boxes = [Box("", 0, "lesion", 235, 200, 365, 300), Box("", 0, "background", 400, 210, 480, 290)]
        tiles.append(box_tile(f"ultrasound {view + 1}", grey.clip(0, 255), boxes, 0.25))
    return CaseSheet(NAMES.patient(str(number)), tuple(tiles), (), True, ("3 stills",))


def found_in(number: int) -> tuple[Finding, ...]:
    """Findings of one of thirty cases: a mixture of what hospitals have."""
    case = NAMES.patient(str(number))
    by_place: dict[int, tuple[tuple[str, str], ...]] = {
        2: (("E_MISSING_SLICES", "1 slice missing: gaps to 14.00 mm, usually 7.00"),),
        5: (("W_PHASE_GUESSED", "portal told by order"), ("W_ROI_TOUCHES_EDGE", "in 2 of 6 series")),
        9: (("E_ROI_MISSING", "no mask for this patient"),),
        11: (("W_PHASE_GUESSED", "arterial told by order"),),
        14: (("E_MISSING_SEQUENCE", "no equilibrium"), ("W_THICKNESS_NE_SPACING", "5 mm thick every 10 mm")),
        20: (("E_EXCLUDED_HERE", LEFT_OUT),),
        23: (("W_LOSSY", "24 images once compressed with loss, as the header says"),),
        26: (("E_MISSING_SEQUENCE", "no arterial, no portal"),),
    }
    return tuple(finding(code, case, cause) for code, cause in by_place.get(number, ()))


EXCLUDED = {NAMES.patient("20"): "outline is not on the lesion", NAMES.patient("gone 3"): "treated before"}


def thirty() -> tuple[list[CaseSheet], CheckReport, dict[str, list[Intensity]]]:
    """Thirty sheets, their report and intensities; four more patients have no images."""
    sheets = [still_sheet(n) if n in (7, 8) else mr_sheet(n, found_in(n)) for n in range(30)]
    random = np.random.default_rng(1)
    series, intensities = [], {}
    for n in range(30):
        for place, name in enumerate(SEQUENCES):
            between = 3.0 if n == 4 else (7.0, 7.2, 8.0)[n % 3]
            pixel = round(float(random.choice([0.6, 0.7, 0.78, 1.18])), 2)
            kind = f"MR {name}" if n % 10 else "CT portal venous"
            usable = not (n == 2 and place == 0)
            changes: dict[str, Any] = {"spacing_mm": (pixel, pixel, between), "usable": usable}
            one = series_of(NAMES.patient(str(n)), kind, n, id=NAMES.series(f"{n} {name}"), **changes)
            level = 100.0 if kind.startswith("CT") else 300 + 200 * random.random()
            intensities[one.id] = [
                Intensity("image", -900 if level == 100 else 5, 0.4 * level, 1.8 * level),
                Intensity("lesion", 0.5 * level, level, 1.4 * level),
            ]
            series.append(one)
    gone = [NAMES.patient(f"gone {n}") for n in range(4)]
    series.append(series_of(gone[3], "MR t2", 3))
    findings = [one for n in range(30) for one in found_in(n)]
    findings += [finding("E_NO_IMAGES", case, "a row without images") for case in gone[:3]]
    findings.append(finding("E_EXCLUDED_HERE", gone[3], LEFT_OUT))
    findings.append(finding("W_OTHER_FILES", "", "3 of 5012 files are not DICOM"))
    return sheets, report_of(series, findings), intensities


def flow_numbers(report: CheckReport) -> dict[str, Any]:
    """Arguments of `flow_of` for the thirty cases."""
    return {
        "rows": 34,
        "with_images": 31,
        "findings": report.findings,
        "usable": 34 - len(report.excluded),
        "excluded": report.excluded,
    }
