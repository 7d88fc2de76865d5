"""Simulated readers: they rise with experience and with AI, and say nothing impossible."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from fl_liver.stats.readers import ordinal_from_call
from simulation.phantom.readers import READER_COLUMNS, READERS, calls_of, draw_readings, reader_header


def readings(evidence: NDArray[np.float64], seed: int = 0) -> NDArray[np.int64]:
    """(n, readers, 4) diagnosis, confidence, and the same with AI."""
    random = np.random.default_rng(seed)
    rows = [draw_readings("P", 0, float(one), random)[1:] for one in evidence]
    return np.array(rows, np.int64).reshape(len(rows), len(READERS), 4)


@pytest.fixture(scope="module")
def study() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Truth, and what is said where evidence is strong: AUC of the evidence .96."""
    rng = np.random.default_rng(1)
    truth = (rng.random(3000) < 0.5).astype(np.int64)
    return truth, readings(rng.normal(6.0 * (2 * truth - 1), 5.0))


def aucs(truth: NDArray[np.int64], said: NDArray[np.int64], first: int) -> list[float]:
    scales = [ordinal_from_call(said[:, place, first], said[:, place, first + 1]) for place in range(len(READERS))]
    return [float(roc_auc_score(truth, scale)) for scale in scales]


def test_aucs_rise_with_experience_and_with_ai(study: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    truth, said = study
    alone, with_ai = aucs(truth, said, 0), aucs(truth, said, 2)
    assert [reader.years for reader in READERS] == ["1-5", "1-5", "5-10", "10-15", "> 15"]
    assert all(0.75 < one < 0.95 for one in alone)
    assert max(alone[:2]) < alone[2] < alone[3] < alone[4]
    assert all(two > one for one, two in zip(alone, with_ai, strict=True))
    assert with_ai[0] - alone[0] > with_ai[4] - alone[4]


def test_surer_calls_are_more_often_right(study: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    truth, said = study
    for place in range(len(READERS)):
        right = said[:, place, 0] == truth
        by_confidence = [right[said[:, place, 1] == sure].mean() for sure in (1, 3, 5)]
        assert by_confidence == sorted(by_confidence)
        assert set(said[:, place, 1]) == {1, 2, 3, 4, 5}
        assert set(said[:, place, 0]) == {0, 1}


def test_readers_err_together_more_than_chance(study: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    truth, said = study
    wrong = (said[:, :, 0] != truth[:, None]).astype(float)
    assert np.corrcoef(wrong[:, 2], wrong[:, 4])[0, 1] > 0.2


def test_a_row_fits_its_header_and_its_stream() -> None:
    """Of lesions a row has the lesion's label; any evidence is read; the same stream gives the same row."""
    row = draw_readings("P1", 2, 1e9, np.random.default_rng(5))
    assert row[:2] == ["P1", "2"]
    assert len(row) == len(reader_header(of_lesions=True)) == 2 + len(READER_COLUMNS)
    assert len(draw_readings("P1", 0, -1e9, np.random.default_rng(5))) == len(reader_header(of_lesions=False))
    assert row == draw_readings("P1", 2, 1e9, np.random.default_rng(5))
    said = dict(zip(reader_header(of_lesions=True), row, strict=True))
    assert calls_of(row) == [int(said[f"{reader.name}_diagnosis"]) for reader in READERS]
