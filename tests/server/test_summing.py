"""Plain sums over hospitals: exact, all or nothing, never over fewer hospitals than the floor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fl_liver.errors import IncompleteError, PrivacyError, ProtocolError
from fl_liver.messages import Purpose, Refusal, Sum, Totals, from_record, to_record
from fl_liver.server.exchange import Exchange
from fl_liver.server.summing import PlainSummer
from fl_liver.stats.conversation import Question
from fl_liver.study import Study

MakeGrid = Callable[[Callable[[Message], Message | None]], Grid]
SITES = ("H01", "H02", "H03")
NODES = {site: 11 + index for index, site in enumerate(SITES)}
ASKED = [Question("a", {}, 2), Question("b", {}, 0), Question("c", {}, 3)]
ANSWERS = {11: [1, 2, 3, 4, 2**62], 12: [10, 20, 30, 40, 2**62], 13: [0, 0, 0, -4, 2**63 - 1]}


def summer(
    grid: MakeGrid,
    study: Study,
    reply: Callable[[Sum, int], Totals | Refusal] | None = None,
    sites: tuple[str, ...] = SITES,
    purpose: Purpose = "masked",
) -> PlainSummer:
    def answer(message: Message) -> Message:
        node = message.metadata.dst_node_id
        question = from_record(message.content, (Sum,))
        word = reply(question, node) if reply else Totals(np.array(ANSWERS[node], np.int64))
        return Message(to_record(word), reply_to=message)

    return PlainSummer(Exchange(grid(answer), NODES, poll_s=0.0), study, sites, purpose)


def test_totals_are_added_exactly_and_cut_at_the_questions(local_grid: MakeGrid, table_study: Study) -> None:
    """Modulo 2⁶⁴, as the masked way will do it: 2⁶² + 2⁶² + 2⁶³ − 1 wraps to −1."""
    totals = summer(local_grid, table_study).total(ASKED)
    assert [total.tolist() for total in totals] == [[11, 22], [], [33, 40, -1]]
    assert all(total.dtype == np.int64 for total in totals)


def test_no_questions_are_no_totals(local_grid: MakeGrid, table_study: Study) -> None:
    empty = summer(local_grid, table_study, lambda *_: Totals(np.zeros(0, np.int64)))
    assert empty.total([]) == []


def test_a_hospital_is_told_how_many_contribute_and_to_what_purpose(local_grid: MakeGrid, table_study: Study) -> None:
    heard: list[tuple[str, int]] = []

    def reply(question: Sum, node: int) -> Totals:
        heard.append((question.purpose, question.contributors))
        return Totals(np.array(ANSWERS[node], np.int64))

    summer(local_grid, table_study, reply).total(ASKED)
    summer(local_grid, table_study, reply, ("H02",), "named").total(ASKED)
    assert heard == [("masked", 3)] * 3 + [("named", 1)]


def test_a_masked_sum_over_fewer_than_the_floor_is_refused_before_anybody_is_asked(
    local_grid: MakeGrid, table_study: Study
) -> None:
    with pytest.raises(
        PrivacyError, match=r"a sum over 2 hospitals \(H01, H02\) is refused, the floor is 3; their own"
    ):
        summer(local_grid, table_study, sites=("H01", "H02"))


def test_a_sum_that_one_hospital_refuses_is_not_opened(local_grid: MakeGrid, table_study: Study) -> None:
    """Otherwise the difference of two sums would be that hospital."""
    partly = summer(
        local_grid,
        table_study,
        lambda _, node: Refusal("BELOW_FLOOR", 0) if node == 12 else Totals(np.array(ANSWERS[node], np.int64)),
    )
    with pytest.raises(IncompleteError, match="a sum over 3 hospitals was not opened: H02: refused, BELOW_FLOOR"):
        partly.total(ASKED)


@pytest.mark.parametrize("vector", [np.zeros(4, np.int64), np.zeros(6, np.int64)])
def test_a_vector_of_another_length_is_refused(
    local_grid: MakeGrid, table_study: Study, vector: NDArray[np.int64]
) -> None:
    wrong = summer(local_grid, table_study, lambda *_: Totals(vector))
    with pytest.raises(ProtocolError, match=rf"H01 sent a sum of length {vector.size}, wanted 5"):
        wrong.total(ASKED)
