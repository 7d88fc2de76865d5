"""Evaluation and fusion over five hospitals with tables: sums give the pooled numbers, consent decides on the rest."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fl_liver.client.respond import read_cohort
from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import SiteConfig
from fl_liver.client.table import select_rows
from fl_liver.errors import PrivacyError
from fl_liver.messages import Named, Refusal, Score
from fl_liver.models.registry import initial_vector
from fl_liver.server.enrolment import Participants, gather
from fl_liver.server.evaluation import Evaluation
from fl_liver.server.exchange import Exchange
from fl_liver.server.figures import fitting_rows, out_of_training
from fl_liver.server.fusion import fuse
from fl_liver.server.journal import Journal
from fl_liver.server.sums import Sums
from fl_liver.stats.compare import Comparison, compare
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.study import Study

MakeSite = Callable[..., SiteConfig]
AskSites = Callable[[dict[str, SiteConfig]], Exchange]
NAMES = ("H01", "H02", "H03", "H04", "H05")


class Hospitals:
    """Five hospitals whose patients are scored as `federated` by a linear model that knows something."""

    def __init__(self, make_site: MakeSite, ask_sites: AskSites, study: Study, folder: Path, **keys: Any) -> None:
        own: dict[str, dict[str, Any]] = keys.pop("own", {})
        of_three = keys.pop("of_three", False)
        self.study = study
        self.sites = {
            name: make_site(name, 80, study=study, **{"release": "named", "min_cell": 3, **keys, **own.get(name, {})})
            for name in NAMES
        }
        if of_three:
            for site in self.sites.values():
                lesions_of_three(site.data / "clinical.csv")
        self.exchange = ask_sites(self.sites)
        self.journal = Journal(folder / "journal.jsonl")
        self.participants: Participants = gather(self.exchange, study, self.journal)
        vector = initial_vector(study)[0] + np.array([0.9, 0.4, 0, 0, -0.5], np.float32)
        self.sums = Sums.of_run(self.exchange, study, folder, self.sites["H01"].roster)
        answers = self.sums.make_score(Score(study.sha256, "federated", "all", "", vector), NAMES)
        assert len(answers.answered) == 5, answers.why_not()
        self.evaluation = Evaluation(self.sums, self.participants, self.journal)

    def add_noise(self) -> None:
        """A score that is no longer a linear function of the factors, as a network's is not."""
        draw = np.random.default_rng(5)
        for site in self.sites.values():
            count = len(read_cohort(site, self.study.sha256)[1].patients)
            store = ScoreStore(site.study_folder(self.study.sha256), count)
            noisy = store.load("federated") + draw.normal(size=(count, 1))
            store.keep("federated", np.arange(count), noisy)

    def patients(self, rows: str, site: str) -> NDArray[Any]:
        """Whose the rows of a part are, as names that differ between hospitals."""
        _, cohort = read_cohort(self.sites[site], self.study.sha256)
        return np.array([f"{site} {number}" for number in cohort.group[select_rows(cohort, rows)]], object)

    def pooled(self, rows: str, name: str = "federated", sites: tuple[str, ...] = NAMES) -> tuple[NDArray[Any], ...]:
        """What nobody in the federation ever sees: labels, scores and factors of everybody's rows together."""
        labels, scores, factors = [], [], []
        for site in sites:
            config = self.sites[site]
            _, cohort = read_cohort(config, self.study.sha256)
            chosen = select_rows(cohort, rows)
            store = ScoreStore(config.study_folder(self.study.sha256), len(cohort.patients))
            labels.append(cohort.label[chosen])
            scores.append(store.load(name)[chosen, 0])
            factors.append(cohort.factors[chosen])
        return np.concatenate(labels), np.concatenate(scores), np.concatenate(factors)


def lesions_of_three(table: Path) -> None:
    """Every three rows become lesions 1 to 3 of one patient."""
    rows = pd.read_csv(table)
    rows["lesion"] = np.arange(len(rows)) % 3 + 1
    rows["patient_id"] = [f"P{number // 3:03d}" for number in range(len(rows))]
    rows.to_csv(table, index=False)


@pytest.fixture
def hospitals(make_site: MakeSite, ask_sites: AskSites, table_study: Study, tmp_path: Path) -> Callable[..., Hospitals]:
    return lambda study=table_study, **keys: Hospitals(make_site, ask_sites, study, tmp_path, **keys)


def test_the_pooled_auc_from_sums_is_that_of_the_pooled_patients(hospitals: Callable[..., Hospitals]) -> None:
    """scikit-learn on everybody's rows together is the oracle; ties of float32 keys do not occur here."""
    room = hospitals()
    found = room.evaluation.of_models({"federated": "federated"})["federated"]
    for rows, sites in (("internal", NAMES[:4]), ("external", ("H05",))):
        label, score, _ = room.pooled(rows, sites=sites)
        assert found[rows]["auc"] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        assert (found[rows]["n"], found[rows]["positives"]) == (len(label), label.sum())
        low, high = found[rows]["ci95"]
        assert low < found[rows]["auc"] < high
    assert 0.6 < found["internal"]["auc"] < 1


def test_lesions_of_one_patient_widen_the_intervals_of_aucs_and_tests(
    hospitals: Callable[..., Hospitals], table_study: Study
) -> None:
    """One table of everybody's rows with a column that names the patient is the oracle."""
    study = table_study.changed(cohort={"unit": "lesion"}, analysis={"min_cell": 3})
    room = hospitals(study, of_three=True)
    room.add_noise()
    room.sums.make_score(Score(study.sha256, "other", "all", "", initial_vector(study)[0] + 1), NAMES)
    told = room.evaluation.whole({"federated": "federated", "other": "other"}, [("federated", "other")])
    for rows, sites in (("internal", NAMES[:4]), ("external", ("H05",))):
        patient = np.concatenate([room.patients(rows, site) for site in sites])
        columns = {"y": room.pooled(rows, sites=sites)[0], "patient": patient}
        columns |= {name: room.pooled(rows, name, sites)[1] for name in ("federated", "other")}
        assert len(set(patient)) < len(patient) / 2
        one = TablesSummer([Table(columns)])
        talk = compare(["federated", "other"], "y", key="logit32", min_cell=3, cluster="patient")
        wanted: Comparison = converse({"it": talk}, one)["it"]
        plain: Comparison = converse({"it": compare(["federated", "other"], "y", key="logit32", min_cell=3)}, one)["it"]
        se = [told.models[name][rows]["se"] for name in ("federated", "other")]
        assert se == [math.sqrt(wanted.cov[place][place]) for place in (0, 1)]
        assert se[0] != math.sqrt(plain.cov[0][0])
        (line,) = [line for line in told.comparisons if line["rows"] == rows]
        assert (line["p"], line["ci95"]) == (wanted.paired().p, list(wanted.paired().ci95))
        if rows == "external":
            own = told.models["federated"]["per_site"]["H05"]
            assert own["se"] == pytest.approx(se[0], rel=1e-6), "its own figure, of scores at full precision"


def test_each_hospitals_own_figures_are_those_of_its_own_patients(hospitals: Callable[..., Hospitals]) -> None:
    room = hospitals()
    per_site = room.evaluation.of_models({"federated": "federated"})["federated"]["per_site"]
    assert list(per_site) == list(NAMES)
    for name in NAMES:
        rows = "external" if name == "H05" else "internal"
        label, score, _ = room.pooled(rows, sites=(name,))
        assert per_site[name]["rows"] == rows
        assert per_site[name]["auc"] == pytest.approx(roc_auc_score(label, score), abs=1e-12)


def test_the_cutoff_is_chosen_on_calibration_patients_and_judged_elsewhere(
    hospitals: Callable[..., Hospitals],
) -> None:
    room = hospitals()
    cutoff = room.evaluation.of_models({"federated": "federated"})["federated"]["cutoff"]
    label, score, _ = room.pooled("calibration", sites=NAMES[:4])
    assert (cutoff["rows"], cutoff["n"]) == ("calibration", len(label))
    candidates = np.unique(score)
    youden = [(score[label == 1] >= t).mean() + (score[label == 0] < t).mean() - 1 for t in candidates]
    chosen = (score[label == 1] >= cutoff["threshold"]).mean() + (score[label == 0] < cutoff["threshold"]).mean() - 1
    assert chosen == pytest.approx(max(youden), abs=1e-12)
    assert set(cutoff) >= {"internal", "external"}


def test_without_its_consent_a_hospitals_own_figures_are_not_released(hospitals: Callable[..., Hospitals]) -> None:
    room = hospitals(own={"H02": {"release": "none"}, "H05": {"release": "none"}})
    found = room.evaluation.of_models({"federated": "federated"})["federated"]
    assert found["per_site"]["H02"]["not_released"] == "no consent to named release"
    assert "auc" not in found["per_site"]["H02"]
    assert "auc" in found["per_site"]["H01"]
    label, _, _ = room.pooled("internal", sites=NAMES[:4])
    assert found["internal"]["n"] == len(label), "the masked sum still holds everybody"
    assert found["external"]["not_released"] == (
        "external figures over 1 hospitals need the consent of each; without it: H05"
    )


def test_a_hospital_that_consents_but_does_not_answer_is_not_called_unwilling(
    hospitals: Callable[..., Hospitals], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = hospitals()
    ask = Exchange.ask

    def busy(self: Exchange, question: Any, sites: Any, *rest: Any, **keys: Any) -> Any:
        answers = ask(self, question, sites, *rest, **keys)
        if isinstance(question, Named) and answers.answered.pop("H03", None) is not None:
            answers.refused["H03"] = Refusal("BUSY", 0)
        return answers

    monkeypatch.setattr(Exchange, "ask", busy)
    per_site = room.evaluation.of_models({"federated": "federated"})["federated"]["per_site"]
    assert "BUSY" in per_site["H03"]["not_released"]
    assert "consent" not in per_site["H03"]["not_released"]
    assert "auc" in per_site["H02"]


def test_who_is_asked_about_rows_follows_floor_and_consent(hospitals: Callable[..., Hospitals]) -> None:
    room = hospitals(own={"H05": {"release": "none"}})
    assert room.evaluation.summer("internal").method == "masked"
    with pytest.raises(
        PrivacyError, match="external figures over 1 hospitals need the consent of each; without it: H05"
    ):
        room.evaluation.summer("external")


def test_a_named_sum_of_a_masked_study_says_that_it_is_in_the_clear(hospitals: Callable[..., Hospitals]) -> None:
    """It is one hospital's own figure, which it consents to: there is nobody to mask it with."""
    evaluation = hospitals().evaluation
    evaluation.summer("external")
    record = evaluation.batches()[0]
    assert (record["purpose"], record["method"], record["sites"]) == ("named", "plain", ["H05"])


def test_masked_and_plain_sums_give_the_same_figures_to_the_last_bit(
    hospitals: Callable[..., Hospitals], plain_study: Study
) -> None:
    masked, plain = hospitals(place="masked"), hospitals(plain_study, place="plain")
    found = [room.evaluation.of_models({"federated": "federated"}) for room in (masked, plain)]
    assert found[0] == found[1]
    methods = [
        {one["method"] for one in room.evaluation.batches() if one["rows"] != "external"} for room in (masked, plain)
    ]
    assert methods == [{"masked"}, {"plain"}]


def test_a_study_without_external_hospitals_says_that_there_is_none(hospitals: Callable[..., Hospitals]) -> None:
    room = hospitals()
    lonely = Participants({name: card for name, card in room.participants.ready.items() if name != "H05"}, {})
    evaluation = Evaluation(room.sums, lonely, room.journal)
    with pytest.raises(PrivacyError, match="there is no such hospital"):
        evaluation.summer("external")
    found = evaluation.of_models({"federated": "federated"})["federated"]
    assert "there is no such hospital" in found["external"]["not_released"]


def test_the_fused_model_is_the_regression_of_the_pooled_calibration_patients(
    hospitals: Callable[..., Hospitals], table_study: Study
) -> None:
    """scikit-learn without penalty, fitted on everybody's calibration rows, is the oracle."""
    room = hospitals(
        table_study.changed(analysis={"fusion": ["age", "hepatitis"], "screening_p": 0.99}, cohort={"calibration": 0.4})
    )
    room.add_noise()
    found = fuse(room.sums, room.participants, room.evaluation, "federated")
    assert "not_released" not in found, found
    assert [line["name"] for line in found["screening"]] == ["age", "hepatitis"]
    terms = {line["name"]: line["beta"] for line in found["fused"]["terms"]}
    label, score, factors = room.pooled("calibration", sites=NAMES[:4])
    used = [name for name in ("age", "hepatitis") if name in terms]
    design = np.column_stack([score, *(factors[:, ["age", "hepatitis"].index(name)] for name in used)])
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(design, label)
    wanted = dict(zip(["score:federated", *used], oracle.coef_[0], strict=True)) | {"(Intercept)": oracle.intercept_[0]}
    assert terms == pytest.approx(wanted, rel=1e-3, abs=1e-3)
    label, fused, factors = room.pooled("external", "fusion", ("H05",))
    _, score, _ = room.pooled("external", sites=("H05",))
    total = terms["(Intercept)"] + terms["score:federated"] * score
    for name in used:
        total = total + terms[name] * factors[:, ["age", "hepatitis"].index(name)]
    np.testing.assert_allclose(fused, total, rtol=1e-9)
    assert len(label) == len(fused)


def test_comparing_a_score_with_itself_gives_no_difference(hospitals: Callable[..., Hospitals]) -> None:
    room = hospitals()
    for line in room.evaluation.compare([("federated", "federated")]):
        assert line["difference"] == 0
        assert line["rows"] in {"internal", "external"}


def test_with_cross_fitting_unseen_scores_of_all_training_patients_are_used(table_study: Study) -> None:
    folds = table_study.changed(cohort={"folds": 5, "calibration": 0.0})
    assert (fitting_rows(folds), out_of_training(folds, "federated")) == ("training", "federated_unseen")
    assert (fitting_rows(table_study), out_of_training(table_study, "federated")) == ("calibration", "federated")


def test_no_patient_and_no_score_stands_in_the_result(
    hospitals: Callable[..., Hospitals], caplog: pytest.LogCaptureFixture
) -> None:
    """The JSON of a whole evaluation names no pseudonym, and no list is as long as a hospital."""
    caplog.set_level(logging.INFO)
    room = hospitals()
    text = repr(room.evaluation.of_models({"federated": "federated"}))
    for site in room.sites.values():
        _, cohort = read_cohort(site, room.study.sha256)
        assert not [name for name in cohort.patients if name in text]
    assert "P001" not in text
