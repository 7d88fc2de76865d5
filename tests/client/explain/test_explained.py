"""A whole cohort explained by a network whose reasons are planted: every count by hand."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.explain import explained as module
from fl_liver.client.explain.explained import Explained, explain_cohort
from fl_liver.client.explain.nodules import nodules_of
from fl_liver.client.explain.page import Facts, Picture, private_folder, write_page, write_table
from fl_liver.errors import ConfigError, DataError
from fl_liver.models.registry import model_vector
from fl_liver.study import Study
from fl_liver.study_files import load_study
from fl_liver.toml_file import parse
from tests.client.explain.conftest import BOTTOM_LEFT, SIDE, TOP_RIGHT, Planted

Make = Callable[..., Explained]


def planted_cohort() -> Cohort:
    """Patients a, b, c with 2, 1 and 3 images; a lesion top right, bottom left, or (a's second image) nowhere."""
    owner = np.array([0, 0, 1, 2, 2, 2])
    images = np.zeros((6, SIDE, SIDE), np.float16)
    images[:, 4:12, 20:28], images[:, 20:28, 4:12] = 1, -1
    masks = np.zeros_like(images)
    masks[(0, *TOP_RIGHT)] = masks[(2, *TOP_RIGHT)] = masks[(4, *TOP_RIGHT)] = 1
    masks[3, 20:28, 4:12] = masks[5, 20:28, 4:12] = 1
    return Cohort(
        patients=("a", "b", "c"),
        label=np.array([1, 0, 1]),
        part=np.array([2, 2, 3], np.int8),
        fold=np.full(3, -1, np.int8),
        factors=np.zeros((3, 0)),
        background=np.full(3, -1),
        size_mm=np.full(3, np.nan),
        images={"lesion": images, "mask": masks},
        owner=owner,
        findings=(),
    )


@pytest.fixture
def study() -> Study:
    """CT patches of 16 mm in HU, two classes; the network is put in by `explain`."""
    base = load_study("lesion_us_fusion").model_dump(mode="json", exclude_none=True)
    del base["task"]["background"], base["task"]["background_classes"], base["column"], base["factor"]
    base["analysis"].pop("fusion")
    base["task"] |= {"modality": "CT"}
    base["model"] |= {"image_px": SIDE, "width": 8}
    base["cohort"] |= {"sequences": ["portal"], "patch_mm": 16.0, "window_hu": [-100.0, 300.0], "masks": True}
    return parse(base, Study, "patches")


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch, study: Study) -> Make:
    def run(weights: list[list[float]], cohort: Cohort, **keys: object) -> Explained:
        model = Planted(weights)
        monkeypatch.setattr(module, "model_from_vector", lambda *_: model)
        vector, layout = model_vector(model)
        chosen = keys.pop("patients", np.arange(len(cohort.patients)))
        return explain_cohort(study, cohort, vector, layout, patients=chosen, **keys)  # type: ignore[arg-type]

    return run


def test_hits_are_counted_where_a_lesion_is_drawn_and_once_a_patient(explain: Make) -> None:
    """The answer is made of the bright square, top right: images 0, 2 and 4 hit; 3 and 5 do not; 1 has no lesion."""
    done = explain([[1.0, -0.5]], planted_cohort())
    assert done.hits["Grad-CAM"][:, 0].tolist()[2:] == [1, 0, 1, 0]
    assert np.isnan(done.hits["Grad-CAM"][1]).all()
    of_patients = done.rate("Grad-CAM")
    # Each patient's image with the largest lesion: 0, 2 and 4, a quarter of the image each.
    assert done.chosen.tolist() == [0, 2, 4]
    assert (of_patients.maximum.x, of_patients.maximum.n, of_patients.by_chance) == (3, 3, 0.25)


def test_of_a_patients_lesions_the_largest_alone_is_counted(explain: Make) -> None:
    """Lesions of one patient are not independent: n is patients. b and c are one; b's is made the larger, then c's."""
    cohort = replace(planted_cohort(), group=np.array([0, 1, 1]))
    rates = []
    for larger, smaller in ((2, 4), (4, 2)):
        cohort.images["mask"][(smaller, *TOP_RIGHT)] = 0
        cohort.images["mask"][smaller, 20:28, 4:12] = 1  # where nothing speaks for the class: a miss
        cohort.images["mask"][(larger, *TOP_RIGHT)] = 1
        found = explain([[1.0, -0.5]], cohort).rate("Grad-CAM").maximum
        rates.append((found.x, found.n))
    assert rates == [(2, 2), (2, 2)]


def test_a_lesion_that_nobody_drew_does_not_stand_for_its_patient(explain: Make) -> None:
    cohort = replace(planted_cohort(), group=np.array([0, 0, 1]))
    cohort.images["mask"][:2] = 0
    found = explain([[1.0, -0.5]], cohort).rate("Grad-CAM").maximum
    assert (found.x, found.n) == (2, 2)


def test_the_class_that_is_asked_is_the_one_the_network_holds_likeliest(explain: Make) -> None:
    """Below 0 it says "no disease", for which the dark square speaks."""
    done = explain([[0.5, -1.0]], planted_cohort(), methods=("Grad-CAM",))
    assert done.hits["Grad-CAM"][:, 0].tolist()[2:] == [0, 1, 0, 1]


def test_probability_is_the_mean_of_a_patients_images_and_features_are_the_networks(explain: Make) -> None:
    cohort = planted_cohort()
    cohort.images["lesion"][1] = 0
    done = explain([[16.0, 0.0]], cohort)
    # 64 of 1024 px are bright: feature 1/16, logit 1; an empty image has logit 0.
    one = 1 / (1 + np.exp(-1.0))
    assert done.probability == pytest.approx([(one + 0.5) / 2, one, one])
    np.testing.assert_allclose(done.features[0], [1 / 16, 1 / 16])


def test_some_patients_alone_are_explained_and_their_images_found_again(explain: Make) -> None:
    done = explain([[1.0, -0.5]], planted_cohort(), patients=np.array([2]), shown=1)
    assert done.rows.tolist() == [3, 4, 5]
    assert [one.index for one in done.shown] == [1]
    assert set(done.shown[0].maps) == {"Grad-CAM", "saliency", "SMOE", "attention"}
    assert done.shown[0].maps["Grad-CAM"]["lesion"][BOTTOM_LEFT].max() == 0


def test_shown_patients_are_of_every_class(explain: Make) -> None:
    """Two of three, both classes; a rare class that comes last is among the first two shown."""
    done = explain([[1.0, -0.5]], planted_cohort(), shown=2)
    assert {int(planted_cohort().label[done.owner[one.index]]) for one in done.shown} == {0, 1}
    assert module._evenly(np.array([0, 0, 0, 1]), 2).tolist() == [0, 3]


def test_all_images_are_kept_where_that_is_asked(explain: Make) -> None:
    assert [one.index for one in explain([[1.0, -0.5]], planted_cohort(), shown=None).shown] == [0, 1, 2, 3, 4, 5]


def test_masks_and_images_are_cropped_as_the_network_sees_them(explain: Make, study: Study) -> None:
    """crop_px 16 of 32 leaves the middle: of the lesion's quarter, one quarter of the crop."""
    smaller = study.changed(augmentation={"crop_px": 16})
    cohort = planted_cohort()
    model = Planted([[1.0, 0.0]])
    given = module.network_inputs(smaller, cohort, np.array([0]), model.needs, torch.device("cpu"))
    assert given["lesion"].shape == given["mask"].shape == (1, 1, 16, 16)
    assert given["mask"][0, 0, :8, 8:].min() == 1
    assert given["mask"].mean() == 0.25
    cohort.images["mask"][1, :8, :8] = 1  # outside the crop
    assert module._lesion_share(smaller, cohort, np.array([0, 1])).tolist() == [0.25, 0]


def test_a_study_without_masks_has_maps_but_no_hits(explain: Make) -> None:
    cohort = planted_cohort()
    del cohort.images["mask"]
    done = explain([[1.0, -0.5]], cohort)
    assert done.rate("Grad-CAM").maximum.n == 0
    assert done.chosen.tolist() == [0, 2, 3]


def test_a_patient_without_images_and_a_missing_input_are_refused(explain: Make, study: Study) -> None:
    cohort = planted_cohort()
    with pytest.raises(DataError, match="1 of 2 patients have no image"):
        explain([[1.0, 0.0]], cohort, patients=np.array([0, 7]))
    with pytest.raises(DataError, match="no 'background' images"):
        module.network_inputs(study, cohort, np.array([0]), ("lesion", "background"), torch.device("cpu"))


def test_the_table_has_one_line_a_patient_and_no_guess_where_nothing_is_drawn(explain: Make, tmp_path: Path) -> None:
    cohort = planted_cohort()
    cohort.images["mask"][2] = 0
    done = explain([[1.0, -0.5]], cohort, methods=("Grad-CAM", "SMOE"))
    path = write_table(private_folder(tmp_path / "out"), cohort, done)
    with path.open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["pseudonym", "hit:Grad-CAM", "hit:SMOE"]
    assert [row[:2] for row in rows[1:]] == [["a", "1"], ["b", ""], ["c", "1"]]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(DataError, match="others can look into it"):
        private_folder(tmp_path / "open")


def test_the_page_loads_nothing_and_escapes_what_a_study_is_called(tmp_path: Path) -> None:
    facts = Facts("<script>x</script>", "H01", "ab" * 32, "today", 3, "patient", 6, "unseen", ("a & b",))
    path = write_page(tmp_path, facts, [Picture("data:image/svg+xml;base64,AA==", '"quoted"', "c", 100)])
    page = path.read_text()
    assert "<script>" not in page
    assert "default-src 'none'" in page
    assert "stays in this hospital" in page
    assert "a &amp; b" in page
    assert path.stat().st_mode & 0o777 == 0o600


def nodules(count: int) -> tuple[Cohort, NDArray[np.int64]]:
    """Nodules of 6 × 6 px at 20 HU (benign) and of 10 × 10 px at 80 HU (malignant) in liver of 120 HU."""
    truth = np.arange(count) % 2
    images, masks = np.zeros((2, count, SIDE, SIDE), np.float16)
    images[:] = (120 + 100) / 400
    for i, malignant in enumerate(truth):
        half = 5 if malignant else 3
        box = slice(16 - half, 16 + half)
        masks[i, box, box] = 1
        images[i, box, box] = ((80 if malignant else 20) + 100) / 400
    base = planted_cohort()
    people = {
        "patients": tuple(f"p{i:02d}" for i in range(count)),
        "label": truth,
        "part": np.full(count, 2, np.int8),
        "owner": np.arange(count),
        "group": np.arange(count),
        "images": {"lesion": images, "mask": masks},
    }
    return Cohort(**{**{name: getattr(base, name) for name in base.__slots__}, **people}), truth


def test_physical_features_of_a_cohort_tell_its_two_kinds_of_nodule_apart(explain: Make, study: Study) -> None:
    """0.5 mm pixels: 9 and 25 mm²; float16 keeps HU of a window of 400 to 0.1."""
    cohort, truth = nodules(20)
    found = nodules_of(study, cohort, explain([[40.0, 0.0]], cohort))
    assert found.values["area_mm2"] == pytest.approx(np.where(truth, 25.0, 9.0))
    assert found.values["centre_hu"] == pytest.approx(np.where(truth, 80.0, 20.0), abs=0.2)
    assert found.values["edge_hu"] == pytest.approx(np.where(truth, 40.0, 100.0), abs=0.3)
    assert found.values["solidity"] == pytest.approx(np.ones(20))
    assert found.alike.tolist() == found.truth.tolist() == truth.tolist()
    assert found.agreement == 1
    # Two kinds of image, two probabilities: two clusters.
    assert len(found.levels) == 2
    assert found.p_value("area_mm2", found.truth) < 1e-4
    assert np.isnan(found.p_value("solidity", found.truth))


def test_physical_features_want_masks(explain: Make, study: Study) -> None:
    cohort, _ = nodules(8)
    del cohort.images["mask"]
    with pytest.raises(ConfigError, match="need drawn nodules"):
        nodules_of(study, cohort, explain([[1.0, 0.0]], cohort))
