"""A run as its folder tells it: which run is meant, how far it is, what a person reads first, the exit code."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fl_liver.errors import ConfigError, IncompleteError
from fl_liver.first_weights import check_study
from fl_liver.server.run_folder import RunFolder, find_run, new_run_folder, read_progress, stop_after_round
from fl_liver.server.watch import View, watch
from fl_liver.study import Study

READY: list[dict[str, Any]] = [
    {"event": "submitted", "run": "7"},
    {"event": "phase", "name": "gather"},
    {"event": "site_waiting", "site": "H02", "reason": "refused, NOT_APPROVED"},
    {"event": "site_ready", "site": "H01", "figures": {"patients": 40}, "version": "0.1.0", "role": "train"},
    {"event": "phase", "name": "train"},
    {"event": "round_started", "rows": "train", "round": 1, "rounds": 2, "sites": 4},
    {"event": "site_answered", "rows": "train", "round": 1, "site": "H01"},
]
FAILED: dict[str, Any] = {"event": "failed", "error": "IncompleteError: 2 of 4 can take part", "exit_code": 75}


@pytest.fixture
def run(tmp_path: Path, table_study: Study) -> RunFolder:
    study = check_study(table_study, tmp_path / "study")
    folder = new_run_folder(tmp_path, study)
    for name in ("study.toml", "initial.safetensors"):
        (folder.path / name).write_bytes((tmp_path / "study" / name).read_bytes())
    return folder


def write(run: RunFolder, *events: dict[str, Any]) -> None:
    with (run.path / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"time": 1.0, **event}) + "\n" for event in events)


def test_a_second_run_of_a_study_has_a_folder_of_its_own(run: RunFolder, tmp_path: Path) -> None:
    again = new_run_folder(tmp_path, run.study())
    assert again.path.name == f"{run.path.name}-2"
    (again.path / "study.toml").write_bytes(run.study_file.read_bytes())
    assert find_run(tmp_path, None).path == again.path
    assert find_run(tmp_path, run.path.name).path == run.path
    assert find_run(tmp_path, str(again.path)).path == again.path
    with pytest.raises(ConfigError, match=r"'tiny' names 2 runs in .*runs, wanted one of: tiny_table-\w{8}, tiny_"):
        find_run(tmp_path, "tiny")
    with pytest.raises(ConfigError, match="names 0 runs"):
        find_run(tmp_path, "other")
    with pytest.raises(ConfigError, match=r"was never submitted; run `fl-liver study resume tiny_table-"):
        assert again.last_run


def test_the_screen_shows_hospitals_the_round_and_bytes(run: RunFolder, tmp_path: Path) -> None:
    write(run, *READY)
    view = View(tmp_path, run)
    console = Console(file=io.StringIO(), width=120)
    console.print(view.screen(view.refresh()))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert re.search(r"H01 +train +\? +ready +40 +1 +\? +0\.1\.0", shown)
    assert re.search(r"H02 +train +\? +waiting: refused, NOT_APPROVED", shown)
    assert re.search(r"H05 +external +\? +not asked yet", shown)
    assert "round 1 of 2" in shown
    assert re.search(r"masked bytes of updates: [1-9]", shown)


def test_half_a_line_is_one_that_is_being_written(run: RunFolder) -> None:
    write(run, *READY)
    with (run.path / "journal.jsonl").open("a") as file:
        file.write('{"time": 2, "event": "ph')
    assert read_progress(run).phase == "train"


@pytest.mark.parametrize(
    ("event", "line", "status"),
    [
        ({"event": "done", "incomplete": None}, "done", 0),
        ({"event": "done", "incomplete": "3 of 4 hospitals took part"}, "INCOMPLETE: 3 of 4 hospitals took part", 75),
        (FAILED, "STOPPED: IncompleteError: 2 of 4 can take part", 75),
        ({**FAILED, "exit_code": 78}, "STOPPED: IncompleteError: 2 of 4 can take part", 78),
    ],
)
def test_the_end_is_in_the_first_line_and_in_the_exit_code(
    run: RunFolder, tmp_path: Path, event: dict[str, Any], line: str, status: int
) -> None:
    write(run, *READY, event)
    for terminal in (True, False):
        console = Console(file=io.StringIO(), width=120, force_terminal=terminal)
        assert watch(View(tmp_path, run), console) == status
        assert isinstance(console.file, io.StringIO)
        assert f"{run.path.name}: {line}" in console.file.getvalue()


def test_a_run_that_is_submitted_again_is_no_longer_stopped(run: RunFolder, tmp_path: Path) -> None:
    write(run, *READY, FAILED, {"event": "submitted", "run": "8"})
    view = View(tmp_path, run)
    progress = view.refresh()
    assert not view.over(progress)
    assert view.first_line(progress).endswith(": submitted")


def test_without_a_terminal_a_line_is_written_at_each_change(run: RunFolder, tmp_path: Path) -> None:
    write(run, *READY[:3])
    end: list[dict[str, Any]] = [{"event": "done", "incomplete": None}]
    steps = iter([READY[3:6], READY[3:6], end])
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    assert watch(View(tmp_path, run), console, wait=lambda _: write(run, *next(steps))) == 0
    assert isinstance(console.file, io.StringIO)
    name = run.path.name
    assert console.file.getvalue().splitlines() == [
        f"{name}: gather; H02 waiting: refused, NOT_APPROVED",
        f"{name}: train, round 1 of 2",
        f"{name}: done",
    ]


def test_a_run_that_is_asked_to_stop_ends_between_two_rounds_and_once(run: RunFolder) -> None:
    """A round that is cut off while it is opened would be lost: hospitals never open one twice."""
    listen = stop_after_round(run)
    listen("checkpoint", {"round": 1})
    run.stop_file.touch()
    for event in ("round_started", "site_answered", "round_done"):
        listen(event, {"round": 2})
    with pytest.raises(IncompleteError, match="stopped as asked after round 2; `fl-liver study resume` goes on"):
        listen("checkpoint", {"round": 2})
    listen("checkpoint", {"round": 3})
