"""Whether a run's server app is still there, and what `study watch` says when it is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_liver.first_weights import check_study
from fl_liver.server.app_process import AppProcess
from fl_liver.server.run_folder import RunFolder
from fl_liver.server.watch import INCOMPLETE, View
from fl_liver.study import Study


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def about(process: subprocess.Popen[bytes]) -> AppProcess:
    own = AppProcess.own()
    started = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    return AppProcess(process.pid, started, own.namespace)


def seen(one: AppProcess) -> str:
    return one.state


def test_a_process_runs_is_stopped_and_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    one = about(sleeper)
    assert seen(one) == "running"
    os.kill(sleeper.pid, signal.SIGSTOP)
    time.sleep(0.1)
    assert seen(one) == "stopped"
    one.end()
    sleeper.wait(5)
    assert seen(one) == "gone"


def test_an_id_that_is_used_again_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    one = about(sleeper)
    other = AppProcess(one.process, one.started - 1, one.namespace)
    assert other.state == "gone"
    other.end()
    assert sleeper.poll() is None


def test_a_process_of_another_container_is_not_called_dead() -> None:
    assert AppProcess(1, 1, "another boot/pid:[1]").state == "elsewhere"


def test_a_run_whose_process_is_gone_says_so_and_its_exit_code(tmp_path: Path, table_study: Study) -> None:
    run = RunFolder(tmp_path / "runs" / "r")
    check_study(table_study, run.path)
    lines = [
        {"time": 1.0, "event": "submitted", "run": "1"},
        {"time": 2.0, "event": "started", **AppProcess(2**22 + 1, 7, AppProcess.own().namespace).as_line()},
        {"time": 3.0, "event": "round_started", "rows": "train", "round": 2, "rounds": 9},
    ]
    (run.path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    view = View(tmp_path, run)
    progress = view.refresh()
    assert view.first_line(progress).startswith("r: DIED: the server app (process 4194305) was in round 2 of 9;")
    assert "`fl-liver study resume r`" in view.first_line(progress)
    assert view.exit_code(progress) == INCOMPLETE
