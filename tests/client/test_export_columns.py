"""What of a hospital's own columns goes into its table: by name alone, and no date of a person."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.export import OwnTable, site_table, table_text
from fl_liver.client.export_columns import tells_a_date
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study
from tests.conftest import MakeSite

Extra = Mapping[str, Sequence[str]]
DATES = (
    *("1960-05-04", "1960-5-4", "19600504", "04.05.1960 10:30", "1960-05-04T10:30:00Z", "20240301103000.000000"),
    *("04/05/1960", "1960/05/04", "4.5.60", "04-05-1960", "13/05/60", "05/13/60", "4. 5. 1960", "1960.05.04"),
    *("4 May 1960", "04-MAY-60", "May 4, 1960", "4. Mai 1960", "12. März 1960", "04MAY1960", "Dez 1960"),
    *("seen 04/05/1960 in clinic", "2019-05", "05/2019"),
)
NO_DATES = (
    *("", "62", "1960", "3.5", "3,5", "1.234.567", "1,234.5", "0.20200105", "12345678", "<0.5", "T2/3", "5/6/7", "1-5"),
    *("> 15", "F3-4", "2 of 40", "19601399", "32.13.1960", "may be 2", "marginal 50", "junior 10", "reader 2019"),
)


def add(path: Path, extra: Extra, rows: int = 12) -> None:
    """Columns beside those of a table; cells beyond those given are empty."""
    with path.open(encoding="utf-8") as file:
        lines = list(csv.reader(file))
    more = [[*cells, *[""] * (rows - len(cells))] for cells in extra.values()]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*lines[0], *extra])
        table.writerows([*line, *(cells[place] for cells in more)] for place, line in enumerate(lines[1:]))


@pytest.fixture
def site(make_site: MakeSite) -> SiteConfig:
    made = make_site("H01", patients=12)
    (made.data / "readers.csv").write_text("patient_id\n" + "".join(f"P{number:03d}\n" for number in range(12)))
    return made


def table(site: SiteConfig, study: Study, plan: Sequence[str] = (), named: Sequence[str] = ()) -> OwnTable:
    return site_table(site, study, load_cohort(site, study), plan=plan, named=named)


@pytest.mark.parametrize("text", DATES)
def test_every_form_of_a_date_is_told(text: str) -> None:
    assert tells_a_date(text)


@pytest.mark.parametrize("text", NO_DATES)
def test_numbers_stages_and_words_are_no_dates(text: str) -> None:
    assert not tells_a_date(text)


def test_what_the_study_and_the_plan_read_is_taken_and_nothing_else(site: SiteConfig, table_study: Study) -> None:
    """A name under whatever heading stays behind, whether it looks like a date or not."""
    strange = {"mrn": ["88121"], "name": ["Doe^J"], "accession": ["A1"], "born": ["04/05/1960"], "ward": ["7"]}
    add(site.data / "clinical.csv", {**strange, "tnm": ["II"] * 12, "afp": ["<3"] * 12})
    add(site.data / "readers.csv", {"mrn2": ["88122"], "read_on": ["2024-03-01"], "reader_1_diagnosis": ["1"] * 12})
    found = table(site, table_study, plan=["tnm", "label", "not_here"])
    text = table_text(found.columns)
    assert not [one for one in ("88121", "88122", "Doe^J", "A1", "1960", "2024", "P003", "<3") if one in text]
    assert found.columns["tnm"] == ["II"] * 12
    assert found.taken == {"clinical table": ["malignant", "age_years", "tnm"], "readers.csv": ["reader_1_diagnosis"]}
    left_out = {
        "clinical table": ["mrn", "name", "accession", "born", "ward", "afp"],
        "readers.csv": ["mrn2", "read_on"],
    }
    assert found.left_out == left_out
    named = table(site, table_study, named=["afp", "ward"]).columns
    assert (named["afp"], named["ward"][1:]) == (["<3"] * 12, [""] * 11)


def test_columns_stand_as_they_are_at_their_patients_rows(site: SiteConfig, table_study: Study) -> None:
    """Also what the study makes a factor of, where the factor has another name."""
    with (site.data / "clinical.csv").open(encoding="utf-8") as file:
        ages = [row["age_years"] for row in csv.DictReader(file)]
    found = table(site, table_study).columns
    names = site_pseudonyms(site.work)
    place = {names.patient(f"P{number:03d}"): number for number in range(12)}
    assert found["age_years"] == [ages[place[case]] for case in found["case"]]
    assert found["age"] != found["age_years"]


@pytest.mark.parametrize(
    "name",
    [
        *("reader_1_diagnosis", "reader_5_confidence", "reader_2_ai_diagnosis", "reader_12_ai_confidence"),
        *("reader_1_class", "reader_1_malignant_class", "ct_mri"),
    ],
)
def test_readers_columns_of_the_documented_names_are_taken(name: str, site: SiteConfig, table_study: Study) -> None:
    add(site.data / "readers.csv", {name: ["1"] * 12, f"{name}_on": ["1"] * 12, "reader_0_class": ["1"]})
    assert table(site, table_study).taken["readers.csv"] == [name]


@pytest.mark.parametrize("where", ["clinical table", "readers.csv"])
@pytest.mark.parametrize("text", ["04/05/1960", "1960/05/04", "4.5.60", "2024-03-01"])
def test_a_date_in_a_column_that_is_taken_is_refused(
    text: str, where: str, site: SiteConfig, table_study: Study
) -> None:
    """The hospital named it, or the plan reads it; what becomes of it is the hospital's to say."""
    file = "clinical.csv" if where == "clinical table" else where
    add(site.data / file, {"seen": ["", text, text]})
    for keys in ({"named": ["seen"]}, {"plan": ["seen"]}):
        with pytest.raises(
            DataError, match=f"{where}: column 'seen' holds a date in 2 of 12 rows, .* put years, or days"
        ):
            table(site, table_study, **keys)
    assert "seen" not in table(site, table_study).columns


def test_ids_and_declared_dates_cannot_be_named_and_are_left_out(site: SiteConfig, table_study: Study) -> None:
    study = table_study.with_top(column=[{"name": "admitted", "kind": "date"}])
    add(site.data / "clinical.csv", {"admitted": ["2019-05-04"] * 12})
    assert "admitted" not in table(site, study, plan=["admitted"]).columns
    assert table(site, study).left_out["clinical table"] == ["admitted"]
    for name in ("patient_id", "admitted"):
        with pytest.raises(ConfigError, match=f"--column {name}: ids and dates do not go into this table"):
            table(site, study, named=[name])


def test_a_named_column_that_no_table_has_is_refused_with_the_nearest(site: SiteConfig, table_study: Study) -> None:
    add(site.data / "clinical.csv", {"stage": ["II"] * 12})
    with pytest.raises(ConfigError, match=r"--column stag: none of this hospital's tables has it \(there is 'stage'\)"):
        table(site, table_study, named=["stag"])
    assert "size_mm" in table(site, table_study, named=["size_mm"]).columns, "the study has it already"
