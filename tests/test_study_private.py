"""What a study with private training refuses, each with its reason."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fl_liver.errors import ConfigError
from fl_liver.study import Study
from fl_liver.study_files import load_study
from fl_liver.toml_file import parse

SECTION: dict[str, Any] = {
    "noise_multiplier": 1.2,
    "patient_clip_norm": 1.0,
    "sampling_rate": 0.1,
    "expected_patients": 4.0,
    "max_epsilon": 8.0,
}


@pytest.fixture
def raw() -> dict[str, Any]:
    found = copy.deepcopy(load_study("lesion_us_fusion").model_dump(mode="json", exclude_none=True))
    found["model"]["norm"] = "group"
    found["training"] |= {"triplet_weight": 0.0, "max_weight": 1}
    found["privacy"]["training"] = dict(SECTION)
    return found


def test_it_is_off_by_default() -> None:
    assert load_study("lesion_us_fusion").privacy.training is None
    assert load_study("lesion_us_fusion").model.norm == "batch"


def test_it_survives_its_own_toml_and_changes_the_hash(raw: dict[str, Any]) -> None:
    study = parse(raw, Study, "x.toml")
    assert study.privacy.training is not None
    assert study.privacy.training.delta == 1e-5
    assert "[privacy.training]" in study.to_toml()
    other = study.changed(privacy={"training": {**SECTION, "noise_multiplier": 1.3}})
    assert other.sha256 != study.sha256


@pytest.mark.parametrize(
    ("section", "key", "value", "match"),
    [
        ("model", "norm", "batch", "model.norm 'batch' normalises by the mean of several patients, wanted 'group'"),
        ("training", "triplet_weight", 0.1, "training.triplet_weight 0.1 compares pairs of patients, wanted 0"),
        ("training", "max_weight", 10_000, "lets a hospital weigh by its number of patients, which is not noised"),
        ("training", "mixup", 0.2, "training.mixup 0.2 mixes the images of two patients, wanted 0"),
        ("training", "balance", "oversample", "'oversample' draws images by how many the other patients have, wanted"),
        (
            "cohort",
            "unit",
            "lesion",
            "cohort.unit 'lesion' gives a patient a part and a gradient for each lesion, wanted 'patient'",
        ),
        ("training", "precision", "bfloat16", "training.precision 'bfloat16' is not there for gradients of single"),
        (
            "training",
            "strategy",
            "fedbn",
            "strategy 'fedbn' keeps batch normalisation in the hospital; model.norm 'gro",
        ),
    ],
)
def test_what_mixes_patients_is_refused(raw: dict[str, Any], section: str, key: str, value: object, match: str) -> None:
    raw[section][key] = value
    with pytest.raises(ConfigError, match=match) as caught:
        parse(raw, Study, "x.toml")
    assert "\n" not in str(caught.value)


def test_all_reasons_are_named_at_once(raw: dict[str, Any]) -> None:
    raw["model"]["norm"] = "batch"
    raw["training"] |= {"triplet_weight": 0.1, "strategy": "fedbn"}
    with pytest.raises(ConfigError, match=r"privacy\.training needs a gradient that is one patient's own: ") as caught:
        parse(raw, Study, "x.toml")
    assert all(word in str(caught.value) for word in ("model.norm 'batch'", "triplet_weight", "strategy 'fedbn' is"))


def test_what_chooses_images_without_noise_is_refused(raw: dict[str, Any]) -> None:
    raw["selection"] = {"rounds": 2}
    raw["cohort"]["masks"] = True
    with pytest.raises(ConfigError, match="selection looks at training patients without noise, drop it"):
        parse(raw, Study, "x.toml")


def test_a_table_study_has_no_normalisation_to_change(raw: dict[str, Any]) -> None:
    raw["task"] |= {"modality": "table", "background_classes": {}}
    del raw["task"]["background"]
    raw["model"] = {"name": "clinical"}
    assert parse(raw, Study, "x.toml").privacy.training is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("noise_multiplier", 0.0),
        ("patient_clip_norm", 0.0),
        ("sampling_rate", 0.0),
        ("sampling_rate", 1.1),
        ("expected_patients", 0.0),
        ("delta", 0.0),
        ("delta", 1e-3),
        ("max_epsilon", 0.0),
    ],
)
def test_impossible_numbers_name_their_key(raw: dict[str, Any], key: str, value: float) -> None:
    raw["privacy"]["training"][key] = value
    with pytest.raises(ConfigError, match=rf"'privacy\.training\.{key}'"):
        parse(raw, Study, "x.toml")


@pytest.mark.parametrize("key", list(SECTION))
def test_every_number_but_delta_must_be_given(raw: dict[str, Any], key: str) -> None:
    del raw["privacy"]["training"][key]
    with pytest.raises(ConfigError, match=rf"key 'privacy\.training\.{key}' is missing"):
        parse(raw, Study, "x.toml")


def test_a_misspelt_key_gets_its_neighbour(raw: dict[str, Any]) -> None:
    raw["privacy"]["training"]["sample_rate"] = 0.1
    with pytest.raises(ConfigError, match="did you mean 'sampling_rate'"):
        parse(raw, Study, "x.toml")


def test_batch_normalisation_cannot_stay_in_a_hospital_that_has_none() -> None:
    with pytest.raises(ConfigError, match="strategy 'fedbn' keeps batch normalisation in the hospital"):
        load_study("lesion_us_fusion").changed(model={"norm": "group"}, training={"strategy": "fedbn"})
