"""Readers against a model on the same patients, and how sure they were.

Wang 2021 compares three radiologists with the model by a one-sample t-test of the readers' values against the model's
(2 degrees of freedom; it treats the patients as fixed). The paired exact McNemar test of each reader against the model
uses the patients, and is what we recommend: `readers_against_model` gives both.
Khalili 2020 puts call and confidence on one scale from 1 to 10 and calls 4 to 7 the low-confidence zone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.diagnostic import Diagnostic, diagnostic_from_counts
from fl_liver.stats.floors import require_floor, require_somebody
from fl_liver.stats.mcnemar import McNemar, exact_mcnemar
from fl_liver.stats.proportion import Proportion, as_proportion
from fl_liver.stats.reader_groups import (
    COMPARED,
    SUMS_PER_GROUP,
    ReaderGroup,
    difference_sums,
    grouped,
    means,
    reader_group,
    t_test,
    value,
)
from fl_liver.stats.result import json_fields, json_value
from fl_liver.stats.rows import binary, numbers, rows_for

Scale = Literal["ordinal", "probability"]
LOW_CONFIDENCE = (4, 7)
"""First and last point of the ten-point scale that count as low confidence (Khalili 2020)."""


def ordinal_from_call(malignant: ArrayLike, confidence: ArrayLike) -> NDArray[np.int64]:
    """(n,) ten-point scale from a reader's call (0/1) and confidence (1 low to 5 high).

    Raises:
        DataError: anything else, as 5.9 or a missing value: nothing is rounded.

    >>> ordinal_from_call([0, 0, 1, 1], [5, 1, 1, 5]).tolist()          # Khalili 2020, methods
    [1, 5, 6, 10]
    """
    call, sure = np.asarray(malignant, dtype=np.float64), np.asarray(confidence, dtype=np.float64)
    if not np.isin(call, (0, 1)).all() or not np.isin(sure, (1, 2, 3, 4, 5)).all():
        raise DataError("confidence scale: wanted calls 0 or 1 and confidences 1 to 5, whole numbers")
    return np.where(call == 1, 5 + sure, 6 - sure).astype(np.int64)


def ordinal_from_probability(p: ArrayLike) -> NDArray[np.int64]:
    """(n,) ten-point scale from probabilities: up to 0.10 is 1, above 0.10 up to 0.20 is 2, …

    >>> ordinal_from_probability([0.0, 0.1, 0.11, 1.0]).tolist()
    [1, 1, 2, 10]
    """
    values = np.asarray(p, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError("confidence scale: wanted probabilities in [0, 1]")
    edges = np.arange(1, 10) / 10
    return 1 + np.searchsorted(edges, values, side="left").astype(np.int64)


@dataclass(frozen=True, slots=True)
class LowConfidence:
    """The share of patients in the low-confidence zone, by rater; `mcnemar` compares the first two."""

    raters: Mapping[str, Proportion]
    mcnemar: McNemar | None

    def to_json(self) -> dict[str, Any]:
        """JSON values; a number that is not finite is null."""
        return {"raters": json_value(self.raters), "mcnemar": json_value(self.mcnemar)}


def low_confidence(scales: Mapping[str, Scale], *, min_cell: int = 5) -> Conversation[LowConfidence]:
    """How often one rater, or each of two on the same patients, is in the low-confidence zone.

    Args:
        scales: {column: "ordinal" (1 to 10) or "probability" (0 to 1)}, one or two of them.
    Raises:
        PrivacyError: those in, or out of, a rater's zone are below the floor.
    """
    names = list(scales)
    arguments = {"columns": names, "scales": list(scales.values())}
    (total,) = yield [Question("low_confidence_zone", arguments, 1 << len(names))]
    zone = total.reshape((2,) * len(names))
    n = int(zone.sum())
    require_somebody(n, f"low confidence of {', '.join(names)}")
    inside = [int(np.take(zone, 1, axis=axis).sum()) for axis in range(len(names))]
    for name, x in zip(names, inside, strict=True):
        require_floor({f"{name} in the zone": x, f"{name} outside the zone": n - x}, min_cell)
    paired = exact_mcnemar(int(zone[1, 0]), int(zone[0, 1])) if len(names) == 2 else None
    return LowConfidence({name: as_proportion(x, n) for name, x in zip(names, inside, strict=True)}, paired)


@dataclass(frozen=True, slots=True)
class ReaderComparison:
    """One reader (or the model) with its accuracy; the tests compare a reader with the model on the same patients.

    mcnemar_sensitivity   among positives, b = called by the reader alone
    mcnemar_specificity   among negatives, b = called negative by the reader alone
    mcnemar_accuracy      b = right in the reader alone
    """

    accuracy: Diagnostic
    mcnemar_sensitivity: McNemar
    mcnemar_specificity: McNemar
    mcnemar_accuracy: McNemar


@dataclass(frozen=True, slots=True)
class ReadersAgainstModel:
    """The model, each reader beside it, and the t-tests over readers as printed in Wang 2021 (NaN for one reader).

    groups   readers of one experience: `mean` is theirs, `other` the model's
    """

    model: Diagnostic
    readers: Mapping[str, ReaderComparison]
    reader_mean: Mapping[str, float]
    reader_t_p: Mapping[str, float]
    groups: Mapping[str, ReaderGroup]

    def to_json(self) -> dict[str, Any]:
        """JSON values; a number that is not finite is null."""
        return json_fields(self)


def readers_against_model(
    label: str,
    readers: Sequence[str],
    model: str,
    threshold: float,
    experience: Sequence[str] = (),
    *,
    min_cell: int = 5,
) -> Conversation[ReadersAgainstModel]:
    """Compare readers' calls (0/1 columns) with `model >= threshold` on the patients that all of them judged.

    Args:
        experience: one word a reader, such as "1-5 years"; readers of one word are a group.
    Raises:
        ConfigError: another number of words than of readers.
        PrivacyError: a class is below the floor.
    """
    groups = grouped(readers, experience)
    arguments = {"label": label, "readers": list(readers), "model": model, "threshold": float(threshold)}
    arguments["groups"] = list(groups.values())
    own = 8 * len(readers)
    (total,) = yield [Question("reader_model_calls", arguments, own + SUMS_PER_GROUP * len(groups))]
    cells = total[:own].reshape(len(readers), 2, 2, 2)  # reader, truth, reader's call, model's call
    n_neg, n_pos = cells[0].sum((1, 2)).tolist()
    require_somebody(n_neg + n_pos, f"readers against '{model}'")
    require_floor({f"{label} = 0": n_neg, f"{label} = 1": n_pos}, min_cell)
    alone = diagnostic_from_counts(**_counts(cells[0].sum(1)))
    each = {name: _compare(cells[i]) for i, name in enumerate(readers)}
    tables = [one.accuracy for one in each.values()]
    sums = total[own:].reshape(-1, SUMS_PER_GROUP).tolist()
    return ReadersAgainstModel(
        model=alone,
        readers=each,
        reader_mean=means(tables),
        reader_t_p={what: t_test([value(one, what) - value(alone, what) for one in tables]) for what in COMPARED},
        groups={
            name: reader_group([readers[i] for i in places], [tables[i] for i in places], [alone], part, (n_neg, n_pos))
            for (name, places), part in zip(groups.items(), sums, strict=True)
        },
    )


def _counts(calls: IntVector) -> dict[str, int]:
    """(2, 2) counts by truth and call, as the arguments of `diagnostic_from_counts`."""
    return {"tn": int(calls[0, 0]), "fp": int(calls[0, 1]), "fn": int(calls[1, 0]), "tp": int(calls[1, 1])}


def _compare(cells: IntVector) -> ReaderComparison:
    reader_only, model_only = cells[:, 1, 0].tolist(), cells[:, 0, 1].tolist()  # positive calls, by truth
    return ReaderComparison(
        accuracy=diagnostic_from_counts(**_counts(cells.sum(2))),
        mcnemar_sensitivity=exact_mcnemar(reader_only[1], model_only[1]),
        mcnemar_specificity=exact_mcnemar(model_only[0], reader_only[0]),
        mcnemar_accuracy=exact_mcnemar(reader_only[1] + model_only[0], model_only[1] + reader_only[0]),
    )


@answers("low_confidence_zone")
def _count_zone(question: Question, table: Table) -> IntVector:
    columns = question.arguments["columns"]
    chosen = rows_for(question, table, columns)
    cell = np.zeros(len(chosen), dtype=np.int64)
    for name, scale in zip(columns, question.arguments["scales"], strict=True):
        values = numbers(chosen, name)
        point = ordinal_from_probability(values) if scale == "probability" else values
        cell = 2 * cell + ((point >= LOW_CONFIDENCE[0]) & (point <= LOW_CONFIDENCE[1]))
    return np.bincount(cell, minlength=question.length).astype(np.int64)


@answers("reader_model_calls")
def _count_calls(question: Question, table: Table) -> IntVector:
    label, readers, model = (question.arguments[key] for key in ("label", "readers", "model"))
    chosen = rows_for(question, table, [label, *readers, model])
    truth = binary(chosen, label)
    called = numbers(chosen, model) >= question.arguments["threshold"]
    calls = np.stack([binary(chosen, one) for one in readers])
    cells = [np.bincount(4 * truth + 2 * one + called, minlength=8) for one in calls]
    sums = difference_sums(calls, np.broadcast_to(called, calls.shape), truth, question.arguments["groups"])
    return np.concatenate([*cells, sums]).astype(np.int64)
