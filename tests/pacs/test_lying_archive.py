"""An archive that lies, breaks off or is broken: nothing but what was asked for becomes a file."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.uid import UID

from fl_liver.client.cohort.pacs.fetch import Choice, Outcome
from fl_liver.client.cohort.pacs.wanted import one_study
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, IncompleteError, UnreachableError
from tests.pacs.dicom_objects import OTHER, PATIENT, as_bytes, changed, ct_slice, uid_of
from tests.pacs.tiny_archive import Answer, Hook, TinyArchive

MakeSite = Callable[..., SiteConfig]
Fetch = Callable[..., Outcome]


def files(site: SiteConfig) -> list[Path]:
    """Everything below `data`, hidden leftovers included."""
    return sorted(path for path in site.data.rglob("*") if path.is_file())


def only_result(outcome: Outcome) -> tuple[str, int, int, str]:
    """(state, objects fetched, objects refused, why) of a run of one series."""
    [(_, result)] = outcome.series
    return result.state, result.fetched, result.refused, result.why


def test_an_honest_archive_gives_every_object_byte_for_byte(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    """The ground under the tests below: without a hook, all is well."""
    site = make_site(archive.url)
    assert fetch_all(site).exit_code == 0
    assert {path.read_bytes() for path in files(site)} == {as_bytes(one) for one in archive.objects}
    assert archive.asked == {"studies": 1, "series": 1, "objects": 1, "whole": 1}
    assert {path.stat().st_mode & 0o777 for path in files(site)} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (site.data / "dicom").rglob("*") if path.is_dir()} == {0o700}


def test_a_second_run_asks_for_no_image(archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch) -> None:
    site = make_site(archive.url)
    fetch_all(site)
    archive.asked.clear()
    outcome = fetch_all(site)
    assert (outcome.exit_code, only_result(outcome)[0]) == (0, "already here")
    assert archive.asked == {"studies": 1, "series": 1, "objects": 1}


def test_what_is_here_is_not_fetched_again_and_the_rest_comes_one_by_one(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    site = make_site(archive.url)
    fetch_all(site)
    for path in files(site)[:3]:
        path.unlink()
    (files(site)[0].parent / ".0123.part").write_bytes(b"left by a run that was killed")
    archive.asked.clear()
    assert only_result(fetch_all(site))[:2] == ("fetched", 3)
    assert archive.asked == {"studies": 1, "series": 1, "objects": 1, "one": 3}
    assert len(files(site)) == 8


@pytest.mark.parametrize(
    ("element", "value", "what"),
    [
        ("PatientID", OTHER, "another patient"),
        ("StudyInstanceUID", uid_of("elsewhere"), "another study"),
        ("SeriesInstanceUID", uid_of("elsewhere"), "another series"),
        ("SOPInstanceUID", uid_of("elsewhere"), "another object"),
        ("SOPInstanceUID", "../../etc/passwd", "another object"),
    ],
)
def test_an_object_that_is_not_the_one_asked_for_is_refused(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, element: str, value: str, what: str
) -> None:
    """An archive that mixes two patients up must not mix them up here."""
    wrong = as_bytes(changed(ct_slice(2), **{element: value}))

    def lie(answer: Answer) -> None:
        answer.parts_of([wrong if one.InstanceNumber == 3 else as_bytes(one) for one in answer.chosen()])

    archive.hooks.update(whole=lie, one=lie)
    site = make_site(archive.url)
    outcome = fetch_all(site)
    state, fetched, refused, why = only_result(outcome)
    assert (state, fetched, refused, outcome.exit_code) == ("refused", 7, 1, 1)
    assert what in why
    assert len(files(site)) == 7
    assert wrong not in {path.read_bytes() for path in files(site)}


def test_an_archive_of_the_wrong_patient_throughout_leaves_nothing(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    """It is given up after three objects in a row; no empty folder stays."""
    wrong = [as_bytes(changed(ct_slice(number), PatientID=OTHER)) for number in range(8)]
    archive.hooks.update(whole=lambda answer: answer.parts_of(wrong), one=lambda answer: answer.parts_of(wrong[:1]))
    site = make_site(archive.url)
    outcome = fetch_all(site)
    assert (outcome.exit_code, only_result(outcome)[:3]) == (2, ("refused", 0, 3))
    assert archive.asked["one"] == 3
    assert [*(site.data / "dicom").iterdir()] == []


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


def test_more_parts_than_announced_are_not_read(archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch) -> None:
    """The stream of parts has no end; it is left after the eighth."""

    def flood(answer: Answer) -> None:
        answer.parts_of(itertools.chain((as_bytes(one) for one in answer.chosen()), itertools.repeat(b"x" * 1000)))

    archive.hooks["whole"] = flood
    site = make_site(archive.url)
    outcome = fetch_all(site)
    assert (outcome.exit_code, *only_result(outcome)[:3]) == (1, "incomplete", 8, 0)
    assert "sends more than the 8 objects that it lists" in only_result(outcome)[3]
    assert len(files(site)) == 8


def test_an_object_without_end_is_cut_at_the_limit(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 GiB; here 1 MB, so that the test fits on a disk."""
    monkeypatch.setattr("fl_liver.client.cohort.pacs.store.MAX_FILE_BYTES", 1_000_000)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 10_000
            yield b"\0" * 10_000

    def flood(answer: Answer) -> None:
        answer.parts_of([as_bytes(archive.objects[0])[:200]], end=b"")
        for block in endless():
            answer.wfile.write(block)

    archive.hooks.update(whole=flood, one=flood)
    site = make_site(archive.url)
    outcome = fetch_all(site)
    assert (outcome.exit_code, *only_result(outcome)[:3]) == (2, "refused", 0, 3)
    assert "an object of more than" in only_result(outcome)[3]
    assert files(site) == []
    assert sent < 100_000_000


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


def cut_before_the_end(answer: Answer) -> None:
    """The connection closes in the middle of the last object, and nothing else tells."""
    parts = [as_bytes(one) for one in answer.chosen()]
    answer.parts_of([*parts[:-1], parts[-1][:-300]], end=b"")


def test_an_answer_that_breaks_off_gives_its_whole_objects_and_the_rest_is_asked_for(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    """A closed connection looks like a finished one; only the delimiter behind a part says that it is whole."""
    archive.hooks["whole"] = cut_before_the_end
    site = make_site(archive.url)
    assert only_result(fetch_all(site))[:3] == ("fetched", 8, 0)
    assert archive.asked["one"] == 1
    assert {path.read_bytes() for path in files(site)} == {as_bytes(one) for one in archive.objects}


def test_an_archive_that_always_breaks_off_is_incomplete(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    archive.hooks.update(whole=cut_before_the_end, one=cut_before_the_end)
    outcome = fetch_all(make_site(archive.url, retries=1))
    assert (outcome.exit_code, *only_result(outcome)[:3]) == (1, "incomplete", 7, 0)
    assert "broke off in the middle of an answer" in only_result(outcome)[3]
    assert archive.asked["one"] == 2


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


def typed(kind: str) -> Hook:
    return lambda answer: answer.whole(b"\r\n--b\r\n\r\nxx\r\n--b--", kind)


@pytest.mark.parametrize(
    ("lie", "what"),
    [
        (typed("text/html; charset=utf-8"), "sends text/html where multipart/related of DICOM objects was wanted"),
        (typed("application/dicom"), "sends application/dicom where multipart"),
        (typed('multipart/related; type="application/dicom"'), "without a usable boundary"),
        (typed('multipart/related; type="image/jpeg"; boundary=b'), "parts of type 'image/jpeg'"),
        (typed('multipart/related; type="application/dicom"; boundary=other'), "broke off"),
        (typed('multipart/related; type="application/dicom"; boundary=b'), "without a readable header (E_TRUNCATED)"),
        (lambda answer: answer.parts_of([b"x"], kind="image/jpeg"), "a part of type 'image/jpeg'"),
        (lambda answer: answer.parts_of([b"x" * 500]), "without a readable header (E_NOT_DICOM)"),
        (lambda answer: answer.parts_of([]), "sends nothing for an object that it lists"),
        (lambda answer: answer.whole(b"x" * 99, "text/plain", 404), "answered 404 for an object"),
        (lambda answer: answer.whole(b"x" * 99, "text/plain", 406), "does not hand out DICOM objects as they are"),
        (lambda answer: answer.whole(b"x" * 99, "text/plain", 500), "fails on an object (500)"),
        (
            lambda answer: answer.whole(b"x", "multipart/related; boundary=b", Content_Encoding="gzip"),
            "packs its answers (gzip)",
        ),
    ],
)
def test_an_answer_without_the_object_leaves_nothing(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, lie: Hook, what: str
) -> None:
    archive.hooks.update(whole=lie, one=lie)
    site = make_site(archive.url, retries=0)
    outcome = fetch_all(site)
    assert outcome.exit_code == 2
    assert what in only_result(outcome)[3]
    assert (outcome.cut_by, files(site)) == (None, [])


def test_a_header_that_inflates_without_end_is_refused(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader's own gate holds here too: nothing is inflated in memory to look at an id."""
    monkeypatch.setattr("fl_liver.client.cohort.read.dicom.MAX_INFLATED_BYTES", 100)
    for one in archive.objects:
        one.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1.99")
    outcome = fetch_all(make_site(archive.url))
    assert only_result(outcome)[:3] == ("refused", 0, 3)
    assert "E_TOO_LARGE" in only_result(outcome)[3]


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


def test_a_lost_search_is_made_again(archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch) -> None:
    """503 twice, then the answer: an archive that is restarted over night."""
    busy = iter((503, 502))

    def lie(answer: Answer) -> None:
        status = next(busy, None)
        answer.whole(b"", "text/plain", status) if status else answer.honest()

    archive.hooks["studies"] = lie
    assert fetch_all(make_site(archive.url)).exit_code == 0
    assert archive.asked["studies"] == 3


def test_one_series_that_the_archive_fails_on_costs_itself(make_site: MakeSite, fetch_all: Fetch) -> None:
    two = TinyArchive([ct_slice(0, "portal"), ct_slice(0, "arterial")])
    broken = uid_of(PATIENT, "portal")

    def lie(answer: Answer) -> None:
        answer.whole(b"", "text/plain", 500) if broken in answer.parts else answer.honest()

    two.hooks.update(whole=lie, one=lie)
    outcome = fetch_all(make_site(two.url))
    two.close()
    assert sorted(result.state for _, result in outcome.series) == ["failed", "fetched"]
    assert (outcome.exit_code, two.asked["one"]) == (1, 3)


def test_a_silent_archive_ends_the_run_after_its_timeout(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    def silent(answer: Answer) -> None:
        time.sleep(1.5)

    archive.hooks.update(
        whole=silent, series=lambda answer: answer.honest() if not archive.asked["whole"] else silent(answer)
    )
    outcome = fetch_all(make_site(archive.url, timeout_s=0.5, retries=0))
    assert isinstance(outcome.cut_by, UnreachableError)
    assert outcome.exit_code == 69
    assert "silent for 0.5 s (pacs.timeout_s)" in str(outcome.cut_by)


def test_an_archive_that_drips_is_left_like_a_silent_one(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    """A byte now and then resets every timeout of a socket."""

    def drip(answer: Answer) -> None:
        answer.parts_of([], end=b"\r\n--b\r\n\r\n")
        for _ in range(50):
            answer.wfile.write(b".")
            time.sleep(0.1)

    archive.hooks.update(whole=drip, one=drip)
    outcome = fetch_all(make_site(archive.url, timeout_s=0.5, retries=0))
    assert "all but silent for 0.5 s" in only_result(outcome)[3]
    assert outcome.exit_code == 2


def test_a_redirect_is_not_followed(archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch) -> None:
    """It would take the password along, or the patient's id."""
    elsewhere = TinyArchive([ct_slice(0)])
    archive.hooks["whole"] = lambda answer: answer.whole(b"", "text/plain", 302, Location=elsewhere.url + answer.path)
    outcome = fetch_all(make_site(archive.url))
    elsewhere.close()
    assert (outcome.exit_code, sum(elsewhere.asked.values())) == (78, 0)
    assert "redirects elsewhere (302), which is not followed" in str(outcome.cut_by)


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (401, r"the archive refused the user \(401\); correct user_file and password_file of \[pacs\]"),
        (403, r"does not let this user search \(403\)"),
        (404, r"no DICOMweb under pacs.url \(404 for /studies\); wanted its root"),
    ],
)
def test_a_refused_user_or_a_wrong_root_ends_the_run(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, status: int, what: str
) -> None:
    archive.hooks["studies"] = lambda answer: answer.whole(b"", "text/plain", status)
    outcome = fetch_all(make_site(archive.url))
    assert isinstance(outcome.cut_by, ConfigError)
    assert (outcome.exit_code, archive.asked["studies"]) == (78, 1)
    with pytest.raises(ConfigError, match=what):
        raise outcome.cut_by


def test_a_disk_at_its_floor_ends_the_run_before_a_series(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    site = make_site(archive.url, free_gb=1e9)
    outcome = fetch_all(site)
    assert isinstance(outcome.cut_by, IncompleteError)
    assert (outcome.exit_code, archive.asked["whole"], files(site)) == (75, 0, [])
    assert "stay free (pacs.free_gb); make room and run it again" in str(outcome.cut_by)


def test_a_disk_that_cannot_be_written_is_one_line(archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch) -> None:
    site = make_site(archive.url)
    (site.data / "dicom").write_text("a file where the folder should be")
    outcome = fetch_all(site)
    assert "folder dicom of 'data': cannot be written (File exists)" in str(outcome.cut_by)


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
