"""A hospital that goes away in the middle of a batch, and a server that would go on without it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client.site import SiteConfig
from fl_liver.messages import Refusal, Score, Sum
from fl_liver.models.registry import initial_vector
from fl_liver.server import summing
from fl_liver.server.enrolment import Participants, gather
from fl_liver.server.evaluation import Evaluation
from fl_liver.server.exchange import Exchange
from fl_liver.server.fusion import fuse
from fl_liver.server.journal import Journal
from fl_liver.server.sums import Sums
from fl_liver.study import Study

NAMES = ("H01", "H02", "H03", "H04", "H05")
Room = tuple[Sums, Participants, Evaluation]


@pytest.fixture(scope="session")
def table_study(table_study: Study) -> Study:
    return table_study.changed(analysis={"fusion": ["age"]})


@pytest.fixture
def room(
    make_site: Callable[..., SiteConfig],
    ask_sites: Callable[[dict[str, SiteConfig]], Exchange],
    table_study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Room:
    monkeypatch.setattr(summing, "_PAUSE_S", 0.0)
    sites = {name: make_site(name, 80, release="named", min_cell=3) for name in NAMES}
    exchange = ask_sites(sites)
    journal = Journal(tmp_path / "journal.jsonl")
    participants = gather(exchange, table_study, journal)
    vector = initial_vector(table_study)[0] + np.array([0.9, 0.4, 0, 0, -0.5], np.float32)
    sums = Sums.of_run(exchange, table_study, tmp_path, sites["H01"].roster)
    scored = sums.make_score(Score(table_study.sha256, "federated", "all", "", vector), NAMES)
    assert len(scored.answered) == 5
    return sums, participants, Evaluation(sums, participants, journal)


def loses(monkeypatch: pytest.MonkeyPatch, name: str, from_step: int) -> None:
    """The hospital is away for every sum from this step on."""
    ask = Exchange.ask

    def without(self: Exchange, question: Any, *rest: Any, **keys: Any) -> Any:
        answers = ask(self, question, *rest, **keys)
        if isinstance(question, Sum) and question.step >= from_step and answers.answered.pop(name, None) is not None:
            answers.refused[name] = Refusal("BUSY", 0)
        return answers

    monkeypatch.setattr(Exchange, "ask", without)


def test_without_an_accident_no_batch_is_incomplete(room: Room) -> None:
    evaluation = room[2]
    evaluation.of_models({"federated": "federated"})
    assert evaluation.incomplete() is None
    batches = evaluation.batches()
    assert [one["rows"] for one in batches][:2] == ["internal", "external"]
    assert all(set(one["commitments"]) == set(one["sites"]) for one in batches)
    internal = [one["commitments"] for one in batches if one["rows"] == "internal"]
    assert all(one == internal[0] for one in internal), "no cohort changed between the batches"


def test_results_that_were_finished_are_kept_and_the_rest_is_incomplete(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = room[2]
    whole = evaluation.of_models({"federated": "federated"})["federated"]
    loses(monkeypatch, "H03", from_step=7)
    found = evaluation.of_models({"federated": "federated"})["federated"]
    assert found["internal"]["auc"] == whole["internal"]["auc"], "the ROC was finished in seven steps"
    reason = "incomplete: a sum over 4 hospitals was not opened: H03: refused, BUSY"
    assert found["calibration"]["internal"] == {"not_released": reason}
    assert "auc" in found["external"], "hospitals that are there are still heard"
    assert evaluation.incomplete() == f"1 batches of sums are incomplete: {reason.removeprefix('incomplete: ')}"


def test_a_fusion_whose_hospital_went_away_is_incomplete(
    room: Room, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums, participants, evaluation = room
    loses(monkeypatch, "H02", from_step=1)
    asking = replace(sums, study=table_study.changed(analysis={"fusion": ["age"]}))
    fusion = fuse(asking, participants, evaluation, "federated")
    assert fusion == {"not_released": "incomplete: a sum over 4 hospitals was not opened: H02: refused, BUSY"}


def test_the_hospitals_that_are_left_do_not_answer_a_plan_over_themselves(
    room: Room, table_study: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server can fake the loss of a hospital; the difference of the two sums would be that hospital."""
    sums, participants, evaluation = room
    evaluation.of_models({"federated": "federated"}, cutoffs=False)
    ready = {name: card for name, card in participants.ready.items() if name != "H03"}
    survivors = Evaluation(sums, replace(participants, ready=ready), Journal(tmp_path / "two.jsonl"))
    with caplog.at_level(logging.WARNING, logger="fl_liver.site"):
        found = survivors.of_models({"federated": "federated"}, cutoffs=False)["federated"]
    assert found["internal"]["not_released"].startswith(
        "incomplete: a sum over 3 hospitals was not opened: H01: refused, BELOW_FLOOR"
    )
    assert "one over these 3 hospitals would tell apart H03" in caplog.text
