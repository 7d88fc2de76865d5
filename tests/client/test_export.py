"""The hospital's own table for `fl-liver analyse`: who is in it, what of them, and what is not."""

from __future__ import annotations

import csv
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver import cli
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.export import image_table, site_table, write_table
from fl_liver.client.scores import ImageLogits, ScoreStore
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study
from fl_liver.study_files import load_study
from tests.conftest import MakeSite


def scored(site: SiteConfig, study: Study, name: str = "federated", classes: int = 1) -> tuple[Cohort, Any]:
    """The cohort, all of whom but the first have scores: 0, 0.5, 1, …"""
    cohort = load_cohort(site, study)
    n = len(cohort.patients)
    logits = np.arange(n)[1:, None] / 2
    if classes > 1:
        p = np.random.default_rng(1).dirichlet(np.ones(classes), n - 1)
        logits = np.log(p / (1 - p))
    ScoreStore(site.study_folder(study.sha256), n).keep(name, np.arange(1, n), logits)
    return cohort, logits


def write_rows(path: Path, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def test_a_row_a_patient_with_what_the_study_and_its_models_say(make_site: MakeSite, table_study: Study) -> None:
    """Every column is as long as the cohort; who was not scored has empty fields."""
    site = make_site("H01")
    cohort, logits = scored(site, table_study)
    found = site_table(site, table_study, cohort).columns
    assert found["case"] == found["patient"] == list(cohort.patients)
    assert {len(values) for values in found.values()} == {40}
    assert found["score_federated"][0] == found["p_federated"][0] == ""
    assert [float(x) for x in found["score_federated"][1:]] == logits[:, 0].tolist()
    assert float(found["p_federated"][2]) == pytest.approx(1 / (1 + np.exp(-1.0)), rel=1e-15)
    assert set(zip(found["class"], found["label"], strict=True)) == {("benign", "0"), ("malignant", "1")}
    for part, test in zip(found["part"], found["test"], strict=True):
        assert test == (part if part == "internal" else "")
    assert set(found["part"]) == {"train", "calibration", "internal"}


def test_readers_and_explanations_are_joined_by_the_patient(
    make_site: MakeSite, table_study: Study, tmp_path: Path
) -> None:
    """In whatever order they stand; a patient of whom they say nothing is left empty."""
    site = make_site("H01", patients=12)
    said = [[f"P{number:03d}", number % 2, number] for number in range(11, 0, -1)]
    write_rows(site.data / "readers.csv", [["patient_id", "reader_1_diagnosis", "reader_1_confidence"], *said])
    names = site_pseudonyms(site.work)
    explained = tmp_path / "explain.csv"
    write_rows(explained, [["pseudonym", "hit:Grad-CAM"], [names.patient("P004"), 1], [names.patient("P999"), 0]])
    found = site_table(site, table_study, load_cohort(site, table_study), explained).columns
    place = {names.patient(f"P{number:03d}"): number for number in range(12)}
    order = [place[case] for case in found["case"]]
    assert found["reader_1_confidence"] == ["" if number == 0 else str(number) for number in order]
    assert found["hit_Grad-CAM"] == ["1" if number == 4 else "" for number in order]


def test_of_lesions_each_has_its_own_row_and_its_patients_pseudonym(make_site: MakeSite, table_study: Study) -> None:
    site = make_site("H01", patients=12)
    study = table_study.changed(cohort={"unit": "lesion"})
    header = ["patient_id", "lesion", "malignant", "age_years", "hepatitis", "size_mm", "stage"]
    rows = [[f"P{i:03d}", k, i % 2, 50, 1, 10 * i + k, f"{i}{k}"] for i in range(3) for k in (2, 1)]
    write_rows(site.data / "clinical.csv", [header, *rows])
    write_rows(site.data / "readers.csv", [["patient_id", "lesion", "said"], ["P001", 2, "yes"], ["P001", 1, "no"]])
    names = site_pseudonyms(site.work)
    cases = [(i, k) for i in range(3) for k in (1, 2)]
    cohort = Cohort(
        patients=tuple(names.patient(f"P{i:03d}#{k}") for i, k in cases),
        label=np.array([i % 2 for i, _ in cases]),
        part=np.zeros(6, np.int8),
        fold=np.full(6, -1, np.int8),
        factors=np.zeros((6, 2)),
        background=np.full(6, -1),
        size_mm=np.full(6, np.nan),
        images={},
        owner=np.empty(0, np.int64),
        findings=(),
        group=np.repeat(np.arange(3), 2),
    )
    found = site_table(site, study, cohort, named=["stage", "said"]).columns
    assert found["stage"] == [f"{i}{k}" for i, k in cases]
    assert found["said"] == ["", "", "no", "yes", "", ""]
    assert found["lesion"] == ["1", "2"] * 3, "of the clinical table; readers.csv does not bring it again"
    assert found["patient"] == [names.patient(f"P{i:03d}") for i, _ in cases]
    assert len(set(found["case"])) == 6


def test_several_classes_have_a_score_and_a_probability_each(make_site: MakeSite, table_study: Study) -> None:
    study = table_study.changed(task={"classes": {"a": "0", "b": "1", "c": "2"}, "positive": ["b", "c"]})
    site = make_site("H01", study=study)
    cohort, logits = scored(site, study, classes=3)
    found = site_table(site, study, cohort).columns
    assert [float(x) for x in found["score_federated_b"][1:]] == pytest.approx(logits[:, 1].tolist())
    total = sum(float(found[f"p_federated_{name}"][5]) for name in "abc")
    assert total == pytest.approx(1)
    p_disease = float(found["p_federated_b"][5]) + float(found["p_federated_c"][5])
    assert float(found["p_federated"][5]) == pytest.approx(p_disease)


def test_wangs_risk_is_given_back_from_the_stored_log_odds(make_site: MakeSite, table_study: Study) -> None:
    """Stored as log(10ʳ − 1): r = 1 is log 9. What a regression made of it is no risk: its log-odds are others."""
    study = table_study.changed(model={"patient": "risk"})
    site = make_site("H01", study=study)
    cohort = load_cohort(site, study)
    store, logits = ScoreStore(site.study_folder(study.sha256), 40), np.log([[9.0], [10**0.2 - 1], [10**-9.0]])
    store.keep("federated", np.arange(3), logits, images=ImageLogits(np.arange(3), logits, 40))
    store.keep("fusion", np.arange(3), 2 * logits)
    found = site_table(site, study, cohort).columns
    assert [float(x) for x in found["risk_federated"][:2]] == pytest.approx([1.0, 0.2])
    assert float(found["risk_federated"][2]) == pytest.approx(1e-9 / np.log(10), rel=1e-6)
    assert "p_fusion" in found
    assert "risk_fusion" not in found
    assert "risk_federated" not in site_table(site, table_study, load_cohort(site, table_study)).columns


def images_of(site: SiteConfig, lesions: int = 6) -> Cohort:
    """Two lesions a patient, with 1, 2, 3, … images; a lesion is drawn in every third image."""
    names = site_pseudonyms(site.work)
    owner = np.repeat(np.arange(lesions), np.arange(1, lesions + 1))
    mask = np.zeros((len(owner), 4, 4), np.float16)
    mask[::3, 1, 2] = 0.25
    return Cohort(
        patients=tuple(names.patient(f"P{i // 2:03d}#{i % 2 + 1}") for i in range(lesions)),
        label=np.arange(lesions) // 2 % 2,
        part=np.array([(0, 2, 3)[i // 2 % 3] for i in range(lesions)], np.int8),
        fold=np.full(lesions, -1, np.int8),
        factors=np.zeros((lesions, 2)),
        background=np.full(lesions, -1),
        size_mm=np.full(lesions, np.nan),
        images={"lesion": np.zeros((len(owner), 4, 4), np.float16), "mask": mask},
        owner=owner,
        findings=(),
        group=np.arange(lesions) // 2,
    )


@pytest.fixture
def image_study() -> Study:
    return load_study("nodule_ct").changed(cohort={"masks": True})


def write_lesions(site: SiteConfig, patients: int = 3) -> None:
    rows = [[f"P{i:03d}", k] for i in range(patients) for k in (1, 2)]
    write_rows(site.data / "clinical.csv", [["patient_id", "lesion"], *rows])


def test_of_images_each_has_a_row_with_its_lesion_its_patient_and_what_is_drawn_in_it(
    make_site: MakeSite, image_study: Study
) -> None:
    site = make_site("H01")
    write_lesions(site)
    cohort, names = images_of(site), site_pseudonyms(site.work)
    store = ScoreStore(site.study_folder(image_study.sha256), 6)
    logits = np.linspace(-3, 3, 20)[:, None]
    store.keep("federated", np.arange(6), np.zeros((6, 1)), images=ImageLogits(np.arange(1, 21), logits, 21))
    store.keep("fusion", np.arange(6), np.zeros((6, 1)))
    found = image_table(site, image_study, cohort)
    assert list(found) == ["case", "patient", "part", "test", "label", "visible", "score_federated", "p_federated"]
    assert found["case"][:6] == [cohort.patients[row] for row in (0, 1, 1, 2, 2, 2)]
    assert found["patient"] == [names.patient(f"P{row // 2:03d}") for row in cohort.owner]
    assert found["test"] == [("", "internal", "external")[row // 2] for row in cohort.owner]
    assert found["label"] == [str(row // 2 % 2) for row in cohort.owner]
    assert found["visible"] == [str(int(image % 3 == 0)) for image in range(21)]
    assert found["score_federated"][0] == found["p_federated"][0] == "", "an image that nobody scored"
    assert [float(x) for x in found["score_federated"][1:]] == logits[:, 0].tolist()
    assert float(found["p_federated"][20]) == pytest.approx(1 / (1 + np.exp(-3.0)))


def test_images_have_no_visible_column_without_masks_nor_scores_of_several_classes(
    make_site: MakeSite, image_study: Study
) -> None:
    site = make_site("H01")
    write_lesions(site)
    study = image_study.changed(cohort={"masks": False})
    store = ScoreStore(site.study_folder(study.sha256), 6)
    of_three = ImageLogits(np.arange(21), np.zeros((21, 3)), 21)
    store.keep("federated", np.arange(6), np.full((6, 3), -np.log(2)), images=of_three)
    assert list(image_table(site, study, images_of(site))) == ["case", "patient", "part", "test", "label"]


def test_images_that_changed_since_they_were_scored_and_tables_are_refused(
    make_site: MakeSite, table_study: Study, image_study: Study
) -> None:
    site = make_site("H01")
    write_lesions(site)
    store = ScoreStore(site.study_folder(image_study.sha256), 6)
    store.keep("federated", np.arange(6), np.zeros((6, 1)), images=ImageLogits(np.arange(20), np.zeros((20, 1)), 20))
    with pytest.raises(DataError, match="scores 'federated' are of 20 images, the cohort has 21"):
        image_table(site, image_study, images_of(site))
    with pytest.raises(DataError, match="tiny_table reads a table; it has no images to list"):
        image_table(site, table_study, images_of(site))


def test_rows_that_left_the_clinical_table_are_not_made_one_patient(
    make_site: MakeSite, image_study: Study, table_study: Study
) -> None:
    """All of them had one pseudonym, that of nobody; a statistic clustered by patient took them for one."""
    site = make_site("H01")
    cohort = load_cohort(site, table_study)
    with (site.data / "clinical.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    write_rows(site.data / "clinical.csv", rows[:38])
    with pytest.raises(DataError, match=r"3 of 40 rows of the cohort are not in the clinical table any more; put them"):
        site_table(site, table_study, cohort)
    write_lesions(site, patients=2)
    with pytest.raises(DataError, match="2 of 6 rows of the cohort are not in the clinical table any more"):
        image_table(site, image_study, images_of(site))


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([["patient_id", "part"], ["P001", "x"]], "readers.csv: column 'part' is in the table already"),
        ([["patient_id", "r"], ["P001", 1], ["P001", 0]], "1 rows name a patient or lesion that an earlier row names"),
        ([["patient", "r"], ["P001", 1]], "column 'patient_id' .* is missing"),
    ],
)
def test_a_wrong_table_of_readers_is_refused(
    rows: list[list[object]], match: str, make_site: MakeSite, table_study: Study
) -> None:
    site = make_site("H01")
    write_rows(site.data / "readers.csv", rows)
    with pytest.raises(DataError, match=match):
        site_table(site, table_study, load_cohort(site, table_study), named=["part"])


def test_only_the_owner_can_read_the_file(make_site: MakeSite, table_study: Study, tmp_path: Path) -> None:
    columns = {"case": ["a"], "x": ["1, 2"]}
    write_table(tmp_path / "out.csv", columns)
    assert (tmp_path / "out.csv").read_text() == 'case,x\na,"1, 2"\n'
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match=r"cannot be written .*give another --out path"):
        write_table(tmp_path / "nowhere" / "out.csv", columns)


def test_the_command_takes_what_the_papers_plan_reads(
    make_site: MakeSite, table_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, out = make_site("H01"), tmp_path / "north.csv"
    (site.data / "site.toml").write_text('site = "H01"\n')
    with (site.data / "clinical.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    write_rows(site.data / "clinical.csv", [[*rows[0], "mrn", "bmi"], *([*row, "M1", 22] for row in rows[1:])])
    plan = tmp_path / "plan.toml"
    plan.write_text('[[analysis]]\nid = "a"\nkind = "rank_sum"\nx = "bmi"\ngroup = "label"\n')
    monkeypatch.setattr("fl_liver.study_files.shipped_plan", lambda _: plan)
    asked = ["site", "table", table_study.sha256[:12], "--out", str(out), "--dir", str(site.data)]
    assert cli.run_app(cli.app, asked) == 0
    with out.open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert {row["bmi"] for row in found} == {"22"}
    assert "mrn" not in found[0]


def test_the_command_writes_the_table_and_sends_nothing(
    make_site: MakeSite, table_study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site("H01")
    scored(site, table_study)
    (site.data / "site.toml").write_text('site = "H01"\n')
    with (site.data / "clinical.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    write_rows(site.data / "clinical.csv", [[*rows[0], "mrn", "bmi"], *([*row, "M1", 22] for row in rows[1:])])
    write_rows(site.data / "readers.csv", [["patient_id", "reader_1_diagnosis", "read_on"], ["P001", 1, "2024-03-01"]])
    out = tmp_path / "north.csv"
    asked = ["site", "table", table_study.sha256[:12], "--out", str(out), "--dir", str(site.data)]
    assert cli.run_app(cli.app, [*asked, "--column", "bmi"]) == 0
    said = capsys.readouterr().out
    assert "it stays in the hospital" in said
    assert "kept of clinical table: malignant, age_years, bmi\n" in said
    assert "left out of clinical table: mrn\n" in said
    assert "left out of readers.csv: read_on\n" in said
    assert "M1" not in out.read_text()
    assert cli.run_app(cli.app, [*asked, "--column", "read_on"]) == 2
    assert cli.run_app(cli.app, [*asked, "--images", "--column", "bmi"]) == 78
    assert cli.run_app(cli.app, asked) == 0
    with out.open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 40
    asked[2] = "0" * 12
    assert cli.run_app(cli.app, asked) == 78
    asked[2] = table_study.sha256[:12]
    assert cli.run_app(cli.app, [*asked, "--images"]) == 2, "its study reads a table"
    assert cli.run_app(cli.app, [*asked, "--images", "--explained", str(out)]) == 78
