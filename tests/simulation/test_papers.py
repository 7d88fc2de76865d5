"""The papers' own tables in a finished simulation, and the plans that ship."""

from __future__ import annotations

import csv
import json
import stat
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.scores import ImageLogits, ScoreStore
from fl_liver.stats.plan import parse_plan, read_plan
from fl_liver.study import Study
from fl_liver.study_files import load_study, shipped_image_plan, shipped_plan
from simulation import papers
from simulation.phantom.readers import reader_header
from simulation.phantom.registry import PHANTOMS, phantom_of
from tests.conftest import MakeSite

PLANS = sorted(path.name.removesuffix(".toml") for path in (resources.files("fl_liver") / "studies/plans").iterdir())
DEALT = {"case", "patient", "part", "test", "fold", "class", "label", "background"}


def study_of(plan: str) -> Study:
    name, _, classes = plan.partition("-")
    return load_study({"7": f"{name}:A", "3": f"{name}:G"}.get(classes, name))


def image_columns_of(study: Study) -> set[str]:
    """What a hospital's table of images holds (`client.export.image_table`), where the network answers one question."""
    scores = ["federated", "selection"] if study.selection is not None else ["federated"]
    found = {"case", "patient", "part", "test", "label"} | ({"visible"} if study.cohort.masks else set())
    return found | {f"{kind}_{score}" for score in scores for kind in ("score", "p")}


def columns_of(study: Study) -> set[str]:
    """What a hospital's table of a study's own phantom holds (`client.export`), less what is optional."""
    module = import_module(PHANTOMS[study.model.name].partition(":")[0])
    clinical = (
        getattr(module, "CLINICAL_COLUMNS", None) or import_module("simulation.phantom.clinical").CLINICAL_COLUMNS
    )
    scores = ["federated", "fusion"] if study.analysis.fusion else ["federated"]
    scores += [f"federated-{one.name}" for one in study.endpoint if one.positive]
    several = {f"federated-{one.name}": one.among for one in study.endpoint if not one.positive}
    if len(study.task.classes) > 2:
        several["federated"] = tuple(study.task.classes)
    readers = reader_header(phantom_of(study)[0].opinions, of_lesions=study.cohort.unit == "lesion")
    found = DEALT | set(clinical) | set(readers) | {"size_mm"} | {factor.name for factor in study.factor}
    found |= {f"{kind}_{score}" for score in scores for kind in ("score", "p")}
    found |= {f"{kind}_{s}_{c}" for s, classes in several.items() for c in classes for kind in ("score", "p")}
    found |= {f"{'label' if one.positive else 'class'}_{one.name}" for one in study.endpoint}
    return found | ({"risk_federated"} if study.model.patient != "mean" else set())


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_reads_what_its_studys_hospitals_have(name: str) -> None:
    """A plan with a column that no hospital has would say nothing of it."""
    study, of_images = study_of(name), name.endswith("-images")
    plan = shipped_image_plan(study) if of_images else shipped_plan(study)
    assert plan is not None
    assert plan.stem == name
    assert set(read_plan(plan).columns()) <= (image_columns_of(study) if of_images else columns_of(study))


def test_every_published_system_has_a_plan() -> None:
    assert {name.partition("-")[0] for name in PLANS} == set(PHANTOMS)


def test_a_study_without_a_plan_and_too_few_hospitals_are_passed_over(
    table_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = {f"H0{number}": tmp_path for number in range(1, 6)}
    assert papers.paper_analysis(table_study, tmp_path, homes) == {}
    monkeypatch.setattr(papers, "shipped_plan", lambda _: tmp_path / "plan.toml")
    assert papers.paper_analysis(table_study, tmp_path, dict(list(homes.items())[:2])) == {}
    assert list(tmp_path.iterdir()) == []


PLAN = """
[[column]]
name = "old"
how = "at_least"
of = ["age_years"]
threshold = 55
[[analysis]]
id = "network"
kind = "roc"
score = "score_federated"
label = "label"
by = "test"
[[analysis]]
id = "old and ill"
kind = "mcnemar"
first = "old"
second = "label"
[[analysis]]
id = "nobody's"
kind = "proportion"
column = "reader_1_diagnosis"
[[analysis]]
id = "too few"
kind = "roc"
score = "score_federated"
label = "rare"
"""


def hospital(make_site: MakeSite, study: Study, name: str) -> Path:
    site = make_site(name)
    (site.data / "site.toml").write_text(f'site = "{name}"\nrole = "{site.role}"\n')
    with (site.data / "clinical.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    rare = ["rare", *("1" if name == "H01" and line < 3 else "0" for line in range(len(rows) - 1))]
    with (site.data / "clinical.csv").open("w", newline="", encoding="utf-8") as file:
        unread = ["unread", *(["x"] * (len(rows) - 1))]
        seen = ["seen", "04/05/1960", *([""] * (len(rows) - 2))]
        csv.writer(file).writerows([*row, *more] for row, *more in zip(rows, rare, unread, seen, strict=True))
    cohort = load_cohort(site, study)
    n = len(cohort.patients)
    scores = np.random.default_rng(int(name[1:])).normal(cohort.label, 1.0)[:, None]
    if name != "H05":  # a hospital that was never asked for scores
        ScoreStore(site.study_folder(study.sha256), n).keep("federated", np.arange(n), scores)
    return site.data


def test_a_papers_tables_are_answered_over_every_hospital(
    make_site: MakeSite, table_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a floor forbids is told with its reason; what no hospital has is left out; the rest is answered."""
    (tmp_path / "plan.toml").write_text(PLAN)
    monkeypatch.setattr(papers, "shipped_plan", lambda _: tmp_path / "plan.toml")
    homes = {name: hospital(make_site, table_study, name) for name in table_study.every_site}
    run = tmp_path / "run"
    found: dict[str, Any] = papers.paper_analysis(table_study, run, homes)
    assert found["answered"] == 2
    assert found["left_out"] == {"nobody's": "no hospital has a column 'reader_1_diagnosis'"}
    assert "rare" in found["refused"]["too few"]
    results = json.loads((run / found["results"]).read_text())
    assert list(results["network"]["strata"]) == ["internal"]  # the one external hospital has no scores
    assert results["old and ill"]["b"] >= 0
    page = (run / found["page"]).read_text()
    assert "Columns that the plan makes" in page
    assert "age_years ≥ 55" in page
    with (run / "analysis" / "H05.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["score_federated"] for row in rows} == {""}
    assert {row["unread"] for row in rows} == {"x"}, "kept for plans that somebody writes later"
    assert "seen" not in rows[0], "dates are not kept of phantoms either"
    assert stat.S_IMODE((run / "analysis" / "H01.csv").stat().st_mode) == 0o600


def image_hospital(make_site: MakeSite, study: Study, name: str) -> tuple[Path, Cohort, list[tuple[str, int, float]]]:
    """Forty patients of 1 to 4 images, and (part, whether a lesion is drawn, logit) of each image of the tests."""
    site, draw = make_site(name), np.random.default_rng(int(name[1:]))
    (site.data / "site.toml").write_text(f'site = "{name}"\nrole = "{study.role_of(name)}"\n')
    owner = np.repeat(np.arange(40), draw.integers(1, 5, 40))
    drawn = draw.random(len(owner)) < 0.5
    mask = np.zeros((len(owner), 2, 2), np.float16)
    mask[drawn, 1, 0] = 0.5
    part = np.full(40, 3 if name == "H05" else 2, np.int8)
    part[:5] = 0
    cohort = Cohort(
        patients=tuple(site_pseudonyms(site.work).patient(f"P{number:03d}") for number in range(40)),
        label=np.arange(40) % 2,
        part=part,
        fold=np.full(40, -1, np.int8),
        factors=np.zeros((40, len(study.factor))),
        background=np.full(40, -1),
        size_mm=np.full(40, np.nan),
        images={"mask": mask},
        owner=owner,
        findings=(),
    )
    logits = draw.normal(2.0 * drawn, 1.5)
    images = ImageLogits(np.arange(len(owner)), logits[:, None], len(owner))
    ScoreStore(site.study_folder(study.sha256), 40).keep("selection", np.arange(40), np.zeros((40, 1)), images=images)
    tested = [image for image in range(len(owner)) if owner[image] >= 5]
    said = [("external" if name == "H05" else "internal", int(drawn[image]), float(logits[image])) for image in tested]
    return site.data, cohort, said


def test_single_images_are_judged_over_every_hospital(
    make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: scikit-learn over all images together, and counting at a half."""
    study = load_study("hcc_ct")
    made = {name: image_hospital(make_site, study, name) for name in ("H01", "H02", "H03", "H05")}
    cohorts = {home.name: cohort for home, cohort, _ in made.values()}
    monkeypatch.setattr(papers, "load_cohort", lambda site, _: cohorts[site.site])
    found = papers.paper_analysis(study, tmp_path / "run", {name: home for name, (home, _, _) in made.items()})
    results = json.loads((tmp_path / "run" / found["results"]).read_text())
    for part, auc in results["NoduleNet, single images"]["strata"].items():
        images = [(drawn, logit) for _, _, said in made.values() for where, drawn, logit in said if where == part]
        drawn, logit = np.array(images).T
        assert auc["auc"] == pytest.approx(roc_auc_score(drawn, logit), abs=1e-12)
        at_half = results["NoduleNet at a half, single images"]["strata"][part]["sensitivity"][0]
        assert at_half == pytest.approx(np.mean(logit[drawn == 1] >= 0))
    assert set(results["NoduleNet, single images"]["strata"]) == {"internal", "external"}
    assert "NoduleNet, single images" in (tmp_path / "run" / found["page"]).read_text()
    with (tmp_path / "run" / "analysis" / "images-H05.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(made["H05"][1].owner)


def test_an_analysis_of_made_columns_is_left_out_with_their_sources() -> None:
    plan = parse_plan(
        {
            "column": [{"name": "m", "how": "tenths", "of": ["p"]}],
            "analysis": [
                {"id": "a", "kind": "proportion", "column": "x"},
                {"id": "b", "kind": "kruskal_wallis", "x": "m", "group": "x"},
            ],
        },
        "plan",
    )
    kept, left_out = papers.answerable(plan, {"H01": {"x": ["1"]}, "H02": {}})
    assert [one.id for one in kept.analyses] == ["a"]
    assert left_out == {"b": "no hospital has a column 'p'"}
