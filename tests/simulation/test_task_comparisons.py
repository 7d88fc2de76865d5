"""DeLong's test between two tasks of a study, over patients whom each hospital joins by its own pseudonyms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.stats.compare import compare
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.study import Study
from simulation import task_comparisons as module
from simulation.task_comparisons import task_comparisons
from tests.conftest import MakeSite

SITES = ("H01", "H02", "H03", "H05")
Cohorts = dict[tuple[str, str], Cohort]


def cohort_of(site: str, order: np.ndarray[Any, Any], classes: int) -> Cohort:
    """Patients by number in this order: the first ten trained on, the others tested."""
    part = np.where(order < 10, 0, 3 if site == "H05" else 2)
    return Cohort(
        patients=tuple(f"{site}-{number}" for number in order),
        label=order % classes,
        part=part.astype(np.int8),
        fold=np.full(len(order), -1, np.int8),
        factors=np.zeros((len(order), 2)),
        background=np.full(len(order), -1),
        size_mm=np.full(len(order), np.nan),
        images={},
        owner=np.empty(0, np.int64),
        findings=(),
    )


def ran(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, studies: Mapping[str, Study]
) -> tuple[dict[str, Path], Cohorts]:
    """Every study has its own order of patients at every hospital, and lacks some of them."""
    homes, cohorts = {}, {}
    for name in SITES:
        site: SiteConfig = make_site(name)
        (site.data / "site.toml").write_text(f'site = "{name}"\nrole = "{site.role}"\n')
        homes[name] = site.data
        for place, study in enumerate(studies.values()):
            draw = np.random.default_rng([int(name[1:]), place])
            order = draw.permutation(70)[:60]
            classes = len(study.task.classes)
            cohorts[name, study.sha256] = cohort_of(name, order, classes)
            logits = draw.normal(order % classes * (1.0 + place), 1.0)[:, None]
            if classes > 2:
                p = draw.dirichlet(np.ones(classes), 60) + np.eye(classes)[order % classes] * (0.3 + place)
                logits = np.log(p / p.sum(1, keepdims=True) / (1 - p / p.sum(1, keepdims=True)))
            ScoreStore(site.study_folder(study.sha256), 60).keep("federated", np.arange(60), logits)
    monkeypatch.setattr(module, "load_cohort", lambda site, study: cohorts[site.site, study.sha256])
    return homes, cohorts


def joined(homes: Mapping[str, Path], cohorts: Cohorts, a: Study, b: Study, part: int) -> np.ndarray[Any, Any]:
    """(n, 3): label, score a, score b of the patients of a part who are in both, over all hospitals."""
    rows = []
    for name, home in homes.items():
        one, other = (cohorts[name, study.sha256] for study in (a, b))
        said = []
        for study, cohort in ((a, one), (b, other)):
            store = ScoreStore(load_site(home / "site.toml").study_folder(study.sha256), 60)
            said.append(dict(zip(cohort.patients, store.load("federated")[:, 0], strict=True)))
        for case, label, where in zip(one.patients, one.label, one.part, strict=True):
            if case in said[1] and where == part:
                rows.append((label, said[0][case], said[1][case]))
    return np.array(rows)


def test_two_tasks_are_compared_on_the_patients_of_both(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracles: scikit-learn's AUCs of the joined patients, DeLong of them as one table."""
    studies = {"C": table_study, "D": table_study.with_top(seed=9)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    lines = task_comparisons(studies, homes)
    assert [(line["a"], line["b"], line["class"], line["rows"]) for line in lines] == [
        ("C", "D", "", "external"),
        ("C", "D", "", "internal"),
    ]
    for line, part in zip(lines, (3, 2), strict=True):
        label, a, b = joined(homes, cohorts, studies["C"], studies["D"], part).T
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
    lines = task_comparisons(studies, homes)
    found = {(line["a"], line["b"], line["class"], line["rows"]) for line in lines}
    pairs = (("E", "F"), ("E", "G"), ("F", "G"))
    assert found == {(*pair, one, rows) for pair in pairs for one in "uvw" for rows in ("internal", "external")}
    label, a, _ = joined(homes, cohorts, studies["E"], studies["G"], 2).T
    (line,) = [x for x in lines if (x["a"], x["b"], x["class"], x["rows"]) == ("E", "G", "u", "internal")]
    assert line["auc"][0] == pytest.approx(roc_auc_score(label == 0, a), abs=1e-12)


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

    monkeypatch.setattr(module, "load_cohort", load)
    assert len(task_comparisons(studies, homes)) == 6 * 2
    assert sorted(reads) == sorted((name, studies[task].sha256) for name in homes for task in "CDEF")


def test_a_floor_forbids_and_two_hospitals_are_too_few(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = {"C": table_study, "D": table_study.with_top(seed=9)}
    homes, cohorts = ran(make_site, monkeypatch, studies)
    assert task_comparisons(studies, dict(list(homes.items())[:2])) == []
    for cohort in cohorts.values():
        cohort.label[:] = 0
    lines = task_comparisons(studies, homes)
    assert lines
    assert all(line["not_released"] and "p" not in line for line in lines)
