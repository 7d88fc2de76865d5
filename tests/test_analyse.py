"""`fl-liver analyse`: what it writes, what it refuses, and that nothing partial is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.analyse import analyse, headline, read_tables
from fl_liver.errors import ConfigError, DataError, FLLiverError, PrivacyError, ProtocolError
from fl_liver.guarded_summer import GuardedSummer
from fl_liver.stats.conversation import Table
from fl_liver.stats.permit import permit_of_plan
from fl_liver.stats.plan import KINDS, parse_plan, read_plan, refusals, run_plan

PLAN = """
[[analysis]]
id = "auc"
kind = "roc"
score = "p"
label = "y"

[[analysis]]
id = "table"
kind = "table_one"
group = "sex"
numeric = ["age"]
categorical = ["y"]
levels = ["M", "F"]
resolution = { age = 1 }
"""


def rows(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    age = rng.integers(40, 80, n)
    return [f"{a},{b},{rng.random() + b / 2:.3f},{'MF'[rng.integers(0, 2)]}" for a, b in zip(age, y, strict=True)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(PLAN)
    for seed, (name, n) in enumerate([("north", 60), ("south", 1), ("east", 45), ("empty", 0)]):
        (tmp_path / f"{name}.csv").write_text("\n".join(["age,y,p,sex", *rows(n, seed)]) + "\n")
    return tmp_path


def run(folder: Path, *sites: str, min_cell: int = 5, report: Path | None = None) -> int:
    """The command's exit status; a deliberate error is raised."""
    named = [f"{site}={folder / site}.csv" for site in sites or ("north", "south", "east", "empty")]
    return analyse(folder / "plan.toml", named, folder / "out.json", min_cell=min_cell, report=report)


def change(folder: Path, site: str, old: str, new: str) -> None:
    path = folder / f"{site}.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def refused(folder: Path, kind: type[FLLiverError], match: str, *sites: str) -> None:
    with pytest.raises(kind, match=match):
        run(folder, *sites)
    assert not (folder / "out.json").exists()


def test_results_are_written_under_their_ids_when_all_are_answered(folder: Path, capsys: Any) -> None:
    assert run(folder) == 0
    written = json.loads((folder / "out.json").read_text())
    assert list(written) == ["auc", "table"]
    assert written["auc"]["n_pos"] + written["auc"]["n_neg"] == 106
    assert written["table"]["groups"] == ["M", "F"]
    assert [p.name for p in folder.glob("out*")] == ["out.json"]
    shown = capsys.readouterr().out
    assert "4 sites, 106 rows" in shown
    assert "in the clear" in shown


def test_report_is_written_beside_the_json_and_adds_to_it(folder: Path) -> None:
    where = folder / "plan.html"
    assert run(folder) == 0
    plain = json.loads((folder / "out.json").read_text())
    assert run(folder, report=where) == 0
    written = json.loads((folder / "out.json").read_text())
    page = where.read_text(encoding="utf-8")
    assert "<h1>plan</h1>" in page
    assert "Sites: north, south, east and empty." in page
    assert "Sums were added in the clear" in page
    assert "fewer than 3 hospitals" in written["auc"].pop("centres")["not_released"]  # one is empty, one has one row
    assert written == plain


def test_report_of_a_refused_analysis_tells_the_rule_and_no_json_is_written(folder: Path) -> None:
    where = folder / "plan.html"
    assert run(folder, min_cell=60, report=where) == PrivacyError("").exit_code
    assert not (folder / "out.json").exists()
    assert "<strong>Refused.</strong> min_cell: " in where.read_text(encoding="utf-8")


def test_terminal_table_shows_lists_of_names(folder: Path, capsys: Any) -> None:
    """Brackets are markup to the terminal's table unless they are escaped."""
    assert run(folder) == 0
    assert "groups [M, F]" in capsys.readouterr().out


def test_merging_two_sites_changes_nothing(folder: Path) -> None:
    run(folder, min_cell=1)
    first = json.loads((folder / "out.json").read_text())
    north, south = ((folder / f"{name}.csv").read_text().splitlines() for name in ("north", "south"))
    (folder / "north.csv").write_text("\n".join([*south, *north[1:]]) + "\n")
    run(folder, "north", "east", "empty", min_cell=1)
    second = json.loads((folder / "out.json").read_text())
    # each site rounds its own sum of squares to a float64 before it is added exactly
    assert second["table"]["age"].pop("sd") == pytest.approx(first["table"]["age"].pop("sd"), rel=1e-14)
    assert second == first


def test_every_site_answers_behind_the_guard_of_its_plan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the permit of another plan nothing is answered."""
    proportion = {"id": "other", "kind": "proportion", "column": "y"}
    other = permit_of_plan(parse_plan({"analysis": [proportion]}, "plan"), min_cell=5)
    monkeypatch.setattr("fl_liver.analyse.permit_of_plan", lambda *_, **__: other)
    refused(folder, ProtocolError, "site north: question 'cell_counts' is not in the plan")


def test_two_sites_are_refused(folder: Path) -> None:
    refused(folder, PrivacyError, "min_sites: 2 sites given, 3 or more are needed", "north", "east")


def test_a_name_or_a_file_given_twice_is_refused(folder: Path) -> None:
    refused(folder, ConfigError, "--site north: given twice", "north", "north", "east")
    (folder / "again.csv").symlink_to(folder / "north.csv")
    refused(folder, ConfigError, "its patients would count twice", "north", "again", "east")
    with pytest.raises(ConfigError, match=r"wanted NAME=FILE\.csv"):
        analyse(folder / "plan.toml", ["north.csv"], folder / "out.json")


def test_one_refused_analysis_withholds_the_whole_file_and_names_the_rule(folder: Path, capsys: Any) -> None:
    text = (folder / "plan.toml").read_text()
    (folder / "plan.toml").write_text(text + '[[analysis]]\nid = "few"\nkind = "proportion"\ncolumn = "rare"\n')
    for name, value in (("north", "1"), ("south", "0"), ("east", "0"), ("empty", "0")):
        lines = (folder / f"{name}.csv").read_text().splitlines()
        values = ["rare", value, *["0"] * len(lines)]
        (folder / f"{name}.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(lines, values, strict=False)) + "\n")
    assert run(folder) == PrivacyError.exit_code
    assert not (folder / "out.json").exists()
    assert "analysis 'few' refused: min_cell: rare = 1: fewer than 5 patients" in capsys.readouterr().err
    assert run(folder, min_cell=1) == 0


@pytest.mark.parametrize("value", ["inf", "-Infinity", "nan", "1e999"])
def test_a_score_that_is_not_finite_is_refused_with_site_column_and_remedy(folder: Path, value: str) -> None:
    lines = (folder / "east.csv").read_text().splitlines()
    age, y, _, sex = lines[3].split(",")
    (folder / "east.csv").write_text("\n".join([*lines[:3], f"{age},{y},{value},{sex}", *lines[4:]]) + "\n")
    refused(folder, DataError, r"site east: column 'p': 1 values are not finite numbers; leave the fields of unknown")


def test_a_label_other_than_zero_and_one_is_refused_with_the_site(folder: Path) -> None:
    (folder / "south.csv").write_text("age,y,p,sex\n50,2,0.5,M\n")
    refused(folder, DataError, r"site south: column 'y': 1 of 1 rows have a level other than 0, 1")


def test_an_unknown_column_is_refused_with_site_and_columns(folder: Path) -> None:
    change(folder, "east", "sex", "gender")
    refused(folder, ConfigError, r"site east: no column 'sex' .*columns: age, y, p, gender.*correct the plan")


def test_a_column_of_two_types_is_refused_with_both_sites(folder: Path) -> None:
    (folder / "south.csv").write_text("age,y,p,sex\nfifty,1,0.5,M\n")
    refused(folder, DataError, "column 'age': site south holds text, site north numbers; write it in the same way")


def test_a_ragged_row_a_headless_file_and_a_missing_file_are_refused(folder: Path) -> None:
    (folder / "south.csv").write_text("age,y,p,sex\n50,1,0.5\n")
    refused(folder, DataError, "site south: .* row 2 has 3 fields, the header has 4")
    (folder / "south.csv").write_text("")
    refused(folder, DataError, "site south: .* is empty; a site with nobody still has a header line")
    (folder / "south.csv").unlink()
    refused(folder, DataError, "site south: .* cannot be read as CSV")


def test_collinear_terms_are_refused(folder: Path) -> None:
    plan = '[[analysis]]\nid = "fit"\nkind = "logistic"\noutcome = "y"\nterms = ["age", "months"]\n'
    (folder / "plan.toml").write_text(plan)
    for name in ("north", "south", "east", "empty"):
        lines = (folder / f"{name}.csv").read_text().splitlines()
        months = ["months", *(str(12 * int(line.split(",")[0])) for line in lines[1:])]
        (folder / f"{name}.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(lines, months, strict=True)) + "\n")
    assert run(folder) == DataError.exit_code
    assert not (folder / "out.json").exists()


def test_a_factor_level_that_one_site_alone_has_is_refused(folder: Path, capsys: Any) -> None:
    plan = '[[analysis]]\nid = "fit"\nkind = "logistic"\noutcome = "y"\nterms = ["sex"]\nfactors = { sex = "M" }\n'
    (folder / "plan.toml").write_text(plan)
    text = (folder / "north.csv").read_text()
    (folder / "north.csv").write_text(text.replace("F", "X", 12))
    assert run(folder) == PrivacyError.exit_code
    assert "one site alone has level X of column 'sex', unseen elsewhere" in capsys.readouterr().err
    assert run(folder, min_cell=1) == 0


def test_a_text_column_may_be_empty_at_a_site_and_missing_values_are_dropped(folder: Path) -> None:
    (folder / "south.csv").write_text("\ufeffage,y,p,sex\n50,1,0.5,NA\n,0,0.1,\n")
    plan = read_plan(folder / "plan.toml")
    tables = read_tables({"south": folder / "south.csv", "north": folder / "north.csv"}, plan)
    assert tables["south"]["sex"].tolist() == ["", ""]
    assert np.isnan(tables["south"]["age"]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("plan", "match"),
    [
        ("analysis = []", r"no \[\[analysis\]\]"),
        ("[[analysis]]\nid = 'a'\nkind = 'rocs'", "unknown kind 'rocs', did you mean 'roc'?"),
        ("[[analysis]]\nid = 'a'\nkind = 'roc'\nscor = 'p'\nlabel = 'y'", "unknown key 'scor', did you mean 'score'?"),
        ("[[analysis]]\nid = 'a'\nkind = 'roc'\nscore = 'p'", "key 'label' is missing"),
        ("[[analysis]]\nid = 'a'\nkind = 'proportion'\ncolumn = 'p'\n" * 2, "two analyses have the id 'a'"),
        ("min_cell = 3", "unknown key 'min_cell'; a plan is a list"),
        ("[[analysis]\n", "not TOML"),
        ("[[analysis]]\nid = 'a'\nkind = 'table_one'\ngroup = 'g'\nnumeric = ['n']", "named 'groups' or 'n'"),
        ("[[analysis]]\nid = 'a'\nkind = 'cohen_kappa'\nraters = ['r', 'r']", "a rater is named twice"),
        ("[[analysis]]\nid = 'a'\nkind = 'decision_curve'\ny = 'y'\np = 'p'\nthresholds = [1.0]", "less than 1"),
    ],
)
def test_a_wrong_plan_is_refused_before_any_table_is_read(folder: Path, plan: str, match: str) -> None:
    (folder / "plan.toml").write_text(plan)
    refused(folder, ConfigError, match.replace("?", r"\?") if "mean" in match else match)


def test_every_kind_of_the_contract_can_be_planned() -> None:
    contract = (
        "roc compare_paired compare_joint compare_unpaired diagnostic proportion mcnemar cohen_kappa fleiss_kappa "
    )
    contract += (
        "rank_sum kruskal_wallis logistic hosmer_lemeshow calibration decision_curve nomogram table_one multiclass"
    )
    names = {one.model_fields["kind"].annotation.__args__[0] for one in KINDS}  # type: ignore[union-attr]
    assert set(contract.split()) <= names


def test_a_refused_analysis_does_not_stop_the_others() -> None:
    plan = parse_plan(
        {"analysis": [{"id": i, "kind": "proportion", "column": i} for i in ("few", "many")]},
        "here",
    )
    tables = {f"s{n}": Table({"few": np.eye(4)[0], "many": np.array([0, 1, 0, 1.0])}) for n in range(4)}
    results = run_plan(plan, GuardedSummer(tables, permit_of_plan(plan, min_cell=5)))
    assert list(refusals(results)) == ["few"]
    assert results["few"].to_json() == {"not_released": results["few"].reason}
    assert results["many"].x == 8


def test_a_headline_shows_numbers_and_short_lists_only() -> None:
    assert headline({"auc": 0.5, "roc": {"fpr": [0]}, "thresholds": list(range(9))}) == "auc 0.5"
