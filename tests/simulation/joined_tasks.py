"""Tasks that were run on the same hospitals: cohorts and stored scores, drawn, and the joined patients as an oracle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.study import Study
from simulation import task_rows
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
            logits = draw.normal(order % classes * (0.6 + 0.3 * place), 1.0)[:, None]
            if study.asks_which_class:
                p = draw.dirichlet(np.ones(classes), 60) + np.eye(classes)[order % classes] * (0.2 + 0.1 * place)
                logits = np.log(p / p.sum(1, keepdims=True) / (1 - p / p.sum(1, keepdims=True)))
            ScoreStore(site.study_folder(study.sha256), 60).keep("federated", np.arange(60), logits)
    monkeypatch.setattr(task_rows, "load_cohort", lambda site, study: cohorts[site.site, study.sha256])
    return homes, cohorts


def three_classes(study: Study) -> Study:
    """The network tells three classes apart."""
    return study.changed(task={"classes": {"u": "0", "v": "1", "w": "2"}, "positive": ["u"]})


def one_answer_of_three_classes(study: Study) -> Study:
    """The network says whether there is disease; which it is, is a further endpoint."""
    endpoint = {"name": "which", "title": "Which", "among": ["v", "w"], "positive": ["w"]}
    return three_classes(study).with_top(endpoint=[endpoint])


def joined(homes: Mapping[str, Path], cohorts: Cohorts, studies: list[Study], part: int) -> list[Any]:
    """[label (n,), logits (n, K) of each study] of the patients of a part who are in all, over all hospitals."""
    labels, logits = [], []
    for name, home in homes.items():
        said = []
        for study in studies:
            store = ScoreStore(load_site(home / "site.toml").study_folder(study.sha256), 60)
            said.append(dict(zip(cohorts[name, study.sha256].patients, store.load("federated"), strict=True)))
        one = cohorts[name, studies[0].sha256]
        for case, label, where in zip(one.patients, one.label, one.part, strict=True):
            if where == part and all(case in cases for cases in said):
                labels.append(label)
                logits.append([cases[case] for cases in said])
    return [np.array(labels), *np.swapaxes(np.array(logits), 0, 1)]
