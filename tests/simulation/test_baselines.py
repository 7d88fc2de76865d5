"""Baselines: a federation of one, trained with the same steps, resumed like one; pooled data are all patients."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fl_liver.client.respond import read_cohort
from fl_liver.client.site import SiteConfig
from fl_liver.client.train import fit
from fl_liver.errors import FLLiverError
from fl_liver.first_weights import check_study
from fl_liver.parameters import load_vector
from fl_liver.study import Study
from fl_liver.study_files import load_study
from simulation import baselines
from simulation.baselines import Baseline, BaselineRunner, baseline_step, pool_cohorts
from simulation.engine import SerialEngine

MakeSite = Callable[..., SiteConfig]
CPU = torch.device("cpu")


@pytest.fixture
def checked(table_study: Study, tmp_path: Path) -> Path:
    """The checked study's file, with its first weights beside it."""
    check_study(table_study, tmp_path / "study")
    return tmp_path / "study" / "study.toml"


def sites_of(make_site: MakeSite, study_file: Path, names: tuple[str, ...]) -> list[SiteConfig]:
    study = load_study(study_file)
    found = []
    for name in names:
        site = make_site(name, study=study)
        (site.data / "site.toml").write_text(f'site = "{name}"\n', encoding="utf-8")
        found.append(site)
    return found


def baseline(study_file: Path, sites: list[SiteConfig], name: str, folder: Path) -> Baseline:
    return Baseline(name, str(study_file), tuple(str(site.data) for site in sites), str(folder / name), "cpu", 1)


def run(study: Study, *several: Baseline) -> list[tuple[str, int]]:
    steps: list[tuple[str, int]] = []
    runner = BaselineRunner(SerialEngine(), study, lambda name, number: steps.append((name, number)))
    for one in several:
        runner.start(one)
    runner.wait()
    return steps


def test_a_local_baseline_is_the_same_local_training_round_after_round(
    make_site: MakeSite, checked: Path, tmp_path: Path
) -> None:
    """`fit`, called here by hand from its own last model, is the oracle: equal bits."""
    study, sites = load_study(checked), sites_of(make_site, checked, ("H01",))
    one = baseline(checked, sites, "H01", tmp_path)
    assert run(study, one) == [("H01", 1), ("H01", 2)]
    _, cohort = read_cohort(sites[0], study.sha256)
    vector, _ = load_vector(checked.parent / "initial.safetensors")
    for number in (1, 2):
        vector = fit(
            study, cohort, vector, rows=cohort.rows("train"), round_number=number, seed_key="H01", device=CPU
        ).vector
    assert one.model(study).tobytes() == vector.tobytes()


def test_the_pooled_baseline_sees_every_training_patient_of_all_hospitals(
    make_site: MakeSite, checked: Path, tmp_path: Path
) -> None:
    study, sites = load_study(checked), sites_of(make_site, checked, ("H01", "H02", "H03"))
    cohorts = [read_cohort(site, study.sha256)[1] for site in sites]
    pooled = pool_cohorts(cohorts)
    assert len(pooled.patients) == len(set(pooled.patients)) == 120
    assert len(pooled.rows("train")) == sum(len(cohort.rows("train")) for cohort in cohorts)
    np.testing.assert_array_equal(pooled.label[40:80], cohorts[1].label)
    np.testing.assert_array_equal(pooled.factors[80:], cohorts[2].factors)
    one = baseline(checked, sites, "pooled", tmp_path)
    run(study, one)
    alone = baseline(checked, sites[:1], "alone", tmp_path)
    run(study, alone)
    assert one.model(study).tobytes() != alone.model(study).tobytes()


def test_images_keep_their_owners_when_hospitals_are_pooled(make_site: MakeSite, checked: Path) -> None:
    study, sites = load_study(checked), sites_of(make_site, checked, ("H01", "H02"))
    cohorts = []
    for value, site in enumerate(sites):
        _, cohort = read_cohort(site, study.sha256)
        owner = np.array([0, 0, 5, 39])
        cohorts.append(replace(cohort, owner=owner, images={"lesion": np.full((4, 2, 2), value, np.float16)}))
    pooled = pool_cohorts(cohorts)
    assert pooled.owner.tolist() == [0, 0, 5, 39, 40, 40, 45, 79]
    assert pooled.images["lesion"][:, 0, 0].tolist() == [0] * 4 + [1] * 4


def test_an_interrupted_baseline_goes_on_with_the_same_bits(make_site: MakeSite, checked: Path, tmp_path: Path) -> None:
    study, sites = load_study(checked), sites_of(make_site, checked, ("H01", "H02"))
    whole, cut = (baseline(checked, sites, "pooled", tmp_path / place) for place in ("whole", "cut"))
    run(study, whole)
    assert baseline_step(cut) == 1
    assert run(study, cut) == [("pooled", 2)], "the finished round is not trained again"
    assert cut.model(study).tobytes() == whole.model(study).tobytes()
    assert run(study, cut) == [], "a finished baseline is left alone"


@pytest.mark.parametrize("training", [{"strategy": "fedprox", "mu": 0.5}, {"strategy": "fedbn"}])
def test_a_baseline_is_not_pulled_towards_a_federation(
    make_site: MakeSite, table_study: Study, tmp_path: Path, training: dict[str, object]
) -> None:
    """The proximal term and local layers belong to federation; a baseline trains plainly."""
    vectors = []
    for name, changed in (("plain", table_study), ("changed", table_study.changed(training=training))):
        study = check_study(changed, tmp_path / name / "study")
        site = make_site("H01", study=study, place=name)
        (site.data / "site.toml").write_text('site = "H01"\n', encoding="utf-8")
        one = baseline(tmp_path / name / "study" / "study.toml", [site], "H01", tmp_path / name)
        run(study, one)
        vectors.append(one.model(study).tobytes())
    assert vectors[0] == vectors[1]


def test_a_baseline_that_fails_is_named_and_the_others_finish(
    make_site: MakeSite, checked: Path, tmp_path: Path
) -> None:
    study, sites = load_study(checked), sites_of(make_site, checked, ("H01", "H02"))
    broken = baseline(checked, sites[:1], "H01", tmp_path)
    (sites[0].data / "clinical.csv").unlink()
    whole = baseline(checked, sites[1:], "H02", tmp_path)
    with pytest.raises(FLLiverError, match=r"baseline H01 failed: .*H01: has no clinical\.csv"):
        run(study, broken, whole)
    assert len(whole.model(study))
    with pytest.raises(FLLiverError, match=r"baseline H01: no finished round in .*; resume the run"):
        broken.model(study)


def test_three_hundred_rounds_in_one_process_do_not_exhaust_the_stack(
    table_study: Study, checked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The serial engine answers at once: each round following the last by recursion would hang in `wait`."""
    study = table_study.changed(training={"rounds": 300})
    done = iter(range(1, 301))
    monkeypatch.setattr(baselines, "baseline_step", lambda _: next(done))
    steps = run(study, Baseline("pooled", str(checked), (), str(tmp_path / "none"), "cpu", 1))
    assert steps[-1] == ("pooled", 300)


class Interrupted(SerialEngine):
    """Ctrl-C while a step runs in this process."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        raise KeyboardInterrupt


def test_ctrl_c_during_a_baseline_interrupts_the_run(table_study: Study, checked: Path, tmp_path: Path) -> None:
    runner = BaselineRunner(Interrupted(), table_study, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        runner.start(Baseline("pooled", str(checked), (), str(tmp_path / "none"), "cpu", 1))


def test_an_error_while_progress_is_shown_does_not_hang_the_run(
    make_site: MakeSite, checked: Path, tmp_path: Path
) -> None:
    study, sites = load_study(checked), sites_of(make_site, checked, ("H01",))

    def broken(name: str, number: int) -> None:
        raise ValueError("no display")

    runner = BaselineRunner(SerialEngine(), study, broken)
    runner.start(baseline(checked, sites, "H01", tmp_path))
    with pytest.raises(FLLiverError, match="baseline H01 failed: no display"):
        runner.wait()
