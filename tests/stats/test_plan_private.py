"""A private_roc entry end to end through `analyse`, and the plans that it is refused in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fl_liver.analyse import analyse
from fl_liver.errors import ConfigError, DataError, ProtocolError
from fl_liver.stats.discrete_laplace import noise_variance
from fl_liver.stats.guard import Guard
from fl_liver.stats.permit import permit_of_plan
from fl_liver.stats.plan import parse_plan
from fl_liver.stats.private_roc import noised_histogram

ENTRY: dict[str, Any] = {
    "id": "dp",
    "kind": "private_roc",
    "scores": ["a", "b"],
    "label": "y",
    "epsilon": 4.0,
    "sites": 4,
}
PATIENTS, SITES = 3000, 4


def cohort() -> dict[str, NDArray[np.float64]]:
    draw = np.random.default_rng(17)
    y = (draw.random(PATIENTS) < 0.4).astype(float)
    scores = {"a": draw.normal(1.6 * y - 0.8, 1.5), "b": draw.normal(0.8 * y - 0.4, 1.5)}
    return {"y": y, **scores, "z": (draw.random(PATIENTS) < 0.5).astype(float)}


def auc_and_se(y: NDArray[np.float64], score: NDArray[np.float64]) -> tuple[float, float]:
    """Mann–Whitney by scipy; the standard error of Hanley and McNeil 1982, formula 1."""
    m, n = int(y.sum()), int((1 - y).sum())
    auc = float(stats.mannwhitneyu(score[y == 1], score[y == 0]).statistic) / (m * n)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return auc, float(np.sqrt((auc * (1 - auc) + (m - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)) / (m * n)))


def write_plan(folder: Path, *entries: dict[str, Any]) -> None:
    lines = []
    for entry in entries:
        lines += ["[[analysis]]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    (folder / "plan.toml").write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    columns = cohort()
    for site in range(SITES):
        rows = np.column_stack([values[site::SITES] for values in columns.values()])
        body = "\n".join(",".join(repr(float(value)) for value in row) for row in rows)
        (tmp_path / f"s{site}.csv").write_text(",".join(columns) + "\n" + body + "\n")
    write_plan(tmp_path, ENTRY)
    return tmp_path


def run(folder: Path, sites: int = SITES, report: Path | None = None) -> int:
    named = [f"s{site}={folder / f's{site}.csv'}" for site in range(sites)]
    return analyse(folder / "plan.toml", named, folder / "out.json", report=report)


def refused(folder: Path, kind: type[Exception], match: str, sites: int = SITES) -> None:
    with pytest.raises(kind, match=match):
        run(folder, sites)
    assert not (folder / "out.json").exists()


def test_noised_auc_and_counts_are_near_the_exact_ones(folder: Path) -> None:
    """The interval holds both errors; the noise alone is smaller, and is held against itself."""
    assert run(folder, report=folder / "page.html") == 0
    found = json.loads((folder / "out.json").read_text())["dp"]
    columns = cohort()
    assert list(found) == ["a", "b"]
    counts_sd = np.sqrt(32 * noise_variance(2.0, 4, 4))
    for name, one in found.items():
        auc, se = auc_and_se(columns["y"], columns[name])
        assert abs(one["auc"] - auc) <= 5 * np.hypot(one["se"], se)
        assert abs(one["auc"] - auc) <= 5 * np.sqrt(one["var_noise"]) + one["certificate"]
        assert np.sqrt(one["var_sampling"]) == pytest.approx(se, rel=0.15)
        assert abs(one["n_pos"] - columns["y"].sum()) <= 6 * counts_sd
        assert (one["epsilon"], one["models"]) == (4.0, 2)
    assert "differential privacy, epsilon 4 for 2 models together" in (folder / "page.html").read_text(encoding="utf-8")


def test_two_runs_differ_by_their_noise(folder: Path) -> None:
    both = []
    for _ in range(2):
        assert run(folder) == 0
        both.append(json.loads((folder / "out.json").read_text())["dp"]["a"])
    assert both[0]["auc"] != both[1]["auc"]


def test_fewer_honest_hospitals_mean_more_noise(folder: Path) -> None:
    write_plan(folder, {**ENTRY, "honest": 1})
    assert run(folder) == 0
    found = json.loads((folder / "out.json").read_text())["dp"]["a"]
    assert found["noise_sd"] == pytest.approx(np.sqrt(noise_variance(2.0, 1, 4)))
    assert found["noise_sd"] == pytest.approx(2 * np.sqrt(noise_variance(2.0, 4, 4)))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"epsilon": 1.0}, r"'epsilon': Input should be greater than or equal to 2 \(found 1\.0\)"),
        ({"honest": 5}, "5 honest hospitals among 4 sites"),
        ({"honest": 0}, "'honest': Input should be greater than or equal to 1"),
        ({"sites": 2}, "'sites': Input should be greater than or equal to 3"),
        ({"sites": 5}, "analysis 'dp': sites = 5, but 4 tables are given"),
        ({"scores": []}, "'scores': Tuple should have at least 1 item"),
        ({"scores": ["a", "a"]}, "a score is named twice"),
        ({"scores": ["not_released"]}, "a score cannot be named not_released"),
        ({"by": "z"}, "'by' asks for exact counts of its levels"),
    ],
)
def test_an_impossible_entry_is_refused_before_any_table_is_asked(
    folder: Path, changed: dict[str, Any], match: str
) -> None:
    write_plan(folder, {**ENTRY, **changed})
    refused(folder, ConfigError, match)


def test_a_missing_table_is_a_wrong_number_of_sites(folder: Path) -> None:
    refused(folder, ConfigError, "sites = 4, but 3 tables are given", sites=3)


def test_two_entries_would_spend_epsilon_twice(folder: Path) -> None:
    write_plan(folder, {**ENTRY, "scores": ["a"]}, {**ENTRY, "id": "more", "scores": ["b"]})
    refused(folder, ConfigError, "'dp' and 'more' are both private_roc; a plan holds one")


@pytest.mark.parametrize(
    ("exact", "column"),
    [
        ({"kind": "roc", "score": "a", "label": "y"}, "a"),
        ({"kind": "roc", "score": "z", "label": "y"}, "y"),
        ({"kind": "proportion", "column": "y"}, "y"),
        ({"kind": "proportion", "column": "z", "by": "y"}, "y"),
    ],
)
def test_exact_counts_beside_noised_ones_are_refused_in_either_order(
    folder: Path, exact: dict[str, Any], column: str
) -> None:
    match = rf"'exact' \({exact['kind']}\) asks for exact counts of '{column}'.*a plan may not mix them"
    for entries in (({"id": "exact", **exact}, ENTRY), (ENTRY, {"id": "exact", **exact})):
        write_plan(folder, *entries)
        refused(folder, ConfigError, match)


def with_columns(folder: Path, *columns: dict[str, Any]) -> None:
    lines = [["[[column]]", *(f"{key} = {json.dumps(value)}" for key, value in one.items())] for one in columns]
    text = "\n".join(line for one in lines for line in one)
    (folder / "plan.toml").write_text(text + "\n" + (folder / "plan.toml").read_text())


AGAIN = {"name": "again", "how": "times", "factor": 1.0, "of": ["y"]}
SCORE = {"name": "a2", "how": "times", "factor": 1.0, "of": ["a"]}


def test_a_made_column_is_what_it_is_made_of(folder: Path) -> None:
    """`y` and `a` times one, under other names: the exact AUC beside the noised one."""
    write_plan(folder, ENTRY, {"id": "exact", "kind": "roc", "score": "a2", "label": "again"})
    with_columns(folder, AGAIN, SCORE)
    refused(folder, ConfigError, r"'exact' \(roc\) asks for exact counts of 'a'.*a plan may not mix them")
    write_plan(folder, ENTRY, {"id": "exact", "kind": "proportion", "column": "twice"})
    with_columns(folder, AGAIN, {**AGAIN, "name": "twice", "of": ["again"]})
    refused(folder, ConfigError, r"'exact' \(proportion\) asks for exact counts of 'y'")


def test_noised_answers_about_a_made_column_are_about_what_it_is_made_of(folder: Path) -> None:
    for entry in ({"label": "again"}, {"scores": ["a2", "b"]}):
        exact = (
            {"kind": "proportion", "column": "y"} if "label" in entry else {"kind": "roc", "score": "a", "label": "z"}
        )
        write_plan(folder, {"id": "exact", **exact}, {**ENTRY, **entry})
        with_columns(folder, AGAIN, SCORE)
        refused(folder, ConfigError, "a plan may not mix them")
        write_plan(folder, {"id": "exact", "kind": "proportion", "column": "again", "by": "z"}, {**ENTRY, **entry})
        with_columns(folder, AGAIN, SCORE)
        refused(folder, ConfigError, "a plan may not mix them")


def test_a_made_column_of_other_columns_may_stand_beside_it(folder: Path) -> None:
    write_plan(folder, ENTRY, {"id": "other", "kind": "proportion", "column": "z2"})
    with_columns(folder, {**AGAIN, "name": "z2", "of": ["z"]})
    assert run(folder) == 0


def test_an_analysis_of_other_columns_may_stand_beside_it(folder: Path) -> None:
    write_plan(folder, ENTRY, {"id": "other", "kind": "proportion", "column": "z"})
    assert run(folder) == 0
    assert json.loads((folder / "out.json").read_text())["other"]["x"] == int(cohort()["z"].sum())


def test_a_score_that_is_not_finite_is_refused(folder: Path) -> None:
    path = folder / "s2.csv"
    header, first, rest = path.read_text().split("\n", 2)
    y, _, b, z = first.split(",")
    path.write_text("\n".join([header, f"{y},inf,{b},{z}", rest]))
    refused(folder, DataError, "site s2: column 'a': 1 values are not finite numbers")


def test_the_permit_of_the_plan_carries_its_noise_and_no_other_passes() -> None:
    plan = parse_plan({"analysis": [{**ENTRY, "honest": 3}]}, "plan")
    permit = permit_of_plan(plan, min_cell=5)
    assert permit.noise == (4.0, 3)
    (asked,) = next(plan.analyses[0].answer(5))
    Guard(permit).check([asked])
    for epsilon, honest in ((5.0, 3), (4.0, 4)):
        with pytest.raises(ProtocolError, match=r"agreed is \(4\.0, 3\)"):
            Guard(permit).check([noised_histogram(["a", "b"], "y", epsilon=epsilon, honest=honest)])
    exact = parse_plan({"analysis": [{"id": "x", "kind": "proportion", "column": "z"}]}, "plan")
    assert permit_of_plan(exact, min_cell=5).noise is None
