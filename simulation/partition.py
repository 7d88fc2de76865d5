"""Part one cohort into virtual hospitals: alike, unlike in diagnosis, unlike in size, or by a column.

Nothing here reads patients: it sees one label per patient and, for `by:`, one text per patient. Who trains and who
only tests is the order of the result: the last `external` hospitals are the external ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fl_liver.errors import ConfigError

Indices = NDArray[np.int64]
FORMS = "iid, dirichlet:ALPHA, sizes:POWER or by:COLUMN"
REDRAWS = 10_000
_SEED_TAG = 0x9A27
"""Keeps these draws apart from others that use the same study seed."""


@dataclass(frozen=True, slots=True)
class Partition:
    """How patients are dealt out. `amount` is ALPHA or POWER, `column` is COLUMN; the rest is unused."""

    kind: Literal["iid", "dirichlet", "sizes", "by"]
    amount: float = 0.0
    column: str = ""

    def __str__(self) -> str:
        if self.kind == "iid":
            return "iid"
        return f"{self.kind}:{self.column or format(self.amount, 'g')}"


def parse_partition(spec: str) -> Partition:
    """Read a `--partition` text.

    Args:
        spec: `iid`; `dirichlet:ALPHA`, ALPHA > 0, small is unlike; `sizes:POWER`, POWER ≥ 0, 0 is equal sizes;
            `by:COLUMN`, a column that the data set offers for this.
    Raises:
        ConfigError: another form, or a number out of range.

    >>> parse_partition("dirichlet:0.5")
    Partition(kind='dirichlet', amount=0.5, column='')
    """
    kind, colon, rest = spec.strip().partition(":")
    if kind == "iid" and not colon:
        return Partition("iid")
    if kind == "dirichlet" and rest:
        return Partition("dirichlet", _number(spec, rest, "ALPHA above 0, such as 0.5", positive=True))
    if kind == "sizes" and rest:
        return Partition("sizes", _number(spec, rest, "POWER of 0 or more, such as 1", positive=False))
    if kind == "by" and rest:
        return Partition("by", column=rest)
    raise ConfigError(f"partition '{spec}': unknown form; give {FORMS}")


def _number(spec: str, text: str, wanted: str, *, positive: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise ConfigError(f"partition '{spec}': found '{text}', wanted {wanted}")
    return value


def partition(
    spec: Partition,
    labels: ArrayLike,
    columns: Mapping[str, Sequence[str] | NDArray[np.str_]],
    *,
    hospitals: int,
    external: int,
    seed: int,
    min_patients: int = 10,
) -> tuple[tuple[str, Indices], ...]:
    """Give every patient to exactly one hospital.

    iid        every class in equal shares; in each class, and in all, hospitals differ by one patient at most
    dirichlet  every class in shares ~ Dir(ALPHA) over the hospitals (Hsu, Qi, Brown, arXiv 1909.06335; Yurochkin et
               al., ICML 2019)
    sizes      every class in shares ∝ k^-POWER for hospital k = 1, 2, …: the external hospitals are the smallest
    by         one hospital per value of the column, the largest first, equal sizes by name; with more values than
               hospitals, the two smallest groups become one until the number fits

    The three drawn forms are drawn again, up to `REDRAWS` times, until every hospital has `min_patients`, every
    training hospital has two classes, and the external hospitals together have all; `by` must satisfy the same.

    Args:
        labels: (n,) one class per patient, any sortable values.
        columns: name → (n,) texts; used by `by` only. An empty text counts as "unknown".
        hospitals: number of hospitals, external ones included, at least 2.
        external: number of external hospitals, from 0 to hospitals - 1.
    Returns:
        (name, indices) per hospital, external ones last. Indices ascend. Names are H01, H02, …; for `by` the value
        follows, as in H01-F, at most 20 characters.
    Raises:
        ConfigError: the numbers do not fit together, the column is unknown or has too few values, or no draw fits.
    """
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    wanted = _Wanted(hospitals, external, min_patients)
    wanted.check(len(codes), len(classes))
    if spec.kind == "by":
        groups = _by_column(spec, columns, len(codes), hospitals)
        table = np.stack([np.bincount(codes[rows], minlength=len(classes)) for _, rows in groups], axis=1)
        problem = wanted.problem(table)
        if problem:
            raise ConfigError(f"partition '{spec}': {problem}; give fewer hospitals, or another column")
        return tuple(groups)
    members = [np.flatnonzero(codes == code) for code in range(len(classes))]
    dealt = _draw(spec, members, wanted, np.random.default_rng([seed, _SEED_TAG]))
    return tuple((_name(k, hospitals), rows) for k, rows in enumerate(dealt))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What every partition must satisfy."""

    hospitals: int
    external: int
    min_patients: int

    def check(self, patients: int, classes: int) -> None:
        """Refuse numbers that no draw can satisfy."""
        if self.hospitals < 2 or not 0 <= self.external < self.hospitals:
            raise ConfigError(
                f"found {self.hospitals} hospitals of which {self.external} external; wanted at least 2, and at least"
                " one that trains"
            )
        if self.hospitals * max(self.min_patients, 1) > patients:
            raise ConfigError(
                f"{patients} patients cannot fill {self.hospitals} hospitals with at least {max(self.min_patients, 1)}"
                f" each; give at most {patients // max(self.min_patients, 1)} hospitals"
            )
        if classes < 2:
            raise ConfigError(f"the labels hold {classes} class, wanted at least 2; choose another outcome")

    def problem(self, counts: Indices) -> str:
        """What is wrong with a (classes, hospitals) table of patients; empty where nothing is."""
        total = counts.sum(axis=0)
        training = self.hospitals - self.external
        present = (counts > 0).sum(axis=0)
        if total.min() < self.min_patients:
            return f"hospital {total.argmin() + 1} has {total.min()} patients, wanted {self.min_patients}"
        if present[:training].min() < 2:
            return f"training hospital {present[:training].argmin() + 1} has fewer than 2 classes"
        tested = int((counts[:, training:].sum(axis=1) > 0).sum())
        if self.external and tested < len(counts):
            return f"the external hospitals together have {tested} of {len(counts)} classes"
        return ""


def _draw(spec: Partition, members: list[Indices], wanted: _Wanted, rng: np.random.Generator) -> list[Indices]:
    sizes = np.array([len(rows) for rows in members])
    problem = ""
    for _ in range(REDRAWS):
        if spec.kind == "iid":
            counts = _even(sizes, wanted.hospitals, rng)
        else:
            counts = _rounded(sizes, _shares(spec, len(members), wanted.hospitals, rng), rng)
        problem = wanted.problem(counts)
        if not problem:
            return _deal(members, counts, rng)
    remedy = {"dirichlet": " or a larger ALPHA", "sizes": " or a smaller POWER"}.get(spec.kind, "")
    raise ConfigError(
        f"partition '{spec}': none of {REDRAWS} draws fits, in the last one {problem}; give fewer hospitals{remedy}"
    )


def _shares(spec: Partition, classes: int, hospitals: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(classes, hospitals), rows sum to 1."""
    if spec.kind == "dirichlet":
        return rng.dirichlet(np.full(hospitals, spec.amount), size=classes)
    weight = np.arange(1, hospitals + 1, dtype=np.float64) ** -spec.amount
    return np.tile(weight / weight.sum(), (classes, 1))


def _even(sizes: Indices, hospitals: int, rng: np.random.Generator) -> Indices:
    """(classes, hospitals) patients dealt like cards, class after class, so that sizes too differ by one at most."""
    seat = rng.permutation(hospitals)[np.arange(sizes.sum()) % hospitals]
    parts = np.split(seat, np.cumsum(sizes)[:-1])
    return np.stack([np.bincount(part, minlength=hospitals) for part in parts])


def _rounded(sizes: Indices, shares: NDArray[np.float64], rng: np.random.Generator) -> Indices:
    """(classes, hospitals) whole patients, by cumulative rounding in a random order of hospitals."""
    # In a fixed order the same hospital would get the odd patient of every class.
    order = rng.permuted(np.tile(np.arange(shares.shape[1]), (len(sizes), 1)), axis=1)
    ends = np.rint(np.cumsum(np.take_along_axis(shares, order, axis=1), axis=1) * sizes[:, None]).astype(np.int64)
    ends[:, -1] = sizes
    counts = np.empty_like(ends)
    np.put_along_axis(counts, order, np.diff(ends, axis=1, prepend=0), axis=1)
    return counts


def _deal(members: list[Indices], counts: Indices, rng: np.random.Generator) -> list[Indices]:
    hands = [np.split(rng.permutation(rows), np.cumsum(row)[:-1]) for rows, row in zip(members, counts, strict=True)]
    return [np.sort(np.concatenate(parts)) for parts in zip(*hands, strict=True)]


def _by_column(
    spec: Partition, columns: Mapping[str, Sequence[str] | NDArray[np.str_]], patients: int, hospitals: int
) -> list[tuple[str, Indices]]:
    if spec.column not in columns:
        raise ConfigError(f"partition '{spec}': no such column; this data set offers {', '.join(sorted(columns))}")
    texts = np.array([str(value).strip() or "unknown" for value in columns[spec.column]])
    if len(texts) != patients:
        raise ConfigError(f"partition '{spec}': {len(texts)} values for {patients} patients; the column is not whole")
    values, owner = np.unique(texts, return_inverse=True)
    if len(values) < hospitals:
        raise ConfigError(
            f"partition '{spec}': {len(values)} values ({', '.join(values)}) for {hospitals} hospitals;"
            f" give at most {len(values)} hospitals"
        )
    groups = [(str(value), np.flatnonzero(owner == k)) for k, value in enumerate(values)]
    groups.sort(key=_largest_first)
    while len(groups) > hospitals:
        (name_b, rows_b), (name_a, rows_a) = groups.pop(), groups.pop()
        groups.append((f"{name_a}-{name_b}", np.sort(np.concatenate([rows_a, rows_b]))))
        groups.sort(key=_largest_first)
    return [(_name(k, hospitals, value), rows) for k, (value, rows) in enumerate(groups)]


def _largest_first(group: tuple[str, Indices]) -> tuple[int, str]:
    return -len(group[1]), group[0]


def _name(index: int, hospitals: int, value: str = "") -> str:
    number = f"H{index + 1:0{max(2, len(str(hospitals)))}d}"
    plain = re.sub(r"[^A-Za-z0-9]+", "-", value).strip("-")
    return f"{number}-{plain}"[:20].rstrip("-") if plain else number
