"""Words of the server that name a file or a folder of the hospital are checked before they do."""

from __future__ import annotations

import numpy as np
import pytest

from fl_liver.client import respond as responding
from fl_liver.client.respond import read_cohort
from fl_liver.messages import Average, Done, Incoming, Look, Refusal, Score
from fl_liver.models.registry import initial_vector
from fl_liver.study import Study
from tests.client.test_respond import answer
from tests.conftest import MakeSite

FOREIGN = ["../../../elsewhere", "fold-²", "fold-" + "1" * 5000, "not-fold-00", "train\n"]


@pytest.fixture
def no_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that was not checked makes no path."""
    monkeypatch.setattr(responding, "LocalLayers", lambda *_: pytest.fail("the word came into a path"))


@pytest.mark.parametrize("word", FOREIGN, ids=["a path", "no digit", "a long number", "another spelling", "a line"])
def test_a_foreign_word_is_refused_before_it_is_part_of_a_path(
    make_site: MakeSite, table_study: Study, no_layers: None, word: str
) -> None:
    study = table_study.changed(cohort={"masks": True}, selection={"rounds": 1})
    site, vector = make_site(study=study), initial_vector(study)[0]
    asked: list[Incoming] = [
        Look(study.sha256, word, vector),
        Score(study.sha256, "a", word, "train", vector),
        Score(study.sha256, "a", "all", word, vector),
    ]
    assert [answer(site, one) for one in asked] == [Refusal("PROTOCOL", 0)] * len(asked)


def test_scores_that_make_no_average_are_refused_and_no_crash(make_site: MakeSite, table_study: Study) -> None:
    """A model of one answer and one of three; then two of the same shape that answer different questions."""
    site, sha256 = make_site(study=table_study), table_study.sha256
    count = len(read_cohort(site, sha256)[1].patients)
    store = responding._store(site, sha256, read_cohort(site, sha256)[1])
    store.keep("one", np.arange(count), np.zeros((count, 1)))
    store.keep("three", np.arange(count), np.full((count, 3), -np.log(2.0)))
    store.keep("other", np.arange(count), np.zeros((count, 1)), endpoint="type")
    for of in (("one", "three"), ("one", "other")):
        assert answer(site, Average(sha256, "ensemble", of)) == Refusal("PROTOCOL", 0)
    assert "ensemble" not in store.names()
    assert answer(site, Average(sha256, "ensemble", ("one", "one"))) == Done(0)
