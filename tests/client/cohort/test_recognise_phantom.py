"""From files to kinds: the phantom's studies in the habits of four makers, with their descriptions left empty."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from fl_liver.client.cohort.read.dicom import examine
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.series.phases import split_phases
from fl_liver.client.cohort.series.recognise import best_of_kind, facts_of, recognise
from simulation.phantom.ct_files import write_patient_ct
from simulation.phantom.ct_makes import CT_MAKES
from simulation.phantom.mr_exam import MrOptions
from simulation.phantom.mr_files import write_patient_mr
from simulation.phantom.mr_makes import MR_MAKES
from simulation.phantom.volumes import Truth


def told(folder: Path, truth: Truth) -> tuple[list[set[str]], list[str | None], dict[str, int], list[float | None]]:
    """Of each volume what it may be and what it was taken for; the volumes taken; b-values."""
    by_uid: dict[str, list[Header]] = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found = examine(path).header
        if found is not None:
            by_uid[found.series_uid].append(found)
    kinds: dict[str, set[str]] = {one.uid: set(one.kinds) for one in truth.series}
    volumes = []
    for uid, headers in by_uid.items():
        parts = split_phases(headers, ("acquired_s",)) or [list(range(len(headers)))]
        volumes += [(kinds[uid], facts_of([headers[i] for i in part])) for part in parts]
    study = [facts for _, facts in volumes]
    guesses = recognise(study)
    best = {str(kind): i for kind, i in best_of_kind(guesses, study).items()}
    return [true for true, _ in volumes], [one.kind for one in guesses], best, [one.b_value for one in guesses]


@pytest.mark.parametrize("maker", MR_MAKES)
@pytest.mark.parametrize("together", [False, True])
def test_six_mr_sequences_of_every_maker_are_told_without_a_word(tmp_path: Path, maker: str, together: bool) -> None:
    """Also where all phases of the dynamic share one SeriesInstanceUID and series.toml allows their split."""
    shape = MrOptions(matrix=32, height_mm=60.0, described=False, dynamic_together=together)
    truth = write_patient_mr("P1", 3, maker, tmp_path, regions=(), **shape)
    wanted, found, best, b_values = told(tmp_path, truth)
    assert all(kind in true for true, kind in zip(wanted, found, strict=True))
    assert set(best) == {"t2", "dwi", "t1_pre", "arterial", "portal", "equilibrium"}
    assert b_values[best["dwi"]] == 800.0


@pytest.mark.parametrize("maker", CT_MAKES)
def test_four_ct_phases_of_every_maker_are_told_without_a_word(tmp_path: Path, maker: str) -> None:
    truth = write_patient_ct("P1", 3, maker, tmp_path, regions=(), described=False, matrix=32, height_mm=60.0)
    wanted, found, best, _ = told(tmp_path, truth)
    assert [{kind} for kind in found] == wanted
    assert set(best) == {"plain", "arterial", "portal", "delayed"}
