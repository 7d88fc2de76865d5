"""Calls of several readers on the same patients, twice: without and with AI, or beside a model. Means and pooled tests.

A patient whom R readers called counts once, with the sum d of the R differences between two calls (1, 0 or −1 each),
because the R pairs of one patient are not independent. Over the n patients of a class, or of both,

    estimate = Σd / (R·n)     z = Σd / √Σd²     95 %: estimate ± 1.96 · √((Σd² − (Σd)²/n) / (n − 1) · n) / (R·n)

Where all patients of a class have one and the same d, their variance is 0 and the interval would have no width: it is
NaN then, and `flags` says so (compare `roc`). z and p stand: they are of the hypothesis that Σd is 0.

z is that of Obuchowski, Stat Med 17 (1998) 1495–1507, and of Durkalski et al., Stat Med 22 (2003) 2417–2428, with
clusters of one size; with one reader it is McNemar's test without continuity correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fl_liver.errors import ConfigError
from fl_liver.stats.diagnostic import Diagnostic

Calls = NDArray[np.bool_]
COMPARED = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1", "kappa")
"""Measures of a reader of which means are taken and tested over readers."""
SUMS_PER_GROUP = 4


@dataclass(frozen=True, slots=True)
class PooledDifference:
    """A share of right calls less another, over readers and patients; z and p null where no pair differs.

    flags   "degenerate_variance": no two patients differ, and `ci95` is null
    """

    estimate: float
    ci95: tuple[float, float]
    z: float
    p: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReaderGroup:
    """Some of the readers.

    mean         of each measure over these readers
    other        the same of the calls that they are compared with (a model's own values)
    difference   of sensitivity, specificity and accuracy, mean − other, patients being the units
    """

    readers: tuple[str, ...]
    mean: Mapping[str, float]
    other: Mapping[str, float]
    difference: Mapping[str, PooledDifference]


def grouped(readers: Sequence[str], groups: Sequence[str]) -> dict[str, list[int]]:
    """{group: places of its readers}, in order of first use; `groups` has a word a reader, or none at all.

    Raises:
        ConfigError: another number of words than of readers.
    """
    if groups and len(groups) != len(readers):
        raise ConfigError(
            f"{len(groups)} groups are named for {len(readers)} readers; give one a reader, in their order"
        )
    return {name: [i for i, one in enumerate(groups) if one == name] for name in dict.fromkeys(groups)}


def difference_sums(first: Calls, second: Calls, truth: Calls, places: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Σd and Σd² among negatives, then positives, of each group: four integers a group. Calls are (readers, n)."""
    each = first.astype(np.int64) - second.astype(np.int64)
    found: list[int] = []
    for group in places:
        of_patient = each[list(group)].sum(axis=0)
        for chosen in (of_patient[~truth], of_patient[truth]):
            found += [int(chosen.sum()), int((chosen**2).sum())]
    return np.array(found, np.int64)


def reader_group(
    names: Sequence[str],
    mine: Sequence[Diagnostic],
    others: Sequence[Diagnostic],
    sums: Sequence[int],
    sizes: tuple[int, int],
) -> ReaderGroup:
    """A group from its readers' tables, its four sums (`difference_sums`), and (negatives, positives)."""
    (d0, q0, d1, q1), (n, m) = sums, sizes
    count = len(names)
    return ReaderGroup(
        readers=tuple(names),
        mean=means(mine),
        other=means(others),
        difference={
            "sensitivity": pooled_difference(d1, q1, m, count),
            "specificity": pooled_difference(-d0, q0, n, count),
            "accuracy": pooled_difference(d1 - d0, q0 + q1, n + m, count),
        },
    )


def pooled_difference(total: int, squares: int, patients: int, readers: int) -> PooledDifference:
    """From Σd and Σd² over patients; NaN where there is nobody, the interval also where no two patients differ, z and p
    where no pair differs.

    >>> round(pooled_difference(5 - 1, 5 + 1, 30, 1).p, 6)       # R mcnemar.test(correct = FALSE), b = 5, c = 1
    0.10247
    """
    if patients == 0:
        return PooledDifference(math.nan, (math.nan, math.nan), math.nan, math.nan)
    estimate = total / (readers * patients)
    z = total / math.sqrt(squares) if squares else math.nan
    p = 2 * float(stats.norm.sf(abs(z)))
    spread = squares * patients - total * total  # integers: exactly 0 where no two patients differ
    if spread <= 0:
        return PooledDifference(estimate, (math.nan, math.nan), z, p, ("degenerate_variance",))
    half = float(stats.norm.ppf(0.975)) * math.sqrt(spread / (patients - 1)) / (readers * patients)
    return PooledDifference(estimate, (estimate - half, estimate + half), z, p)


def means(of: Sequence[Diagnostic]) -> dict[str, float]:
    """The mean of each measure over readers."""
    return {what: math.fsum(value(one, what) for one in of) / len(of) for what in COMPARED}


def value(of: Diagnostic, what: str) -> float:
    """The estimate of a measure."""
    found = getattr(of, what)
    return float(found[0] if isinstance(found, tuple) else found)


def t_test(differences: Sequence[float]) -> float:
    """Two-sided p of the one-sample t-test of readers' differences against 0; NaN where they do not vary."""
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    if not spread > 0:
        return math.nan
    t = float(np.mean(differences)) / (spread / math.sqrt(len(differences)))
    return 2 * float(stats.t.sf(abs(t), len(differences) - 1))
