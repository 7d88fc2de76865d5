"""FedBN: batch normalisation stays in the hospital, by round, and a resumed run finds the right round's layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fl_liver.client.local_layers import LocalLayers
from fl_liver.client.train import local_positions
from fl_liver.models.registry import initial_vector
from fl_liver.parameters import Vector
from fl_liver.study import Study
from fl_liver.study_files import load_study


@pytest.fixture(scope="module")
def study() -> Study:
    torch.set_num_threads(1)
    return load_study("lesion_us_fusion").changed(
        model={"width": 4, "image_px": 32}, training={"strategy": "fedbn", "rounds": 5}
    )


@pytest.fixture(scope="module")
def received(study: Study) -> Vector:
    return initial_vector(study)[0]


@pytest.fixture(scope="module")
def local(study: Study, received: Vector) -> NDArray[np.bool_]:
    """Where batch normalisation lies."""
    mask = np.zeros(len(received), bool)
    mask[local_positions(study)] = True
    assert 0 < mask.sum() < len(mask)
    return mask


def full(received: Vector, value: float) -> Vector:
    return np.full_like(received, value)


def test_before_any_round_the_received_vector_is_taken_whole(tmp_path: Path, study: Study, received: Vector) -> None:
    assert LocalLayers(tmp_path, study, "train").restore(received, before_round=1) is received


def test_own_layers_replace_those_of_the_mean_and_nothing_else_does(
    tmp_path: Path, study: Study, received: Vector, local: NDArray[np.bool_]
) -> None:
    layers = LocalLayers(tmp_path, study, "train")
    layers.keep(full(received, 7), 1)
    mean = full(received, 3)
    mixed = layers.restore(mean, before_round=2)
    assert (mixed[local] == 7).all(), "the mean's batch normalisation came in"
    assert (mixed[~local] == 3).all(), "weights that are shared were kept"
    assert (mean == 3).all(), "the received vector was written to"


def test_each_round_starts_from_the_round_before(tmp_path: Path, study: Study, received: Vector) -> None:
    layers = LocalLayers(tmp_path, study, "train")
    place = local_positions(study)[0]
    for number in (1, 2, 3):
        assert layers.restore(full(received, 0), number)[place] == number - 1 if number > 1 else True
        layers.keep(full(received, number), number)
    assert layers.restore(full(received, 0), None)[place] == 3, "scoring uses the last round's"


def test_a_resumed_run_starts_from_the_checkpointed_round(tmp_path: Path, study: Study, received: Vector) -> None:
    """Round 4 had been trained here when the run was cut; the server goes on after round 3."""
    layers = LocalLayers(tmp_path, study, "train")
    place = local_positions(study)[0]
    for number in (1, 2, 3, 4):
        layers.keep(full(received, number), number)
    resumed = LocalLayers(tmp_path, study, "train")
    assert resumed.restore(full(received, 0), before_round=4)[place] == 3
    resumed.keep(full(received, 40), 4)
    assert resumed.restore(full(received, 0), before_round=5)[place] == 40


def test_a_run_that_is_cut_in_round_one_starts_from_the_first_weights(
    tmp_path: Path, study: Study, received: Vector
) -> None:
    layers = LocalLayers(tmp_path, study, "train")
    layers.keep(full(received, 9), 1)
    assert layers.restore(received, before_round=1) is received


def test_only_two_rounds_are_kept_and_what_was_undone_goes(tmp_path: Path, study: Study, received: Vector) -> None:
    layers = LocalLayers(tmp_path, study, "train")
    for number in (1, 2, 3, 4):
        layers.keep(received, number)
    names = sorted(path.name for path in (tmp_path / "local" / "train").iterdir())
    assert names == ["round-0003.safetensors", "round-0004.safetensors"]
    layers.keep(received, 3)
    assert sorted(path.name for path in (tmp_path / "local" / "train").iterdir()) == ["round-0003.safetensors"]


def test_the_federations_of_cross_fitting_do_not_share_layers(tmp_path: Path, study: Study, received: Vector) -> None:
    LocalLayers(tmp_path, study, "not-fold-0").keep(full(received, 5), 1)
    assert LocalLayers(tmp_path, study, "not-fold-1").restore(received, 2) is received


@pytest.mark.parametrize("training", [{"strategy": "fedavg"}, {"strategy": "fedprox", "mu": 0.1}])
def test_other_strategies_keep_nothing(
    tmp_path: Path, study: Study, received: Vector, training: dict[str, object]
) -> None:
    layers = LocalLayers(tmp_path, study.changed(training=training), "train")
    layers.keep(full(received, 5), 1)
    assert layers.restore(received, 2) is received
    assert list(tmp_path.iterdir()) == []
