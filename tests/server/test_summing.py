"""Sums over hospitals, here in the clear: exact, all or nothing, never over fewer hospitals than the floor."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp import Grid

from fl_liver.errors import IncompleteError, PrivacyError, ProtocolError
from fl_liver.messages import Purpose, Refusal, Sum, Totals
from fl_liver.securesum.encoding import encode_integers
from fl_liver.server import summing
from fl_liver.server.exchange import Exchange
from fl_liver.server.summing import BatchSummer
from fl_liver.stats.conversation import Question
from fl_liver.study import Study
from fl_liver.wire import from_record, to_record
from tests.client.cohort.tiny_volumes import ct_study

MakeGrid = Callable[[Callable[[Message], Message | None]], Grid]
SITES = ("H01", "H02", "H03")
NODES = {site: 11 + index for index, site in enumerate(SITES)}
ASKED = [Question("a", {}, 2), Question("b", {}, 0), Question("c", {}, 3)]
ANSWERS = {11: [1, 2, 3, 4, 2**62], 12: [10, 20, 30, 40, 2**62], 13: [0, 0, 0, -4, 2**63 - 1]}


def totals(question: Sum, vector: list[int], commitment: str = "") -> Totals:
    """Integers as a hospital sends them where nothing is masked."""
    return Totals(encode_integers(np.array(vector, np.int64), question.bits), commitment)


def honest(question: Sum, node: int) -> Totals:
    return totals(question, ANSWERS[node], f"{node:064d}")


def summer(
    grid: MakeGrid,
    study: Study,
    reply: Callable[[Sum, int], Totals | Refusal] = honest,
    sites: tuple[str, ...] = SITES,
    purpose: Purpose = "masked",
) -> BatchSummer:
    def answer(message: Message) -> Message:
        node = message.metadata.dst_node_id
        question = from_record(message.content, (Sum,))
        return Message(to_record(reply(question, node)), reply_to=message)

    return BatchSummer(Exchange(grid(answer), NODES, poll_s=0.0), study, sites, purpose)


def test_totals_are_added_exactly_and_cut_at_the_questions(local_grid: MakeGrid, table_study: Study) -> None:
    """Modulo 2⁶⁴, as masked ones are: 2⁶² + 2⁶² + 2⁶³ − 1 wraps to −1."""
    found = summer(local_grid, table_study).total(ASKED)
    assert [total.tolist() for total in found] == [[11, 22], [], [33, 40, -1]]
    assert all(total.dtype == np.int64 for total in found)


@pytest.mark.parametrize(
    ("bounds", "bits"), [((60, 65535), 16), ((60, 65536), 32), ((2**32, 60), 64), ((60, None), 64)]
)
def test_counts_that_are_known_to_be_small_travel_in_fewer_bytes(
    local_grid: MakeGrid, table_study: Study, bounds: tuple[int | None, int | None], bits: int
) -> None:
    """The largest bound of a step decides; the totals are the same."""
    heard: list[int] = []

    def reply(question: Sum, node: int) -> Totals:
        word = totals(question, [node, 0, 2 * node])
        heard.append(8 * word.vector.itemsize)
        return word

    asked = [Question("a", {}, 2, bound=bounds[0]), Question("b", {}, 1, bound=bounds[1])]
    found = summer(local_grid, table_study, reply).total(asked)
    assert [total.tolist() for total in found] == [[36, 0], [72]]
    assert heard == [bits] * 3


def test_no_questions_are_no_totals(local_grid: MakeGrid, table_study: Study) -> None:
    empty = summer(local_grid, table_study, lambda question, _: totals(question, []))
    assert empty.total([]) == []


def test_a_hospital_is_told_how_many_contribute_and_to_what_purpose(local_grid: MakeGrid, table_study: Study) -> None:
    heard: list[tuple[str, int]] = []

    def reply(question: Sum, node: int) -> Totals:
        heard.append((question.purpose, question.contributors))
        return honest(question, node)

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
        lambda question, node: Refusal("BELOW_FLOOR", 0) if node == 12 else honest(question, node),
    )
    with pytest.raises(IncompleteError, match="a sum over 3 hospitals was not opened: H02: refused, BELOW_FLOOR"):
        partly.total(ASKED)


@pytest.mark.parametrize("length", [4, 6])
def test_a_vector_of_another_length_is_refused(local_grid: MakeGrid, table_study: Study, length: int) -> None:
    wrong = summer(local_grid, table_study, lambda question, _: totals(question, [0] * length))
    with pytest.raises(ProtocolError, match=rf"H01 sent uint64\({length + 1},\), wanted uint64\(6,\)"):
        wrong.total(ASKED)


def test_a_vector_of_another_width_is_refused(local_grid: MakeGrid, table_study: Study) -> None:
    narrow = summer(local_grid, table_study, lambda *_: Totals(np.ones(6, np.uint32)))
    with pytest.raises(ProtocolError, match=r"H01 sent uint32\(6,\), wanted uint64\(6,\)"):
        narrow.total(ASKED)


def test_a_vector_without_its_check_words_is_noticed(local_grid: MakeGrid, table_study: Study) -> None:
    """The words say how many vectors are in the sum: here one hospital's are twice what they should be."""

    def reply(question: Sum, node: int) -> Totals:
        word = honest(question, node)
        return replace(word, vector=2 * word.vector) if node == 12 else word

    with pytest.raises(ProtocolError, match="the masks of 3 hospitals did not cancel"):
        summer(local_grid, table_study, reply).total(ASKED)


def test_the_steps_of_a_batch_name_it_its_hospitals_and_the_totals_before(
    local_grid: MakeGrid, table_study: Study
) -> None:
    heard: list[Sum] = []

    def reply(question: Sum, node: int) -> Totals:
        heard.append(question)
        return honest(question, node)

    first = summer(local_grid, table_study, reply)
    for _ in range(2):
        first.total(ASKED)
    summer(local_grid, table_study, reply).total(ASKED)
    assert [question.step for question in heard] == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert {question.sites for question in heard} == {SITES}
    assert len({question.batch for question in heard[:6]}) == 1
    assert heard[6].batch != heard[0].batch
    assert heard[0].previous.size == 0
    assert heard[3].previous.tolist() == [11, 22, 33, 40, -1]


def test_a_hospital_that_is_lost_is_asked_again_alone_and_in_the_same_words(
    local_grid: MakeGrid, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "_PAUSE_S", 0.0)
    heard: list[tuple[int, str, int]] = []

    def reply(question: Sum, node: int) -> Totals | Refusal:
        heard.append((node, question.batch, question.step))
        return Refusal("BUSY", 0) if node == 12 and len(heard) < 5 else honest(question, node)

    batch = summer(local_grid, table_study, reply)
    assert [total.tolist() for total in batch.total(ASKED)] == [[11, 22], [], [33, 40, -1]]
    assert [node for node, *_ in heard] == [11, 12, 13, 12, 12]
    assert len({(name, step) for _, name, step in heard}) == 1
    assert batch.record()["incomplete"] is None


def test_a_hospital_that_stays_away_ends_the_batch_for_good(
    local_grid: MakeGrid, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it would answer later: the sums before were opened over it, and nothing is opened over the others."""
    monkeypatch.setattr(summing, "_PAUSE_S", 0.0)
    asked: list[int] = []

    def reply(question: Sum, node: int) -> Totals | Refusal:
        asked.append(node)
        return Refusal("BUSY", 0) if node == 12 and question.step == 1 and len(asked) < 9 else honest(question, node)

    batch = summer(local_grid, table_study, reply)
    batch.total(ASKED)
    with pytest.raises(IncompleteError, match="a sum over 3 hospitals was not opened: H02: refused, BUSY"):
        batch.total(ASKED)
    assert asked == [11, 12, 13, 11, 12, 13, 12, 12]
    with pytest.raises(IncompleteError, match="H02: refused, BUSY"):
        batch.total(ASKED)
    assert len(asked) == 8
    assert batch.record()["steps"] == 1
    assert batch.record()["incomplete"] == "a sum over 3 hospitals was not opened: H02: refused, BUSY"


def test_a_hospital_that_does_not_reply_is_waited_for_within_the_round_timeout(
    local_grid: MakeGrid, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "_PAUSE_S", 0.0)
    grid = local_grid(lambda _: None)
    study = table_study.changed(training={"round_timeout_s": 0.6})
    began = time.monotonic()
    with pytest.raises(IncompleteError, match="H01: no reply within 0 s; H02: no reply"):
        BatchSummer(Exchange(grid, NODES, poll_s=0.01), study, SITES).total(ASKED)
    assert 0.6 <= time.monotonic() - began < 3


def test_a_batch_records_what_each_hospital_committed_to(local_grid: MakeGrid, table_study: Study) -> None:
    batch = summer(local_grid, table_study)
    batch.total(ASKED)
    record = batch.record()
    assert record["commitments"] == {site: f"{node:064d}" for site, node in NODES.items()}
    assert (record["sites"], record["steps"], record["purpose"]) == (list(SITES), 1, "masked")
    assert record["method"] == "plain", "what it was, not what it was for"


def test_a_hospital_that_commits_to_another_cohort_within_a_batch_is_refused(
    local_grid: MakeGrid, table_study: Study
) -> None:
    batch = summer(local_grid, table_study, lambda ask, node: replace(honest(ask, node), commitment=f"{ask.step}" * 64))
    batch.total(ASKED)
    with pytest.raises(ProtocolError, match="H01 committed to another cohort than at the first step of batch"):
        batch.total(ASKED)


def test_a_study_of_lesions_counts_their_patients_beside_every_count(local_grid: MakeGrid) -> None:
    """Nine lesions of a class at three hospitals, of four patients: their count cannot be read, other answers can."""
    kinds: list[list[str]] = []

    def reply(question: Sum, node: int) -> Totals:
        kinds.append([one.kind for one in question.questions])
        lesions, patients = [30, 3], [10, {11: 2, 12: 1, 13: 1}[node]]
        return totals(question, [*lesions, node, *patients])

    arguments = {"columns": [["label", ["0", "1"]]], "complete": [], "rows": "internal"}
    asked = [Question("cell_counts", arguments, 2), Question("moments", {"rows": "internal"}, 1)]
    found = summer(local_grid, ct_study(unit="lesion"), reply).total(asked)
    assert kinds[0] == ["cell_counts", "moments", "patients"]
    assert len(found) == 2
    assert found[1].tolist() == [36]
    for read in (lambda: found[0], lambda: list(found), lambda: list(found[:1])):
        with pytest.raises(PrivacyError, match=r"a group by label .*: fewer than 5 patients over all sites"):
            read()
    plain = summer(local_grid, ct_study(), lambda question, node: totals(question, [30, 3, node])).total(asked)
    assert plain[0].tolist() == [90, 9], "where rows are patients nothing more is asked"
