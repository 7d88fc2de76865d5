"""Where rows are lesions or images, floors count patients: six lesions of one person are one person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.analyse import analyse, answers, read_tables, site_files
from fl_liver.client.permit import study_permit
from fl_liver.errors import ConfigError, DataError, PrivacyError, ProtocolError
from fl_liver.guarded_summer import GuardedSummer
from fl_liver.server.report.analysis.beside import questions_beside
from fl_liver.stats.coarse import coarse_auc
from fl_liver.stats.conversation import Question, Table, TablesSummer, Totals, answer, converse, over
from fl_liver.stats.cross_table import cross_table
from fl_liver.stats.levels import learn_levels
from fl_liver.stats.patients import PatientFloors, patients_question
from fl_liver.stats.permit import permit_of_plan
from fl_liver.stats.plan import Plan, Refused, parse_plan, read_plan, run_plan
from fl_liver.stats.refine import refine
from fl_liver.stats.roc import roc
from tests.client.cohort.tiny_volumes import ct_study
from tests.server.report.analysis.whole_plan import ENTRIES, tables

SHIPPED = Path(__file__).parents[2] / "fl_liver" / "studies" / "plans"
LESIONS = 60


def one_persons_lesions(folder: Path) -> list[str]:
    """Three hospitals' tables of 60 lesions, of which all six malignant ones are of one man of 71 years."""
    sites = []
    for site in ("north", "south", "west"):
        draw = np.random.default_rng(len(site))
        header = "patient,class,label,age_years,size_mm,sex,liver_metastasis,extrahepatic_metastasis"
        lines = [f"{header},score_federated,test"]
        for lesion in range(LESIONS):
            ill = site == "north" and lesion < 6
            who = "P-ill" if ill else f"P{lesion}"
            age, sex, kind = (71, "M", "malignant") if ill else (40 + lesion // 2, "FM"[lesion % 2], "benign")
            row = [who, kind, int(ill), age, 10 + lesion % 9, sex, lesion % 2, lesion // 2 % 2]
            lines.append(",".join(map(str, [*row, draw.normal(), "internal"])))
        (folder / f"{site}.csv").write_text("\n".join(lines) + "\n")
        sites.append(f"{site}={folder / f'{site}.csv'}")
    return sites


def shipped(name: str, *ids: str) -> Plan:
    plan = read_plan(SHIPPED / f"{name}.toml")
    return Plan(tuple(one for one in plan.analyses if one.id in ids), plan.derived)


@pytest.mark.parametrize("sums", ["plain", "masked"])
def test_the_shipped_plans_do_not_describe_the_one_person_of_a_class(sums: Any, tmp_path: Path) -> None:
    """With floors of rows, table 3 gave his age and sex: six of six lesions, 71 ± 0 years, male."""
    sites = site_files(one_persons_lesions(tmp_path))
    for plan in (shipped("nodule_ct", "table 3: nodules", "CNN"), shipped("nodule_ct-images", "CNN, single patches")):
        written, refused = answers(plan, read_tables(sites, plan), sums=sums)
        assert refused.keys() == written.keys() == {one.id for one in plan.analyses}
        for one in refused.values():
            assert "fewer than 5 patients" in one.reason
            assert one.exit_code == PrivacyError.exit_code


def test_the_command_line_refuses_it_too(tmp_path: Path) -> None:
    sites = one_persons_lesions(tmp_path)
    entry = '[[analysis]]\nid = "t"\nkind = "table_one"\ngroup = "class"\nnumeric = ["age_years"]\n'
    plan, out = tmp_path / "plan.toml", tmp_path / "out.json"
    plan.write_text('patient = "patient"\n\n' + entry)
    assert analyse(plan, sites, out) == PrivacyError.exit_code
    assert not out.exists()
    plan.write_text(entry)
    assert analyse(plan, sites, out) == 0, "a table that does not say whose a row is has floors of rows"


def with_patients(whose: Callable[[Table, int], NDArray[Any]]) -> dict[str, Table]:
    """The tables of `whole_plan`, with another patient of each row."""
    return {
        site: Table({**table.columns, "patient": whose(table, place)})
        for place, (site, table) in enumerate(tables().items())
    }


def asked(*entries: Mapping[str, Any], patient: bool = True) -> Plan:
    return parse_plan({"analysis": list(entries), **({"patient": "patient"} if patient else {})}, "plan")


def run(plan: Plan, hospitals: Mapping[str, Table], min_cell: int = 5) -> dict[str, Any]:
    whole = Plan((*plan.analyses, *questions_beside(plan.analyses)))
    known = {site: whole.completed(table) for site, table in hospitals.items()}
    return run_plan(whole, GuardedSummer(known, permit_of_plan(whole, min_cell=min_cell)), min_cell=min_cell)


def test_answers_are_the_same_where_every_row_is_a_patient() -> None:
    """But for the whiskers of a page's boxes, which are left out where a patient may have several rows."""
    hospitals = with_patients(lambda table, _: np.arange(len(table)) * 1.0)
    by_row, by_patient = run(asked(*ENTRIES, patient=False), hospitals), run(asked(*ENTRIES), hospitals)
    assert by_row.keys() == by_patient.keys()
    for name, one in by_row.items():
        two = by_patient[name].to_json()
        if "boxes" in name:
            assert two == one.to_json() | {"low": [None] * len(one.groups), "high": [None] * len(one.groups)}
        elif isinstance(one, Refused):
            assert "fewer than 5 patients" in two["not_released"]
        else:
            assert two == one.to_json()


def grade_a_of_one_person(table: Table, place: int) -> NDArray[Any]:
    """In each hospital one person has all the lesions of grade a, of smoke 1, of y 1, and of sex F; others have one."""
    ours = (table["grade"] == "a") | (table["smoke"] == 1) | (table["y"] == 1) | (table["sex"] == "F")
    return np.where(ours, -1.0, np.arange(len(table)) * 1.0) + 1000.0 * place


@pytest.mark.parametrize("entry", [one for one in ENTRIES if one["id"] != "few"], ids=lambda one: str(one["id"]))
def test_every_kind_of_analysis_counts_patients(entry: dict[str, Any]) -> None:
    """Six persons or more have the group, of dozens of rows: with a floor of 7 no kind answers; of rows each would."""
    hospitals = with_patients(grade_a_of_one_person)
    assert not isinstance(run(asked(entry, patient=False), hospitals, 7)[entry["id"]], Refused)
    found = run(asked(entry), hospitals, 7)[entry["id"]]
    if entry["kind"] in ("low_confidence", "fleiss_kappa"):
        assert not isinstance(found, Refused), "the zone, and grade a of the second rater, are others' too"
    else:
        assert isinstance(found, Refused)
        assert "fewer than 7 patients over all sites" in found.reason
    assert not isinstance(run(asked(entry), hospitals, 1)[entry["id"]], Refused), "public data have no floor"


def test_what_has_no_floor_of_rows_has_none_of_patients() -> None:
    """Cells of two raters whose margins are large, also on the page; and a measurement that is 0 or 1 now and then."""
    grade = np.array(list("aabb") * 15, dtype=object)
    differs = np.where(np.arange(60) < 3, "b", grade).astype(object)
    hospitals = {
        site: Table(
            {
                **table.columns,
                "grade": grade,
                "grade2": differs if site == "S1" else grade,
                "age": np.r_[0.0, 1.0, table["age"][2:]],
            }
        )
        for site, table in with_patients(lambda table, _: np.arange(len(table)) * 1.0).items()
    }
    fit = {"id": "fit", "kind": "logistic", "outcome": "y", "terms": ["age"]}
    kappa = {"id": "kappa", "kind": "cohen_kappa", "raters": ["grade", "grade2"]}
    found = {patient: run(asked(kappa, fit, patient=patient), hospitals) for patient in (True, False)}
    for name, one in found[False].items():
        assert "not_released" not in one.to_json(), name
        assert found[True][name].to_json() == one.to_json()
    table = next(one for name, one in found[True].items() if "table" in name)
    assert table.counts == ((148, 2), (0, 150))


@pytest.mark.parametrize("kind", ["low_confidence", "fleiss_kappa"])
def test_the_zone_and_the_categories_of_raters_count_patients(kind: str) -> None:
    """In each hospital one person has all the lesions that were called unsure, or a."""
    (entry,) = (one for one in ENTRIES if one["kind"] == kind)

    def whose(table: Table, place: int) -> NDArray[Any]:
        unsure = (table["p"] > 0.3) & (table["p"] <= 0.7)
        ours = unsure if kind == "low_confidence" else (table["grade"] == "a") | (table["grade2"] == "a")
        return np.where(ours, -1.0, np.arange(60.0)) + 1000.0 * place

    hospitals = with_patients(whose)
    assert not isinstance(run(asked(entry, patient=False), hospitals, 7)[entry["id"]], Refused)
    assert isinstance(run(asked(entry), hospitals, 7)[entry["id"]], Refused)


rows_of_patients = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["a", "ab", "b"]), st.sampled_from(["a", "b"]), st.integers(0, 1)),
    max_size=30,
)


@settings(max_examples=60)
@given(rows_of_patients)
def test_a_patient_counts_once_in_each_group(rows: list[tuple[int, str, str, int]]) -> None:
    """Against sets of patients, for cells, margins, what raters said, and classes."""
    who, one, two, y = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    columns = {"one": np.array(one, object), "two": np.array(two, object), "y": np.array(y, np.float64)}
    table = Table(columns, patients=np.array(who, np.int64))

    def counted(question: Question) -> list[int]:
        return list(answer(patients_question(question), table).tolist())

    def of(*wanted: bool) -> int:
        return len({person for person, here in zip(who, wanted, strict=True) if here})

    levels = {"one": ["a", "ab", "b"], "two": ["a", "b"]}
    assert counted(cross_table(levels)) == [
        of(*[(x, z) == (a, b) for x, z in zip(one, two, strict=True)]) for a in levels["one"] for b in levels["two"]
    ]
    assert counted(cross_table(levels, margins=True)) == [
        *(of(*[x == a for x in one]) for a in levels["one"]),
        *(of(*[z == b for z in two]) for b in levels["two"]),
    ]
    (question,) = next(learn_levels(["one", "two"]))
    begins_with_a = [x.startswith("a") or z == "a" for x, z in zip(one, two, strict=True)]
    assert counted(question)[ord("a")] == of(*begins_with_a)
    ratings = Question("rating_sums", {"raters": ["one", "two"], "levels": levels["one"]}, 5)
    assert counted(ratings) == [of(*[level in pair for pair in zip(one, two, strict=True)]) for level in levels["one"]]
    (bins,) = next(refine("y", "y"))
    assert counted(bins) == [of(*[value == level for value in y]) for level in (0, 1)]
    pair = Question("paired_zero_one", {"first": "y", "second": "y"}, 4)
    assert counted(pair) == [of(*[value == level for value in y]) for level in (0, 1)] * 2


def few_positive() -> dict[str, Table]:
    """Seven positive lesions of two patients; every other lesion has a patient of its own."""
    found = {}
    for place in range(3):
        draw = np.random.default_rng(place)
        y = np.zeros(40)
        y[: (4, 3, 0)[place]] = 1.0
        whose = np.where(y > 0, -1.0, np.arange(40.0))
        found[f"S{place}"] = Table({"y": y, "p": draw.random(40), "patient": whose})
    return found


ROC = {"id": "auc", "kind": "roc", "score": "p", "label": "y"}


def behind_guards(*entries: Mapping[str, Any]) -> GuardedSummer:
    plan = asked(*(entries or [ROC]))
    known = {site: plan.completed(table) for site, table in few_positive().items()}
    return GuardedSummer(known, permit_of_plan(plan, min_cell=5))


def test_a_server_that_does_not_ask_for_patients_is_refused() -> None:
    with pytest.raises(ProtocolError, match="site S0: question 'cell_counts': a patient may have several rows here"):
        converse({"auc": roc("p", "y")}, behind_guards())
    with pytest.raises(ProtocolError, match="site S0: question 'bins': a patient may have several rows here"):
        converse({"auc": coarse_auc("p", "y", key="float64")}, behind_guards())


class Deaf:
    """A server that asks for patients and does not care how many there are."""

    method = "plain"

    def __init__(self, summer: GuardedSummer) -> None:
        self._summer = summer

    def total(self, questions: Sequence[Question]) -> Totals:
        beside = [patients_question(one) for one in questions if one.arguments.get("depth", 0) == 0]
        return self._summer.total([*questions, *beside])[: len(questions)]


def test_hospitals_end_what_is_below_the_floor_of_patients_themselves() -> None:
    """Seven rows of a class pass a server's floor of rows; the hospitals heard that two patients have them."""
    with pytest.raises(PrivacyError, match=r"site S0: .*walk ended .* fewer than 5 patients"):
        converse({"auc": roc("p", "y")}, Deaf(behind_guards()))
    entry = {"id": "share", "kind": "proportion", "column": "y", "by": "y"}
    with pytest.raises(PrivacyError, match=r"site S0: .*walk ended .* fewer than 5 patients"):
        converse({"levels": learn_levels(["y"], ["y"])}, Deaf(behind_guards(entry)))


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, arguments={**one.arguments, "where": {"y": "1"}}),
        lambda one: replace(
            one, arguments={**one.arguments, "depth": 12}, arrays={"active": np.arange(9, dtype=np.uint64)}
        ),
        lambda one: replace(one, arguments={**one.arguments, "of": "key_children"}),
        lambda one: replace(one, arguments={**one.arguments, "of": "patients"}),
    ],
)
def test_patients_are_counted_of_what_is_asked_beside_them_only(change: Callable[[Question], Question]) -> None:
    (bins,) = next(refine("p", "y"))
    behind_guards().total([bins, patients_question(bins)])
    with pytest.raises(ProtocolError, match="site S0: question 'patients'"):
        behind_guards().total([bins, patients_question(bins), change(patients_question(bins))])


def test_where_rows_are_patients_nobody_asks_for_them() -> None:
    plan = asked(ROC, patient=False)
    (bins,) = next(refine("p", "y"))
    summer = GuardedSummer(few_positive(), permit_of_plan(plan, min_cell=5))
    with pytest.raises(ProtocolError, match=r"question 'patients': .* or rows are patients"):
        summer.total([bins, patients_question(bins)])
    with pytest.raises(DataError, match="this table does not say whose its rows are"):
        TablesSummer(list(few_positive().values())).total([patients_question(bins)])


def test_the_rows_of_a_study_are_of_patients_where_its_unit_is_the_lesion() -> None:
    """Seven lesions of two patients among the test rows: no curve of them, whichever side looks."""
    of_lesions = study_permit(ct_study(unit="lesion"), 5)
    assert of_lesions.by_patient
    assert not study_permit(ct_study(), 5).by_patient
    known = {
        site: Table({"label": one["y"], "score:federated": one["p"]}, patients=one["patient"])
        for site, one in few_positive().items()
    }
    talk = over("internal", roc("score:federated", "label", key="logit32"))
    with pytest.raises(PrivacyError, match=r"a group by label .*fewer than 5 patients"):
        converse({"auc": talk}, PatientFloors(GuardedSummer(known, of_lesions), 5))
    talk = over("internal", roc("score:federated", "label", key="logit32"))
    with pytest.raises(ProtocolError, match="a patient may have several rows here"):
        converse({"auc": talk}, GuardedSummer(known, of_lesions))


def test_a_row_without_a_patient_is_refused() -> None:
    plan = asked(ROC)
    table = few_positive()["S0"]
    whose = table["patient"].copy()
    whose[3] = np.nan
    with pytest.raises(DataError, match="column 'patient': 1 of 40 rows say no patient"):
        plan.completed(Table({**table.columns, "patient": whose}))


def test_the_column_is_named_once_for_the_whole_plan(tmp_path: Path) -> None:
    assert "patient" in asked(ROC).columns()
    assert asked(ROC, patient=False).patient is None
    with pytest.raises(ConfigError, match="analysis 1: 'patient' is a key of the plan"):
        parse_plan({"analysis": [{**ROC, "patient": "patient"}]}, "plan")
    for wrong in (3, "", ["patient"]):
        with pytest.raises(ConfigError, match="wanted the name of the column that says whose a row is"):
            parse_plan({"patient": wrong, "analysis": [ROC]}, "plan")


def test_epsilon_is_not_promised_to_patients_of_several_rows() -> None:
    noised = {"id": "dp", "kind": "private_roc", "scores": ["p"], "label": "y", "epsilon": 4.0, "sites": 3}
    with pytest.raises(
        ConfigError, match="'dp' is a private_roc, and the plan says patient = 'patient'; epsilon is of"
    ):
        asked(noised)
