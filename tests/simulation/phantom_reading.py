"""How tests read what the CT and MR phantoms wrote: with the hospital's own reader, against the truth."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fl_liver.client.cohort.check.check import CheckOptions, check_folder
from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.series.grid import Volume
from fl_liver.client.cohort.series.series import Series
from fl_liver.client.cohort.series.volume import read_volume
from simulation.phantom.lesion import SolidLesion
from simulation.phantom.volumes import TrueSeries


def checked(folder: Path) -> CheckReport:
    """Headers only: what the phantom's pixels are is read by the tests."""
    return check_folder(folder, options=CheckOptions(pixels=False))


def errors(report: CheckReport) -> list[str]:
    return [one.code for one in report.findings if one.severity == "E"]


def parts_of(report: CheckReport, true: TrueSeries) -> list[Series]:
    """The reader's series of one true series: one a volume, by b-value or by time."""
    found = [one for one in report.series if one.header.series_uid == true.uid]
    return sorted(found, key=lambda one: (one.header.acquisition.b_value or 0, one.header.acquisition.acquired_s or 0))


def volume_of(report: CheckReport, true: TrueSeries, number: int = 0) -> Volume:
    return read_volume(parts_of(report, true)[number])


def centre_by_intensity(volume: Volume, lesion: SolidLesion) -> NDArray[np.float64]:
    """(3,) mm: centre of gravity of what differs from the liver, within 1.4 times the lesion round the true place.

    Only the piece of it that holds the true centre counts.
    """
    positions = volume.grid.position_mm(np.moveaxis(np.indices(volume.grid.shape), 0, -1))
    depth = lesion.depth(*np.moveaxis(positions, -1, 0).astype(np.float32))
    values = ndimage.gaussian_filter(volume.values.astype(np.float64), 0.7)
    liver, inside = np.median(values[(depth > 1.2) & (depth < 1.7)]), np.median(values[depth < 0.6])
    share = np.where(depth < 1.4, (values - liver) / (inside - liver), 0).clip(0, 1)
    pieces, _ = ndimage.label(share > 0.35)
    middle = tuple(np.rint(volume.grid.index_of(lesion.centre_mm)).astype(int))
    weight = np.where(ndimage.binary_dilation(pieces == pieces[middle]), share, 0)[..., None]
    found: NDArray[np.float64] = (weight * positions).sum((0, 1, 2)) / weight.sum()
    return found


def fingerprint(root: Path) -> dict[str, str]:
    """SHA-256 of every file by its path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
