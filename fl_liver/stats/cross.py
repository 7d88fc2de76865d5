"""The second round of a paired comparison: sums of products of DeLong's components of scores of the same patients.

The cumulative counts of every score are broadcast; each site looks up X and Y of its rows and adds up ΣX_r, ΣY_r and
the upper triangles of ΣX_r X_s and ΣY_r Y_s: 2M + M(M+1) integers for M scores, whatever the number of patients. Where
a product sum could pass 2⁶³, every integer travels in two limbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.delong import components, covariance, exact_dot
from fl_liver.stats.limbs import join_limbs, split_limbs
from fl_liver.stats.refine import BINARY_LEVELS, Leaves, leaf_of
from fl_liver.stats.rows import level_index, numbers, rows_for

Matrix = list[list[Fraction]]
ONE_LIMB = 2**63
"""Sums of products that stay below this travel as one int64 each."""
_LARGEST_CLASS = 1 << 30  # products of two components must fit an int64


def cross_arguments(
    scores: Sequence[str], label: str, leaves: Sequence[Leaves], levels: Sequence[str], complete: Sequence[str]
) -> dict[str, Any]:
    """Arguments that every question about products of components has."""
    return {
        "scores": list(scores),
        "label": label,
        "levels": list(levels),
        "keys": [found.key for found in leaves],
        "complete": list(complete),
    }


def cross_arrays(leaves: Sequence[Leaves]) -> dict[str, NDArray[Any]]:
    """What is broadcast: for score r its bins' lower keys `low<r>` and components `x<r>` and `y<r>`."""
    arrays: dict[str, NDArray[Any]] = {}
    for place, found in enumerate(leaves):
        part = components(found.counts[0], found.counts[1])
        arrays |= {f"low{place}": found.low, f"x{place}": part.x, f"y{place}": part.y}
    return arrays


def row_components(question: Question, chosen: Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """((M, rows) components, (rows,) class 0/1) of a site's rows: X for its positives, Y for its negatives."""
    named = question.arguments
    kind = level_index(chosen, named["label"], named["levels"])
    parts = np.zeros((len(named["scores"]), len(kind)), np.int64)
    for place, score in enumerate(named["scores"]):
        bins = leaf_of(question.arrays[f"low{place}"], named["keys"][place], numbers(chosen, score))
        parts[place] = np.where(kind == 1, question.arrays[f"x{place}"][bins], question.arrays[f"y{place}"][bins])
    return parts, kind


def covariance_of(
    scores: Sequence[str],
    label: str,
    leaves: Sequence[Leaves],
    *,
    levels: Sequence[str] = BINARY_LEVELS,
    complete: Sequence[str] = (),
) -> Conversation[Matrix | None]:
    """Exact covariance matrix (Fractions) of the AUCs of M scores of the same patients; None with a class below two.

    leaves: the refined histogram of each score, all over the same complete cases (`complete` names all the scores).

    Raises:
        DataError: a class has 2³⁰ patients or more.
    """
    n, m = (int(v) for v in leaves[0].counts.sum(axis=1))
    if max(m, n) >= _LARGEST_CLASS:
        raise DataError(f"a class has {max(m, n)} patients; paired comparisons stop at 2^30")
    if min(m, n) < 2:
        return None
    limbs = 1 if max(m * (2 * n) ** 2, n * (2 * m) ** 2) < ONE_LIMB else 2
    size = len(scores)
    triangle = size * (size + 1) // 2
    arguments = cross_arguments(scores, label, leaves, levels, complete) | {"limbs": limbs}
    (total,) = yield [Question("delong_cross", arguments, limbs * 2 * (size + triangle), cross_arrays(leaves))]
    sums = join_limbs(total) if limbs == 2 else [int(v) for v in total]
    sx, sy = sums[:size], sums[size : 2 * size]
    matrix = [[Fraction(0)] * size for _ in range(size)]
    for place, (r, s) in enumerate(zip(*np.triu_indices(size), strict=True)):
        sxx, syy = sums[2 * size + place], sums[2 * size + triangle + place]
        matrix[r][s] = matrix[s][r] = covariance(m, n, sx[r], sx[s], sxx, sy[r], sy[s], syy)
    return matrix


@answers("delong_cross")
def _delong_cross(question: Question, table: Table) -> IntVector:
    named = question.arguments
    chosen = rows_for(question, table, [*named["scores"], named["label"]])
    if len(chosen) == 0:
        return np.zeros(question.length, np.int64)
    parts, kind = row_components(question, chosen)
    x, y = parts[:, kind == 1], parts[:, kind == 0]
    upper = list(zip(*np.triu_indices(len(parts)), strict=True))
    if named["limbs"] == 1:
        triangles = [(part @ part.T)[np.triu_indices(len(parts))] for part in (x, y)]
        return np.concatenate([x.sum(axis=1), y.sum(axis=1), *triangles]).astype(np.int64)
    products = [exact_dot(part[r], part[s]) for part in (x, y) for r, s in upper]
    return split_limbs([*(int(v) for v in x.sum(axis=1)), *(int(v) for v in y.sum(axis=1)), *products])
