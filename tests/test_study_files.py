"""Studies in files: variants laid over their study, and the tasks that a paper trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from fl_liver.errors import ConfigError
from fl_liver.study_files import at_published_size, laid_over, load_study, shipped_studies, tasks_of

BASE = """
name = "two"
title = "Base"
[task]
modality = "table"
classes = { benign = "0", malignant = "1" }
positive = ["malignant"]
[model]
name = "clinical"
[sites]
train = ["H01", "H02", "H03"]
[[factor]]
name = "age"
column = "age"
label = "Age"
[variant.three]
title = "Three"
task.classes = { cyst = "c", hcc = "h", icc = "i" }
task.positive = ["hcc"]
[variant.published.model]
width = 32
"""


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(BASE)
    return path


def test_a_variant_changes_what_it_names_and_nothing_else(study_file: Path) -> None:
    base, three = load_study(study_file), load_study(f"{study_file}:three")
    assert list(three.task.classes) == ["cyst", "hcc", "icc"], "classes are replaced, not joined with the base's"
    assert (three.title, three.model, three.factor) == ("Three", base.model, base.factor)
    assert three.sha256 != base.sha256


def test_variants_are_laid_one_over_the_other(study_file: Path) -> None:
    both = load_study(at_published_size(f"{study_file}:three"))
    assert (both.title, both.model.width) == ("Three", 32)
    assert load_study(at_published_size(str(study_file))).model.width == 32


def test_the_published_size_is_no_task(study_file: Path) -> None:
    assert tasks_of(study_file) == ("three",)


def test_an_unknown_variant_is_refused_with_those_there_are(study_file: Path) -> None:
    with pytest.raises(ConfigError, match="no variant 'four'; wanted one of published, three"):
        load_study(f"{study_file}:four")


def test_a_wrong_key_in_a_variant_is_named_with_the_variant(study_file: Path) -> None:
    study_file.write_text(BASE + "depth = 3\n")
    with pytest.raises(ConfigError, match=r"variant published: unknown key 'model.depth'"):
        load_study(f"{study_file}:published")


def test_merging_goes_section_by_section() -> None:
    assert laid_over({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"d": 3}}, "e": [4]}) == {
        "a": {"b": {"c": 1, "d": 3}},
        "e": [4],
    }


def test_each_architecture_is_a_task_once_and_stays_itself_at_the_published_size() -> None:
    """Schmauch 2019 averages networks: one of them is the study as it stands, and none becomes another at full size."""
    name = "lesion_us_attention"
    tasks = {task: load_study(f"{name}:{task}") for task in tasks_of(name)}
    assert {task: study.model.trunk for task, study in tasks.items()} == {task: task for task in tasks}
    whole = load_study(name)
    assert [task for task, study in tasks.items() if study.with_top(title=whole.title) == whole] == ["resnet18"]
    for task in tasks:
        full = load_study(at_published_size(f"{name}:{task}")).model
        assert (full.trunk, full.width, full.image_px, full.norm) == (task, 64, 240, "batch")


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_and_variant_can_be_read(name: str) -> None:
    assert load_study(name).name == name
    for task in tasks_of(name):
        assert load_study(f"{name}:{task}").name == name
    if name != "clinical":
        assert load_study(at_published_size(name)).model.width == 64, "the paper's size"
