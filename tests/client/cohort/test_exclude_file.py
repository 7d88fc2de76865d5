"""Patients whom a person left out, and classes of which there are too few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table.class_counts import class_count_faults
from fl_liver.client.cohort.table.exclude import excluded_findings, read_excluded
from fl_liver.errors import DataError


def test_the_file_of_the_check_page_is_read(tmp_path: Path, names: Pseudonyms) -> None:
    first, second = sorted(names.patient(one) for one in ("A", "B"))
    path = tmp_path / "exclude.csv"
    path.write_text(f'\ufeffcase,reason\r\n{second},"motion, all phases"\r\n{first},\r\n', encoding="utf-8")
    found = read_excluded(path)
    assert found == {first: "", second: "motion, all phases"}
    assert list(found) == [first, second]


def test_no_file_and_an_empty_list_exclude_nobody(tmp_path: Path) -> None:
    assert read_excluded(tmp_path / "exclude.csv") == {}
    (tmp_path / "exclude.csv").write_text("case,reason\n")
    assert read_excluded(tmp_path / "exclude.csv") == {}


@pytest.mark.parametrize("case", ["Ziegenpeter", "4711", "", "0123456789AB", "0123456789abc", "1.2E+11"])
def test_a_case_that_is_no_pseudonym_is_refused_and_not_quoted(tmp_path: Path, case: str) -> None:
    """Left alone, a patient whom a person excluded would be used."""
    path = tmp_path / "exclude.csv"
    path.write_text(f"case,reason\n0123456789ab,x\n{case},x\n")
    with pytest.raises(DataError, match=r"exclude.csv: 'case' in row 3 is not a pseudonym \(12 hex digits\)") as caught:
        read_excluded(path)
    assert not case or case not in str(caught.value).replace(str(path), "")


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "exclude.csv").write_text("patient,reason\n0123456789ab,x\n")
    with pytest.raises(DataError, match="column 'case' is missing"):
        read_excluded(tmp_path / "exclude.csv")
    (tmp_path / "exclude.csv").write_text("")
    with pytest.raises(DataError, match="has no rows"):
        read_excluded(tmp_path / "exclude.csv")


def test_who_is_excluded_is_said_without_the_reason(names: Pseudonyms) -> None:
    here = [names.patient(one) for one in "ABC"]
    found = excluded_findings({here[0]: "Ziegenpeter was drunk", "0123456789ab": "x", "ba9876543210": "y"}, here)
    assert [(one.code, one.case, one.cause) for one in found] == [
        ("E_EXCLUDED_HERE", here[0], "left out by a person, see exclude.csv"),
        ("W_EXCLUDED_UNKNOWN", "", "exclude.csv names 2 patients of 3 who are not here"),
    ]
    assert excluded_findings({}, here) == []


def test_a_class_with_few_patients_is_named_also_with_none() -> None:
    classes = {"benign": "0", "hcc": "1", "metastasis": "2", "other": "3"}
    labels = np.repeat(np.array([0, 1, 2]), [5, 4, 1])
    assert class_count_faults(labels, classes) == [
        ("W_CLASS_COUNT_SMALL", "class 'hcc' has 4 patients; wanted 5 or more"),
        ("W_CLASS_COUNT_SMALL", "class 'metastasis' has 1 patient; wanted 5 or more"),
        ("W_CLASS_COUNT_SMALL", "class 'other' has 0 patients; wanted 5 or more"),
    ]
    assert class_count_faults(labels[:5], {"benign": "0"}) == []
    assert len(class_count_faults(np.empty(0, dtype=np.int64), classes, least=1)) == 4
