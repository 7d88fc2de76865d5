"""Options: the study that follows from a command line, what it refuses, and that a resumed run has the same ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fl_liver.errors import ConfigError
from fl_liver.study_files import load_study
from simulation.options import Options, load_options, new_folder, resolve_study, save_options


def test_without_options_the_shipped_study_is_run_as_it_is() -> None:
    assert resolve_study(Options()).sha256 == load_study("lesion_us_fusion").sha256


def test_hospitals_are_numbered_and_the_external_ones_come_last() -> None:
    study = resolve_study(Options(hospitals=6, external=2))
    assert study.sites.train == ("H01", "H02", "H03", "H04")
    assert study.sites.external == ("H05", "H06")


def test_more_hospitals_keep_the_number_of_external_ones() -> None:
    study = resolve_study(Options(hospitals=100))
    assert (len(study.sites.train), len(study.sites.external)) == (98, 2)
    assert study.every_site[-1] == "H100"


def test_all_hospitals_may_train() -> None:
    assert resolve_study(Options(hospitals=4, external=0)).sites.external == ()


def test_quick_is_small_and_its_numbers_can_be_changed() -> None:
    quick = resolve_study(Options(quick=True))
    assert quick.training.rounds == 3
    assert quick.privacy.min_sites <= len(quick.sites.train) < 11
    assert len(quick.sites.external) == 2
    assert resolve_study(Options(quick=True, rounds=7)).training.rounds == 7
    assert Options(quick=True).scale < Options().scale == 1.0


def test_full_is_the_published_size() -> None:
    model = resolve_study(Options(full=True)).model
    assert (model.width, model.image_px) == (64, 224)


def test_cross_fitting_needs_no_calibration_quarter() -> None:
    cohort = resolve_study(Options(folds=5)).cohort
    assert (cohort.folds, cohort.calibration) == (5, 0.0)


def test_sums_are_masked_unless_somebody_says_otherwise() -> None:
    """Another study, with another hash: a hospital that approved the one did not approve the other."""
    masked, plain = resolve_study(Options()), resolve_study(Options(plain_sums=True))
    assert (masked.privacy.secure_sum, plain.privacy.secure_sum) == ("masked", "plain")
    assert plain.sha256 != masked.sha256


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"plain_sums": True}, 'histogram_epsilon wants secure_sum = "masked"'),
        ({"leave_one_centre_out": True}, r"--leave-one-centre-out: each .* spend privacy\.histogram_epsilon = 4 anew"),
    ],
)
def test_options_that_would_spend_more_than_the_epsilon_of_a_study_are_refused(
    options: dict[str, Any], match: str, tmp_path: Path
) -> None:
    study = load_study("lesion_us_fusion").changed(analysis={"fusion": []}, privacy={"histogram_epsilon": 4.0})
    path = tmp_path / "noised.toml"
    path.write_text(study.to_toml(), encoding="utf-8")
    resolve_study(Options(study=str(path)))
    with pytest.raises(ConfigError, match=match) as caught:
        resolve_study(Options(study=str(path), **options))
    assert "\n" not in str(caught.value)


def test_another_seed_is_another_study() -> None:
    assert resolve_study(Options(seed=1)).sha256 != resolve_study(Options(seed=2)).sha256


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"study": "lesion"}, "study 'lesion': not one of clinical, "),
        ({"study": "none.toml"}, r"none\.toml: cannot be read"),
        ({"full": True, "quick": True}, "--full and --quick exclude each other"),
        ({"hospitals": 4, "external": 2}, r"--hospitals 4 --external 2: 2 would train, wanted at least 3"),
        ({"external": 12}, "--hospitals 13 --external 12: 1 would train"),
        ({"external": -1}, "--external -1"),
        ({"hospitals": 0}, "--hospitals 0"),
        ({"rounds": 0}, "--rounds 0: at least 1 is wanted"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"device": "gpu"}, "gpu"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        resolve_study(Options(**options))
    assert "\n" not in str(caught.value)


def test_a_resumed_run_has_the_options_of_the_first(tmp_path: Path) -> None:
    options = Options(study="clinical", seed=3, hospitals=7, engine="serial", quick=True, baselines=False)
    save_options(options, tmp_path / "run")
    assert load_options(tmp_path / "run") == options


@pytest.mark.parametrize("content", [None, "", "[1]", '{"study": "clinical", "colour": 1}'])
def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.json: no run to resume \(.*\); give the folder of an earlier run"):
        load_options(tmp_path)


def test_options_are_saved_as_plain_json(tmp_path: Path) -> None:
    save_options(Options(), tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["study"] == "lesion_us_fusion"


def test_a_new_run_gets_a_folder_by_study_and_time() -> None:
    folder = new_folder("clinical")
    assert folder.parent == Path("runs")
    assert folder.name.startswith("clinical-2")
