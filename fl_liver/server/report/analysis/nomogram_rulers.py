"""Where the rulers of a nomogram stand, in inches, so that what is read with a ruler is the model's probability.

    x(points)      = LEFT + SPAN · points / 100               every term and the points line share this scale
    x(total)       = LEFT + SPAN · total / end of the total line
    x(probability) = x(total) at total = (logit p − log-odds at 0) · points per log-odds

A vertical line through a value meets the points line at its points; one through the total meets its probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fl_liver.server.report.analysis.content import risk
from fl_liver.server.report.number_text import MINUS, odds_to_probability
from fl_liver.server.report.pieces import Missing, Summary, number, series, table

LEFT_IN, SPAN_IN = 2.15, 6.6
_LABEL_IN, _PROBABILITY_IN, _MARK_IN = 0.55, 0.4, 0.07
"""Room for one label of a number, for one of a probability, and for one bare mark."""
_CHARACTER_IN, _BETWEEN_IN = 0.082, 0.08
_PROBABILITIES = (
    *(0.5, 0.1, 0.9, 0.01, 0.99, 0.2, 0.8, 0.3, 0.7, 0.05, 0.95, 0.001, 0.999, 0.4, 0.6, 0.02, 0.98, 0.005, 0.995),
    *(1e-4, 1 - 1e-4),
)
"""In the order in which they get a label, as far as there is room."""
_BARE_PROBABILITIES = (
    0.03,
    0.04,
    0.06,
    0.07,
    0.08,
    0.15,
    0.25,
    0.35,
    0.45,
    0.55,
    0.65,
    0.75,
    0.85,
    0.92,
    0.94,
    0.96,
    0.97,
)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of a ruler. `value` is what it stands for (a level's points, where the ruler is a factor's).

    row   of its label: 0 just below the line, 1 just above, 2 further below, 3 further above; "" has no label
    """

    x_in: float
    value: float
    label: str = ""
    row: int = 0


@dataclass(frozen=True, slots=True)
class Ruler:
    """A line with its marks, in order from left to right."""

    name: str
    ticks: tuple[Tick, ...]

    @property
    def ends_in(self) -> tuple[float, float]:
        """Left and right end."""
        return min(tick.x_in for tick in self.ticks), max(tick.x_in for tick in self.ticks)

    def rows(self, *, above: bool) -> int:
        """Rows of labels above or below the line."""
        return max((tick.row // 2 + 1 for tick in self.ticks if tick.label and tick.row % 2 == above), default=0)


@dataclass(frozen=True, slots=True)
class Rulers:
    """A whole nomogram from top to bottom."""

    points: Ruler
    terms: tuple[Ruler, ...]
    total: Ruler
    probability: Ruler

    def all(self) -> tuple[Ruler, ...]:
        """From top to bottom."""
        return (self.points, *self.terms, self.total, self.probability)


def lay_out(terms: Sequence[str], result: Summary) -> Rulers | Missing:
    """The rulers of a nomogram result, terms in the given order.

    Numeric terms have ticks at round values between their limits, factors at their levels. Missing, with a reason,
    where the result lacks a piece.
    """
    start, scale = number(result, "log_odds_at_zero"), number(result, "points_per_log_odds")
    if isinstance(start, Missing) or isinstance(scale, Missing):
        return start if isinstance(start, Missing) else Missing("the result has no scale of points")
    rulers = [_term(term, result) for term in terms]
    known = [ruler for ruler in rulers if isinstance(ruler, Ruler)]
    if len(known) < len(rulers):
        return next(ruler for ruler in rulers if isinstance(ruler, Missing))
    highest = sum(max(points_at(tick.x_in) for tick in ruler.ticks) for ruler in known)
    steps = np.asarray(MaxNLocator(10, steps=[1, 2, 5, 10]).tick_values(0, max(highest, 1.0)), np.float64)
    total_end = float(steps[steps >= highest - 1e-9][0])
    return Rulers(
        points=_scale("Points", 100.0, 10.0),
        terms=tuple(known),
        total=_scale("Total points", total_end, float(steps[1] - steps[0])),
        probability=_probabilities(total_end, start, scale),
    )


def points_at(x_in: float) -> float:
    """The points above a place of a ruler."""
    return 100.0 * (x_in - LEFT_IN) / SPAN_IN


def _term(term: str, result: Summary) -> Ruler | Missing:
    limits, points = series(result, "limits", term), series(result, "points", term)
    if isinstance(limits, Missing) or isinstance(points, Missing):
        levels = table(result, "level_points", term)
        if isinstance(levels, Missing):
            return Missing(f"the result has no points for '{term}'")
        known = {str(level): number(levels, level) for level in levels}
        marks = [Tick(_x(at), at, level) for level, at in known.items() if not isinstance(at, Missing)]
        return Ruler(term, staggered(marks)) if marks else Missing(f"'{term}' has no level")
    low, high = (float(value) for value in limits)
    ends = (_x(float(points[0])), _x(float(points[1])))
    labelled, bare = _round_values(low, high, abs(ends[1] - ends[0]))

    def tick(value: float, label: str) -> Tick:
        return Tick(float(np.interp(value, (low, high), ends)), value, label)

    marks = [*(tick(value, _label(value)) for value in labelled), *(tick(value, "") for value in bare)]
    return Ruler(term, staggered(marks))


def _round_values(low: float, high: float, length_in: float) -> tuple[list[float], list[float]]:
    """(values with a label, values with a bare mark) within the limits, as many as a ruler of this length can carry.

    A ruler that is too short for two labels has its limits alone.
    """
    steps = np.asarray(MaxNLocator(max(int(length_in / _LABEL_IN), 1), steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    labelled = _within(steps, low, high)
    if len(labelled) < 2:
        return [low, high], []
    step = float(steps[1] - steps[0])
    parts = next((parts for parts in (5, 2) if length_in * step / (high - low) / parts >= _MARK_IN), 1)
    fine = np.linspace(steps[0], steps[-1], (len(steps) - 1) * parts + 1)
    return labelled, [value for value in [low, *_within(fine, low, high), high] if value not in labelled]


def _within(values: NDArray[np.float64], low: float, high: float) -> list[float]:
    slack = 1e-9 * (high - low)
    return [float(f"{value:.10g}") for value in values.tolist() if low - slack <= value <= high + slack]


def _scale(name: str, end: float, step: float) -> Ruler:
    """From 0 to `end`: a label at every step, five marks between two labels."""
    count = round(end / step) * 5
    ticks = [Tick(LEFT_IN + SPAN_IN * i / count, end * i / count, "" if i % 5 else "?") for i in range(count + 1)]
    return Ruler(name, tuple(replace(t, label=_label(t.value) if t.label else "") for t in ticks))


def _probabilities(total_end: float, start: float, scale: float) -> Ruler:
    """Marks at round probabilities; where none lies on the line, at the middle and ends of the total."""
    low, high = odds_to_probability(start), odds_to_probability(start + total_end / scale)
    placed: list[Tick] = []
    for p in (p for p in (*_PROBABILITIES, *_BARE_PROBABILITIES) if low <= p <= high):
        x = LEFT_IN + SPAN_IN * (math.log(p / (1 - p)) - start) * scale / total_end
        free = p in _PROBABILITIES and all(abs(x - o.x_in) >= _PROBABILITY_IN for o in placed if o.label)
        placed.append(Tick(x, p, (risk(p) if 1e-3 <= p <= 1 - 1e-3 else f"{p:.4f}"[1:]) if free else ""))
    if sum(bool(tick.label) for tick in placed) < 2:
        at = {part: odds_to_probability(start + part * total_end / scale) for part in (0.0, 0.5, 1.0)}
        placed = [Tick(LEFT_IN + SPAN_IN * part, p, f"{p:.3g}") for part, p in at.items()]
    return Ruler("Probability", tuple(sorted(placed, key=lambda tick: tick.x_in)))


def staggered(marks: Iterable[Tick]) -> tuple[Tick, ...]:
    """Ticks from left to right, each label in the first row in which it does not touch the label before it."""
    taken: dict[int, float] = {}
    placed = []
    for tick in sorted(marks, key=lambda tick: tick.x_in):
        half = (_CHARACTER_IN * len(tick.label) + _BETWEEN_IN) / 2
        row = next(row for row in range(len(taken) + 1) if taken.get(row, -math.inf) <= tick.x_in - half)
        if tick.label:
            taken[row] = tick.x_in + half
        placed.append(replace(tick, row=row if tick.label else 0))
    return tuple(placed)


def _label(value: float) -> str:
    return f"{value:.10g}".replace("-", MINUS)


def _x(points: float) -> float:
    return LEFT_IN + SPAN_IN * points / 100.0
