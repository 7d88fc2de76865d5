"""DeLong's test between two tasks of a study, over patients whom each hospital joins by its own pseudonyms."""

from __future__ import annotations

import pytest
from sklearn.metrics import roc_auc_score

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.site import SiteConfig
from fl_liver.stats.compare import compare
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.study import Study
from simulation import task_rows
from simulation.task_comparisons import task_comparisons
from simulation.task_ensembles import task_ensembles
from simulation.task_rows import TaskRows
from tests.conftest import MakeSite
from tests.simulation.joined_tasks import joined, one_answer_of_three_classes, ran


def test_two_tasks_are_compared_on_the_patients_of_both(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracles: scikit-learn's AUCs of the joined patients, DeLong of them as one table."""
    studies = {"C": table_study, "D": table_study.with_top(seed=9)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    lines = task_comparisons(TaskRows(studies, homes))
    assert [(line["a"], line["b"], line["class"], line["rows"]) for line in lines] == [
        ("C", "D", "", "internal"),
        ("C", "D", "", "external"),
    ]
    for line, part in zip(lines, (2, 3), strict=True):
        label, *logits = joined(homes, cohorts, list(studies.values()), part)
        a, b = (one[:, 0] for one in logits)
        aucs = [float(roc_auc_score(label, score)) for score in (a, b)]
        assert line["n"] == len(label)
        assert line["auc"] == pytest.approx(aucs, abs=1e-12)
        assert line["difference"] == pytest.approx(aucs[0] - aucs[1], abs=1e-12)
        table = Table({"y": label, "a": a, "b": b})
        whole = converse({"": compare(["a", "b"], "y", min_cell=1)}, TablesSummer([table]))[""].paired()
        assert line["p"] == pytest.approx(whole.p, rel=1e-9)
        assert line["ci95"] == pytest.approx(whole.ci95, rel=1e-9)


def test_of_several_classes_each_is_compared_and_other_classes_are_not(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = table_study.changed(task={"classes": {"u": "0", "v": "1", "w": "2"}, "positive": ["u"]})
    studies = {"C": table_study, "E": three, "F": three.with_top(seed=9), "G": three.with_top(seed=10)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    lines = task_comparisons(TaskRows(studies, homes))
    found = {(line["a"], line["b"], line["class"], line["rows"]) for line in lines}
    pairs = (("E", "F"), ("E", "G"), ("F", "G"))
    assert found == {(*pair, one, rows) for pair in pairs for one in "uvw" for rows in ("internal", "external")}
    label, a, _ = joined(homes, cohorts, [studies["E"], studies["G"]], 2)
    (line,) = [x for x in lines if (x["a"], x["b"], x["class"], x["rows"]) == ("E", "G", "u", "internal")]
    assert line["auc"][0] == pytest.approx(roc_auc_score(label == 0, a[:, 0]), abs=1e-12)


def test_of_classes_that_the_networks_do_not_tell_apart_disease_is_compared(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With further endpoints a network of several classes says whether there is disease; no other score is kept."""
    first = one_answer_of_three_classes(table_study)
    studies = {"C": first, "D": first.with_top(seed=9)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    lines = task_comparisons(TaskRows(studies, homes))
    assert [(line["class"], line["rows"]) for line in lines] == [("", "internal"), ("", "external")]
    label, a, b = joined(homes, cohorts, list(studies.values()), 2)
    aucs = [roc_auc_score(label == 0, score[:, 0]) for score in (a, b)]
    assert lines[0]["auc"] == pytest.approx(aucs, abs=1e-12)


def test_each_hospitals_cohort_of_a_task_is_read_once(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images and all, however many pairs a task is in; a task that is in none is not read."""
    lonely = table_study.changed(task={"classes": {"u": "0", "v": "1", "w": "2"}, "positive": ["u"]})
    studies = {name: table_study.with_top(seed=seed) for seed, name in enumerate("CDEF", 9)} | {"X": lonely}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    reads: list[tuple[str, str]] = []

    def load(site: SiteConfig, study: Study) -> Cohort:
        reads.append((site.site, study.sha256))
        return cohorts[site.site, study.sha256]

    monkeypatch.setattr(task_rows, "load_cohort", load)
    rows = TaskRows(studies, homes)
    assert len(task_comparisons(rows)) == 6 * 2
    assert len(task_ensembles(rows, [])) == 1
    assert sorted(reads) == sorted((name, studies[task].sha256) for name in homes for task in "CDEF")


def test_a_floor_forbids_and_two_hospitals_are_too_few(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = {"C": table_study, "D": table_study.with_top(seed=9)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    assert task_comparisons(TaskRows(studies, dict(list(homes.items())[:2]))) == []
    for cohort in cohorts.values():
        cohort.label[:] = 0
    lines = task_comparisons(TaskRows(studies, homes))
    assert lines
    assert all(line["not_released"] and "p" not in line for line in lines)
