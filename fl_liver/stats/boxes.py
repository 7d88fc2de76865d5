"""Box plots of a number in groups, without a patient's value: quartiles and whiskers by secure order search.

The box is the quartiles and the median, as `quantile` releases them. A whisker is the 10th or the 90th percentile, of
groups in which `min_cell` patients lie at or beyond it on either side; of the others it is not asked. Smallest and
largest values are never released, so there are no single points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fl_liver.stats.compose import together
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.groups import groups_of
from fl_liver.stats.order_search import Grouping
from fl_liver.stats.quantile import Quantile, group_quantiles
from fl_liver.stats.result import json_fields

WHISKERS = (0.1, 0.9)
_BOX = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Boxes:
    """One value a group; a quantile is (low, high) where the floor forbids the value, a whisker may be None."""

    groups: tuple[str, ...]
    n: tuple[int, ...]
    low: tuple[Quantile | None, ...]
    q1: tuple[Quantile, ...]
    median: tuple[Quantile, ...]
    q3: tuple[Quantile, ...]
    high: tuple[Quantile | None, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values; a number that is not finite is null."""
        return json_fields(self)


def boxes(
    x: str,
    group: str,
    levels: Sequence[str] = (),
    *,
    resolution: float = 0.0,
    min_cell: int = 5,
    whiskers: bool = True,
) -> Conversation[Boxes]:
    """Quartiles and whiskers of `x` at each level of `group`; without `levels`, those that occur.

    Args:
        resolution: the unit to which quantiles are released; 0 releases the value (min_cell 1) or an interval.
        whiskers: False where a patient may have several rows: all beyond a whisker could be one patient's.
    Raises:
        PrivacyError: a group is below the floor.
        DataError: a group is empty, or `x` is not a column of finite numbers.
    """
    levels, sizes = yield from groups_of(x, group, levels, min_cell=min_cell)
    of = Grouping(columns=(x,), group=group, levels=tuple(levels), resolution=resolution)
    beyond = [math.floor((size - 1) * WHISKERS[0]) + 1 for size in sizes]
    whiskered = [size if whiskers and rows >= min_cell else 0 for size, rows in zip(sizes, beyond, strict=True)]
    box, ends = yield from together(
        [
            group_quantiles(of, sizes, _BOX, min_cell=min_cell),
            group_quantiles(of, whiskered, WHISKERS, min_cell=min_cell),
        ]
    )
    q1, median, q3 = zip(*box, strict=True)
    known = [pair if asked else (None, None) for pair, asked in zip(ends, whiskered, strict=True)]
    return Boxes(
        tuple(levels), tuple(sizes), tuple(one[0] for one in known), q1, median, q3, tuple(one[1] for one in known)
    )
