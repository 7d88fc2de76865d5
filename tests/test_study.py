"""Studies: what they refuse, and what their hash depends on."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fl_liver.errors import ConfigError
from fl_liver.securesum.context import threshold
from fl_liver.stats import private_roc
from fl_liver.study import LEAST_EPSILON, Study
from fl_liver.study_files import load_study, shipped_studies
from fl_liver.toml_file import parse

Raw = dict[str, Any]


@pytest.fixture
def raw() -> Raw:
    return copy.deepcopy(load_study("lesion_us_fusion").model_dump(mode="json", exclude_none=True))


def test_every_shipped_study_loads_under_its_own_name() -> None:
    assert shipped_studies()
    for name in shipped_studies():
        assert load_study(name).name == name


def test_an_unknown_study_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"study 'lesion_us': not one of .*lesion_us_fusion.*, and not a path"
    ) as caught:
        load_study("lesion_us")
    assert all(name in str(caught.value) for name in shipped_studies())


def test_a_study_survives_its_own_toml(tmp_path: Path) -> None:
    for name in shipped_studies():
        study = load_study(name)
        path = tmp_path / f"{name}.toml"
        path.write_text(study.to_toml(), encoding="utf-8")
        assert load_study(path) == study
        assert load_study(path).sha256 == study.sha256


def test_the_hash_does_not_depend_on_the_order_of_keys_or_on_comments() -> None:
    study = load_study("lesion_us_fusion")
    turned = dict(reversed(list(study.model_dump(mode="json", exclude_none=True).items())))
    assert parse(turned, Study, "x").sha256 == study.sha256
    assert parse(tomllib.loads("# a comment\n" + study.to_toml()), Study, "x").sha256 == study.sha256


@pytest.mark.parametrize("key", ["classes", "background_classes"])
def test_the_hash_changes_with_the_order_of_classes(raw: Raw, key: str) -> None:
    """Their order is that of the model's outputs: another order is another study, and needs another approval."""
    turned = copy.deepcopy(raw)
    turned["task"][key] = dict(reversed(list(raw["task"][key].items())))
    assert parse(turned, Study, "x").sha256 != parse(raw, Study, "x").sha256


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"learning_rate": 0.0300001}},
        {"privacy": {"min_sites": 4}},
        {"cohort": {"calibration": 0.26}},
        {"analysis": {"min_cell": 6}},
        {"model": {"image_px": 65}},
    ],
)
def test_the_hash_changes_with_every_agreed_number(change: dict[str, dict[str, object]]) -> None:
    study = load_study("lesion_us_fusion")
    assert study.changed(**change).sha256 != study.sha256


def test_a_default_that_is_written_out_does_not_change_the_hash() -> None:
    study = load_study("lesion_us_fusion")
    assert study.changed(training={"batch_size": study.training.batch_size}).sha256 == study.sha256


def test_the_shape_of_a_patch_network_survives_its_toml_and_is_part_of_the_hash() -> None:
    study = load_study("nodule_ct")
    written_out = study.changed(model={"layers": 4, "filters": 16, "dense": 64})
    assert (written_out.sha256, study.model.size) == (study.sha256, "width 64")
    hashes = {study.sha256}
    for shape in ({"layers": 2}, {"filters": 32}, {"dense": 128}, {"layers": 2, "filters": 32, "dense": 128}):
        changed = study.changed(model=dict(shape))
        assert parse(tomllib.loads(changed.to_toml()), Study, "x") == changed
        assert changed.model.size == "width 64" + "".join(f", {key} {value}" for key, value in shape.items())
        hashes.add(changed.sha256)
    assert len(hashes) == 5


def test_a_change_leaves_the_other_keys_of_its_section() -> None:
    study = load_study("lesion_us_fusion")
    changed = study.changed(training={"rounds": 3})
    assert changed.training.rounds == 3
    assert changed.training.learning_rate == study.training.learning_rate
    assert study.training.rounds == 15


def put(section: str, key: str, value: object) -> Callable[[Raw], None]:
    return lambda raw: raw[section].__setitem__(key, value)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (put("sites", "external", ["H01"]), "named twice: H01"),
        (put("sites", "train", ["H 1"]), "sites.train.0"),
        (put("sites", "train", ["../etc"]), "sites.train.0"),
        (put("training", "mu", 0.1), r"mu > 0 goes with strategy 'fedprox' and with no other \(mu 0.1, 'fedavg'\)"),
        (put("training", "strategy", "fedprox"), "mu > 0 goes with strategy 'fedprox'"),
        (put("training", "strategy", "fedsgd"), "'training.strategy': Input should be 'fedavg', 'fedprox' or 'fedbn'"),
        (put("training", "rounds", 0), "'training.rounds'"),
        (put("training", "learning_rate", 0), "'training.learning_rate'"),
        (put("model", "layers", 5), r"'model\.layers': Input should be 2, 3 or 4 \(found 5\)"),
        (put("model", "layers", 1), r"'model\.layers': Input should be 2, 3 or 4 \(found 1\)"),
        (put("model", "filters", 0), r"'model\.filters': Input should be greater than or equal to 1 \(found 0\)"),
        (put("model", "dense", -64), r"'model\.dense': Input should be greater than or equal to 1 \(found -64\)"),
        (put("task", "positive", ["cyst"]), "positive must be some but not all of"),
        (put("task", "positive", ["benign", "malignant"]), "positive must be some but not all of"),
        (put("task", "positive", []), "positive must be some but not all of"),
        (put("task", "classes", {"benign": "0", "malignant": "0"}), "at least two classes with different codes"),
        (put("task", "modality", "PET"), "'task.modality'"),
        (put("analysis", "fusion", ["age_61"]), r"analysis\.fusion names no \[\[factor\]\]: age_61"),
        (put("analysis", "min_cell", 2), "'analysis.min_cell'"),
        (put("privacy", "min_sites", 2), "'privacy.min_sites'"),
        (put("cohort", "internal_validation", 1.0), "'cohort.internal_validation'"),
        (lambda raw: raw.__setitem__("factor", [raw["factor"][0]] * 2), "two factors have one name"),
        (lambda raw: raw.__setitem__("seed", -1), "'seed'"),
        (lambda raw: raw.__setitem__("seed", 2**31), "'seed'"),
        (lambda raw: raw.__setitem__("initial", {"sha256": "abc", "layout": "0" * 64}), "'initial.sha256'"),
        (lambda raw: raw.__setitem__("trainig", {}), r"unknown key 'trainig', did you mean 'training'\?"),
        (lambda raw: raw["training"].__setitem__("round", 3), r"'training\.round', did you mean 'rounds'\?"),
    ],
)
def test_what_a_study_refuses_is_named_in_one_line(raw: Raw, spoil: Callable[[Raw], None], match: str) -> None:
    spoil(raw)
    with pytest.raises(ConfigError, match=match) as caught:
        parse(raw, Study, "x.toml")
    message = str(caught.value)
    assert message.startswith("x.toml: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"privacy": {"histogram_epsilon": 1.9}}, r"'privacy\.histogram_epsilon': wanted 2 or more .*\(found 1\.9\)"),
        ({"analysis": {"fusion": ["age_60"]}}, r"waste it: analysis\.fusion is a regression on exact sums, drop its 1"),
        ({"cohort": {"folds": 5, "calibration": 0.0}}, r"waste it: cohort\.folds makes scores for .* wanted 0"),
        (
            {"task": {"classes": {"a": "0", "b": "1", "c": "2"}, "positive": ["b"]}},
            "3 classes are told apart by exact tables, wanted 2",
        ),
        (
            {"privacy": {"secure_sum": "plain"}},
            r"'privacy': .* own share of the noise alone, which is less than epsilon",
        ),
    ],
)
def test_noised_figures_with_little_privacy_or_exact_ones_beside_them_are_refused(
    change: dict[str, dict[str, object]], match: str
) -> None:
    noised = load_study("lesion_us_fusion").changed(analysis={"fusion": []}, privacy={"histogram_epsilon": 4})
    with pytest.raises(ConfigError, match=match):
        noised.changed(**change)


def test_the_noise_of_a_study_is_that_of_more_than_two_thirds_of_its_hospitals() -> None:
    study = load_study("lesion_us_fusion").changed(analysis={"fusion": []})
    assert study.histogram_noise is None
    for train in range(3, 40):
        sites: dict[str, object] = {"train": [f"T{number:02d}" for number in range(train)], "external": []}
        noised = study.changed(privacy={"histogram_epsilon": 2.0}, sites=sites)
        assert noised.histogram_noise == (2.0, threshold(train))
        assert 3 * threshold(train) > 2 * train


def test_the_least_epsilon_is_that_of_the_statistic() -> None:
    assert LEAST_EPSILON == private_roc.LEAST_EPSILON


def test_a_refusal_quotes_the_wrong_value_and_not_the_whole_file(raw: Raw) -> None:
    raw["analysis"]["fusion"] = ["age_61"]
    with pytest.raises(ConfigError, match="age_61") as caught:
        parse(raw, Study, "x.toml")
    assert len(str(caught.value)) < 300


def test_a_table_study_needs_a_factor() -> None:
    raw = load_study("clinical").model_dump(mode="json", exclude_none=True)
    raw["factor"], raw["analysis"]["fusion"] = [], []
    with pytest.raises(ConfigError, match=r"a table study needs at least one \[\[factor\]\]"):
        parse(raw, Study, "x.toml")


@pytest.mark.parametrize("change", [{"seed": -1}, {"seed": "x"}])
def test_an_impossible_change_at_the_top_is_a_config_error(change: dict[str, object]) -> None:
    """`python -m simulation --seed -1` ends here."""
    with pytest.raises(ConfigError, match="seed"):
        load_study("lesion_us_fusion").with_top(**change)


def test_an_impossible_change_of_a_section_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="rounds"):
        load_study("lesion_us_fusion").changed(training={"rounds": 0})


def test_roles_come_from_the_study() -> None:
    study = load_study("lesion_us_fusion")
    assert study.role_of("H01") == "train"
    assert study.role_of("H13") == "external"
    assert study.every_site == tuple(f"H{number:02d}" for number in range(1, 14))
    with pytest.raises(ConfigError, match=r"study lesion_us_fusion: no site 'H14' \(sites: H01, .*H13\)"):
        study.role_of("H14")
