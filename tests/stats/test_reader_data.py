"""Published multi-reader data: every reader's AUC, their mean, and its two intervals, with the cases over five sites.

Van Dyke et al. 1993 (five radiologists, two MR sequences, 114 patients) with the printout of OR-DBM MRMC 2.5, and
Franken et al. 1992 (four readers, two displays, 100 neonatal films), as distributed with MRMCaov and RJafroc.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.reader_mean import ReaderMean, reader_mean

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
pytestmark = pytest.mark.skipif(not (DATA / "mrmcaov").exists(), reason="the shared folder is not beside the clone")

VAN_DYKE = {  # OR-DBM MRMC 2.5, 04/12/2017, "TREATMENT x READER AUC ESTIMATES"
    1: [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
    2: [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
}
MEANS = {"VanDyke": (0.89703704, 0.94083736), "Franken": (0.8477, 0.8369)}


def ratings(name: str) -> dict[str, NDArray[np.float64]]:
    """{"truth": (cases,), "t<treatment>r<reader>": (cases,)}."""
    with (DATA / "mrmcaov" / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        rows = [
            {key: float(row[key]) for key in ("reader", "treatment", "case", "truth", "rating")}
            for row in csv.DictReader(handle)
        ]
    place = {case: i for i, case in enumerate(sorted({row["case"] for row in rows}))}
    columns = {"truth": np.full(len(place), math.nan)}
    for row in rows:
        column = f"t{row['treatment']:.0f}r{row['reader']:.0f}"
        columns.setdefault(column, np.full(len(place), math.nan))[place[row["case"]]] = row["rating"]
        columns["truth"][place[row["case"]]] = row["truth"]
    return columns


def ask(name: str, first: int = 1, second: int | None = 2) -> ReaderMean:
    columns = ratings(name)
    readers = (len(columns) - 1) // 2
    scores, against = ([f"t{t}r{i + 1}" for i in range(readers)] if t else [] for t in (first, second))
    tables = [Table({k: v[site::5] for k, v in columns.items()}) for site in range(5)]
    found = converse({"it": reader_mean(scores, "truth", against, min_cell=1)}, TablesSummer(tables))["it"]
    assert isinstance(found, ReaderMean)
    return found


def test_the_ten_published_aucs_of_van_dyke() -> None:
    found = ask("VanDyke")
    assert (found.n_pos, found.n_neg) == (45, 69)
    assert [one.auc for one in found.readers.values()] == pytest.approx(VAN_DYKE[1], abs=5.1e-9)
    assert [one.auc for one in found.against.values()] == pytest.approx(VAN_DYKE[2], abs=5.1e-9)


@pytest.mark.parametrize("name", list(MEANS))
def test_the_published_means_over_readers(name: str) -> None:
    digits = 8 if name == "VanDyke" else 4
    found = [ask(name, first, None).auc for first in (1, 2)]
    assert found == pytest.approx(MEANS[name], abs=0.51 * 10**-digits)


def test_the_difference_of_van_dyke_with_readers_fixed_and_random() -> None:
    """The printout takes covariances from the jackknife, we from DeLong: standard errors agree within 1 %."""
    found = ask("VanDyke")
    assert found.difference is not None
    assert found.difference_random is not None
    assert found.difference.estimate == pytest.approx(-0.04380032, abs=5.1e-9)
    assert math.sqrt(found.difference.var) == pytest.approx(0.01872, rel=0.01)
    assert found.difference.p == pytest.approx(0.0193, abs=0.001)
    assert found.difference_random.se == pytest.approx(0.02075, rel=0.01)
    assert found.difference_random.df == pytest.approx(15.26, rel=0.02)
    assert found.difference_random.p == pytest.approx(0.0517, abs=0.001)


@pytest.mark.parametrize(
    ("first", "se", "df", "fixed"), [(1, 0.03317360, 12.74, 0.02428971), (2, 0.02156637, 12.71, 0.01677632)]
)
def test_the_single_sequence_standard_errors_of_van_dyke(first: int, se: float, df: float, fixed: float) -> None:
    found = ask("VanDyke", first, None)
    assert found.random_readers is not None
    assert found.random_readers.se == pytest.approx(se, rel=0.01)
    assert found.random_readers.df == pytest.approx(df, rel=0.02)
    assert math.sqrt(found.var) == pytest.approx(fixed, rel=0.01)


def test_readers_of_franken_differ_so_little_that_the_displays_have_three_degrees_of_freedom() -> None:
    """The covariances of the readers' differences average below zero, so (r − 1)(t − 1) = 3 remain."""
    found = ask("Franken")
    assert (found.n_pos, found.n_neg) == (67, 33)
    assert found.difference_random is not None
    assert found.difference_random.df == pytest.approx(3.0, rel=1e-9)
