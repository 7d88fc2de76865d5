"""A result as JSON: the fields of its dataclass, with null for a number that is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def json_fields(result: Any) -> dict[str, Any]:
    """The fields of a result dataclass as JSON values; a nested dataclass becomes a nested table.

    >>> from fl_liver.stats.proportion import Proportion
    >>> json_fields(Proportion(x=0, n=0, estimate=float("nan"), ci95=(0.0, 1.0)))
    {'x': 0, 'n': 0, 'estimate': None, 'ci95': [0.0, 1.0]}
    """
    return {field.name: json_value(getattr(result, field.name)) for field in fields(result)}


def json_value(value: Any) -> Any:
    """One value as JSON: numpy arrays and tuples as lists, numbers that are not finite as null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return json_fields(value)
    if isinstance(value, np.ndarray):
        return json_value(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [json_value(item) for item in value]
    return value
