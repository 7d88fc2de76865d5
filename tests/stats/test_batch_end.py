"""A batch that ends before its plan: what was finished is kept, the rest says why it is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fl_liver.errors import IncompleteError
from fl_liver.stats.conversation import Conversation, Question, Totals, Withheld, converse


class LosesAHospital:
    """Opens `steps` sums, then no more."""

    method = "plain"

    def __init__(self, steps: int) -> None:
        self.left, self.asked = steps, 0

    def total(self, questions: Sequence[Question]) -> Totals:
        self.asked += 1
        if self.left == 0:
            raise IncompleteError("a sum over 4 hospitals was not opened: H03: no reply within 600 s")
        self.left -= 1
        return [np.full(question.length, self.left, np.int64) for question in questions]


def talk(steps: int, ended: list[str]) -> Conversation[int]:
    try:
        for _ in range(steps):
            yield [Question("count", {}, 1)]
    finally:
        ended.append(f"{steps} steps")
    return steps


def test_finished_statistics_are_kept_and_the_others_are_withheld_as_incomplete() -> None:
    ended: list[str] = []
    summer = LosesAHospital(2)
    results: dict[str, Any] = converse({f"of {n}": talk(n, ended) for n in (0, 1, 2, 3, 9)}, summer)
    assert [results[f"of {n}"] for n in (0, 1, 2)] == [0, 1, 2]
    for name in ("of 3", "of 9"):
        assert isinstance(results[name], Withheld)
        assert results[name].to_json() == {
            "not_released": "incomplete: a sum over 4 hospitals was not opened: H03: no reply within 600 s"
        }
    assert list(results) == ["of 0", "of 1", "of 2", "of 3", "of 9"]
    assert summer.asked == 3, "nothing is asked of the survivors"
    assert len(ended) == 5, "every conversation was closed"
