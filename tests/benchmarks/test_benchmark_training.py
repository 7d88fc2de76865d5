"""What the benchmark of training compares: the same steps on the same images, and what it counts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from benchmarks import training, training_loops
from benchmarks.case import MARK
from benchmarks.training import STUDIES, main
from benchmarks.training_loops import Bench, Case, PlainOptions, cohort_of, compare, curves, peak
from fl_liver.client.cohort.recipe import recipe_of
from fl_liver.errors import FLLiverError
from fl_liver.study_files import load_study

SMALL = Case(name="nodule_ct", images=40)
FLOAT32 = PlainOptions(bfloat16=False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("name", STUDIES)
def test_both_loops_take_the_same_first_step(name: str) -> None:
    """One batch, so that rounding has not parted them: the plain loop is the oracle of `fit`, mixup and all."""
    size = load_study(name).training.batch_size
    bench = Bench(Case(name=name, images=size // 2))
    bench.study = bench.study.changed(training={"batch_size": 512, "precision": "float32", "balance": "weights"})
    ours, plain = bench.ours()[0], bench.plain(*bench.ready(), FLOAT32)
    assert ours.loss == pytest.approx(plain.loss, rel=1e-5)
    assert ours.images == plain.images == len(bench.cohort.owner)


def test_a_round_of_the_plain_loop_gives_the_weights_of_fit() -> None:
    """Several steps of the smallest network: augmentation, oversampling, clipping, momentum, weight decay."""
    bench = Bench(SMALL)
    bench.study = bench.study.changed(training={"precision": "float32"})
    model, material = bench.ready()
    turn = bench.plain(model, material, FLOAT32)
    found, vector = bench.ours()
    assert found.loss == pytest.approx(turn.loss, rel=1e-5)
    plain = torch.cat([one.detach().contiguous().flatten() for one in model.parameters()]).numpy()
    np.testing.assert_allclose(vector, plain, atol=1e-5)


def test_images_have_the_shape_of_the_study_and_both_answers() -> None:
    study = load_study("hcc_ct")
    cohort = cohort_of(study, 40)
    for name in recipe_of(study).names:
        assert cohort.images[name].shape == (len(cohort.owner), *recipe_of(study).shape_of(name))
    assert set(cohort.label) == {0, 1}
    assert 0 < cohort.images["mask"].mean() < 1


def test_oversampled_images_are_counted_as_often_as_they_are_shown() -> None:
    bench = Bench(SMALL)
    assert bench.study.training.balance == "oversample"
    assert bench.shown == bench.ours()[0].images
    assert bench.shown >= len(bench.cohort.owner)


def test_what_is_compared_is_finite_and_losses_fall_alike() -> None:
    found = compare(SMALL, 1)
    assert found["loss"] < 0.05
    assert min(found.values()) >= 0
    lines = curves(SMALL, 3)
    np.testing.assert_allclose(lines["ours"], lines["float32"], rtol=0.05)
    assert set(lines["seconds"]) == {"ours", "float32", "tf32"}


def test_a_peak_is_at_least_what_was_there_before() -> None:
    found = peak(SMALL, "plain")
    assert found["peak_mb"] > found["beyond_mb"] >= 0


def test_a_peak_is_the_childs_own_however_much_its_parent_holds() -> None:
    """`ru_maxrss` would begin at the parent's, and both loops of a benchmark would have the same peak."""
    held = np.ones(2**28)  # 2 GiB, well above what the loop takes
    found = training._alone({"loop": "ours", **dataclasses.asdict(SMALL)})
    assert found["peak_mb"] < held.nbytes / 1e6 / 2
    assert found["beyond_mb"] > 0


def test_a_process_prints_its_peak_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    training_loops.main(json.dumps({"loop": "ours", "rounds": 2, **dataclasses.asdict(SMALL)}))
    found = json.loads(capsys.readouterr().out.strip().removeprefix(MARK))
    assert found["peak_mb"] > 0
    assert found["images"] == 2 * Bench(SMALL).shown
    assert found["ended"] > found["began"]


def test_more_memory_than_the_plain_loop_misses_the_target(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = {"ours": {"peak_mb": 106.0, "beyond_mb": 16.0}, "plain": {"peak_mb": 100.0, "beyond_mb": 10.0}}
    monkeypatch.setattr(training, "_alone", lambda case: peaks[case["loop"]])
    assert main(["--only", "memory", "--studies", "nodule_ct", "--images", "40"]) == 1
    assert "missed: nodule_ct: times the plain loop's peak memory" in capsys.readouterr().out


def test_a_processor_has_no_gpu_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "gpu"])
    assert "gpu and shared want --device cuda" in capsys.readouterr().err


def test_a_case_that_fails_says_why() -> None:
    with pytest.raises(FLLiverError, match=r"(?s)ended with 1: .*study 'no_such': not one of"):
        training._alone({"loop": "ours", "name": "no_such", "images": 4})
