"""The whole deployment on loopback: server, gateway, three hospitals' daemons as processes, one study. Minutes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from fl_liver.client.approval import write_approval
from fl_liver.client.site import load_site
from fl_liver.first_weights import check_study
from fl_liver.parameters import load_vector
from fl_liver.study import Study
from simulation.deployed_hospital import COHORT
from simulation.engine import make_engine
from simulation.federate import VirtualFederation
from simulation.hospitals import introduce
from tests.conftest import write_table
from tests.coordinator import Coordinator, command, until
from tests.joined import Joined, join

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SITES, AWAY = ("H01", "H02", "H03"), "H04"
ROUNDS = 6
"""Of the run that is disturbed: one is done before the SuperLink is killed, one after it, and some are left."""


@pytest.fixture(scope="module")
def study(table_study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """Checked, with the folder that `study check` wrote."""
    folder = tmp_path_factory.mktemp("study")
    named = table_study.changed(sites={"train": list(SITES), "external": []})
    return check_study(named, folder), folder


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Coordinator, dict[str, Joined]]]:
    coordinator = Coordinator(tmp_path_factory.mktemp("deployment"))
    hospitals = join(coordinator, *SITES, AWAY)
    try:
        coordinator.start()
        for name in SITES:
            hospitals[name].start()
        for name in SITES:
            hospitals[name].until_registered()
        yield coordinator, hospitals
    finally:
        for one in hospitals.values():
            one.stop()
        coordinator.stop()


def simulated(study: tuple[Study, Path], folder: Path) -> dict[str, Any]:
    """The same study over the same tables inside this process; returns its summary."""
    checked, source = study
    folders = {}
    for name in SITES:
        at = folders[name] = folder / name
        write_table(at / "cohort", 40, seed=int(name[1:]))
        own = {"site": name, "role": "train", "data": "cohort", "release": "named", "gpu": "none", "audit": False}
        (at / "site.toml").write_text(tomli_w.dumps(own), encoding="utf-8")
    place = folder / "study"
    place.mkdir()
    for name in ("study.toml", "initial.safetensors"):
        (place / name).write_bytes((source / name).read_bytes())
    introduce(folders, place / "roster.toml")
    for at in folders.values():
        write_approval(load_site(at / "site.toml"), checked, who="test")
    engine = make_engine("serial")
    try:
        return VirtualFederation(engine, folders, "cpu").run(place / "study.toml", folder)
    finally:
        engine.close()


def approved_before(hospitals: dict[str, Joined], study: Study) -> None:
    """By people who read it elsewhere: the first test has the way through the request."""
    for name in SITES:
        write_approval(load_site(hospitals[name].folder / "site.toml"), study, COHORT, who="test")


def run_folder(coordinator: Coordinator) -> Path:
    (newest,) = sorted((coordinator.folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)[-1:]
    return newest


def test_a_study_is_launched_approved_trained_and_reported_as_in_the_simulation(
    town: tuple[Coordinator, dict[str, Joined]], study: tuple[Study, Path], tmp_path: Path
) -> None:
    """Launched before anybody approved it: hospitals see it, people approve, and it goes on by itself."""
    coordinator, hospitals = town
    checked, source = study
    said = command("study", "launch", source, "-C", coordinator.folder, "--wait-min", "5")
    assert checked.sha256 in said
    for name in SITES:
        hospitals[name].until_asked(checked.sha256)
        assert f"approved {checked.sha256[:12]}" in hospitals[name].approve(checked.sha256)
    watched = command("study", "watch", "-C", coordinator.folder, timeout_s=200)
    assert watched.splitlines()[-1].endswith(": done")
    run = run_folder(coordinator)
    # The model is that of the simulation, to the last bit: sums are integers.
    reference = simulated(study, tmp_path)
    ours, theirs = load_vector(run / "model.safetensors")[0], load_vector(tmp_path / "model.safetensors")[0]
    np.testing.assert_array_equal(ours, theirs)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["models"] == reference["models"]
    assert command("study", "report", "-C", coordinator.folder).splitlines()[0].endswith(": done")
    assert (run / "report.html").stat().st_size > 10_000
    status = json.loads(command("study", "status", "-C", coordinator.folder, "--json"))
    assert {site["state"] for site in status["sites"].values()} == {"ready"}
    assert status["update_bytes"] > 0


def test_a_run_survives_its_superlink_and_goes_on_after_a_stop_with_the_same_model(
    town: tuple[Coordinator, dict[str, Joined]], study: tuple[Study, Path], tmp_path: Path
) -> None:
    """The SuperLink is killed in the middle; then the run is stopped, and resumed after its last whole round."""
    coordinator, hospitals = town
    longer = check_study(study[0].with_top(initial=None).changed(training={"rounds": ROUNDS}), tmp_path / "longer")
    approved_before(hospitals, longer)
    command("study", "launch", tmp_path / "longer", "-C", coordinator.folder, "--wait-min", "5")
    run = run_folder(coordinator)
    until(lambda: rounds_done(run) >= 1, "round", 120, coordinator.said)
    coordinator.child("superlink").kill()
    until(lambda: rounds_done(run) >= 2, "rounds after the kill", 120, coordinator.said)
    assert "superlink: killed by SIGKILL" in coordinator.said()
    assert "stops after this round" in command("study", "stop", "-C", coordinator.folder)
    stopped = command("study", "watch", "-C", coordinator.folder, status=75).splitlines()[-1]
    before = rounds_done(run)
    assert before < ROUNDS
    assert f"STOPPED: IncompleteError: stopped as asked after round {before};" in stopped
    command("study", "resume", "-C", coordinator.folder)
    until((run / "model.safetensors").exists, "model", 200, coordinator.said)
    command("study", "stop", "--now", "-C", coordinator.folder)  # figures are the claim of another test
    journal = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    assert [line["round"] for line in journal if line["event"] == "resumed"] == [before]
    simulated((longer, tmp_path / "longer"), tmp_path / "simulation")
    ours = load_vector(run / "model.safetensors")[0]
    np.testing.assert_array_equal(ours, load_vector(tmp_path / "simulation" / "model.safetensors")[0])


def rounds_done(run: Path) -> int:
    path = run / "checkpoints" / "train" / "rounds.json"
    return len(json.loads(path.read_text())["rounds"]) if path.exists() else 0


def test_a_run_with_fewer_hospitals_says_so_first_and_in_its_exit_code(
    town: tuple[Coordinator, dict[str, Joined]], study: tuple[Study, Path], tmp_path: Path
) -> None:
    """H04 is admitted, but its daemon never runs: three of four are enough for a masked sum. Noised: one figure."""
    coordinator, hospitals = town
    four = (
        study[0]
        .with_top(initial=None)
        .changed(
            sites={"train": [*SITES, AWAY], "external": []},
            training={"rounds": 1},
            privacy={"histogram_epsilon": 4.0},
            cohort={"calibration": 0.0},
        )
    )
    four = check_study(four, tmp_path / "four")
    approved_before(hospitals, four)
    command("study", "launch", tmp_path / "four", "-C", coordinator.folder, "--wait-min", "0.2")
    watched = command("study", "watch", "-C", coordinator.folder, timeout_s=250, status=75)
    name = run_folder(coordinator).name
    assert f"{name}: INCOMPLETE: 3 of 4 hospitals took part; out: H04" in watched.splitlines()[-1]
    assert ": INCOMPLETE: " in command("study", "report", "-C", coordinator.folder, status=75).splitlines()[0]
    status = command("study", "status", "-C", coordinator.folder, status=75)
    assert ": INCOMPLETE: " in status.splitlines()[0]


def test_a_study_with_a_stranger_or_without_a_server_is_not_launched(
    town: tuple[Coordinator, dict[str, Joined]], study: tuple[Study, Path], tmp_path: Path
) -> None:
    coordinator, _ = town
    stranger = study[0].with_top(initial=None).changed(sites={"train": [*SITES, "H09"], "external": []})
    check_study(stranger, tmp_path / "stranger")
    said = command("study", "launch", tmp_path / "stranger", "-C", coordinator.folder, status=78)
    assert "H09 not admitted to 'test'" in said
    idle = Coordinator(tmp_path / "idle")
    said = command("study", "launch", study[1], "-C", idle.folder, status=78)
    assert "the server is not running; start it with `fl-liver coordinator up`" in said
