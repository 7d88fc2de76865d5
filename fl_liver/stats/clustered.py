"""Covariance of AUCs where rows are lesions and a patient may have several: Obuchowski, Biometrics 53 (1997) 567–578.

Patient i has m_i positive and n_i negative lesions, and sums of structural components X_i and Y_i. With θ the AUC, I₁₀
(I₀₁) the patients that have a positive (negative) lesion and I all patients,

    cov_rs = I₁₀/(I₁₀−1) Σ (X_ir/2n − m_i θ_r)(X_is/2n − m_i θ_s) / m²  +  the same for Y with I₀₁, 2m and n
           + I/(I−1) Σ [(X_ir/2n − m_i θ_r)(Y_is/2m − n_i θ_s) + (r ↔ s)] / mn.

Each site adds up the products of (X_i1 … X_iM, m_i, Y_i1 … Y_iM, n_i) over its patients: 13 integers for one score, the
products in two limbs. A patient's lesions are at one hospital. Whose a lesion is, a column says, or the table itself
(`Table.patients`): no question can then choose rows by patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.cross import Matrix, cross_arguments, cross_arrays, row_components
from fl_liver.stats.delong import exact_auc
from fl_liver.stats.limbs import join_limbs, split_limbs
from fl_liver.stats.patients import patients_of
from fl_liver.stats.refine import BINARY_LEVELS, Leaves
from fl_liver.stats.rows import rows_for


def clustered_covariance(
    scores: Sequence[str],
    label: str,
    cluster: str,
    leaves: Sequence[Leaves],
    *,
    levels: Sequence[str] = BINARY_LEVELS,
    complete: Sequence[str] = (),
) -> Conversation[Matrix | None]:
    """Exact covariance matrix of the AUCs of scores of the same lesions; None with fewer than two patients of a class.

    Args as in `cross.covariance_of`; cluster: the column that names the patient (text or number); "" where the
    hospitals' tables say themselves whose their rows are.
    """
    width = 2 * len(scores) + 2
    arguments = cross_arguments(scores, label, leaves, levels, complete) | {"cluster": cluster}
    length = width * (width + 1) + 3
    (total,) = yield [Question("cluster_cross", arguments, length, cross_arrays(leaves))]
    sums = join_limbs(total[:-3])
    products = [[0] * width for _ in range(width)]
    for place, (i, j) in enumerate(zip(*np.triu_indices(width), strict=True)):
        products[i][j] = products[j][i] = sums[place]
    patients, with_positive, with_negative = (int(v) for v in total[-3:])
    if with_positive < 2 or with_negative < 2:
        return None
    return _obuchowski(products, (patients, with_positive, with_negative), leaves)


@answers("cluster_cross")
def _cluster_cross(question: Question, table: Table) -> IntVector:
    named = question.arguments
    cluster: str = named["cluster"]
    chosen = rows_for(question, table, [*named["scores"], named["label"], *([cluster] if cluster else [])])
    if len(chosen) == 0:
        return np.zeros(question.length, np.int64)
    parts, kind = row_components(question, chosen)
    patient = patients_of(chosen, cluster)
    rows = [*(part * kind for part in parts), kind, *(part * (1 - kind) for part in parts), 1 - kind]
    per_patient = np.zeros((len(rows), int(patient.max()) + 1), np.int64)
    for place, values in enumerate(rows):
        np.add.at(per_patient[place], patient, values)
    exact = per_patient.astype(object)
    sums = [int((exact[i] * exact[j]).sum()) for i, j in zip(*np.triu_indices(len(exact)), strict=True)]
    positive, negative = per_patient[len(parts)] > 0, per_patient[-1] > 0
    tail = np.array([per_patient.shape[1], positive.sum(), negative.sum()], np.int64)
    return np.concatenate([split_limbs(sums), tail])


def _obuchowski(products: list[list[int]], patients: tuple[int, int, int], leaves: Sequence[Leaves]) -> Matrix:
    scores = len(leaves)
    n, m = (int(v) for v in leaves[0].counts.sum(axis=1))
    auc = [exact_auc(found.counts[0], found.counts[1]) for found in leaves]
    x, y = [(r, 2 * n, scores) for r in range(scores)], [(scores + 1 + r, 2 * m, 2 * scores + 1) for r in range(scores)]

    def centred(left: tuple[int, int, int], a: Fraction, right: tuple[int, int, int], b: Fraction) -> Fraction:
        # Σ (v_i/scale − a·count_i)(w_i/scale' − b·count'_i) from the sums of products
        (i, scale_i, count_i), (j, scale_j, count_j) = left, right
        return (
            Fraction(products[i][j], scale_i * scale_j)
            - b * Fraction(products[i][count_j], scale_i)
            - a * Fraction(products[count_i][j], scale_j)
            + a * b * products[count_i][count_j]
        )

    f11, f10, f01 = (Fraction(count, count - 1) for count in patients)

    def entry(r: int, s: int) -> Fraction:
        s10 = f10 * centred(x[r], auc[r], x[s], auc[s]) / (m * m)
        s01 = f01 * centred(y[r], auc[r], y[s], auc[s]) / (n * n)
        s11 = f11 * (centred(x[r], auc[r], y[s], auc[s]) + centred(x[s], auc[s], y[r], auc[r])) / (m * n)
        return s10 + s01 + s11

    return [[entry(r, s) for s in range(scores)] for r in range(scores)]
