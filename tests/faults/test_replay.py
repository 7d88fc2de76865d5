"""The oracle of the fault matrix sees who answered: without that, no row of it would mean anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fl_liver.study import Study
from tests.conftest import write_table
from tests.faults.live import SITES, endless
from tests.faults.replay import Replay


def test_a_round_over_four_hospitals_is_another_model_than_one_over_five(table_study: Study, tmp_path: Path) -> None:
    study, source = endless(table_study, "replayed", 10.0, tmp_path)
    tables = {name: tmp_path / name for name in SITES}
    for number, folder in enumerate(tables.values(), start=1):
        write_table(folder, 40, seed=number)
    replay = Replay(study, source, tables, tmp_path / "work")
    whole = replay.after(1, ())
    assert not np.array_equal(whole, replay.after(1, ("H02",)))
    assert not np.array_equal(replay.after(1, ("H03",)), replay.after(1, ("H02",)))
    np.testing.assert_array_equal(whole, replay.follow([{"round": 1, "missing": []}]))
    lost = [{"round": 1, "missing": []}, {"round": 2, "missing": list(SITES)}]
    np.testing.assert_array_equal(whole, replay.follow(lost))
