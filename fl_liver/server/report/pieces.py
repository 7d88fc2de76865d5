"""Read a run's summary piece by piece, where any piece may be absent, null or not released.

A piece that is there has the right type or is refused here; behind this door figures and tables see numbers, estimates
and `Missing`, never raw JSON. NaN and infinities count as null, as JSON has neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError

Summary: TypeAlias = Mapping[str, Any]
Series: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Missing:
    """A piece that the summary does not hold, and why, in words for the reader."""

    reason: str
    released: bool = True
    """False where the number exists but a hospital's floor or consent kept it back."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; the interval may be unknown."""

    value: float
    low: float | None = None
    high: float | None = None


def find(tree: object, *path: str) -> Any:
    """The value at `path`, or `Missing`: absent and null alike are "not computed".

    Raises:
        DataError: a step of the path leads through something that is not a table.
    """
    node = tree
    for depth, key in enumerate(path):
        if isinstance(node, Missing):
            return node
        if not isinstance(node, Mapping):
            raise _wrong(path[:depth], node, "a table of names and values")
        node = _unwrap(node.get(key))
    return _unwrap(node)


def number(tree: object, *path: str) -> float | Missing:
    """A finite number; NaN and infinities are missing. Raises DataError on any other type."""
    found = find(tree, *path)
    if isinstance(found, Missing):
        return found
    if isinstance(found, bool) or not isinstance(found, (int, float, np.integer, np.floating)):
        raise _wrong(path, found, "a number")
    return float(found) if math.isfinite(found) else Missing("not a finite number")


def series(tree: object, *path: str) -> Series | Missing:
    """A list of numbers as (n,) float64; null entries become NaN, so that a line breaks there."""
    found = find(tree, *path)
    if isinstance(found, Missing):
        return found
    if not isinstance(found, (Sequence, np.ndarray)) or isinstance(found, str):
        raise _wrong(path, found, "a list of numbers")
    return np.array([math.nan if isinstance(x := number(entry), Missing) else x for entry in found], np.float64)


def table(tree: object, *path: str) -> Summary | Missing:
    """A table of names and values."""
    found = find(tree, *path)
    if isinstance(found, (Missing, Mapping)):
        return found
    raise _wrong(path, found, "a table of names and values")


def records(tree: object, *path: str) -> list[Summary] | Missing:
    """A list of tables."""
    found = find(tree, *path)
    if isinstance(found, Missing):
        return found
    if not isinstance(found, Sequence) or not all(isinstance(entry, Mapping) for entry in found):
        raise _wrong(path, found, "a list of tables")
    return list(found)


def texts(tree: object, *path: str) -> list[str]:
    """A list of texts; empty where it is missing."""
    found = find(tree, *path)
    if isinstance(found, Missing):
        return []
    if not isinstance(found, Sequence) or isinstance(found, str) or not all(isinstance(one, str) for one in found):
        raise _wrong(path, found, "a list of texts")
    return list(found)


def text(tree: object, *path: str) -> str:
    """A value as text; "" where it is missing."""
    found = find(tree, *path)
    return "" if isinstance(found, Missing) else str(found)


def estimate(tree: object, value_key: str, interval_key: str = "ci95") -> Estimate | Missing:
    """`value_key` with the interval [low, high] beside it: {"auc": .9, "ci95": [.8, .95]}."""
    value = number(tree, value_key)
    if isinstance(value, Missing):
        return value
    interval = series(tree, interval_key)
    return Estimate(value, *_ends(interval, interval_key))


def mean_of(tree: object) -> str:
    """Of how many hospitals' own models a figure is the mean, "3 of 8 hospitals"; "" of any other figure."""
    told, of = number(tree, "models"), number(tree, "of_models")
    return "" if isinstance(told, Missing) or isinstance(of, Missing) else f"{told:.0f} of {of:.0f} hospitals"


def triple(tree: object, *path: str) -> Estimate | Missing:
    """[estimate, low, high], as proportions stand in a result; a bare number is an estimate without interval."""
    found = find(tree, *path)
    if isinstance(found, Missing):
        return found
    if isinstance(found, (int, float)):
        bare = number(found)
        return bare if isinstance(bare, Missing) else Estimate(bare)
    values = series(found)
    if isinstance(values, Missing) or values.size != 3:
        raise _wrong(path, found, "[estimate, low, high]")
    return (
        Missing("not a finite number")
        if math.isnan(values[0])
        else Estimate(float(values[0]), *_ends(values[1:], "interval"))
    )


def _ends(interval: Series | Missing, name: str) -> tuple[float | None, float | None]:
    if isinstance(interval, Missing):
        return None, None
    if interval.size != 2:
        raise _wrong((name,), interval.tolist(), "[low, high]")
    low, high = (None if math.isnan(end) else float(end) for end in interval)
    return low, high


def _unwrap(node: object) -> Any:
    if node is None:
        return Missing("not computed in this run")
    if isinstance(node, Mapping) and "not_released" in node:
        return Missing(f"not released: {node['not_released']}", released=False)
    return node


def _wrong(path: tuple[str, ...], found: object, wanted: str) -> DataError:
    shown = repr(found)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return DataError(f"summary, {'.'.join(path) or 'top'}: found {shown}, wanted {wanted}; the report was not written")
