"""NoduleNet and HCCNet: what the first federation is taught, what it says of images, what the second learns from."""

from __future__ import annotations

import dataclasses
import math
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from fl_liver.client import train
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.train import FitResult, fit, learning_rate, score, score_both, score_images
from fl_liver.client.train_material import selected
from fl_liver.errors import ConfigError, DataError, ProtocolError
from fl_liver.models.patient_score import patient_log_odds
from fl_liver.models.registry import initial_vector, model_from_vector, study_layout
from fl_liver.study import Study
from tests.client.probe import Seen, probe_study, probed
from tests.client.test_train import ALL, CPU, cohort_of, table_of


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return probed(monkeypatch)


@pytest.fixture
def study() -> Study:
    return probe_study(selection={"rounds": 3, "threshold": 0.5}, cohort={"masks": True})


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """The lesion lies in every fourth image, whoever's it is; those are brighter."""
    plain = cohort_of()
    mask = np.zeros((40, 32, 32), np.float16)
    mask[::4, 3, 5] = 0.01
    lesion = plain.images["lesion"].copy()
    lesion[::4] += 3
    return dataclasses.replace(plain, images={"lesion": lesion, "mask": mask})


def run(study: Study, cohort: Cohort, **keys: Any) -> FitResult:
    defaults: dict[str, Any] = {"rows": ALL, "round_number": 1, "seed_key": "H01", "device": CPU}
    return fit(study, cohort, initial_vector(study)[0], **(defaults | keys))


def test_the_selection_is_taught_where_a_lesion_was_drawn(seen: Seen, study: Study, cohort: Cohort) -> None:
    """And weighs by how many images have one: 10 of 40."""
    run(study, cohort, stage="selection")
    pictures = torch.from_numpy(cohort.images["lesion"]).float()
    place = torch.cdist(seen.inputs["lesion"].flatten(1), pictures.flatten(1)).argmin(1)
    assert torch.equal(seen.labels.target, (place % 4 == 0).long())
    assert seen.labels.class_weight.tolist() == pytest.approx([1 / 1.5, 1 / 0.5])
    run(study, cohort)
    assert torch.equal(seen.labels.target, torch.from_numpy(cohort.label[cohort.owner[_places(seen, cohort)]]))


def _places(seen: Seen, cohort: Cohort) -> np.ndarray[Any, Any]:
    pictures = torch.from_numpy(cohort.images["lesion"]).float()
    return torch.cdist(seen.inputs["lesion"].flatten(1), pictures.flatten(1)).argmin(1).numpy()


def test_the_selection_learns_to_see_lesions(seen: Seen, study: Study, cohort: Cohort) -> None:
    vector = initial_vector(study)[0]
    for number in (1, 2, 3):
        vector = fit(
            study.changed(training={"learning_rate": 1.0, "local_epochs": 10}),
            cohort,
            vector,
            rows=ALL,
            round_number=number,
            seed_key="H01",
            device=CPU,
            stage="selection",
        ).vector
    images, logits = score_images(study, cohort, vector, rows=ALL, device=CPU)
    assert ((logits[:, 0] > 0) == (images % 4 == 0)).all()


def test_the_selection_has_rounds_rates_and_draws_of_its_own(seen: Seen, study: Study, cohort: Cohort) -> None:
    assert study.training.rounds == 5
    assert learning_rate(study, 3, "selection") < learning_rate(study, 3)
    with pytest.raises(ProtocolError, match="round 4: study lesion_us_fusion has selection rounds 1 to 3"):
        run(study, cohort, stage="selection", round_number=4)
    run(study, cohort)
    order = _places(seen, cohort)
    run(study, cohort, stage="selection")
    assert not np.array_equal(_places(seen, cohort), order)


def test_a_warm_up_longer_than_the_selection_leaves_it_one_round() -> None:
    study = probe_study(
        selection={"rounds": 2}, cohort={"masks": True}, training={"warmup_rounds": 4, "learning_rate": 0.2}
    )
    assert [learning_rate(study, number, "selection") for number in (1, 2)] == pytest.approx([0.1, 0.2])


def test_images_of_the_disease_stay_where_a_lesion_is_seen_and_the_likeliest_of_a_patient_without() -> None:
    """By hand. Patients 0 and 2 are benign, 1, 3 and 5 malignant; 40 % is log-odds of −0.405."""
    cohort = dataclasses.replace(
        cohort_of(6),
        owner=np.array([0, 0, 1, 1, 1, 2, 3, 3, 5, 5]),
        images={"lesion": np.zeros((10, 2, 2), np.float16)},
    )
    study = probe_study(selection={"rounds": 3, "threshold": 0.4}, cohort={"masks": True})
    visible = np.array([-9.0, 5.0, -0.3, -0.5, math.log(0.4 / 0.6), -9.0, -7.0, -6.0, np.nan, np.nan])
    assert selected(study, cohort, np.arange(10), visible).tolist() == [0, 1, 2, 4, 5, 7, 8]
    assert selected(study, cohort, np.array([0, 3, 6, 7]), visible).tolist() == [0, 3, 7]
    every = study.model_copy(update={"selection": study.selection.model_copy(update={"threshold": 0.0})})  # type: ignore[union-attr]
    assert selected(every, cohort, np.arange(8), visible).tolist() == list(range(8))


def test_dropped_images_are_not_learnt_from(seen: Seen, study: Study, cohort: Cohort) -> None:
    visible = np.where(np.arange(40) % 4 == 0, 2.0, -2.0)
    kept = selected(study, cohort, np.arange(40), visible)
    lesion = cohort.images["lesion"].copy()
    lesion[np.setdiff1d(np.arange(40), kept)] = 7
    changed = dataclasses.replace(cohort, images={**cohort.images, "lesion": lesion})
    one, two = (run(study, which, visible=visible).vector for which in (cohort, changed))
    np.testing.assert_array_equal(one, two)
    assert len(seen.labels.target) == len(kept) < 40
    run(study, cohort)
    assert len(seen.labels.target) == 40, "without what was seen, all images are learnt from"


def test_a_hospital_where_every_or_no_image_shows_a_lesion_trains(seen: Seen, study: Study, cohort: Cohort) -> None:
    for mask in (np.zeros_like(cohort.images["mask"]), np.ones_like(cohort.images["mask"])):
        flat = dataclasses.replace(cohort, images={**cohort.images, "mask": mask})
        assert np.isfinite(run(study, flat, stage="selection").vector).all()


def test_a_selection_that_cannot_be_made_is_refused(seen: Seen, study: Study, cohort: Cohort) -> None:
    with pytest.raises(DataError, match=r"log-odds of visible lesions: \(39,\), and the cohort has 40 images"):
        run(study, cohort, visible=np.zeros(39))
    bare = dataclasses.replace(cohort, images={"lesion": cohort.images["lesion"]})
    with pytest.raises(DataError, match=r"the cohort has no 'mask' images"):
        run(study, bare, stage="selection")
    for keys in ({"stage": "selection"}, {"visible": np.zeros(40)}):
        with pytest.raises(ConfigError, match=r"study lesion_us_fusion: no \[selection\]"):
            run(probe_study(), cohort, **keys)
    three = probe_study(
        selection={"rounds": 3},
        cohort={"masks": True},
        task={"classes": {"a": "a", "b": "b", "c": "c"}, "positive": ["c"]},
    )
    with pytest.raises(ConfigError, match="asks the network a question of two answers; it has 3 classes, wanted 2"):
        run(three, cohort, stage="selection")


def test_images_are_scored_one_by_one_in_their_own_order(seen: Seen, study: Study, cohort: Cohort) -> None:
    """Oracle: the network on each image alone."""
    vector = initial_vector(study)[0]
    images, logits = score_images(study, cohort, vector, rows=np.array([5, 0, 17]), device=CPU)
    assert images.tolist() == np.flatnonzero(np.isin(cohort.owner, [0, 5, 17])).tolist()
    assert logits.shape == (len(images), 1)
    assert logits.dtype == np.float64
    model = model_from_vector(study, vector, study_layout(study), CPU).eval()
    for image, logit in zip(images, logits[:, 0], strict=True):
        inputs = {
            "lesion": torch.from_numpy(cohort.images["lesion"][[image]]).float()[:, None],
            "features": torch.from_numpy(cohort.factors[cohort.owner[[image]]]).float(),
        }
        assert logit == pytest.approx(model(inputs).logits.item(), abs=1e-5)


def test_patients_and_their_images_are_scored_together_in_one_pass(
    seen: Seen, study: Study, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    vector, rows = initial_vector(study)[0], np.array([17, 0, 5])
    images, logits = score_images(study, cohort, vector, rows=rows, device=CPU)
    alone = score(study, cohort, vector, rows=rows, device=CPU)
    once = Mock(wraps=train._logits)
    monkeypatch.setattr(train, "_logits", once)
    both = score_both(study, cohort, vector, rows=rows, device=CPU)
    once.assert_called_once()
    np.testing.assert_array_equal(both.patients, alone)
    np.testing.assert_array_equal(both.images, images)
    np.testing.assert_array_equal(both.logits, logits)
    table = table_of(study.model_copy(update={"selection": None}), 2)
    assert not len(score_both(table, cohort, initial_vector(table)[0], rows=ALL, device=CPU).images)


def test_large_images_are_scored_a_few_at_a_time_with_the_same_result(
    seen: Seen, study: Study, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    vector = initial_vector(study)[0]
    whole = score(study, cohort, vector, rows=ALL, device=CPU)
    for pixels in (3 * 32 * 32, 1):
        monkeypatch.setattr("fl_liver.client.train.SCORE_PIXELS", pixels)
        np.testing.assert_allclose(score(study, cohort, vector, rows=ALL, device=CPU), whole, atol=1e-5)


def test_an_endpoint_is_scored_by_its_own_readout(seen: Seen, study: Study, cohort: Cohort) -> None:
    """The probe answers "other" with the negative of its logits."""
    vector = initial_vector(study)[0]
    own, other = (score_images(study, cohort, vector, rows=ALL, device=CPU, endpoint=name)[1] for name in ("", "other"))
    np.testing.assert_array_equal(own, -other)
    found = score(study, cohort, vector, rows=ALL, device=CPU, endpoint="other")
    np.testing.assert_allclose(found, -score(study, cohort, vector, rows=ALL, device=CPU), atol=1e-9)
    with pytest.raises(ConfigError, match="no readout 'third'"):
        score(study, cohort, vector, rows=ALL, device=CPU, endpoint="third")


def test_images_become_a_patient_by_the_studys_own_rule(seen: Seen, study: Study, cohort: Cohort) -> None:
    vector = initial_vector(study)[0]
    images, logits = score_images(study, cohort, vector, rows=ALL, device=CPU)
    first = np.searchsorted(cohort.owner[images], ALL)
    for rule in ("mean", "risk", "risk_printed"):
        ruled = study.changed(model={"patient": rule})
        found = score(ruled, cohort, vector, rows=ALL, device=CPU)
        np.testing.assert_allclose(found, patient_log_odds(logits, first, ruled.model.patient))


def test_a_table_has_no_images_to_score(study: Study, cohort: Cohort) -> None:
    table = table_of(study.model_copy(update={"selection": None}), 2)
    with pytest.raises(DataError, match="reads a table; it has no images to score"):
        score_images(table, cohort, initial_vector(table)[0], rows=ALL, device=CPU)
