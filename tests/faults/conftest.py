"""The stage of all faults, and two studies on it: one that soon goes on without a hospital, one that waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fl_liver.study import Study
from tests.faults.live import LiveRun, Stage

SHORT_S, LONG_S = 12.0, 150.0


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    one = Stage(tmp_path_factory.mktemp("stage"))
    try:
        one.start()
        yield one
    finally:
        one.stop()


def _live(stage: Stage, study: Study, name: str, deadline_s: float) -> Iterator[LiveRun]:
    run = LiveRun(stage, study, name, deadline_s)
    try:
        run.launch()
        yield run
        run.check()
    finally:
        run.end()


@pytest.fixture(scope="module")
def hurried(stage: Stage, table_study: Study) -> Iterator[LiveRun]:
    """A hospital that does not answer within 12 s is left out of the round."""
    yield from _live(stage, table_study, "hurried", SHORT_S)


@pytest.fixture(scope="package")
def patient(stage: Stage, table_study: Study) -> Iterator[LiveRun]:
    """Rounds wait so long that whoever comes back is part of them."""
    yield from _live(stage, table_study, "patient", LONG_S)
