"""What an archive lists (QIDO-RS) is held against what was asked: patients, UIDs, lengths."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from fl_liver.client.cohort.pacs.fetch import Choice, Outcome
from fl_liver.client.cohort.pacs.wanted import one_patient, one_study
from fl_liver.client.site import SiteConfig
from tests.pacs.dicom_objects import OTHER, PATIENT, changed, ct_slice, uid_of
from tests.pacs.outcomes import files, only_result
from tests.pacs.tiny_archive import Answer, TinyArchive

MakeSite = Callable[..., SiteConfig]
Fetch = Callable[..., Outcome]


def unfiltered(answer: Answer) -> None:
    del answer.query["PatientID"]
    answer.honest()


def test_an_archive_that_ignores_the_filter_gives_nobody_elses_studies(make_site: MakeSite, fetch_all: Fetch) -> None:
    both = TinyArchive([ct_slice(0), ct_slice(0, patient=OTHER)])
    both.hooks["studies"] = unfiltered
    outcome = fetch_all(make_site(both.url))
    both.close()
    assert [(task.patient, result.fetched) for task, result in outcome.series] == [(outcome.series[0][0].patient, 1)]
    assert both.asked["series"] == 1


def test_an_archive_with_another_patients_studies_only_says_so(make_site: MakeSite, fetch_all: Fetch) -> None:
    """Orthanc finds MRN-1 where mrn-1 was asked for; the images' own id then differs from the worklist's."""
    other = TinyArchive([ct_slice(0, patient=PATIENT.lower())])
    other.hooks["studies"] = unfiltered
    outcome = fetch_all(make_site(other.url))
    other.close()
    assert (outcome.exit_code, other.asked["series"]) == (2, 0)
    assert "studies of another patient only; is archive_id written as in the archive" in outcome.misses[0].why


def test_a_listed_uid_that_is_none_is_never_asked_for(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    def lie(answer: Answer) -> None:
        listed = answer.listed()
        listed[0]["00080018"]["Value"] = ["../../../../etc/passwd"]
        answer.json(listed)

    archive.hooks["objects"] = lie
    site = make_site(archive.url)
    outcome = fetch_all(site)
    state, fetched, refused, why = only_result(outcome)
    assert (state, fetched, refused) == ("refused", 7, 1)
    assert "the one asked for" in why or "whose UID is none" in why
    assert {path.relative_to(site.data).parts[:2] for path in files(site)} == {("dicom", PATIENT)}


@pytest.mark.parametrize(("kind", "tag"), [("studies", "0020000D"), ("series", "0020000E")])
def test_a_study_or_series_whose_uid_is_none_is_a_miss(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, kind: str, tag: str
) -> None:
    def lie(answer: Answer) -> None:
        listed = answer.listed()
        listed[0][tag]["Value"] = ["1.2/../../instances"]
        answer.json(listed)

    archive.hooks[kind] = lie
    outcome = fetch_all(make_site(archive.url))
    assert outcome.exit_code == 2
    assert "whose UID is none" in outcome.misses[0].why


def test_fewer_objects_listed_than_announced_is_incomplete(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    def lie(answer: Answer) -> None:
        listed = answer.listed()
        listed[0]["00201209"]["Value"] = [10]
        answer.json(listed)

    archive.hooks["series"] = lie
    outcome = fetch_all(make_site(archive.url))
    assert (outcome.exit_code, *only_result(outcome)[:3]) == (1, "incomplete", 8, 0)
    assert "lists fewer objects than it announces" in only_result(outcome)[3]


def test_lists_are_read_page_by_page(make_site: MakeSite, fetch_all: Fetch) -> None:
    """An archive may give fewer at a time than it was asked for."""
    paged = TinyArchive([ct_slice(number) for number in range(8)], page=3)
    outcome = fetch_all(make_site(paged.url))
    paged.close()
    assert (outcome.exit_code, only_result(outcome)[1], paged.asked["objects"]) == (0, 8, 3)


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        (b"<html>log in</html>", "text/html", "the list of studies is 'text/html', wanted application/dicom+json"),
        (b"[1, 2]", "application/json", "is no list of DICOM JSON items"),
        (b"[{", "application/dicom+json", "is no JSON (JSONDecodeError)"),
        (b"[" * 100_000, "application/dicom+json", "is no JSON (RecursionError)"),
        (b'[{"0020000D": 7, "00100020": {"Value": [{"a": 1}]}}]', "application/json", "whose UID is none"),
    ],
)
def test_a_list_that_is_none_is_a_miss(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, body: bytes, kind: str, what: str
) -> None:
    archive.hooks["studies"] = lambda answer: answer.whole(body, kind)
    outcome = fetch_all(make_site(archive.url))
    assert outcome.exit_code == 2
    assert what in outcome.misses[0].why


def test_a_list_that_is_too_long_is_not_read_to_its_end(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fl_liver.client.cohort.pacs.archive.MAX_ANSWER_BYTES", 1000)
    archive.hooks["objects"] = lambda answer: answer.whole(json.dumps([{}] * 1000).encode(), "application/json")
    assert "more than 1000 bytes for the list of objects" in fetch_all(make_site(archive.url)).misses[0].why


def test_a_list_without_end_is_left(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page after page of new objects; the archive decides neither how much memory nor how long."""
    monkeypatch.setattr("fl_liver.client.cohort.pacs.query.MOST", 5000)

    def lie(answer: Answer) -> None:
        start = int(answer.query.get("offset", 0))
        answer.json([{"00080018": {"Value": [f"1.2.{start + number}"]}} for number in range(1000)])

    archive.hooks["objects"] = lie
    assert "more than 5000 entries in the list of objects" in fetch_all(make_site(archive.url)).misses[0].why
    assert archive.asked["objects"] == 6


def test_a_study_named_alone_lies_under_the_archives_own_id(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    site = make_site(archive.url)
    assert fetch_all(site, one_study(uid_of(PATIENT))).exit_code == 0
    assert len([*(site.data / "dicom" / PATIENT).rglob("*.dcm")]) == 8


@pytest.mark.parametrize("patient", ["../../outside", "a/b", ".hidden", "x" * 65, "line\nbreak"])
def test_an_archives_id_that_names_no_folder_is_a_miss(make_site: MakeSite, fetch_all: Fetch, patient: str) -> None:
    archive = TinyArchive([ct_slice(0)])
    changed(archive.objects[0], PatientID=patient)
    outcome = fetch_all(site := make_site(archive.url), one_study(uid_of(PATIENT)))
    archive.close()
    assert (outcome.exit_code, files(site)) == (2, [])
    assert "use a worklist with patient_id and archive_id" in outcome.misses[0].why


def test_a_limit_counts_studies(make_site: MakeSite, fetch_all: Fetch) -> None:
    two = TinyArchive([ct_slice(0), changed(ct_slice(1, "later"), StudyInstanceUID=uid_of("second"))])
    site = make_site(two.url)
    assert len(fetch_all(site, choice=Choice(studies=1)).series) == 1
    assert len(fetch_all(site).series) == 2
    two.close()


def test_series_of_other_modalities_are_left(archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch) -> None:
    outcome = fetch_all(make_site(archive.url), choice=Choice(modalities=("MR",)))
    assert (outcome.exit_code, archive.asked) == (2, {"studies": 1})
    assert "no series of MR that fits the row" in outcome.misses[0].why


def test_two_rows_that_name_one_series_fetch_it_once(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    outcome = fetch_all(make_site(archive.url), one_patient(PATIENT), replace(one_patient(PATIENT), modalities=("CT",)))
    assert (outcome.exit_code, len(outcome.series), outcome.misses) == (0, 1, [])
