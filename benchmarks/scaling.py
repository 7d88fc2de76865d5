"""Seconds of a round against the number of hospitals, as a figure with the straight line through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SITES = (13, 50, 100, 200)
POINTS, LINE = "#0072B2", "#D55E00"
"""Okabe and Ito's blue and vermilion: told apart by everybody."""


@dataclass(frozen=True, slots=True)
class Line:
    """seconds = start_s + per_site_s · sites, and the share of the variance that it explains."""

    start_s: float
    per_site_s: float
    r_squared: float


def fit_line(seconds: Mapping[int, float]) -> Line:
    """Least squares through (sites, seconds).

    >>> line = fit_line({10: 2.0, 20: 3.0, 40: 5.0})
    >>> round(line.start_s, 9), round(line.per_site_s, 9), round(line.r_squared, 9)
    (1.0, 0.1, 1.0)
    """
    sites = np.array(list(seconds), np.float64)
    times = np.array(list(seconds.values()), np.float64)
    slope, start = np.polyfit(sites, times, 1)
    rest = times - (start + slope * sites)
    return Line(float(start), float(slope), float(1 - np.sum(rest**2) / np.sum((times - times.mean()) ** 2)))


def draw(seconds: Mapping[int, float], line: Line, path: Path) -> list[Path]:
    """Write `path` with the suffixes .svg and .png; returns both."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    span = np.array([0, max(seconds) * 1.05])
    axes.plot(span, line.start_s + line.per_site_s * span, color=LINE, linewidth=1.5, zorder=1)
    axes.scatter(list(seconds), list(seconds.values()), color=POINTS, s=45, zorder=2)
    for sites, value in seconds.items():
        axes.annotate(
            f"{value:.2f} s",
            (sites, value),
            (7, -7),
            textcoords="offset points",
            va="top",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axes.set(
        xlabel="hospitals",
        ylabel="seconds a round, without training",
        title=f"{1e3 * line.per_site_s:.1f} ms a hospital, R² = {line.r_squared:.3f}",
        xlim=(0, span[1] * 1.08),
        ylim=(0, max(seconds.values()) * 1.2),
    )
    axes.spines[["top", "right"]].set_visible(False)
    files = [path.with_suffix(suffix) for suffix in (".svg", ".png")]
    for file in files:
        figure.savefig(file, dpi=150)
    plt.close(figure)
    return files
