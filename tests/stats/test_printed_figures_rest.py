"""The other printed figures of the five papers: those that need more than counts, and those that contradict themselves.

Counts and printed values stand here; they are those of `papers.json` in the shared folder. Together with
`test_printed_figures.py` every figure that is marked reproduced is recomputed, which the last test checks.
"""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fl_liver.stats.compare import unpaired
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.delong import Z95, interval, newcombe_variance
from fl_liver.stats.diagnostic import diagnostic_from_counts
from fl_liver.stats.mcnemar import exact_mcnemar
from fl_liver.stats.proportion import clopper_pearson, proportion
from fl_liver.stats.reader_groups import t_test

PAPERS = Path(__file__).resolve().parents[2] / "../shared/oracles/papers.json"
COHORTS = (1446, 369, 328)  # Yang 2020: training, internal and external validation


def test_zhen_2020_model_c_interval_is_that_of_99_malignant_and_102_benign_patients() -> None:
    """Prints 0.951 (0.919–0.982). DeLong's needs the scores; the variance from AUC and counts must come close."""
    low, high = interval(0.951, newcombe_variance(0.951, 99, 102)) or (0.0, 1.0)
    assert (low, high) == pytest.approx((0.919, 0.982), abs=0.0015)  # the AUC and the limits are rounded to 0.001
    assert interval(0.951, newcombe_variance(0.951, 45, 50)) != pytest.approx((0.919, 0.982), abs=0.01)


def test_yang_2020_compares_size_bands_by_an_unpaired_test() -> None:
    """Prints P = 0.6783 for 0.926 (0.815–1.000) and 0.899 (0.838–0.960); 0.665 to 0.687 with rounding."""
    printed = unpaired_p(0.926, 0.815, 0.899, 0.838)
    assert printed == pytest.approx(0.6760833877337908, rel=1e-9)
    half = (-0.0005, 0.0005)  # what rounding to three digits leaves open
    possible = [
        unpaired_p(0.926 + a, 0.815 + b, 0.899 + c, 0.838 + d) for a, b, c, d in itertools.product(half, repeat=4)
    ]
    assert min(possible) < 0.6783 < max(possible)


def unpaired_p(auc1: float, low1: float, auc2: float, low2: float) -> float:
    """Normal p of two AUCs of separate patients from their lower 95 % limits (an upper one may be clipped)."""
    var = [Fraction((auc - low) / Z95) ** 2 for auc, low in ((auc1, low1), (auc2, low2))]
    return unpaired(Fraction(auc1), var[0], 51, Fraction(auc2), var[1], 166).p_normal


def test_yang_2020_prints_bootstrap_percentiles_and_not_binomial_limits() -> None:
    """45 of 45 is printed 1.000 (1.000–1.000): every resample has 45; Clopper and Pearson give 0.921 to 1."""
    resampled = [float(stats.binom.ppf(q, 45, 1.0)) / 45 for q in (0.025, 0.975)]
    assert resampled == [1.0, 1.0]
    assert clopper_pearson(45, 45) == pytest.approx((0.921294899593157, 1.0), rel=1e-10)


@pytest.mark.parametrize(
    ("what", "whole", "parts"),
    [
        ("male", 1460, (995, 240, 225)),
        ("without hepatitis", 1172, (766, 214, 192)),
        ("without vascularity", 1982, (1340, 345, 297)),
        ("normal liver", 1010, (655, 175, 180)),
        ("fibrosis", 949, (664, 153, 132)),
    ],
)
def test_yang_2020_table_1_is_the_sum_of_its_cohorts(what: str, whole: int, parts: tuple[int, ...]) -> None:
    tables = [Table({what: (np.arange(n) < x).astype(float)}) for x, n in zip(parts, COHORTS, strict=True)]
    found = converse({"it": proportion(what)}, TablesSummer(tables))["it"]
    assert (found.x, found.n) == (whole, 2143)


# --- figures that contradict themselves -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tp", "tn", "m", "n", "printed"),
    [  # sensitivity, specificity, positive and negative predictive value, F1 as printed
        (44, 38, 54, 41, (0.927, 0.815, 0.792, 0.936, 0.854)),
        (46, 38, 54, 41, (0.927, 0.852, 0.826, 0.939, 0.874)),
        (48, 35, 54, 41, (0.854, 0.889, 0.854, 0.889, 0.854)),
        (38, 27, 46, 36, (0.750, 0.826, 0.771, 0.809, 0.761)),
        (42, 30, 46, 36, (0.833, 0.913, 0.882, 0.875, 0.857)),
        (41, 32, 46, 36, (0.889, 0.891, 0.865, 0.911, 0.877)),
    ],
)
def test_wang_2021_table_5_prints_the_other_class(tp: int, tn: int, m: int, n: int, printed: tuple[float, ...]) -> None:
    """Readers with the model's help: the roles of the classes are exchanged, and F1 is that of "not HCC"."""
    exchanged = diagnostic_from_counts(tp=tn, fn=n - tn, tn=tp, fp=m - tp)
    rates = (exchanged.sensitivity, exchanged.specificity, exchanged.ppv, exchanged.npv)
    assert (*(one[0] for one in rates), exchanged.f1) == pytest.approx(printed, abs=0.00051)
    assert diagnostic_from_counts(tp=tp, fn=m - tp, tn=tn, fp=n - tn).f1 > exchanged.f1


def test_zhen_2020_printed_p_of_0_375_needs_a_net_difference_of_3_and_not_the_printed_7() -> None:
    assert exact_mcnemar(1, 4).p_exact == 0.375
    with_the_printed_difference = [exact_mcnemar(b, b + 7).p_exact for b in range(10)]
    assert max(with_the_printed_difference) < 0.375


def test_wang_2021_help_of_the_model_is_significant_in_no_form_that_gives_0_017() -> None:
    """Prints P = 0.017 over three readers; the paired t-test of the printed accuracies gives 0.013."""
    before, after = np.array([61, 67, 67]) / 82, np.array([65, 72, 73]) / 82
    found = t_test(list(after - before))
    assert found == pytest.approx(0.013072457560346515, rel=1e-9)
    assert abs(found - 0.017) > 0.003


def test_yang_2020_accuracy_outside_sensitivity_and_specificity_is_impossible() -> None:
    """The abstract prints 84.7 % accuracy with 86.5 % and 85.5 %; the strata of table 2 add up to 86.4, 87.8, 81.6."""
    found = diagnostic_from_counts(tp=230, fn=32, tn=62, fp=14)
    summed = [round(100 * one[0], 1) for one in (found.accuracy, found.sensitivity, found.specificity)]
    assert summed == [86.4, 87.8, 81.6]
    accuracy, *rates = summed
    assert min(rates) <= accuracy <= max(rates)


# --- nothing forgotten ----------------------------------------------------------------------------------------------

HERE = {
    "DeLong (needs scores); Hanley-McNeil from AUC,m,n for comparison",
    "unpaired DeLong z from printed AUC and CI",
    "stratified percentile bootstrap",
    "sum of cohorts",
    None,  # Wang 2021, abstract against table 3: a statement, without a number to compute
}


@pytest.mark.skipif(not PAPERS.exists(), reason="the shared folder is not beside the clone")
def test_every_figure_marked_reproduced_has_a_test() -> None:
    beside = Path(__file__).with_name("test_printed_figures.py").read_text(encoding="utf-8")
    methods = {one["method"] for one in json.loads(PAPERS.read_text())["figures"] if one["reproduced"]}
    assert {one for one in methods - HERE if f'"{one}"' not in beside} == set()
