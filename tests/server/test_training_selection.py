"""The model that selects images is scored everywhere under its own name, once, and nothing asks of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fl_liver.messages import Look, Score
from fl_liver.server.training import StudyTraining
from fl_liver.study_files import load_study


def test_the_selections_model_scores_everybody_between_the_two_federations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study("hcc_ct").changed(cohort={"folds": 2}, analysis={"snapshots": False})
    asked: list[Any] = []

    def ask(question: Any, sites: Any, *_: Any, **__: Any) -> Any:
        asked.append((question, tuple(sites)))
        return SimpleNamespace(answered=dict.fromkeys(sites))

    def rounds(_: Any, rows: str, *__: Any) -> Any:
        asked.append((rows, ()))
        return np.full(3, len(asked), np.float32), []

    exchange = SimpleNamespace(ask=ask)
    sums = SimpleNamespace(study=study, exchange=exchange, make_score=ask)
    people = SimpleNamespace(ready=("H01", "H02", "H09"), training=lambda _: ("H01", "H02"))
    monkeypatch.setattr(StudyTraining, "_rounds", rounds)
    given = cast(Any, (sums, people, None, tmp_path, None, (np.zeros(3, np.float32), None)))
    StudyTraining(*given).federate("federated")
    assert asked[0][0] == "selection-train"
    (look, lookers), (score, scored) = asked[1:3]
    assert isinstance(look, Look)
    assert isinstance(score, Score)
    assert lookers == ("H01", "H02")
    assert (score.name, score.rows, score.layers, scored) == ("selection", "all", "selection-train", people.ready)
    assert score.vector is look.vector
    assert asked[3][0] == "train"
    assert [one.name for one, _ in asked if isinstance(one, Score)].count("selection") == 1, "not of the folds"
