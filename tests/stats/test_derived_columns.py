"""Columns that a plan makes of a hospital's own, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.analyse import read_tables
from fl_liver.errors import ConfigError, DataError, ProtocolError
from fl_liver.guarded_summer import GuardedSummer
from fl_liver.stats.conversation import Question, Table, TablesSummer
from fl_liver.stats.permit import permit_of_plan
from fl_liver.stats.plan import Plan, Refused, parse_plan, run_plan

NAN = float("nan")


def plan(*columns: dict[str, Any], read: str = "made") -> Plan:
    analysis = {"id": "a", "kind": "roc", "score": read, "label": "y"}
    return parse_plan({"column": list(columns), "analysis": [analysis]}, "plan")


def made(column: dict[str, Any], **sources: list[Any]) -> list[Any]:
    arrays = {
        name: np.array(values, dtype=object if isinstance(values[0], str) else np.float64)
        for name, values in sources.items()
    }
    return list(plan({"name": "made", **column}).completed(Table(arrays))["made"].tolist())


def same(found: list[Any], wanted: list[Any]) -> None:
    if isinstance(wanted[0], str):
        assert found == wanted
    else:
        np.testing.assert_array_equal(np.array(found, np.float64), np.array(wanted, np.float64))


@pytest.mark.parametrize(
    ("column", "sources", "wanted"),
    [
        # Khalili 2020, methods: surely benign is 1, surely malignant 10
        (
            {"how": "scale10", "of": ["d", "c"]},
            {"d": [0, 0, 1, 1, NAN, 1], "c": [5, 1, 1, 5, 3, NAN]},
            [1, 5, 6, 10, NAN, NAN],
        ),
        ({"how": "tenths", "of": ["p"]}, {"p": [0.0, 0.1, 0.11, 0.95, NAN]}, [1, 1, 2, 10, NAN]),
        ({"how": "times", "of": ["p"], "factor": 10}, {"p": [0.25, NAN]}, [2.5, NAN]),
        ({"how": "at_least", "of": ["p"], "threshold": 0.5}, {"p": [0.5, 0.49, NAN]}, [1, 0, NAN]),
        # Yang 2020: 1.1-2.0, 2.1-5.0, > 5.0 cm
        (
            {"how": "bands", "of": ["mm"], "edges": [20, 50], "names": ["small", "middle", "large"]},
            {"mm": [20, 20.1, 50, 51, NAN]},
            ["small", "middle", "middle", "large", ""],
        ),
        # Wang 2021: F0-2 against F3-4
        (
            {"how": "merged", "of": ["f"], "into": {"F0-2": [0, 1, 2], "F3-4": [3, 4]}},
            {"f": [0, 2, 3, NAN]},
            ["F0-2", "F0-2", "F3-4", ""],
        ),
        ({"how": "one_of", "of": ["k"], "levels": ["hcc", "icc"]}, {"k": ["hcc", "cyst", ""]}, [1, 0, NAN]),
        (
            {"how": "majority", "of": ["a", "b", "c"]},
            {"a": [1, 0, 1, NAN], "b": [1, 0, 0, 1], "c": [0, 0, 1, 1]},
            [1, 0, 1, NAN],
        ),
        # two of three; all differ: the first; the first outvoted; a reader who said nothing
        (
            {"how": "plurality", "of": ["a", "b", "c"]},
            {"a": ["x", "z", "z", "x"], "b": ["y", "x", "y", "x"], "c": ["x", "y", "y", ""]},
            ["x", "z", "y", ""],
        ),
        # of five readers 2 : 2 : 1, where the first is alone: of the two classes, that of the earlier reader
        (
            {"how": "plurality", "of": ["a", "b", "c", "d", "e"]},
            {"a": ["x"], "b": ["z"], "c": ["y"], "d": ["y"], "e": ["z"]},
            ["z"],
        ),
        ({"how": "same", "of": ["a", "b"]}, {"a": ["x", "x", "", "x"], "b": ["x", "y", "y", ""]}, [1, 0, NAN, NAN]),
        ({"how": "same", "of": ["a", "b"]}, {"a": [1, 2, NAN], "b": ["1", "1", "1"]}, [1, 0, NAN]),
        (
            {"how": "highest", "of": ["a", "b"], "names": ["x", "y"]},
            {"a": [0.5, 0.2, 0.5, NAN], "b": [0.4, 0.3, 0.5, 1]},
            ["x", "y", "x", ""],
        ),
    ],
)
def test_each_rule_by_hand(column: dict[str, Any], sources: dict[str, list[Any]], wanted: list[Any]) -> None:
    same(made(column, **sources), wanted)


def test_the_table_needs_the_sources_and_not_the_made_columns() -> None:
    """Of the columns that are made, only those that an analysis reads, and what they are made of."""
    found = plan(
        {"name": "s", "how": "scale10", "of": ["d", "c"]},
        {"name": "unused", "how": "tenths", "of": ["p"]},
        {"name": "made", "how": "at_least", "of": ["s"], "threshold": 6},
    )
    assert found.columns() == ["y", "d", "c"]
    table = found.completed(Table({"d": np.array([1.0, 0.0]), "c": np.array([2.0, 2.0])}))
    assert table["made"].tolist() == [1.0, 0.0]
    assert "unused" not in table.columns


@pytest.mark.parametrize(
    ("column", "match"),
    [
        ({"how": "scale11", "of": ["a"]}, "column 1 .*unknown how 'scale11', did you mean 'scale10'"),
        ({"how": "scale10", "of": ["a"]}, "of"),
        ({"how": "majority", "of": ["a", "b", "c", "d"]}, "4 columns can draw; name an odd number"),
        ({"how": "plurality", "of": ["a", "b"]}, "of"),
        ({"how": "same", "of": ["a", "b", "c"]}, "of"),
        ({"how": "highest", "of": ["a", "b"], "names": ["x"]}, "2 columns want as many different names"),
        ({"how": "bands", "of": ["a"], "edges": [5, 2], "names": ["x", "y", "z"]}, "do not ascend"),
        ({"how": "bands", "of": ["a"], "edges": [5], "names": ["x", "x"]}, "1 edges want 2 different names"),
        ({"how": "merged", "of": ["a"], "into": {"x": [1], "y": [1]}}, "level 1 is put into two groups"),
        ({"how": "times", "of": ["made"], "factor": 2}, "is made of 'made', which does not stand before it"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(column: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        plan({"name": "made", **column})


def test_among_keeps_the_patients_who_have_a_value_there() -> None:
    """Whatever the analysis: the same answer as from a table without the other patients."""
    rng = np.random.default_rng(2)
    y, sex = (rng.random(90) < 0.5).astype(float), np.array(["F", "M"], dtype=object)[rng.integers(0, 2, 90)]
    test = np.array(["internal", ""], dtype=object)[(rng.random(90) < 0.3).astype(int)]
    columns = {"y": y, "p": np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0.01, 0.99), "sex": sex, "test": test}
    kinds: list[dict[str, Any]] = [
        {"kind": "roc", "score": "p", "label": "y", "by": "sex"},
        {"kind": "logistic", "outcome": "y", "terms": ["p"]},
        {"kind": "calibration", "y": "y", "p": "p"},
        {"kind": "table_one", "group": "sex", "numeric": ["p"]},
    ]
    entries = [{"id": str(place), **one} for place, one in enumerate(kinds)]
    chosen = parse_plan({"analysis": [{**one, "among": ["test"]} for one in entries]}, "plan")
    kept = Table({name: values[test != ""] for name, values in columns.items()})
    wanted = run_plan(parse_plan({"analysis": entries}, "plan"), TablesSummer([kept]))
    found = run_plan(chosen, TablesSummer([Table(columns)]))
    assert "test" in chosen.columns()
    for name, one in wanted.items():
        assert found[name].to_json() == one.to_json()


MISSING_NAMES = [
    {"how": "bands", "edges": [90], "names": ["young", "{}"]},
    {"how": "merged", "into": {"young": [0], "{}": [1]}},
    {"how": "highest", "of": ["s", "t"], "names": ["young", "{}"]},
]


@pytest.mark.parametrize("name", ["", "NA"])
@pytest.mark.parametrize("rule", MISSING_NAMES, ids=lambda rule: str(rule["how"]))
def test_no_rule_makes_a_patient_missing_by_the_name_of_a_level(rule: dict[str, Any], name: str) -> None:
    """`among` would leave him out, and everybody's answer less the others' would be his."""
    text = json.dumps({"name": "made", "of": ["s"], **rule}).replace("{}", name)
    with pytest.raises(ConfigError, match=f"a level '{name}' would be read as a missing value; give it another name"):
        plan(json.loads(text))


@pytest.mark.parametrize("factor", [float("inf"), float("nan")])
def test_no_factor_makes_a_patient_missing(factor: float) -> None:
    with pytest.raises(ConfigError, match="'factor': Input should be a finite number"):
        plan({"name": "made", "how": "times", "of": ["p"], "factor": factor})


OLDEST: dict[str, Any] = {"id": "all", "kind": "proportion", "column": "y"}


def one_left_out(lacking: int) -> list[Table]:
    """Three hospitals, 180 patients; `lacking` of them have no value of `test`, each with another y than the next."""
    y = (np.arange(180) % 2).astype(float)
    test = np.array(["internal"] * 180, dtype=object)
    test[:lacking] = ""
    sex = np.array(["F", "F", "M", "M"] * 45, dtype=object)
    part = {"y": y, "test": test, "sex": sex, "x": np.where(np.arange(180) < 100, 1.0, NAN)}
    return [Table({name: values[site::3] for name, values in part.items()}) for site in range(3)]


@pytest.mark.parametrize("entry", [{}, {"by": "sex"}, {"kind": "roc", "score": "x", "label": "y"}])
def test_a_subset_leaves_out_nobody_or_as_many_as_the_floor(entry: dict[str, Any]) -> None:
    """87 of 180 beside 86 of 179 is one patient's label; nobody and many tell of nobody."""
    asked = {**{key: value for key, value in OLDEST.items() if not entry.get("score") or key != "column"}, **entry}
    pair = parse_plan({"analysis": [asked, {**asked, "id": "some", "among": ["test"]}]}, "plan")
    for lacking, answered in ((0, True), (1, False), (4, False), (12, True)):
        found = run_plan(pair, TablesSummer(one_left_out(lacking)))
        assert not isinstance(found["all"], Refused)
        assert isinstance(found["some"], Refused) is not answered, lacking
        if not answered:
            assert "those whom among = test leaves out: fewer than 5 patients over all sites" in found["some"].reason


def test_whom_an_analysis_lacks_anyway_a_subset_does_not_leave_out() -> None:
    """One patient has no `test`, and no x either: `among` changes nothing."""
    tables = one_left_out(1)
    tables[0].columns["x"][0] = NAN
    entry = {"id": "some", "kind": "roc", "score": "x", "label": "y", "among": ["test"]}
    found = run_plan(parse_plan({"analysis": [entry]}, "plan"), TablesSummer(tables))
    assert not isinstance(found["some"], Refused)


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "table_one", "group": "kind", "numeric": ["y"], "levels": ["a"]},
        {"kind": "rank_sum", "x": "p", "group": "kind", "levels": ["a", "b"]},
        {"kind": "kruskal_wallis", "x": "p", "group": "kind", "levels": ["a", "b"]},
        {"kind": "compare_unpaired", "score": "p", "label": "y", "strata": "kind", "levels": ["a", "b"]},
        {"kind": "table_one", "group": "kind", "numeric": ["y"], "levels": ["a", "b"], "by": "sex"},
    ],
    ids=lambda entry: str(entry["kind"]),
)
def test_levels_that_an_entry_does_not_name_hold_nobody_or_as_many_as_the_floor(entry: dict[str, Any]) -> None:
    """One old patient beside `levels = ["young"]`: everybody's mean less the others' is his."""
    asked = parse_plan({"analysis": [{"id": "some", **entry}]}, "plan")
    for others, answered in ((0, True), (1, False), (4, False), (16, True)):
        tables = one_left_out(0)
        for site, table in enumerate(tables):
            kind = np.array(["a", "a", "b", "a", "b"] * 12, dtype=object)
            kind[: len(range(site, others, 3))] = "c"
            if entry["levels"] == ["a"]:
                kind[kind == "b"] = "a"
            table.columns.update(kind=kind, p=np.random.default_rng(site).random(60))  # type: ignore[attr-defined]
        whole = {f"S{place}": one for place, one in enumerate(tables)}
        found = run_plan(asked, GuardedSummer(whole, permit_of_plan(asked, min_cell=5)))["some"]
        assert isinstance(found, Refused) is not answered, others
        if not answered:
            match = f"those with another kind than {', '.join(entry['levels'])}: fewer than 5 patients"
            assert match in found.reason


def test_levels_are_named_among_the_patients_of_each_described_column() -> None:
    """Ten have another level, of whom one has an age: the mean age is of all but him."""
    tables = one_left_out(0)
    for site, table in enumerate(tables):
        kind, age = np.array(["a"] * 60, dtype=object), np.linspace(30, 80, 60)
        kind[:4] = "b"
        age[1 if site == 0 else 0 : 4] = NAN
        table.columns.update(kind=kind, age=age)  # type: ignore[attr-defined]
    entry = {"id": "some", "kind": "table_one", "group": "kind", "numeric": ["age"], "levels": ["a"]}
    found = run_plan(parse_plan({"analysis": [entry]}, "plan"), TablesSummer(tables))["some"]
    assert isinstance(found, Refused)
    assert "those with another kind than a: fewer than 5 patients" in found.reason


def test_a_permit_lets_a_plan_ask_whom_its_subset_leaves_out_and_nothing_else_of_them() -> None:
    tables = {f"S{place}": one for place, one in enumerate(one_left_out(12))}
    for more in ({}, {"by": "sex"}):
        asked = parse_plan({"analysis": [{**OLDEST, "among": ["test"], **more}]}, "plan")
        summer = GuardedSummer(tables, permit_of_plan(asked, min_cell=5))
        assert not isinstance(run_plan(asked, summer)["all"], Refused)
        for arguments in (
            {"columns": ["y"]},
            {"columns": ["y"], "among": ["x"]},
            {"columns": ["x"], "among": ["test"]},
        ):
            with pytest.raises(ProtocolError, match="question 'left_out' is not in the plan"):
                summer.total([Question("left_out", arguments, 1)])


def test_two_columns_of_one_name_and_no_list_are_refused() -> None:
    twice = {"name": "made", "how": "tenths", "of": ["p"]}
    with pytest.raises(ConfigError, match="two columns have the name 'made'"):
        plan(twice, twice)
    with pytest.raises(ConfigError, match=r"'column' is not a list of \[\[column\]\] tables"):
        parse_plan({"column": {"name": "x"}, "analysis": [{"id": "a", "kind": "proportion", "column": "x"}]}, "plan")


@pytest.mark.parametrize(
    ("column", "sources", "match"),
    [
        ({"how": "scale10", "of": ["d", "c"]}, {"d": [1.0], "c": [6.0]}, "confidences 1 to 5"),
        ({"how": "scale10", "of": ["d", "c"]}, {"d": [2.0], "c": [1.0]}, "neither 0 nor 1"),
        ({"how": "tenths", "of": ["p"]}, {"p": [1.5]}, r"probabilities in \[0, 1\]"),
        ({"how": "times", "of": ["p"], "factor": 2}, {"p": ["text"]}, "is text"),
        (
            {"how": "merged", "of": ["f"], "into": {"x": [1]}},
            {"f": [1.0, 2.0]},
            "1 rows have a level of 'f' that 'into'",
        ),
    ],
)
def test_a_value_that_no_rule_knows_is_named_with_its_column(
    column: dict[str, Any], sources: dict[str, list[Any]], match: str
) -> None:
    with pytest.raises(DataError, match=f"column 'made' .*{match}"):
        made(column, **sources)


def test_analyse_makes_the_columns_at_each_site(tmp_path: Path) -> None:
    """A site's error names the site; a column of the plan's name in a site's table is refused."""
    asked = plan({"name": "made", "how": "tenths", "of": ["p"]})
    file = tmp_path / "north.csv"
    file.write_text("p,y\n.35,1\nNA,0\n")
    same(read_tables({"north": file}, asked)["north"]["made"].tolist(), [4, NAN])
    file.write_text("p,y\n3.5,1\n")
    with pytest.raises(DataError, match="site north: column 'made'"):
        read_tables({"north": file}, asked)
    file.write_text("p,y,made\n.35,1,4\n")
    with pytest.raises(ConfigError, match=r"site north: .* has a column 'made', and the plan makes one of that name"):
        read_tables({"north": file}, asked)
