"""Five small phantom hospitals, written once, and the command line on a copy of them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fl_liver.cli import run_app
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.site import load_site
from fl_liver.study_files import load_study
from simulation import options
from simulation import run as running
from simulation.__main__ import app
from simulation.phantom import phantom_hospitals, write_hospitals

SCALE = 0.3
"""Of a real hospital's patients: the smallest has 22, of which 13 train; its floor is 10."""
TRAIN, EXTERNAL = 4, 1
NAMES = ("H01", "H02", "H03", "H04", "H05")


@dataclass(frozen=True)
class Run:
    """One run through the command line: its folder, exit status and what it printed."""

    folder: Path
    status: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
        return found

    @property
    def numbers(self) -> dict[str, Any]:
        return numbers_of(self.summary)


def numbers_of(summary: dict[str, Any]) -> dict[str, Any]:
    """All of a summary that must be the same bits again: not times, memory, the engine, or random ids of batches."""
    kept = {key: value for key, value in summary.items() if key not in {"seconds", "peak_rss_mb", "engine"}}
    kept["rounds"] = [{key: value for key, value in one.items() if key != "seconds"} for one in summary["rounds"]]
    kept["batches"] = [
        {key: value for key, value in one.items() if key not in {"batch", "commitments"}}
        for one in summary.get("batches", [])
    ]
    return kept


@pytest.fixture(scope="session")
def same_numbers() -> Callable[[dict[str, Any]], dict[str, Any]]:
    return numbers_of


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory, tiny_study: Path) -> Path:
    """H01 to H04 train, H05 tests; not to be changed: copy it."""
    root = tmp_path_factory.mktemp("phantoms")
    write_hospitals(phantom_hospitals(2020, TRAIN, EXTERNAL, scale=SCALE), root)
    for name in NAMES:  # decoded once: the caches are copied with the hospitals
        load_cohort(load_site(root / name / "site.toml"), load_study(tiny_study))
    return root


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ultrasound study with a network of 4 channels on 32 px, as a file."""
    study = load_study("lesion_us_fusion").changed(
        model={"width": 4, "image_px": 32}, cohort={"views": 2}, analysis={"min_cell": 3}
    )
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(study.to_toml(), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A virtual hospital's log is a process-wide object."""
    log = logging.getLogger("fl_liver.site")
    before = log.propagate, log.level
    yield
    log.propagate, log.level = before


@pytest.fixture
def hospitals_in(phantoms: Path) -> Callable[[Path], Path]:
    """hospitals_in(run folder) → its own copy of the phantom hospitals, where a run will look for them."""

    def copy(folder: Path) -> Path:
        shutil.copytree(phantoms, folder / "hospitals")
        return folder / "hospitals"

    return copy


def no_figures(*_: object) -> tuple[list[object], list[str]]:
    """In place of `explanations`; by name, so that a worker process can be handed it."""
    return [], []


@pytest.fixture
def simulate(
    tiny_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Run]:
    """simulate(folder, *arguments): `python -m simulation` in this process, on the hospitals that lie in `folder`."""
    monkeypatch.setattr(options, "QUICK_SCALE", SCALE)
    monkeypatch.setattr(options, "QUICK_LEAST", 0)
    # `test_published_systems` looks at these; here they would only take time.
    monkeypatch.setattr(running, "explanations", no_figures)
    monkeypatch.setattr(running, "paper_analysis", lambda *_: {})
    monkeypatch.setenv("COLUMNS", "200")

    def run(folder: Path, *arguments: str, study: Path = tiny_study) -> Run:
        usual = ["--quick", "--hospitals", str(TRAIN + EXTERNAL), "--external", str(EXTERNAL), "--rounds", "1"]
        capsys.readouterr()
        here = ["--engine", "serial", "--device", "cpu", "--no-baselines", "--out", str(folder)]
        status = run_app(app, [str(study), *usual, *here, *arguments])
        captured = capsys.readouterr()
        return Run(folder, status, captured.out, captured.err)

    return run
