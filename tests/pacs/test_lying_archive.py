"""An archive that hands out (WADO-RS) other objects than were asked for, or half of them, or none."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from pydicom.uid import UID

from fl_liver.client.cohort.check.check import check_folder
from fl_liver.client.cohort.pacs.fetch import Outcome
from fl_liver.client.site import SiteConfig
from tests.pacs.dicom_objects import OTHER, as_bytes, changed, ct_slice, uid_of
from tests.pacs.outcomes import files, only_result
from tests.pacs.tiny_archive import Answer, Hook, TinyArchive

MakeSite = Callable[..., SiteConfig]
Fetch = Callable[..., Outcome]


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


def test_contours_and_damaged_images_are_kept_for_the_check_to_name(make_site: MakeSite, fetch_all: Fetch) -> None:
    """Lesions may be drawn in an RTSTRUCT; and an image that lies truncated in the archive never comes whole."""
    archive = TinyArchive([changed(ct_slice(0, "contours"), Modality="RTSTRUCT"), ct_slice(0, "cut")])
    del archive.objects[0].PixelData
    archive.objects[1].PixelData = archive.objects[1].PixelData[:100]
    site = make_site(archive.url)
    assert fetch_all(site).exit_code == 0
    archive.close()
    assert len(files(site)) == 2
    findings = [one.code for one in check_folder(site.data).findings]
    assert "E_TRUNCATED" in findings
