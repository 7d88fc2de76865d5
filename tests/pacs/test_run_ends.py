"""What costs one series, and what ends a run: with which words, and with which exit status."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from fl_liver.client.cohort.pacs.fetch import Outcome
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, IncompleteError, UnreachableError
from tests.pacs.dicom_objects import PATIENT, ct_slice, uid_of
from tests.pacs.outcomes import files, only_result
from tests.pacs.tiny_archive import Answer, TinyArchive

MakeSite = Callable[..., SiteConfig]
Fetch = Callable[..., Outcome]


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
