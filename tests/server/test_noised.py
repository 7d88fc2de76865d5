"""The one noised answer of a study: who must take part, how it is shared among models, and that it is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.server.noised import NOT_EXACT, ask_noised, noised_model, once, without_exact
from fl_liver.stats.compose import Withheld
from fl_liver.stats.conversation import Question, Table, TablesSummer, Totals
from fl_liver.stats.local_auc import auc_delong
from fl_liver.stats.private_roc import PrivateRoc
from fl_liver.study import Study

SITES = ("H01", "H02", "H03", "H04")
MODELS = {"federated": "federated", "other": "second"}


class Counting(TablesSummer):
    """Four hospitals of 300 patients; keeps what was asked."""

    def __init__(self) -> None:
        draw = np.random.default_rng(5)
        label = [(draw.random(300) < 0.4) * 1.0 for _ in SITES]
        scores = [{f"score:{one}": draw.normal(2 * y, 1.5) for one in MODELS.values()} for y in label]
        self.tables = [Table({"label": y, **score}) for y, score in zip(label, scores, strict=True)]
        super().__init__(self.tables)
        self.asked: list[Question] = []

    def total(self, questions: Sequence[Question]) -> Totals:
        self.asked += questions
        return TablesSummer([Table(one.columns) for one in self.tables]).total(questions)


@pytest.fixture
def study(table_study: Study) -> Study:
    return table_study.changed(privacy={"histogram_epsilon": 16.0})


def test_all_models_share_one_question_and_its_epsilon(study: Study) -> None:
    summer = Counting()
    found = ask_noised(study, SITES, MODELS, lambda: summer)
    (question,) = summer.asked
    assert question.arguments["rows"] == "internal"
    assert (question.arguments["epsilon"], question.arguments["honest"]) == (16.0, 3)
    label = np.concatenate([one["label"] for one in summer.tables])
    for name, score in MODELS.items():
        one = found[name]
        assert isinstance(one, PrivateRoc)
        exact = auc_delong(label, np.concatenate([table[f"score:{score}"] for table in summer.tables])).auc
        assert (one.epsilon, one.models) == (16.0, 2)
        assert one.auc == pytest.approx(exact, abs=one.certificate + 0.01)


def test_too_few_hospitals_for_the_noise_are_not_asked(study: Study) -> None:
    summer = Counting()
    found = ask_noised(study, SITES[:2], MODELS, lambda: summer)
    assert found["other"] == Withheld("2 of 4 hospitals take part, the noise of 3 is needed")
    assert not summer.asked


def test_a_model_without_its_noised_answer_says_why_and_has_nothing_else(study: Study) -> None:
    model = noised_model(Withheld("incomplete: H02 stayed away"), {"H01": "internal", "H05": "external"})
    assert model["internal"] == {"not_released": "incomplete: H02 stayed away"}
    assert model["per_site"]["H05"] == {"not_released": NOT_EXACT, "rows": "external"}
    assert model["cutoff"] == model["external"] == {"not_released": NOT_EXACT}


def answered(auc: float) -> dict[str, Any]:
    return {"federated": {"internal": {"auc": auc}}}


def test_a_noised_answer_is_kept_and_not_asked_again(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "noised.json"
    assert once(path, study, lambda: answered(0.7)) == answered(0.7)
    assert once(path, study, lambda: answered(0.9)) == answered(0.7)
    assert [one.name for one in tmp_path.iterdir()] == ["noised.json"]
    other = study.with_top(seed=8)
    assert once(path, other, lambda: answered(0.8)) == answered(0.8), "another study's answer is not taken"
    assert json.loads(path.read_text())["study_sha256"] == other.sha256


def test_an_answer_that_was_withheld_is_asked_again(study: Study, tmp_path: Path) -> None:
    withheld = {"federated": {"internal": {"not_released": "incomplete"}}}
    assert once(tmp_path / "noised.json", study, lambda: withheld) == withheld
    assert once(tmp_path / "noised.json", study, lambda: answered(0.7)) == answered(0.7)


def test_the_summary_of_an_exact_study_is_left_as_it_is(table_study: Study) -> None:
    summary: dict[str, Any] = {"sites": [], "rounds": [{"internal_auc": 0.8}], "models": {}, "fusion": None}
    assert without_exact(summary, table_study) is summary
