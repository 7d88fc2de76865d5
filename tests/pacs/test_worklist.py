"""Worklists, ids that name folders, and [pacs] in site.toml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fl_liver.client.cohort.pacs.wanted import Wanted, one_patient, one_study, read_worklist
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError

MakeSite = Callable[..., SiteConfig]
UID = "1.2.840.113619.2.55"


def write(folder: Path, text: str) -> Path:
    path = folder / "worklist.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_list_of_patients_is_enough(tmp_path: Path) -> None:
    assert read_worklist(write(tmp_path, "patient_id\nP1\nP2\nP1\n")) == [one_patient("P1"), one_patient("P2")]


def test_every_column_is_read(tmp_path: Path) -> None:
    """Semicolons, as Excel writes them in most of Europe."""
    header = "patient_id;archive_id;study_uid;accession_number;from;to;modality;series_description"
    path = write(tmp_path, f'{header}\nP1;12/34;{UID};A7;2024-01-31;2025-12-01;"mr, seg";*T2*\n')
    assert read_worklist(path) == [
        Wanted("P1", "12/34", UID, "A7", "20240131", "20251201", ("MR", "SEG"), "*T2*"),
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("patient_id\na/b\n", r"row 2: patient_id holds / or \\ or a control character"),
        ("patient_id\nP1\n..\n", "row 3: patient_id begins with a dot"),
        ("patient_id,modality\n,MR\n", "row 2: patient_id is empty"),
        ("patient_id\n" + "x" * 65 + "\n", "row 2: patient_id has 65 characters, at most 64 name a folder"),
        ("patient_id\nP*\n", r"row 2: patient_id holds \* or \? \(which ask for many\)"),
        ("patient_id,archive_id\nP1,P?\n", r"row 2: archive_id holds \* or \?"),
        ("patient_id,study_uid\nP1,1.2/3\n", "row 2: study_uid is no valid UID"),
        ("patient_id,from\nP1,31.01.2024\n", "row 2: 'from' is no day, wanted YYYY-MM-DD"),
        ("patient_id,from,to\nP1,2024-02-01,2024-01-01\n", "row 2: 'to' is before 'from'"),
        ("patient_id,modality\nP1,M?R\n", "row 2: 'modality' is none, wanted such as MR or MR;SEG"),
        ("patient_id,modalty\nP1,MR\n", "unknown column 'modalty'; known: patient_id, archive_id"),
        ("patient\nP1\n", r"column 'patient_id' \(there is 'patient'\) is missing"),
    ],
)
def test_a_worklist_that_cannot_be_asked_is_refused_whole(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        read_worklist(write(tmp_path, text))
    assert "31.01.2024" not in str(caught.value)


def test_of_many_faults_ten_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 11: .*; and 3 more; correct them, nothing was asked for"):
        read_worklist(write(tmp_path, "patient_id\n" + "".join(f"a/{number}\n" for number in range(13))))


@pytest.mark.parametrize("patient", ["", "a/b", "a\\b", "..", "P1\x00", "P1\u202e", "P1.", "P*"])
def test_a_patient_that_names_no_folder_is_refused(patient: str) -> None:
    with pytest.raises(ConfigError, match=r"--patient: the id .*; use a worklist with another patient_id"):
        one_patient(patient)


@pytest.mark.parametrize("patient", ["P1", "4711-0815", "Müller 3", "a.b", "患者-1"])
def test_an_id_with_letters_of_any_language_is_fine(patient: str) -> None:
    assert one_patient(patient).patient_id == patient


@pytest.mark.parametrize("uid", ["", "1.2.", "../../etc/passwd", "1.2.3\n", "1" * 65, "1.02"])
def test_a_study_that_is_no_uid_is_refused(uid: str) -> None:
    with pytest.raises(ConfigError, match="--study: no valid UID"):
        one_study(uid)


@pytest.mark.parametrize(
    ("pattern", "description", "wanted"),
    [
        ("", "anything", True),
        ("t2", "AX T2 HASTE", True),
        ("*t2", "AX T2 HASTE", False),
        ("*t2*", "AX T2 HASTE", True),
        ("dwi", "AX T2 HASTE", False),
        ("t?", "T2", True),
    ],
)
def test_a_description_is_a_part_or_a_pattern(pattern: str, description: str, wanted: bool) -> None:
    assert Wanted(series_description=pattern).describes(description) is wanted


def test_days_are_both_included_and_a_study_without_a_day_is_wanted() -> None:
    row = Wanted(first_day="20240101", last_day="20240131")
    days = ["20231231", "20240101", "20240131", "20240201", ""]
    assert [row.is_on(day) for day in days] == [False, True, True, False, True]
    assert Wanted(first_day="20240101").is_on("20300101")


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"url": "http://pacs.hospital/dicom-web"}, "'pacs': url is plain http to pacs.hospital; wanted https"),
        ({"url": "https://me:geheim@pacs/x"}, "'pacs': url holds a user or a password"),
        ({"url": "https://pacs/x?a=b"}, "'pacs': url has a '\\?' or '#'"),
        ({"url": "ftp://pacs/x"}, "'pacs': url is no address of the web"),
        ({"url": "https://pacs:x/"}, "'pacs': url is no address"),
        ({"password_file": None}, "'pacs': user_file and password_file go together"),
        ({"token_file": "token"}, "'pacs': give user_file and password_file, or token_file, not both"),
        ({"certificate": "a.crt"}, "'pacs': certificate and certificate_key go together"),
        ({"timeout": 3}, "unknown key 'pacs.timeout', did you mean 'timeout_s'"),
        ({"timeout_s": 0}, "'pacs.timeout_s': Input should be greater than or equal to 0.5"),
        ({"modalities": ()}, "'pacs.modalities'"),
    ],
)
def test_a_wrong_pacs_table_is_one_line(make_site: MakeSite, keys: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        make_site(**{"url": "https://pacs.hospital/dicom-web", **keys})
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8042/dicom-web", "http://[::1]/x", "http://localhost/x", "https://pacs/x"]
)
def test_plain_http_is_for_this_machine(make_site: MakeSite, url: str) -> None:
    site = make_site(url)
    assert site.pacs is not None
    assert site.pacs.user_file == site.work.parent / "user"
