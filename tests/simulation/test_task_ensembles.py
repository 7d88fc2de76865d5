"""The mean probability of tasks that ask the same, over patients whom each hospital joins by its own pseudonyms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import accuracy_score, roc_auc_score

from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import load_site
from fl_liver.guarded_summer import GuardedSummer
from fl_liver.stats.compare import compare
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.roc import roc
from fl_liver.study import Study
from simulation.task_ensembles import task_ensembles
from simulation.task_rows import TaskRows
from tests.conftest import MakeSite
from tests.simulation.joined_tasks import joined, one_answer_of_three_classes, ran, three_classes

PARTS = (("internal", 2), ("external", 3))


def figured(*tasks: str) -> list[dict[str, Any]]:
    """Lines of tasks, the last one the best."""
    return [{"task": task, "internal": {"auc": 0.6 + place / 10}} for place, task in enumerate(tasks)]


@pytest.mark.parametrize("several", [False, True])
def test_the_mean_of_three_tasks_has_the_auc_of_the_pooled_mean_probabilities(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    """Oracles: scikit-learn's AUC of the pooled means, DeLong of them as one table."""
    first = one_answer_of_three_classes(table_study) if several else table_study
    studies = {name: first.with_top(seed=seed) for seed, name in enumerate(("r18", "r34", "d121"), 5)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    (line,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    assert line["of"] == ["r18", "r34", "d121"]
    against = {one["rows"]: one for one in line["against_best"]}
    for rows, part in PARTS:
        label, *logits = joined(homes, cohorts, list(studies.values()), part)
        disease = label == (0 if several else 1)
        mean, best = np.mean([expit(one[:, 0]) for one in logits], axis=0), logits[-1][:, 0]
        assert line[rows]["n"] == len(label)
        assert line[rows]["auc"] == pytest.approx(roc_auc_score(disease, mean), abs=1e-12)
        table = TablesSummer([Table({"y": disease.astype(float), "mean": mean, "best": best})])
        assert line[rows]["ci95"] == pytest.approx(converse({"": roc("mean", "y")}, table)[""].ci95, rel=1e-9)
        paired = converse({"": compare(["mean", "best"], "y")}, table)[""].paired()
        assert (against[rows]["a"], against[rows]["b"]) == ("Mean of r18, r34, d121", "d121")
        assert against[rows]["p"] == pytest.approx(paired.p, rel=1e-9)
        assert against[rows]["difference"] == pytest.approx(paired.difference, abs=1e-12)


def test_of_several_classes_the_probability_vectors_are_averaged(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disease is then what its classes sum to, and the class with the largest mean is called."""
    three = three_classes(table_study).changed(task={"positive": ["u", "w"]})
    studies = {"A": three, "B": three.with_top(seed=9)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    (line,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    for rows, part in PARTS:
        label, *logits = joined(homes, cohorts, list(studies.values()), part)
        mean = np.mean([expit(one) for one in logits], axis=0)
        assert line[rows]["auc"] == pytest.approx(roc_auc_score(label != 1, mean[:, 0] + mean[:, 2]), abs=1e-12)
        assert line[rows]["accuracy"][0] == pytest.approx(accuracy_score(label, mean.argmax(axis=1)))


def test_endpoints_that_all_tasks_ask_are_averaged_over_those_whom_they_ask(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question of yes or no, and one of which class; oracle: scikit-learn over the pooled mean probabilities."""
    which = {"name": "kind", "title": "Which of three", "among": ["u", "v", "w"]}
    yes = {"name": "which", "title": "Which", "among": ["v", "w"], "positive": ["w"]}
    alone = {"name": "alone", "title": "Of one task", "among": ["u", "w"], "positive": ["w"]}
    base, weights = three_classes(table_study), {"composite": {"main": 0.5, "which": 0.3, "kind": 0.2}}
    studies = {
        "A": base.with_top(endpoint=[which, yes], analysis=weights),
        "B": base.with_top(seed=9, endpoint=[yes, alone, which], analysis=weights),
    }
    homes, cohorts = ran(make_site, monkeypatch, studies)
    kept: dict[str, dict[str, list[np.ndarray[Any, Any]]]] = {}
    for (name, digest), cohort in cohorts.items():
        store = ScoreStore(load_site(homes[name] / "site.toml").study_folder(digest), 60)
        draw = np.random.default_rng([int(name[1:]), int(digest[:6], 16)])
        answer = draw.normal(cohort.label == 2, 1.0)[:, None]
        share = draw.dirichlet(np.ones(3), 60) * 0.8 + 0.2 * np.eye(3)[cohort.label]
        classes = np.log(share / (1 - share))
        store.keep("federated-which", np.arange(60), answer, endpoint="which")
        store.keep("federated-kind", np.arange(60), classes, endpoint="kind")
        for row, case in enumerate(cohort.patients):
            kept.setdefault(case, {}).setdefault(digest, [cohort.label[row], cohort.part[row], answer[row], share[row]])
    (line,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    for rows, part in PARTS:
        both = [list(one.values()) for one in kept.values() if len(one) == 2]
        same = [one for one in both if one[0][1] == one[1][1] == part]
        label = np.array([one[0][0] for one in same])
        yes_mean = np.array([(expit(one[0][2]) + expit(one[1][2]))[0] for one in same])
        kind = np.array([one[0][3] + one[1][3] for one in same])
        found = line[rows]["endpoints"]
        assert list(found) == ["kind", "which"], "the one that only B asks is not averaged"
        asked = label != 0
        assert found["which"]["auc"] == pytest.approx(roc_auc_score(label[asked] == 2, yes_mean[asked]), abs=1e-12)
        assert found["which"]["n"] == asked.sum()
        each = [roc_auc_score(label == one, kind[:, one]) for one in range(3)]
        assert found["kind"] == {"auc": pytest.approx(np.mean(each), abs=1e-12), "n": len(label)}
        weighted = 0.5 * line[rows]["auc"] + 0.3 * found["which"]["auc"] + 0.2 * found["kind"]["auc"]
        assert line[rows]["composite"] == pytest.approx(weighted, abs=1e-12)


def test_only_tasks_that_ask_the_same_are_averaged_and_never_one_alone(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other classes, other positive ones, other hospitals, another kind of answer: each of these is alone here."""
    three = three_classes(table_study)
    studies = {
        "C": table_study,
        "E": three,
        "F": three.changed(task={"positive": ["v"]}),
        "G": three.changed(sites={"train": ["H01", "H02", "H03"]}),
        "H": one_answer_of_three_classes(table_study),
        "K": three.with_top(seed=9),
    }
    homes, _ = ran(make_site, monkeypatch, studies)
    (line,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    assert line["of"] == ["E", "K"]
    del studies["K"]
    assert task_ensembles(TaskRows(studies, homes), figured(*studies)) == []


def test_noised_figures_have_no_exact_mean_beside_them(table_study: Study) -> None:
    noised = table_study.changed(
        privacy={"histogram_epsilon": 4.0, "secure_sum": "masked"},
        cohort={"calibration": 0.0, "folds": 0},
        analysis={"fusion": []},
    )
    assert TaskRows({"C": noised, "D": noised.with_top(seed=9)}, {}).alike() == []


def test_what_is_asked_of_the_means_goes_through_masked_sums(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are the same with sums in the clear, so that only the path tells."""
    studies = {"C": table_study, "D": table_study.with_top(seed=9)}
    homes, _ = ran(make_site, monkeypatch, studies)
    monkeypatch.setattr(GuardedSummer, "total", lambda *_: pytest.fail("asked in the clear"))
    (line,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    assert "auc" in line["internal"]


def test_a_patient_without_one_of_the_scores_is_in_no_mean(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = {"C": table_study, "D": table_study.with_top(seed=9)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    (whole,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    store = ScoreStore(load_site(homes["H01"] / "site.toml").study_folder(studies["D"].sha256), 60)
    both = set(cohorts["H01", studies["C"].sha256].patients)
    cohort = cohorts["H01", studies["D"].sha256]
    (row, *_) = [k for k in range(60) if cohort.part[k] == 2 and cohort.patients[k] in both]
    store.keep("federated", np.array([row]), np.array([[np.nan]]))
    (without,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    assert without["internal"]["n"] == whole["internal"]["n"] - 1
    assert without["external"] == whole["external"]


def test_a_floor_forbids_two_hospitals_are_too_few_and_without_figures_none_is_best(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = {"C": table_study, "D": table_study.with_top(seed=9)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    assert task_ensembles(TaskRows(studies, dict(list(homes.items())[:2])), figured(*studies)) == []
    (line,) = task_ensembles(TaskRows(studies, {name: homes[name] for name in homes if name != "H05"}), [])
    assert "auc" in line["internal"]
    assert line["external"] == {"not_released": "no patient is in all of these tasks"}
    unreleased = [{"task": task, "internal": {"not_released": "min_cell"}} for task in studies]
    (line,) = task_ensembles(TaskRows(studies, homes), unreleased)
    assert line["against_best"] == []
    assert 0 <= line["internal"]["auc"] <= 1
    for cohort in cohorts.values():
        cohort.label[:] = 0
    (before,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    assert all(before[rows]["auc"] is None for rows in ("internal", "external")), "one class"
    assert all("not_released" in one and "p" not in one for one in before["against_best"])
    few = ("H01-60", "H01-61")
    for (name, _), cohort in cohorts.items():
        cohort.label[:] = [name == "H01" and case in few for case in cohort.patients]
    (line,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    assert list(line["internal"]) == ["not_released"]
    assert (line["external"]["auc"], line["external"]["n"]) == (None, before["external"]["n"]), "one class"


def test_too_few_internal_patients_of_a_class_keep_no_external_figure_back(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part is asked by itself: of the mean, of its endpoints and of the test against the best task."""
    ask = {"name": "which", "title": "Which", "among": ["v", "w"], "positive": ["w"]}
    first = three_classes(table_study).with_top(endpoint=[ask])
    studies = {"A": first, "B": first.with_top(seed=9)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    for (name, digest), cohort in cohorts.items():
        logits = np.random.default_rng(int(digest[:6], 16)).normal(cohort.label == 2, 1.0)[:, None]
        store = ScoreStore(load_site(homes[name] / "site.toml").study_folder(digest), 60)
        store.keep("federated-which", np.arange(60), logits, endpoint="which")
        if name != "H05":
            cohort.label[(cohort.label == 2) & ~np.isin(cohort.patients, ["H01-20", "H01-23"])] = 1
            cohort.label[cohort.label == 0] = 1
    (line,) = task_ensembles(TaskRows(studies, homes), figured(*studies))
    assert line["internal"]["endpoints"]["which"]["not_released"].startswith("min_cell")
    assert 0 < line["external"]["endpoints"]["which"]["auc"] < 1
    assert 0 < line["external"]["auc"] < 1
    internal, external = line["against_best"]
    assert "not_released" in internal
    assert 0 <= external["p"] <= 1
