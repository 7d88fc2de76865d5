"""Figures printed in the five papers, recomputed from printed counts through our functions.

The counts of `PRINTED` stand here; where the shared folder is present, every figure that its `papers.json` marks as
reproduced is recomputed as well.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.diagnostic import diagnostic_from_counts
from fl_liver.stats.fleiss import fleiss_from_sums, fleiss_kappa
from fl_liver.stats.kappa import kappa_of_table
from fl_liver.stats.mcnemar import exact_mcnemar
from fl_liver.stats.proportion import clopper_pearson, proportion, wilson
from fl_liver.stats.reader_groups import t_test

PAPERS = Path(__file__).resolve().parents[2] / "../shared/oracles/papers.json"
Z95 = 1.959963984540054

PRINTED = [  # x, n, printed estimate and limits in per cent, digits printed, where
    (9, 9, (100, 66.4, 100), 1, "Zhen 2020, focal nodular hyperplasia, sensitivity of model A"),
    (5, 9, (55.6, 21.2, 86.3), 1, "Zhen 2020, benign nodules, sensitivity of the consensus"),
    (191, 192, (99.5, 97.1, 100), 1, "Zhen 2020, benign nodules, specificity of model A"),
    (90, 99, (90.9, 83.4, 95.8), 1, "Zhen 2020, sensitivity of model D"),
    (171, 218, (78.4, 72.4, 83.7), 1, "Wang 2021, table 2, internal sensitivity"),
    (452, 556, (81.3, 77.8, 84.5), 1, "Wang 2021, table 2, external accuracy"),
    (41, 54, (75.9, 62.4, 86.5), 1, "Wang 2021, table 4, internal reader 3, sensitivity"),
]


def figures(method: str) -> list[Any]:
    """Reproduced figures of papers.json of one method; none where the shared folder is absent."""
    if not PAPERS.exists():
        return []
    kept = [one for one in json.loads(PAPERS.read_text())["figures"] if one["reproduced"] and one["method"] == method]
    return [pytest.param(one, id=f"{one['paper']} {one['what']}") for one in kept]


@pytest.mark.parametrize(("x", "n", "printed", "digits", "where"), PRINTED)
def test_printed_interval_follows_from_counts_over_three_sites(
    x: int, n: int, printed: tuple[float, ...], digits: int, where: str
) -> None:
    hit = np.array([1.0] * x + [0.0] * (n - x))
    tables = [Table({"hit": part}) for part in (hit[:1], hit[1:4], hit[4:])]
    found = converse({where: proportion("hit", min_cell=1)}, TablesSummer(tables))[where]
    assert [round(100 * one, digits) for one in (found.estimate, *found.ci95)] == pytest.approx(printed)


def test_fleiss_kappa_of_wang_2021_follows_from_its_margins_over_three_sites() -> None:
    """Prints 0.489: 82 patients, 51 unanimous, 137 positive calls of 246; which reader made them does not matter."""
    patterns = [(1, 1, 1)] * 33 + [(0, 0, 0)] * 18 + [(1, 0, 0)] * 24 + [(0, 1, 1)] * 7
    calls = np.array(patterns, dtype=float)
    tables = [Table({f"r{i}": part[:, i] for i in range(3)}) for part in (calls[:1], calls[1:60], calls[60:])]
    found = converse({"it": fleiss_kappa(["r0", "r1", "r2"])}, TablesSummer(tables))["it"]
    assert int(calls.sum()) == 137
    assert found == fleiss_from_sums([109, 137], 51 * 9 + 31 * 5, 51, raters=3)
    assert round(found.kappa, 3) == 0.489
    assert round(found.agree_percent, 1) == 62.2


@pytest.mark.parametrize("figure", figures("clopper_pearson"))
def test_clopper_pearson_intervals(figure: dict[str, Any]) -> None:
    x, n = figure["inputs"]["x"], figure["inputs"]["n"]
    wanted = figure["recomputed"]
    scale = 100 if figure["paper"] == "001" else 1
    assert scale * x / n == pytest.approx(wanted["estimate"], rel=1e-10)
    assert [scale * one for one in clopper_pearson(x, n)] == pytest.approx(wanted["clopper_pearson"], rel=1e-9)
    assert [scale * one for one in wilson(x, n)] == pytest.approx(wanted["wilson"], rel=1e-9)
    unit = 0.1 if scale == 100 else 0.001
    # half a unit of the last printed digit, and a hair for papers that cut instead of rounding
    assert [scale * one for one in (x / n, *clopper_pearson(x, n))] == pytest.approx(figure["printed"], abs=1.01 * unit)


@pytest.mark.parametrize("figure", [*figures("x/n"), *figures("sum; x/n")])
def test_shares(figure: dict[str, Any]) -> None:
    share = 100 * figure["inputs"]["x"] / figure["inputs"]["n"]
    printed = figure["printed"][-1] if isinstance(figure["printed"], list) else figure["printed"]
    assert share == pytest.approx(printed, abs=0.051)


@pytest.mark.parametrize("figure", figures("Cohen's kappa"))
def test_kappas(figure: dict[str, Any]) -> None:
    cells = figure["inputs"]
    found = kappa_of_table(np.array([[cells["tp"], cells["fn"]], [cells["fp"], cells["tn"]]])).kappa
    assert found == pytest.approx(figure["recomputed"], rel=1e-12)
    assert found == pytest.approx(figure["printed"], abs=0.00051)


@pytest.mark.parametrize("figure", figures("2TP/(2TP+FP+FN)"))
def test_f1_scores(figure: dict[str, Any]) -> None:
    cells = figure["inputs"]
    found = diagnostic_from_counts(tp=cells["tp"], fp=cells["fp"], fn=cells["fn"], tn=cells["tn"]).f1
    assert found == pytest.approx(figure["printed"], abs=0.00051)


@pytest.mark.parametrize("figure", figures("(TP+TN)/138"))
def test_accuracies(figure: dict[str, Any]) -> None:
    cells = figure["inputs"]
    wrong = cells["n"] - cells["tp"] - cells["tn"]
    found = diagnostic_from_counts(tp=cells["tp"], tn=cells["tn"], fp=wrong, fn=0).accuracy[0]
    assert 100 * found == pytest.approx(figure["printed"], abs=0.051)


@pytest.mark.parametrize("figure", figures("exact McNemar (binomial): (b,c) that give the printed P"))
def test_mcnemar_counts_that_give_the_printed_p(figure: dict[str, Any]) -> None:
    for b, c in figure["recomputed"]:
        assert exact_mcnemar(b, c).p_exact == pytest.approx(figure["printed"], abs=0.00051)


@pytest.mark.parametrize("figure", figures("one-sample t-test, df=2, radiologists vs the AI value"))
def test_readers_against_the_model(figure: dict[str, Any]) -> None:
    readers, model = figure["inputs"]["radiologists"], figure["inputs"]["ai"]
    assert t_test([one - model for one in readers]) == pytest.approx(figure["recomputed"]["p_exact_counts"], rel=1e-9)
    # the paper rounds halves up: 0.8125 is printed 0.813
    rounded = [math.floor(1000 * one + 0.5) / 1000 for one in readers]
    differences = [one - round(model, 3) for one in rounded]
    assert t_test(differences) == pytest.approx(figure["printed"][1], abs=0.00051)
    assert float(np.mean(readers)) == pytest.approx(figure["printed"][0], abs=0.00051)


@pytest.mark.parametrize(
    "figure",
    figures("3 binary raters: P_i=1 if unanimous else 1/3; marginals from Table 4 (TP+FP)"),
)
def test_fleiss_kappa_from_printed_margins(figure: dict[str, Any]) -> None:
    n, unanimous = figure["inputs"]["n"], figure["inputs"]["unanimous"]
    positive = sum(figure["inputs"]["positives_per_rater"])
    found = fleiss_from_sums([positive, 3 * n - positive], 9 * unanimous + 5 * (n - unanimous), unanimous, raters=3)
    wanted = figure["recomputed"]
    assert (found.kappa, found.z, found.p) == pytest.approx((wanted["kappa"], wanted["z"], wanted["p"]), rel=1e-10)


@pytest.mark.parametrize("figure", figures("Wald: exp(beta±1.96se): sqrt(lo*hi)=OR; p from z"))
def test_odds_ratios_are_wald(figure: dict[str, Any]) -> None:
    odds, low, high = figure["printed"][:3]
    se = (math.log(high) - math.log(low)) / (2 * Z95)
    assert math.sqrt(low * high) == pytest.approx(odds, rel=0.002)
    assert 2 * float(stats.norm.sf(math.log(odds) / se)) < 0.001


@pytest.mark.parametrize(
    "figure",
    [
        *figures("Wald computed with n=138 (ALL nodules) instead of the 54 malignant"),
        *figures("Wald computed with n=138 (ALL nodules) instead of the 84 benign"),
    ],
)
def test_khalili_intervals_are_too_narrow_because_of_their_denominator(figure: dict[str, Any]) -> None:
    estimate, low, high = (one / 100 for one in figure["printed"])
    half = Z95 * math.sqrt(estimate * (1 - estimate) / 138)
    assert (low, high) == pytest.approx((estimate - half, min(1.0, estimate + half)), abs=0.00101)
    x, n = figure["inputs"]["x"], figure["inputs"]["n"]
    right = clopper_pearson(x, n)
    which = next(name for name in figure["recomputed"] if name.startswith("clopper"))
    assert [100 * one for one in right] == pytest.approx(figure["recomputed"][which], rel=1e-9)
    assert right[1] - right[0] > high - low


@pytest.mark.parametrize("figure", figures("counts solved from ACC, SE, SP and 262 malignant + 76 benign lesions"))
def test_strata_of_yang_2020(figure: dict[str, Any]) -> None:
    cells = figure["inputs"]
    found = diagnostic_from_counts(
        tp=cells["tp"], fn=cells["pos"] - cells["tp"], tn=cells["tn"], fp=cells["neg"] - cells["tn"]
    )
    assert (found.accuracy[0], found.sensitivity[0], found.specificity[0]) == pytest.approx(
        figure["printed"], abs=0.00051
    )
