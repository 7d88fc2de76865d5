"""Readers of several classes, and CT or MRI, in the plans that ship: against counts over the pooled rows, by hand."""

from __future__ import annotations

import csv
import math
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.analyse import answers, read_tables
from fl_liver.stats.plan import Plan, read_plan
from simulation.papers import answerable
from simulation.phantom.ct_mri_reports import CT_MRI
from simulation.phantom.lesion import LESION_KINDS
from simulation.phantom.mr_lesions import MALIGNANT_KINDS
from simulation.phantom.reader_classes import NAMED_CLASSES
from simulation.phantom.readers import READERS, calls_of, draw_readings
from simulation.phantom.virtual import Unit

Row = dict[str, str]
PLANS = Path(str(resources.files("fl_liver"))) / "studies" / "plans"


def answered(plan_name: str, rows: list[Row], folder: Path) -> dict[str, Any]:
    """The plan's answers about these columns alone, over three hospitals."""
    files = {}
    for k in range(3):
        files[f"H0{k + 1}"] = folder / f"{k}.csv"
        with files[f"H0{k + 1}"].open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows[k::3])
    plan: Plan = answerable(read_plan(PLANS / plan_name), {"H01": {name: [] for name in rows[0]}})[0]
    found, refused = answers(plan, read_tables(files, plan))
    assert refused == {}
    return found


# --- by hand ---------------------------------------------------------------------------------------------------------


def below(x: int, n: int, p: float) -> float:
    """P(Bin(n, p) ≤ x)."""
    return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(x + 1))


def solved(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        low, high = ((low + high) / 2, high) if rising((low + high) / 2) < 0 else (low, (low + high) / 2)
    return low


def clopper_pearson(x: int, n: int) -> tuple[float, float, float]:
    lower = solved(lambda p: 1 - below(x - 1, n, p) - 0.025) if x else 0.0
    upper = solved(lambda p: 0.025 - below(x, n, p)) if x < n else 1.0
    return x / n, lower, upper


def mcnemar_p(b: int, c: int) -> float:
    return min(1.0, float(Fraction(2 * sum(math.comb(b + c, k) for k in range(min(b, c) + 1)), 1 << (b + c))))


def cohen(pairs: list[tuple[str, str]]) -> float:
    n, first, second = len(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = Fraction(sum(a == b for a, b in pairs), n)
    chance = Fraction(sum(first[one] * second[one] for one in first), n * n)
    return float((observed - chance) / (1 - chance))


def fleiss(said: list[list[str]]) -> float:
    raters, n = len(said[0]), len(said)
    counts = [Counter(one) for one in said]
    observed = Fraction(sum(m * (m - 1) for one in counts for m in one.values()), n * raters * (raters - 1))
    totals = Counter(level for one in said for level in one)
    chance = sum(Fraction(total, n * raters) ** 2 for total in totals.values())
    return float((observed - chance) / (1 - chance))


# --- several classes -------------------------------------------------------------------------------------------------


def named_rows(classes: tuple[str, ...], n: int = 420) -> list[Row]:
    """Patients whom readers and a model of scores judge; every fifth is no test patient."""
    random, rows = np.random.default_rng(8), []
    for number in range(n):
        kind = classes[number % len(classes)]
        seen: dict[str, float] = {one: float(random.normal(2.5 * (one == kind), 1.5)) for one in LESION_KINDS}
        evidence = 4.0 * (1 if kind in MALIGNANT_KINDS else -1) + float(random.normal(0, 2))
        unit = Unit(evidence, kind, seen)
        calls = calls_of(draw_readings("P", 0, evidence, random))
        cells = NAMED_CLASSES.draw(unit, calls, random)
        scores = {f"score_federated_{one}": str(random.normal(2.0 * (one == kind))) for one in classes}
        said = dict(zip(NAMED_CLASSES.columns, cells, strict=True))
        rows.append({"test": "external" if number % 5 else "", "class": kind, **scores, **said})
    return rows


def vote(said: list[str]) -> str:
    """Two of three; of three different ones, the first."""
    return next((one for one in said if said.count(one) > 1), said[0])


@pytest.mark.parametrize(
    ("plan", "classes", "suffix"),
    [("mri_clinical-7.toml", LESION_KINDS, "class"), ("mri_clinical-3.toml", MALIGNANT_KINDS, "malignant_class")],
)
def test_readers_of_several_classes_are_compared_with_the_model_as_by_hand(
    plan: str, classes: tuple[str, ...], suffix: str, tmp_path: Path
) -> None:
    """Zhen 2020, Tables 1, 3 and 4: Clopper-Pearson, exact McNemar against the consensus, Cohen's and Fleiss' κ."""
    every = named_rows(classes)
    found = answered(plan, every, tmp_path)
    rows = [row for row in every if row["test"]]
    truth = [row["class"] for row in rows]
    said = {k: [row[f"reader_{k}_{suffix}"] for row in rows] for k in range(1, 6)}
    consensus = [vote(list(three)) for three in zip(said[5], said[4], said[3], strict=True)]
    model = [max(classes, key=lambda one: float(row[f"score_federated_{one}"])) for row in rows]
    n = len(rows)
    for k, answers_of in said.items():
        right = sum(one == kind for one, kind in zip(answers_of, truth, strict=True))
        accuracy = found[f"accuracy of reader {k}"]
        assert (accuracy["x"], accuracy["n"]) == (right, n)
        assert [accuracy["estimate"], *accuracy["ci95"]] == pytest.approx(clopper_pearson(right, n), abs=1e-9)
        kappa = cohen(list(zip(truth, answers_of, strict=True)))
        assert found[f"kappa: reader {k} and truth"]["kappa"] == pytest.approx(kappa, abs=1e-12)
    by_consensus = [one == kind for one, kind in zip(consensus, truth, strict=True)]
    by_model = [one == kind for one, kind in zip(model, truth, strict=True)]
    b = sum(one and not two for one, two in zip(by_consensus, by_model, strict=True))
    c = sum(two and not one for one, two in zip(by_consensus, by_model, strict=True))
    test = found["right: consensus and model"]
    assert (test["b"], test["c"]) == (b, c)
    assert min(b, c) > 5
    assert test["p_exact"] == pytest.approx(mcnemar_p(b, c), rel=1e-12)
    assert found["accuracy of the consensus"]["x"] == sum(by_consensus)
    assert found["accuracy of the model"]["x"] == sum(by_model)
    assert found["kappa: consensus and truth"]["kappa"] == pytest.approx(
        cohen(list(zip(truth, consensus, strict=True))), abs=1e-12
    )
    readers = [list(one) for one in zip(*said.values(), strict=True)]
    assert found["agreement of all readers"]["kappa"] == pytest.approx(fleiss(readers), abs=1e-12)
    for kind in classes:
        one = found[f"{kind.replace('_', ' ')}: consensus and model"]
        of_class = [place for place, true in enumerate(truth) if true == kind]
        b = sum(consensus[i] == kind != model[i] for i in of_class)
        c = sum(model[i] == kind != consensus[i] for i in of_class)
        compared = one["readers"][f"consensus_{kind}"]
        assert compared["mcnemar_sensitivity"]["p_exact"] == pytest.approx(mcnemar_p(b, c), rel=1e-12)
        called = sum(consensus[i] == kind for i in of_class)
        assert compared["accuracy"]["sensitivity"] == pytest.approx(clopper_pearson(called, len(of_class)), abs=1e-9)


def test_of_three_different_answers_the_most_experienced_readers_counts(tmp_path: Path) -> None:
    """Reader 5 has more than 15 years (`phantom.readers`)."""
    assert [reader.name for reader in READERS][-1] == "reader_5"
    assert READERS[-1].years == "> 15"
    (consensus,) = (one for one in read_plan(PLANS / "mri_clinical-7.toml").derived if one.name == "consensus")
    assert consensus.of == ("reader_5_class", "reader_4_class", "reader_3_class")
    rows = named_rows(LESION_KINDS)
    for row in rows:
        row |= {"reader_5_class": row["class"], "reader_4_class": "cyst", "reader_3_class": "hcc"}
    found = answered("mri_clinical-7.toml", rows, tmp_path)
    assert found["accuracy of the consensus"]["estimate"] == 1


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_consensus_and_mcnemar_agree_with_r(tmp_path: Path) -> None:
    """Base R on the pooled table: votes by table(), binom.test of the discordant patients and of accuracy."""
    rows = named_rows(LESION_KINDS)
    found = answered("mri_clinical-7.toml", rows, tmp_path)
    with (tmp_path / "pooled.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    script = """
    t <- read.csv(commandArgs(TRUE)[1], colClasses = "character"); t <- t[t$test != "", ]
    votes <- t[, c("reader_5_class", "reader_4_class", "reader_3_class")]
    consensus <- apply(votes, 1, function(v) { n <- table(factor(v, levels = unique(v))); names(n)[which.max(n)] })
    scores <- t[, grep("^score_federated_", names(t))]
    model <- sub("score_federated_", "", names(scores)[max.col(sapply(scores, as.numeric), ties.method = "first")])
    c <- consensus == t$class; m <- model == t$class; five <- binom.test(sum(t$reader_5_class == t$class), nrow(t))
    cat(sum(c & !m), sum(m & !c), sprintf("%.15g", c(binom.test(c(sum(c & !m), sum(m & !c)))$p.value, five$conf.int)))
    """
    told = subprocess.run(
        ["Rscript", "-e", script, str(tmp_path / "pooled.csv")], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    test, accuracy = found["right: consensus and model"], found["accuracy of reader 5"]
    assert [test["b"], test["c"]] == [int(one) for one in told[:2]]
    assert [test["p_exact"], *accuracy["ci95"]] == pytest.approx([float(one) for one in told[2:]], rel=1e-9)


# --- CT or MRI -------------------------------------------------------------------------------------------------------


def test_ct_and_mri_are_compared_with_the_model_on_the_patients_who_have_both(tmp_path: Path) -> None:
    """Yang 2020, Fig. 4d: accuracy, sensitivity, specificity, McNemar; who has no report or no score is in neither."""
    random, every = np.random.default_rng(3), []
    for number in range(400):
        malignant = number % 3 > 0
        evidence = float(random.normal(3.0 if malignant else -3.0, 3.0))
        (report,) = CT_MRI.draw(Unit(evidence, "hcc" if malignant else "fnh"), [], random)
        p = 1 / (1 + math.exp(-evidence))
        lb, lbc = ("", "") if number % 11 == 0 else (str(p), str(p**0.5))
        part = ("internal", "external", "")[number % 7 % 3]
        every.append({"test": part, "label": str(int(malignant)), "ct_mri": report, "p_federated": lb, "p_fusion": lbc})
    found = answered("lesion_us_fusion.toml", every, tmp_path)
    for part in ("internal", "external"):
        reported = [row for row in every if row["test"] == part and row["ct_mri"]]
        right = sum(row["ct_mri"] == row["label"] for row in reported)
        accuracy = found["accuracy of CT/MRI"]["strata"][part]["accuracy"]
        assert accuracy == pytest.approx(clopper_pearson(right, len(reported)), abs=1e-9)
        both = [row for row in reported if row["p_fusion"]]
        assert len(both) < len(reported) < sum(row["test"] == part for row in every)
        for name, column in (("CT/MRI against LBC", "p_fusion"), ("CT/MRI against LB", "p_federated")):
            calls = [(row["label"], row["ct_mri"], str(int(float(row[column]) >= 0.5))) for row in both]
            compared = found[name]["strata"][part]["readers"]["ct_mri"]
            for what, of in (("accuracy", "01"), ("sensitivity", "1"), ("specificity", "0")):
                asked = [one for one in calls if one[0] in of]
                b = sum(ct == true != model for true, ct, model in asked)
                c = sum(model == true != ct for true, ct, model in asked)
                test = compared[f"mcnemar_{what}"]
                assert (test["b"], test["c"]) == (b, c)
                assert test["p_exact"] == pytest.approx(mcnemar_p(b, c), rel=1e-12)
                x = sum(ct == true for true, ct, _ in asked)
                assert compared["accuracy"][what] == pytest.approx(clopper_pearson(x, len(asked)), abs=1e-9)
