"""Several classes, one score each: every class against the rest, their averages, and the class with the highest score.

One-vs-rest AUCs with DeLong intervals; macro = their mean; micro = one AUC over all (patient, class) pairs; Hand and
Till, Mach Learn 45 (2001) 171-186: the mean of (A(i|j) + A(j|i)) / 2 over pairs of classes, free of class balance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from fl_liver.errors import DataError
from fl_liver.stats.compose import together
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.cross_table import cross_table
from fl_liver.stats.delong import auc_and_variance, interval
from fl_liver.stats.floors import require_floor
from fl_liver.stats.kappa import kappa_of_table
from fl_liver.stats.order_search import Grouping, Leaves, refine_groups
from fl_liver.stats.proportion import with_limits
from fl_liver.stats.result import json_fields
from fl_liver.stats.rows import level_index, numbers, rows_for


@dataclass(frozen=True, slots=True)
class Multiclass:
    """auc, var, ci95 by class against the rest, in the order of `classes`; confusion[truth][called class].

    var and ci95 of a class are None where it, or the rest, has fewer than two patients.
    """

    classes: tuple[str, ...]
    n: tuple[int, ...]
    auc: tuple[float, ...]
    var: tuple[float | None, ...]
    ci95: tuple[tuple[float, float] | None, ...]
    macro_auc: float
    micro_auc: float
    hand_till: float
    confusion: tuple[tuple[int, ...], ...]
    accuracy: tuple[float, float, float]
    kappa: float

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        return json_fields(self)


def multiclass(label: str, scores: Mapping[str, str], *, min_cell: int = 5) -> Conversation[Multiclass]:
    """Compare the score columns {class: column} with the true class in `label`.

    Patients need the label and every score. A higher score means more of its class; of equal highest scores the first
    class in the order of `scores` is called.

    Raises:
        PrivacyError: a class is below the floor.
        DataError: a class has nobody, a label is none of the classes (at the site), or a score is not finite.
    """
    classes, columns = list(scores), list(scores.values())
    (total,) = yield [cross_table({label: classes}, columns)]
    sizes = dict(zip(classes, total.tolist(), strict=True))
    require_floor({f"{label} = {one}": size for one, size in sizes.items()}, min_cell)
    empty = [one for one, size in sizes.items() if size == 0]
    if empty:
        raise DataError(f"'{label}': no site has a patient of class {empty[0]}; correct the classes of the plan")
    arguments = {"label": label, "classes": classes, "columns": columns, "complete": columns}
    (called,) = yield [Question("highest_score_table", arguments, len(classes) ** 2)]
    shared = {"group": label, "levels": tuple(classes), "complete": tuple(columns)}
    each = [Grouping(columns=(one,), **shared) for one in columns]  # type: ignore[arg-type]
    stacked = Grouping(columns=tuple(columns), one_hot=True, **shared)  # type: ignore[arg-type]
    most = sum(sizes.values()) * len(columns)  # the stacked columns count a patient once each
    *by_class, micro = yield from together([refine_groups(of, "mixed", bound=most) for of in [*each, stacked]])
    return _finish(sizes, by_class, micro, called.reshape(len(classes), -1))


def _finish(sizes: Mapping[str, int], by_class: Sequence[Leaves], micro: Leaves, confusion: IntVector) -> Multiclass:
    rest = [auc_and_variance(leaf.counts.sum(0) - leaf.counts[i], leaf.counts[i]) for i, leaf in enumerate(by_class)]
    variances = [None if var is None else float(var) for _, var in rest]
    aucs = [float(auc) for auc, _ in rest]
    right = int(np.trace(confusion))
    return Multiclass(
        classes=tuple(sizes),
        n=tuple(sizes.values()),
        auc=tuple(aucs),
        var=tuple(variances),
        ci95=tuple(interval(auc, var) for auc, var in zip(aucs, variances, strict=True)),
        macro_auc=math.fsum(aucs) / len(aucs),
        micro_auc=float(auc_and_variance(micro.counts[0], micro.counts[1])[0]),
        hand_till=_hand_till(by_class),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        accuracy=with_limits(right, int(confusion.sum())),
        kappa=kappa_of_table(confusion).kappa,
    )


def _hand_till(by_class: Sequence[Leaves]) -> float:
    pairs = list(permutations(range(len(by_class)), 2))
    return math.fsum(float(auc_and_variance(by_class[i].counts[j], by_class[i].counts[i])[0]) for i, j in pairs) / len(
        pairs
    )


@answers("highest_score_table")
def _count_highest(question: Question, table: Table) -> IntVector:
    label, classes, columns = (question.arguments[key] for key in ("label", "classes", "columns"))
    chosen = rows_for(question, table, [label, *columns])
    truth = level_index(chosen, label, classes)
    called = np.argmax(np.stack([numbers(chosen, one) for one in columns]), axis=0)
    return np.bincount(truth * len(classes) + called, minlength=question.length).astype(np.int64)
