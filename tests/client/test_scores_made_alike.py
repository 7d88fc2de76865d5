"""A server that has one hospital score in another order, or at the wrong moment, to tell its part of a sum apart.

`score_origin` binds a sum to what made the scores that it names; these are the ways around it that were found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client import egress
from fl_liver.client.scores import ScoreStore
from fl_liver.messages import Combine, Done, Incoming, Keys, Refusal, Score, Sum, Totals
from fl_liver.score_origin import followed_by, origin
from fl_liver.securesum.encoding import encode_integers
from fl_liver.server.run_record import RunRecord
from fl_liver.stats.conversation import over
from fl_liver.stats.roc import roc
from fl_liver.study import Study
from tests.securesum.wards import Ward

TRAIN = ("H01", "H02", "H03", "H04")


@pytest.fixture
def ward(tmp_path: Path, table_study: Study, local_grid: Any) -> Ward:
    return Ward.of(tmp_path, table_study, local_grid)


def scoring(ward: Ward, rows: str, shift: float) -> Score:
    return Score(ward.study.sha256, "a", rows, "", ward.initial()[0] + np.float32(shift))


def counted(ward: Ward, site: str, batch: str, origins: dict[str, str]) -> Totals | Refusal:
    """One hospital's answer to the first question about the score."""
    keys = {each: ward.ask(each, Keys(ward.slot(0, purpose=f"statistics/{batch}"), TRAIN)).keys for each in TRAIN}
    questions = tuple(next(over("internal", roc("score:a", "label", key="logit32", min_cell=5))))
    said: dict[str, Any] = {"run": "run-a", "scores": origins, "announced": keys}
    word: Totals | Refusal = ward.ask(site, Sum(ward.study.sha256, "masked", 4, questions, batch, 0, TRAIN, **said))
    return word


def origins_after(tmp_path: Path, asked: list[Any]) -> dict[str, str]:
    record = RunRecord(tmp_path / "record" / "sums.json")
    for question in asked:
        record.note_score(question)
    return RunRecord(tmp_path / "record" / "sums.json").origins()


def test_the_same_scorings_in_another_order_are_another_score(ward: Ward, tmp_path: Path) -> None:
    """Found as a hole: whose rows overlap holds what came last; the origin only knew which, not when. H04's patients
    could be scored by another model than all others', and its counts stood in other bins.
    """
    every, some = scoring(ward, "all", 0.0), scoring(ward, "internal", 50.0)
    for site in TRAIN:
        for question in (every, some) if site != "H04" else (some, every):
            assert ward.ask(site, question) == Done(0)
    origins = origins_after(tmp_path, [every, some])
    assert isinstance(counted(ward, "H01", "first", origins), Totals)
    assert counted(ward, "H04", "second", origins) == Refusal("PROTOCOL", 0)


def test_scorings_that_are_asked_again_after_an_interruption_are_the_same_score(ward: Ward, tmp_path: Path) -> None:
    """H02 had scored one part more than the others when the coordinator was killed; then all are asked anew."""
    parts = [scoring(ward, rows, 0.5) for rows in ("calibration", "internal", "train")]
    for site in TRAIN:
        for question in [*parts[: 3 if site == "H02" else 1], *parts]:
            assert ward.ask(site, question) == Done(0)
    origins = origins_after(tmp_path, [*parts[:2], *parts])
    for site in TRAIN:
        assert isinstance(counted(ward, site, f"b-{site}", origins), Totals)


def test_the_order_of_parts_counts_and_all_makes_them_forgotten() -> None:
    parts = followed_by(followed_by({}, "internal", "1"), "train", "2")
    assert origin(parts) != origin(followed_by(followed_by({}, "train", "2"), "internal", "1"))
    assert list(followed_by(parts, "internal", "3").items()) == [("train", "2"), ("internal", "3")]
    assert followed_by(parts, "all", "4") == {"all": "4"}


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> threading.Thread:
    """`act` in another process of the hospital, as soon as a sum has looked at the origins of its scores."""
    thread = threading.Thread(target=act)
    look = ScoreStore.origins

    def slowly(self: ScoreStore, names: Any) -> dict[str, str]:
        found = look(self, names)
        if thread.ident is None:
            thread.start()
            thread.join(0.6)
        return found

    monkeypatch.setattr(ScoreStore, "origins", slowly)
    return thread


@pytest.mark.parametrize("how", ["score", "combine"])
def test_a_score_that_is_made_anew_while_a_sum_is_answered_is_not_in_it(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Found as a hole: between the look at the origins and that at the scores, other scores could be put in."""
    first = scoring(ward, "all", 0.5)
    anew: Incoming = scoring(ward, "all", -50.0)
    if how == "combine":
        anew = Combine(ward.study.sha256, "a", "a", -3.0, 1000.0, {})
    plain: list[list[int]] = []

    def noted(vector: Any, bits: Any) -> Any:
        plain.append(vector.tolist())
        return encode_integers(vector, bits)

    monkeypatch.setattr(egress, "encode_integers", noted)
    for site in TRAIN:
        ward.ask(site, first)
    origins = origins_after(tmp_path, [first])
    questions = tuple(next(over("internal", roc("score:a", "label", key="logit32", min_cell=5))))
    assert questions[0].kind == "cell_counts", "counts do not show the scores; what is asked next does"
    thread = meanwhile(monkeypatch, lambda: ward.ask("H01", anew))
    kept = ScoreStore.load
    loaded: list[Any] = []

    def load(self: ScoreStore, name: str) -> Any:
        scores = kept(self, name)
        if threading.current_thread() is not thread:
            loaded.append(scores.max())
        return scores

    monkeypatch.setattr(ScoreStore, "load", load)
    assert isinstance(counted(ward, "H01", "first", origins), Totals)
    thread.join()
    assert loaded, "the sum read the scores"
    assert max(map(abs, loaded)) < 50, "those that the question names, not the ones that came meanwhile"
    assert len(plain) == 1
