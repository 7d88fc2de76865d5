"""Decision curve: the net benefit of acting on a predicted risk, against acting on everybody.

Vickers and Elkin, Med Decis Making 26 (2006) 565-574: net benefit = TP/n − FP/n · t/(1 − t), positive at p >= t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fl_liver.errors import ConfigError
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.diagnostic import class_counts, counts_at
from fl_liver.stats.result import json_fields


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit at each threshold, per patient; treating nobody has 0 everywhere."""

    thresholds: tuple[float, ...]
    net_benefit: tuple[float, ...]
    treat_all: tuple[float, ...]
    n: int

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        return json_fields(self)


def decision_curve(y: str, p: str, thresholds: Sequence[float], *, min_cell: int = 5) -> Conversation[DecisionCurve]:
    """The decision curve of the predicted risk `p` for the outcome `y` (0/1) at `thresholds` in [0, 1).

    Raises:
        ConfigError: a threshold outside [0, 1).
        PrivacyError: a class is below the floor. The counts at a threshold have no floor of their own.
    """
    outside = [t for t in thresholds if not 0 <= t < 1]
    if outside:
        raise ConfigError(f"decision curve: thresholds must lie in [0, 1), found {outside[0]}")
    n_neg, n_pos = yield from class_counts(p, y, min_cell=min_cell)
    fp, tp = yield from counts_at(p, y, thresholds)
    n = n_neg + n_pos
    return DecisionCurve(
        thresholds=tuple(thresholds),
        net_benefit=tuple(_net_benefit(a, b, n, t) for a, b, t in zip(tp, fp, thresholds, strict=True)),
        treat_all=tuple(_net_benefit(n_pos, n_neg, n, t) for t in thresholds),
        n=n,
    )


def _net_benefit(tp: int, fp: int, n: int, threshold: float) -> float:
    return tp / n - fp / n * threshold / (1 - threshold)
