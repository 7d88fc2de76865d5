"""Whole simulations on five small phantom hospitals: the same numbers again, on each engine, after every interruption.

The slow ones run `python -m simulation` as a person would, and kill it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client.train import fit, local_positions
from fl_liver.parameters import load_vector
from fl_liver.study_files import load_study
from simulation import run as running
from simulation.options import QUICK_SCALE
from simulation.phantom import phantom_hospitals, write_hospitals

Simulate = Callable[..., Any]
HospitalsIn = Callable[[Path], Path]
Numbers = Callable[[dict[str, Any]], dict[str, Any]]
ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = 75


def run_on_copy(simulate: Simulate, hospitals_in: HospitalsIn, folder: Path, *arguments: str, **keys: Any) -> Any:
    hospitals_in(folder)
    run = simulate(folder, *arguments, **keys)
    assert run.status == 0, run.err + run.out
    return run


def model_bytes(folder: Path) -> bytes:
    """The model's numbers; safetensors writes its metadata in an order that changes from file to file."""
    return load_vector(folder / "model.safetensors")[0].tobytes()


def with_strategy(study_file: Path, folder: Path, **training: object) -> Path:
    path = folder / "strategy.toml"
    path.write_text(load_study(study_file).changed(training=training).to_toml(), encoding="utf-8")
    return path


def test_a_run_leaves_its_report_summary_model_and_journal(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure that could not be drawn is missed in all of them, and on the screen, with its reason."""
    why = "t-SNE wants 4 images or more, there are 2"
    monkeypatch.setattr(running, "explanations", lambda *_: ([], [why]))
    run = run_on_copy(simulate, hospitals_in, tmp_path / "run", "--baselines")
    summary = run.summary
    assert set(summary) >= {
        "study", "study_sha256", "seed", "secure_sum", "software", "incomplete", "sites", "rounds", "models", "fusion",
        "comparisons", "analysis", "seconds", "peak_rss_mb",
    }  # fmt: skip
    assert summary["secure_sum"] == "masked"
    assert {one["method"] for one in summary["batches"] if one["purpose"] == "masked"} == {"masked"}
    assert summary["study_sha256"] in run.out
    assert list(summary["models"]["federated"]["per_site"]) == ["H01", "H02", "H03", "H04", "H05"]
    assert {"federated", "pooled", "local_only"} <= set(summary["models"])
    assert all(one["device"] for one in summary["sites"])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", ""), "one self-contained page"
    vector, _ = load_vector(tmp_path / "run" / "model.safetensors")
    assert np.isfinite(vector).all()
    lines = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert {"round_done", "done"} <= {line["event"] for line in lines}
    assert [why in line["text"] for line in lines if line["event"] == "warning"] == [True]
    assert summary["not_drawn"] == [why]
    assert f"Not drawn: {why}." in page
    assert f"warning: a figure that explains the model is not drawn: {why}" in run.out


@pytest.mark.slow
def test_masked_and_plain_sums_agree_to_the_last_bit(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path
) -> None:
    """Rounds, cut-offs, fusion, every figure: only the study's hash and the word for how sums were added differ."""
    masked = run_on_copy(simulate, hospitals_in, tmp_path / "masked", "--baselines", "--rounds", "2")
    plain = run_on_copy(simulate, hospitals_in, tmp_path / "plain", "--baselines", "--rounds", "2", "--plain-sums")
    assert (masked.summary["secure_sum"], plain.summary["secure_sum"]) == ("masked", "plain")
    assert model_bytes(tmp_path / "masked") == model_bytes(tmp_path / "plain")
    for key, found in masked.numbers.items():
        if key not in {"secure_sum", "study_sha256", "batches"}:
            assert found == plain.numbers[key], key
    for one, other in zip(masked.numbers["batches"], plain.numbers["batches"], strict=True):
        assert {**one, "method": ""} == {**other, "method": ""}
    assert "plain" in (tmp_path / "plain" / "report.html").read_text()


@pytest.mark.slow
def test_fedprox_stays_nearer_to_the_received_weights(
    simulate: Simulate, hospitals_in: HospitalsIn, tiny_study: Path, tmp_path: Path
) -> None:
    """A strong pull leaves every hospital, and so the mean, closer to the first weights (Li 2020)."""
    moved = []
    for name, training in (("fedavg", {}), ("fedprox", {"strategy": "fedprox", "mu": 30.0})):
        study = with_strategy(tiny_study, tmp_path, **training)
        folder = tmp_path / name
        run_on_copy(simulate, hospitals_in, folder, "--rounds", "2", study=study)
        last, _ = load_vector(folder / "model.safetensors")
        first, _ = load_vector(folder / "study" / "initial.safetensors")
        shared = np.ones(len(first), bool)
        shared[local_positions(load_study(study))] = False
        moved.append(float(np.linalg.norm((last - first)[shared])))
    assert 0 < moved[1] < 0.8 * moved[0]


@pytest.mark.slow
def test_under_fedbn_no_hospital_takes_over_the_means_batch_normalisation(
    simulate: Simulate, hospitals_in: HospitalsIn, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a hospital starts round 2 from: its own layers of round 1, and the mean of everything else."""
    study = with_strategy(tiny_study, tmp_path, strategy="fedbn")
    starts: dict[tuple[str, int], Any] = {}
    ends: dict[tuple[str, int], Any] = {}

    def watched(study_: Any, cohort: Any, vector: Any, **keys: Any) -> Any:
        starts[keys["seed_key"], keys["round_number"]] = np.array(vector)
        result = fit(study_, cohort, vector, **keys)
        ends[keys["seed_key"], keys["round_number"]] = result.vector
        return result

    monkeypatch.setattr("fl_liver.client.respond.fit", watched)
    run_on_copy(simulate, hospitals_in, tmp_path / "run", "--rounds", "2", study=study)
    local = np.zeros(len(starts["H01", 1]), bool)
    local[local_positions(load_study(study))] = True
    sites = ("H01", "H02", "H03", "H04")
    for site in sites:
        np.testing.assert_array_equal(starts[site, 2][local], ends[site, 1][local])
        np.testing.assert_array_equal(starts[site, 2][~local], starts["H01", 2][~local])
    assert not np.array_equal(starts["H01", 2][local], starts["H02", 2][local])
    assert not np.array_equal(starts["H01", 2][~local], ends["H01", 1][~local])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path
) -> None:
    first, again = (
        run_on_copy(simulate, hospitals_in, tmp_path / name, "--baselines", "--rounds", "2") for name in ("a", "b")
    )
    assert again.numbers == first.numbers
    assert model_bytes(tmp_path / "a") == model_bytes(tmp_path / "b")
    other = simulate(tmp_path / "c", "--seed", "2021", "--rounds", "2")
    assert other.status == 0, other.err
    assert other.summary["rounds"] != first.summary["rounds"]
    assert (
        other.summary["models"]["federated"]["internal"]["auc"]
        != first.summary["models"]["federated"]["internal"]["auc"]
    )
    assert [one["patients"] for one in other.summary["sites"]] == [one["patients"] for one in first.summary["sites"]]


@pytest.mark.slow
@pytest.mark.parametrize("training", [{}, {"strategy": "fedbn"}], ids=["fedavg", "fedbn"])
def test_serial_and_processes_agree_exactly(
    simulate: Simulate, hospitals_in: HospitalsIn, tiny_study: Path, tmp_path: Path, training: dict[str, object]
) -> None:
    study = with_strategy(tiny_study, tmp_path, **training)
    options = ("--rounds", "2", "--baselines")
    serial = run_on_copy(simulate, hospitals_in, tmp_path / "serial", *options, study=study)
    processes = run_on_copy(
        simulate, hospitals_in, tmp_path / "pool", *options, "--engine", "processes", "--workers", "2", study=study
    )
    assert processes.numbers == serial.numbers
    assert model_bytes(tmp_path / "serial") == model_bytes(tmp_path / "pool")


@pytest.mark.slow
def test_cross_fitting_and_leaving_one_centre_out_run_to_the_end(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path
) -> None:
    run = run_on_copy(
        simulate, hospitals_in, tmp_path / "run", "--folds", "5", "--leave-one-centre-out",
        "--engine", "processes", "--workers", "2",
    )  # fmt: skip
    left_out = run.summary["analysis"]["leave_one_centre_out"]
    assert [one["left_out"] for one in left_out] == ["H01", "H02", "H03", "H04"]
    assert all(0 <= one["auc"] <= 1 for one in left_out)
    assert run.summary["models"]["federated"]["cutoff"]["rows"] == "training"


# What follows starts `python -m simulation` as a process of its own.

USUAL = (
    "--quick", "--hospitals", "5", "--external", "1", "--rounds", "5", "--engine", "processes", "--workers", "2",
    "--device", "cpu",
)  # fmt: skip


@dataclass
class Started:
    """A simulation in a process (group) of its own."""

    process: subprocess.Popen[str]
    folder: Path

    def until(self, condition: Callable[[], bool], patience_s: float = 200) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            if self.process.poll() is not None:
                pytest.fail(f"it ended too early: {self.process.communicate()}")
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    def rounds_done(self) -> int:
        path = self.folder / "checkpoints" / "train" / "rounds.json"
        return len(json.loads(path.read_text())["rounds"]) if path.exists() else 0

    def end(self, patience_s: float = 250) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=patience_s)
        return self.process.returncode, out, err


Start = Callable[..., Started]


@pytest.fixture(scope="module")
def quick_hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("quick")
    write_hospitals(phantom_hospitals(2020, 4, 1, scale=QUICK_SCALE), root, workers=2)
    return root


@pytest.fixture
def start(quick_hospitals: Path, tiny_study: Path) -> Iterator[Start]:
    started: list[Started] = []

    def begin(folder: Path, *arguments: str) -> Started:
        if "--resume" not in arguments:
            shutil.copytree(quick_hospitals, folder / "hospitals")
            arguments = (str(tiny_study), *USUAL, *arguments, "--out", str(folder))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        process = subprocess.Popen(
            [sys.executable, "-m", "simulation", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(Started(process, folder))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.communicate()


@pytest.fixture(scope="module")
def uninterrupted(
    quick_hospitals: Path, tiny_study: Path, tmp_path_factory: pytest.TempPathFactory, same_numbers: Numbers
) -> dict[str, Any]:
    """The numbers that every interrupted run must come to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(quick_hospitals, folder / "hospitals")
    done = subprocess.run(
        [sys.executable, "-m", "simulation", str(tiny_study), *USUAL, "--out", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return same_numbers(json.loads((folder / "summary.json").read_text()))


def workers_of(pid: int) -> set[int]:
    """All descendants of a process."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            children = {int(child) for child in task.read_text().split()} - found
            found |= children
            waiting += children
    return found


def is_worker(pid: int) -> bool:
    """A forked worker that computes, not the fork server, the resource tracker or a phantom writer."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return b"forkserver" in Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return False


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key in wanted:
        assert found[key] == wanted[key], key
    assert set(found) == set(wanted)


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_numbers(
    start: Start, uninterrupted: dict[str, Any], same_numbers: Numbers, tmp_path: Path
) -> None:
    """A terminal sends Ctrl-C to the whole group; workers must leave it to the run."""
    run = start(tmp_path / "run")
    run.until(lambda: run.rounds_done() >= 1)
    workers = workers_of(run.process.pid)
    began = time.monotonic()
    os.killpg(run.process.pid, signal.SIGINT)
    status, out, err = run.end(60)
    assert time.monotonic() - began < 40
    assert status == INTERRUPTED, err
    assert f"go on with: python -m simulation --resume {run.folder}" in err
    assert err.strip().count("\n") == 0, err
    assert not (run.folder / "summary.json").exists()
    done = run.rounds_done()
    assert 1 <= done < 5, "it was not interrupted in the middle"
    time.sleep(1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}/cmdline").exists() and is_worker(pid)], "workers stay"
    resumed = start(tmp_path / "run", "--resume", str(run.folder))
    status, out, err = resumed.end()
    assert status == 0, err
    assert f"going on after round {done}" in out
    same(same_numbers(json.loads((run.folder / "summary.json").read_text())), uninterrupted)


@pytest.mark.slow
def test_a_run_that_was_killed_outright_resumes_to_the_same_numbers(
    start: Start, uninterrupted: dict[str, Any], same_numbers: Numbers, tmp_path: Path
) -> None:
    """SIGKILL, as in a power cut: no handler runs."""
    run = start(tmp_path / "run")
    run.until(lambda: run.rounds_done() >= 2)
    os.killpg(run.process.pid, signal.SIGKILL)
    run.end(60)
    resumed = start(tmp_path / "run", "--resume", str(run.folder))
    status, _, err = resumed.end()
    assert status == 0, err
    same(same_numbers(json.loads((run.folder / "summary.json").read_text())), uninterrupted)


@pytest.mark.slow
def test_a_worker_that_is_killed_in_a_round_changes_no_number(
    start: Start, uninterrupted: dict[str, Any], same_numbers: Numbers, tmp_path: Path
) -> None:
    run = start(tmp_path / "run")
    run.until(lambda: run.rounds_done() >= 1)
    workers = [pid for pid in workers_of(run.process.pid) if is_worker(pid)]
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    status, out, err = run.end()
    assert status == 0, err + out
    same(same_numbers(json.loads((run.folder / "summary.json").read_text())), uninterrupted)
