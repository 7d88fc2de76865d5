"""The same readers on the same patients without and with AI: each of them, all together, by experience, agreement.

Wang 2021 compares three radiologists with and without the model by a paired t-test over the readers, which treats the
patients as fixed; `reader_t_p` offers it. `pooled` uses the patients, and each reader has exact McNemar tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fl_liver.errors import ConfigError
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.diagnostic import Diagnostic, diagnostic_from_counts
from fl_liver.stats.fleiss import FleissKappa, fleiss_from_sums
from fl_liver.stats.floors import require_floor, require_somebody
from fl_liver.stats.mcnemar import McNemar, exact_mcnemar
from fl_liver.stats.reader_groups import (
    COMPARED,
    SUMS_PER_GROUP,
    ReaderGroup,
    difference_sums,
    grouped,
    reader_group,
    t_test,
    value,
)
from fl_liver.stats.result import json_fields
from fl_liver.stats.rows import binary, rows_for


@dataclass(frozen=True, slots=True)
class ReaderTwice:
    """One reader without and with AI; b of each test are the patients in whom AI made the call right, c wrong."""

    alone: Diagnostic
    with_ai: Diagnostic
    mcnemar_sensitivity: McNemar
    mcnemar_specificity: McNemar
    mcnemar_accuracy: McNemar


@dataclass(frozen=True, slots=True)
class ReadersWithAi:
    """Readers twice over the patients that all of them called both times.

    readers           by the name of the column without AI
    pooled, groups    all readers, and those of each experience: `mean` is with AI, `other` without
    reader_t_p        paired t-test over the readers, as printed in Wang 2021
    agreement         Fleiss' κ of all readers {"alone", "with_ai"}; null with one reader
    """

    n_pos: int
    n_neg: int
    readers: Mapping[str, ReaderTwice]
    pooled: ReaderGroup
    groups: Mapping[str, ReaderGroup]
    reader_t_p: Mapping[str, float]
    agreement: Mapping[str, FleissKappa] | None

    def to_json(self) -> dict[str, Any]:
        """JSON values; a number that is not finite is null."""
        return json_fields(self)


def readers_with_ai(
    label: str,
    alone: Sequence[str],
    with_ai: Sequence[str],
    experience: Sequence[str] = (),
    *,
    min_cell: int = 5,
    complete: Sequence[str] = (),
) -> Conversation[ReadersWithAi]:
    """Compare each reader's calls (0/1 columns) with AI to the same reader's without.

    Args:
        alone, with_ai: one column a reader, in one order.
        experience: one word a reader, such as "1-5 years"; readers of one word are a group.
        complete: further columns in which a patient must have a value.
    Raises:
        ConfigError: another number of columns with AI than without, or of words.
        PrivacyError: a class is below the floor. Calls have none of their own.
    """
    if len(alone) != len(with_ai):
        raise ConfigError(f"{len(alone)} columns without AI and {len(with_ai)} with it; give each reader's two columns")
    groups = grouped(alone, experience)
    places = [list(range(len(alone))), *groups.values()]
    arguments = {"label": label, "alone": list(alone), "with_ai": list(with_ai), "groups": places}
    length = 8 * len(alone) + SUMS_PER_GROUP * len(places) + 4
    (total,) = yield [Question("reader_pair_calls", arguments | {"complete": list(complete)}, length)]
    cells = total[: 8 * len(alone)].reshape(-1, 2, 2, 2)  # reader, truth, call with AI, call without
    n_neg, n_pos = (int(size) for size in cells[0].sum((1, 2)))
    require_somebody(n_neg + n_pos, f"readers with and without AI against '{label}'")
    require_floor({f"{label} = 0": n_neg, f"{label} = 1": n_pos}, min_cell)
    each = {name: _twice(cells[place]) for place, name in enumerate(alone)}
    sums = total[8 * len(alone) : -4].reshape(-1, SUMS_PER_GROUP).tolist()
    of_groups = [
        _group([alone[i] for i in group], each, part, (n_neg, n_pos)) for group, part in zip(places, sums, strict=True)
    ]
    return ReadersWithAi(
        n_pos=n_pos,
        n_neg=n_neg,
        readers=each,
        pooled=of_groups[0],
        groups=dict(zip(groups, of_groups[1:], strict=True)),
        reader_t_p={what: t_test([_gain(one, what) for one in each.values()]) for what in COMPARED},
        agreement=_agreement(cells, total[-4:]),
    )


def _gain(one: ReaderTwice, what: str) -> float:
    return value(one.with_ai, what) - value(one.alone, what)


def _group(
    names: Sequence[str], each: Mapping[str, ReaderTwice], sums: Sequence[int], sizes: tuple[int, int]
) -> ReaderGroup:
    mine, others = [each[name].with_ai for name in names], [each[name].alone for name in names]
    return reader_group(names, mine, others, sums, sizes)


def _twice(cells: IntVector) -> ReaderTwice:
    gained, lost = cells[:, 1, 0].tolist(), cells[:, 0, 1].tolist()  # positive calls with AI only, without only
    return ReaderTwice(
        alone=_table(cells.sum(1)),
        with_ai=_table(cells.sum(2)),
        mcnemar_sensitivity=exact_mcnemar(gained[1], lost[1]),
        mcnemar_specificity=exact_mcnemar(lost[0], gained[0]),
        mcnemar_accuracy=exact_mcnemar(gained[1] + lost[0], lost[1] + gained[0]),
    )


def _table(calls: IntVector) -> Diagnostic:
    """From (2, 2) counts by truth and call."""
    (tn, fp), (fn, tp) = calls.tolist()
    return diagnostic_from_counts(tp=tp, fp=fp, fn=fn, tn=tn)


def _agreement(cells: IntVector, sums: IntVector) -> dict[str, FleissKappa] | None:
    readers = len(cells)
    if readers < 2:
        return None
    found = {}
    for name, axis, (squares, unanimous) in zip(("alone", "with_ai"), (2, 3), sums.reshape(2, 2).tolist(), strict=True):
        categories = cells.sum(axis=axis).sum(axis=(0, 1)).tolist()
        found[name] = fleiss_from_sums(categories, squares, unanimous, readers)
    return found


@answers("reader_pair_calls")
def _count_calls(question: Question, table: Table) -> IntVector:
    label, alone, with_ai = (question.arguments[key] for key in ("label", "alone", "with_ai"))
    chosen = rows_for(question, table, [label, *alone, *with_ai])
    truth = binary(chosen, label)
    before = np.stack([binary(chosen, name) for name in alone])
    after = np.stack([binary(chosen, name) for name in with_ai])
    cells = [np.bincount(4 * truth + 2 * one + two, minlength=8) for one, two in zip(after, before, strict=True)]
    sums = difference_sums(after, before, truth, question.arguments["groups"])
    return np.concatenate([*cells, sums, _agreement_sums(before), _agreement_sums(after)]).astype(np.int64)


def _agreement_sums(calls: np.ndarray[Any, np.dtype[np.bool_]]) -> IntVector:
    """Σ over patients of n₀² + n₁², and how many patients all readers call alike."""
    ones = calls.sum(axis=0)
    zeros = len(calls) - ones
    return np.array([int((ones**2 + zeros**2).sum()), int(((ones == 0) | (zeros == 0)).sum())], np.int64)
