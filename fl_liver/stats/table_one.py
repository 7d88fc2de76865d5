"""Table 1 of a paper: the patients of each group described by numbers (mean, SD, quartiles) and by categories (counts).

Rows without a group are left out; a column's own missing values are counted and left out of that column only. Quartiles
are R's type 7, by secure order search. The test of a category is Pearson's chi-squared without continuity correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from fl_liver.stats.compose import together
from fl_liver.stats.conversation import Conversation, IntVector
from fl_liver.stats.cross_table import cross_table, shaped
from fl_liver.stats.floors import require_floor, require_somebody
from fl_liver.stats.group_moments import group_moments
from fl_liver.stats.levels import learn_levels
from fl_liver.stats.order_search import Grouping
from fl_liver.stats.quantile import Quantile, group_quantiles
from fl_liver.stats.result import json_fields

QUARTILES = (0.5, 0.25, 0.75)


@dataclass(frozen=True, slots=True)
class NumericColumn:
    """One value a group. A quantile is an interval (low, high) where the floor forbids the value itself."""

    n: tuple[int, ...]
    missing: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    median: tuple[Quantile, ...]
    q1: tuple[Quantile, ...]
    q3: tuple[Quantile, ...]


@dataclass(frozen=True, slots=True)
class CategoricalColumn:
    """counts[level][group]; chi2 is NaN where fewer than two levels or two groups have anybody."""

    levels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    missing: tuple[int, ...]
    chi2: float
    chi2_df: int
    chi2_p: float


@dataclass(frozen=True, slots=True)
class TableOne:
    """Groups with their sizes, and each column's description."""

    groups: tuple[str, ...]
    n: tuple[int, ...]
    columns: Mapping[str, NumericColumn | CategoricalColumn]

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        described = {name: json_fields(column) for name, column in self.columns.items()}
        return {"groups": list(self.groups), "n": list(self.n), **described}


def table_one(
    group: str,
    numeric: Sequence[str],
    categorical: Sequence[str],
    levels: Sequence[str] = (),
    *,
    resolution: Mapping[str, float] | None = None,
    min_cell: int = 5,
) -> Conversation[TableOne]:
    """Describe the levels of `group` (all that occur, or `levels`).

    Args:
        resolution: {column: unit} to which quartiles are released, for example {"age": 1}.
    Raises:
        PrivacyError: a group, the patients of a group with a value, or a cell of level × group is below the floor.
        DataError: nobody has a group, or a numeric column holds something else.
    """
    groups = list(levels) or (yield from learn_levels([group], min_cell=min_cell))
    require_somebody(len(groups), f"table by '{group}'")
    (total,) = yield [cross_table({group: groups})]
    sizes = total.tolist()
    require_somebody(sum(sizes), f"table by '{group}'")
    require_floor({f"{group} = {one}": size for one, size in zip(groups, sizes, strict=True)}, min_cell)
    units = resolution or {}
    described: list[Conversation[NumericColumn | CategoricalColumn]] = [
        *(_numeric(name, group, groups, sizes, units.get(name, 0.0), min_cell) for name in numeric),
        *(_categorical(name, group, groups, sizes, min_cell) for name in categorical),
    ]
    columns = yield from together(described)
    return TableOne(tuple(groups), tuple(sizes), dict(zip([*numeric, *categorical], columns, strict=True)))


def pearson_chi2(counts: IntVector) -> tuple[float, int, float]:
    """(chi², df, p) of a (levels, groups) table; empty levels and groups are left out first."""
    held = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    df = (held.shape[0] - 1) * (held.shape[1] - 1)
    if df <= 0:
        return math.nan, 0, math.nan
    expected = np.outer(held.sum(1), held.sum(0)) / held.sum()
    chi2 = math.fsum(((held - expected) ** 2 / expected).ravel())
    return chi2, df, float(stats.chi2.sf(chi2, df))


def _numeric(
    name: str, group: str, groups: Sequence[str], sizes: Sequence[int], resolution: float, min_cell: int
) -> Conversation[NumericColumn | CategoricalColumn]:
    (total,) = yield [cross_table({group: groups}, [name])]
    known = total.tolist()
    require_floor({f"{group} = {g} with {name}": n for g, n in zip(groups, known, strict=True)}, min_cell)
    of = Grouping(columns=(name,), group=group, levels=tuple(groups), resolution=resolution)
    asked: list[Conversation[Any]] = [
        group_moments(name, group, groups),
        group_quantiles(of, known, QUARTILES, min_cell=min_cell),
    ]
    moments, quantiles = yield from together(asked)
    return NumericColumn(
        n=tuple(known),
        missing=tuple(size - n for size, n in zip(sizes, known, strict=True)),
        mean=tuple(one.mean for one in moments),
        sd=tuple(one.sd for one in moments),
        median=tuple(one[0] for one in quantiles),
        q1=tuple(one[1] for one in quantiles),
        q3=tuple(one[2] for one in quantiles),
    )


def _categorical(
    name: str, group: str, groups: Sequence[str], sizes: Sequence[int], min_cell: int
) -> Conversation[NumericColumn | CategoricalColumn]:
    levels = yield from learn_levels([name], [group], min_cell=min_cell)
    if not levels:
        nobody = CategoricalColumn((), (), tuple(sizes), math.nan, 0, math.nan)
        return nobody
    both = {name: levels, group: groups}
    (total,) = yield [cross_table(both)]
    counts = shaped(total, both)
    cells = {
        f"{name} = {a}, {group} = {b}": int(counts[i, j]) for i, a in enumerate(levels) for j, b in enumerate(groups)
    }
    require_floor(cells, min_cell)
    chi2, df, p = pearson_chi2(counts)
    return CategoricalColumn(
        levels=tuple(levels),
        counts=tuple(tuple(row) for row in counts.tolist()),
        missing=tuple(size - int(n) for size, n in zip(sizes, counts.sum(0), strict=True)),
        chi2=chi2,
        chi2_df=df,
        chi2_p=p,
    )
