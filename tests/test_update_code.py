"""The encoding of a study's updates: what the coordinator and every hospital derive alike, and what has no encoding."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fl_liver.errors import ConfigError
from fl_liver.models.registry import study_layout
from fl_liver.parameters import Entry, Layout
from fl_liver.study import Study
from fl_liver.study_files import load_study, shipped_studies
from fl_liver.update_code import update_code


def layout(*names: str) -> Layout:
    """Entries of 1, 2, 3, … values."""
    return Layout(tuple(Entry(name, (number,)) for number, name in enumerate(names, start=1)))


def test_running_statistics_are_found_by_name_and_neighbours_are_one_stretch(table_study: Study) -> None:
    code = update_code(
        table_study, layout("conv.weight", "bn.running_mean", "bn.running_var", "fc.weight", "b.running_var", "b.bias")
    )
    assert code.running == ((1, 6), (10, 15))
    assert code.size == 21
    assert code.length == 23, "weight and loss travel behind the parameters"


@pytest.mark.parametrize("name", ["running_mean.weight", "running_mean", "bn.running_means", "bn.running_var.0"])
def test_a_name_that_only_looks_like_one_is_a_parameter(table_study: Study, name: str) -> None:
    assert update_code(table_study, layout(name)).running == ()


def test_the_studys_own_numbers_fix_the_grid(table_study: Study) -> None:
    study = table_study.changed(training={"max_weight": 50, "update_norm": 2.0})
    code = update_code(study, layout("w"))
    assert (code.sites, code.max_weight, code.clip) == (4, 50, 2.0)
    assert 4 * (50 * 2.0 / code.step + 1) < 2**31 <= 4 * (50 * 2.0 / (code.step / 2) + 1)


def test_an_external_hospital_does_not_make_the_grid_coarser(table_study: Study) -> None:
    more = table_study.changed(sites={"external": ["H05", "H06", "H07"]})
    assert update_code(more, layout("w")) == update_code(table_study, layout("w"))


def test_so_many_hospitals_that_no_precision_is_left_are_refused(table_study: Study) -> None:
    """At the first round everybody would have trained for nothing."""
    study = table_study.changed(training={"max_weight": 10**7})
    with pytest.raises(ConfigError, match=r"4 hospitals × max_weight 10000000 × 20 \(update_norm\) leave fewer than 4"):
        update_code(study, layout("w"))


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_has_a_code_that_is_fine_enough(name: str) -> None:
    """Rounding moves the mean of 11 hospitals of 100 patients by less than a thousandth of a small learning step."""
    study = load_study(name)
    code = update_code(study, study_layout(study))
    hospitals = len(study.sites.train)
    assert code.size == study_layout(study).size
    worst = hospitals / 2 * code.step / (hospitals * min(100, study.training.max_weight))
    assert worst < 1e-4
    assert math.log2(1 / code.step) == int(math.log2(1 / code.step)), "a power of two: scaling adds no rounding"


def test_batch_normalisation_of_the_network_is_in_the_stretches() -> None:
    """By absolute value: a difference to the received statistics means nothing to a hospital that lost a round."""
    study = load_study("lesion_us_fusion").changed(model={"width": 4, "image_px": 32})
    layout_ = study_layout(study)
    code = update_code(study, layout_)
    inside = np.zeros(layout_.size, bool)
    for begin, end in code.running:
        inside[begin:end] = True
    names = np.repeat([entry.name for entry in layout_.entries], [entry.size for entry in layout_.entries])
    assert {name.rpartition(".")[2] for name in names[inside]} == {"running_mean", "running_var"}
    assert not [name for name in names[~inside] if name.endswith(("running_mean", "running_var"))]
