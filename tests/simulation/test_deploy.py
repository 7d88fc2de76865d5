"""`python -m simulation --deploy`: the numbers of the in-process simulation over a real server, and nothing left.

The slow ones are the integration test of the deployment: whole command lines, as a person runs them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fl_liver.cli import run_app
from fl_liver.client.site import load_site
from fl_liver.consortium.folder import make_consortium
from fl_liver.errors import ConfigError, FleetError, FLLiverError, IncompleteError
from fl_liver.first_weights import check_study
from fl_liver.parameters import load_vector
from fl_liver.server.journal import Journal
from fl_liver.server.run import Seconds
from fl_liver.server.run_folder import RunFolder
from fl_liver.study import Study
from fl_liver.study_files import load_study
from simulation.__main__ import app
from simulation.deploy import CONSORTIUM, Deployment, sigterm_as_interrupt, undisturbed
from simulation.deployed_hospital import DeployedHospital, edit_site
from simulation.deployed_run import follow
from simulation.deployed_server import LOOPBACK, free_port
from simulation.display import Display
from simulation.options import Options, resolve_study
from simulation.town import this_second
from tests.conftest import write_table

Numbers = Callable[[dict[str, Any]], dict[str, Any]]
ROOT = Path(__file__).resolve().parents[2]
SITES = ("H01", "H02", "H03", "H04")
INTERRUPTED = 75


def test_a_rehearsal_with_few_sites_lets_three_of_them_train() -> None:
    """The default study has two hospitals that only test; `--sites 3` needs no further option."""
    assert len(resolve_study(Options(hospitals=3, deploy=True)).sites.train) == 3
    four = resolve_study(Options(hospitals=4, deploy=True)).sites
    assert (len(four.train), four.external) == (3, ("H04",))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"leave_one_centre_out": True}, "--deploy --leave-one-centre-out: a deployment runs one study"),
        ({"device": "cuda:1"}, "--deploy --device cuda:1: its daemons share this machine's processors; wanted cpu"),
    ],
)
def test_what_a_rehearsal_cannot_do_is_refused_before_anything_starts(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        resolve_study(Options(deploy=True, **options))
    assert "\n" not in str(caught.value)


def test_a_dry_run_prints_the_study_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(app, ["--deploy", "--sites", "3", "--quick", "--dry-run"]) == 0
    assert 'train = [\n    "H01",\n    "H02",\n    "H03",\n]' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_daemon_that_ends_is_named_with_its_last_words_and_its_log(tmp_path: Path) -> None:
    hospital = DeployedHospital("H02", tmp_path)
    hospital.start()
    with pytest.raises(FleetError, match=r"H02: its daemon ended with status 78; .*site\.toml.*; see .*daemon\.log"):
        hospital.until_registered(timeout_s=60)
    assert hospital.stop() == 78


def test_a_daemon_that_does_not_register_in_time_is_named(tmp_path: Path) -> None:
    hospital = DeployedHospital("H02", tmp_path)
    hospital.log_file.write_text("no server here\n")
    with pytest.raises(
        FleetError, match=r"H02: its daemon: no registration at the server within 0 s; .* no server here"
    ):
        hospital.until_registered(timeout_s=0.0)


def test_editing_a_site_file_keeps_its_explanations_and_refuses_a_key_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('# why\ndata = "."\n', encoding="utf-8")
    edit_site(path, data=r"C:\data")
    assert path.read_text(encoding="utf-8") == '# why\ndata = "C:\\\\data"\n'
    with pytest.raises(ConfigError, match="has 0 lines 'colour = …', wanted one"):
        edit_site(path, colour="red")


def tell(folder: Path, *events: dict[str, Any]) -> RunFolder:
    """A run whose journal holds these events."""
    lines = [json.dumps({"time": 0.0, **event}) for event in events]
    (folder / "journal.jsonl").write_text("\n".join(lines) + '\n{"half a li', encoding="utf-8")
    return RunFolder(folder)


def test_a_run_that_stops_ends_the_rehearsal_with_the_same_error(tmp_path: Path) -> None:
    run = tell(tmp_path, {"event": "failed", "error": "IncompleteError: 2 of 4 hospitals", "exit_code": 75})
    seen: list[str] = []
    with pytest.raises(IncompleteError, match=r"^2 of 4 hospitals \(logs: .*up\)$"):
        follow(run, 0, lambda event, _: seen.append(event), lambda: None)
    assert seen == ["failed"]


def test_a_run_whose_process_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "from fl_liver.server.app_process import AppProcess as A;"
                             "import json; print(json.dumps(A.own().as_line()))"], stdout=subprocess.PIPE)  # fmt: skip
    said, _ = gone.communicate()
    run = tell(tmp_path, {"event": "started", **json.loads(said)})
    with pytest.raises(FLLiverError, match=r"ended in the middle \(its process is gone\); see .*superexec\.log"):
        follow(run, 0, lambda *_: None, lambda: None)


def test_a_journal_is_followed_from_where_it_was_left(tmp_path: Path) -> None:
    run = tell(tmp_path, {"event": "failed", "error": "earlier"}, {"event": "submitted"}, {"event": "done"})
    text = (tmp_path / "journal.jsonl").read_text()
    seen: list[str] = []
    follow(run, len(text.splitlines()[0]) + 1, lambda event, _: seen.append(event), lambda: None)
    assert seen == ["submitted", "done"]


def interrupted_twice(reached: list[str]) -> None:
    """SIGTERM, and while that is dealt with, everything again."""
    with sigterm_as_interrupt():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            with undisturbed():
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)
                reached.append("the end of stopping")


def test_sigterm_ends_a_run_as_ctrl_c_does_and_a_second_one_disturbs_nothing() -> None:
    before, reached = signal.getsignal(signal.SIGTERM), list[str]()
    with pytest.raises(KeyboardInterrupt):
        interrupted_twice(reached)
    assert reached
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def rehearse(table_study: Study, tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """rehearse(): a study of tables at four hospitals, one of which only tests; run to its end or its error."""
    study = table_study.changed(sites={"train": list(SITES[:3]), "external": ["H04"]})
    checked = check_study(study, tmp_path / "study")
    data = {name: tmp_path / "hospitals" / name for name in SITES}
    for name, folder in data.items():
        write_table(folder, 40, seed=int(name[1:]))
    deployment = Deployment(tmp_path / "deployment", Display(Console(quiet=True)))
    journal = Journal(tmp_path / "journal.jsonl")
    return lambda: deployment.run(checked, data, tmp_path / "study", tmp_path, journal, Seconds())


def processes_below(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def test_hospitals_join_with_their_role_and_their_own_frozen_cohort(
    rehearse: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Up to the server, which is not started here."""

    def refuse(_: Deployment) -> None:
        raise FLLiverError("no server today")

    monkeypatch.setattr(Deployment, "_start_server", refuse)
    with pytest.raises(FLLiverError, match="no server today"):
        rehearse()
    for name in SITES:
        site = load_site(tmp_path / "deployment" / name / "site.toml")
        assert site.role == ("external" if name == "H04" else "train")
        assert site.data == tmp_path / "hospitals" / name
        assert (site.release, site.gpu, site.audit, site.durable, site.plain_sums) == (
            "named",
            "none",
            True,
            True,
            False,
        )
        assert [path.stem for path in (site.work / "frozen").glob("*.json")] == ["rehearsal"]
        assert len(site.roster.read_text().splitlines()) == 2 + len(SITES), "everybody is confirmed"


def test_a_taken_port_is_named_and_nothing_is_left(
    rehearse: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr("simulation.deploy.free_port", lambda: port)
        with pytest.raises(
            FLLiverError, match=rf"server ended with status 78; .*{LOOPBACK}:{port} cannot be listened on"
        ):
            rehearse()
    assert not processes_below(tmp_path)


@pytest.mark.slow
def test_a_daemon_that_dies_at_the_start_ends_the_rehearsal_and_every_process(
    rehearse: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One hospital has lost its node key: the server and the other daemons run already."""
    freeze = DeployedHospital.freeze_cohort

    def and_lose_a_key(hospital: DeployedHospital) -> None:
        freeze(hospital)
        if hospital.name == "H03":
            (hospital.folder / "node.key").unlink()

    monkeypatch.setattr(DeployedHospital, "freeze_cohort", and_lose_a_key)
    with pytest.raises(FLLiverError, match=r"H03: its daemon ended with status 78; .*node\.key.*H03/daemon\.log"):
        rehearse()
    assert (tmp_path / "deployment" / CONSORTIUM / "up" / "superlink.log").exists(), "the server ran"
    assert not processes_below(tmp_path)


def test_a_rehearsal_that_is_killed_outright_leaves_no_server(tmp_path: Path) -> None:
    """SIGKILL: no handler runs; the system tells what it started."""
    folder = tmp_path / CONSORTIUM
    make_consortium(folder, "killed", f"{LOOPBACK}:{free_port()}", (), this_second())
    code = "import sys, pathlib, time; from simulation.deployed_server import DeployedServer as Server;"
    code += "Server(pathlib.Path(sys.argv[1])).start(); time.sleep(60)"
    rehearsal = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT)
    wait_until(lambda: (folder / "up" / "superlink.log").exists())
    rehearsal.kill()
    rehearsal.wait()
    wait_until(lambda: not processes_below(tmp_path))


def wait_until(ready: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


ARGUMENTS = ("--quick", "--sites", "3", "--rounds", "2", "--device", "cpu")


def start(study: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line, in a process of its own; it prints into a file beside `folder`."""
    with folder.with_suffix(".out").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "simulation", str(study), *ARGUMENTS, "--out", str(folder), *arguments],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def ended(process: subprocess.Popen[str], folder: Path, timeout_s: float) -> str:
    """What it said; it must be done."""
    try:
        status = process.wait(timeout_s)
    finally:
        process.terminate()
    said = folder.with_suffix(".out").read_text()
    assert status == 0, said
    return said


@pytest.fixture(scope="module")
def small_study(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without the fusion with clinical factors: it alone asks as many questions as everything else."""
    path = tmp_path_factory.mktemp("study") / "small.toml"
    path.write_text(load_study(tiny_study).changed(analysis={"fusion": []}).to_toml(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def in_process(small_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study in one process."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    ended(start(small_study, folder), folder, 200)
    return folder


def with_its_patients(in_process: Path, folder: Path) -> Path:
    shutil.copytree(in_process / "hospitals", folder / "hospitals", ignore=shutil.ignore_patterns("work", "*.pem"))
    return folder


def same_result(found: Path, wanted: Path, same_numbers: Numbers) -> None:
    """The model to the last bit, and every figure."""
    assert (
        load_vector(found / "model.safetensors")[0].tobytes() == load_vector(wanted / "model.safetensors")[0].tobytes()
    )
    summaries = [same_numbers(json.loads((folder / "summary.json").read_text())) for folder in (found, wanted)]
    for key in summaries[1]:
        assert summaries[0][key] == summaries[1][key], key


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_deployment_on_loopback_gives_the_numbers_of_the_simulation(
    in_process: Path, small_study: Path, same_numbers: Numbers, tmp_path: Path
) -> None:
    """CI's integration test: three daemons, gateway, SuperLink, two rounds, figures, baselines, report."""
    folder = with_its_patients(in_process, tmp_path / "run")
    said = ended(start(small_study, folder, "--deploy"), folder, 400)
    assert "daemons registered: 3/3" in said
    same_result(folder, in_process, same_numbers)
    assert {"federated", "pooled", "local_only"} == set(json.loads((folder / "summary.json").read_text())["models"])
    assert (folder / "report.html").stat().st_size > 10_000
    left = json.loads((folder / "deployment" / "H01" / "work" / "audit.jsonl").read_text().splitlines()[0])
    assert left["kind"], "the hospital wrote down what left"
    assert not processes_below(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigterm_leaves_no_process_and_a_run_that_resumes_to_the_same_numbers(
    in_process: Path, small_study: Path, same_numbers: Numbers, tmp_path: Path
) -> None:
    folder = with_its_patients(in_process, tmp_path / "run")
    run, out = start(small_study, folder, "--deploy", "--no-baselines"), folder.with_suffix(".out")
    try:
        while "federated training: 1/2" not in out.read_text():
            assert run.poll() is None, out.read_text()
            time.sleep(0.1)
        run.terminate()
        assert run.wait(40) == INTERRUPTED, out.read_text()
    finally:
        run.kill()
    assert f"go on with: python -m simulation --resume {folder}" in out.read_text()
    assert not processes_below(tmp_path)
    said = ended(start(small_study, folder, "--resume", str(folder)), folder, 400)
    assert "going on after round 1" in said
    assert load_vector(folder / "model.safetensors")[0].tobytes() == (
        load_vector(in_process / "model.safetensors")[0].tobytes()
    )
