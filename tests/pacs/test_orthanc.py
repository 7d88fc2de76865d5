"""Against a real archive: Orthanc with its DICOMweb plugin, alone in a network namespace."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless

from fl_liver.client.cohort.check.check import check_folder
from fl_liver.client.cohort.pacs.fetch import Choice, Outcome, Task, preview
from fl_liver.client.cohort.pacs.wanted import Wanted, one_patient
from fl_liver.client.site import SiteConfig
from tests.pacs.dicom_objects import CANARIES, PATIENT, as_bytes, as_jpeg_ls, ct_slice, uid_of
from tests.pacs.orthanc import URL, Orthanc, absent

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent())

MakeSite = Callable[..., SiteConfig]
Fetch = Callable[..., Outcome]
ROOT = f"{URL}/dicom-web"
LARGE = "MRN-LARGE"
COMMAND = ("-m", "fl_liver.cli", "site", "fetch")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Holds a series of 40 slices, one of 6 in JPEG-LS, and of another patient one of 63 MB."""
    one = Orthanc(tmp_path_factory.mktemp("orthanc") / "archive")
    one.push(as_bytes(ct_slice(number)) for number in range(40))
    one.push(as_bytes(as_jpeg_ls(ct_slice(number, "arterial"))) for number in range(6))
    one.push(as_bytes(ct_slice(number, patient=LARGE, rows=512)) for number in range(120))
    yield one
    one.close()


def files(site: SiteConfig) -> list[Path]:
    return sorted(site.data.rglob("*.dcm"))


def started(orthanc: Orthanc, site: SiteConfig, *words: str) -> subprocess.Popen[str]:
    """The command line in the namespace of the archive."""
    command = [sys.executable, *COMMAND, "--dir", str(site.work.parent), *words]
    return subprocess.Popen(orthanc.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_a_file(site: SiteConfig, process: subprocess.Popen[str]) -> None:
    while not any((site.data / "dicom").glob("*/*/*.dcm")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


def test_two_series_are_fetched_as_they_are_stored_and_found_usable(
    orthanc: Orthanc, make_site: MakeSite, fetch_all: Fetch
) -> None:
    """JPEG-LS stays JPEG-LS: the default of DICOMweb would have it transcoded, at four times the bytes."""
    site = make_site(ROOT)
    outcome = orthanc.inside(lambda: fetch_all(site))
    assert outcome.exit_code == 0
    assert sorted(result.fetched for _, result in outcome.series) == [6, 40]
    found = [dcmread(path) for path in files(site)]
    assert sum(one.file_meta.TransferSyntaxUID == JPEGLSLossless for one in found) == 6
    pixels = {ct_slice(number).pixel_array.tobytes() for number in range(40)}
    assert {one.pixel_array.tobytes() for one in found} == pixels
    report = check_folder(site.data)
    assert sorted((one.slices, one.usable) for one in report.series) == [(6, True), (40, True)]
    assert {finding.severity for finding in report.findings} <= {"W"}


def test_a_second_run_fetches_nothing(orthanc: Orthanc, make_site: MakeSite, fetch_all: Fetch) -> None:
    site = make_site(ROOT)
    orthanc.inside(lambda: fetch_all(site))
    before = {path: path.stat().st_mtime_ns for path in files(site)}
    outcome = orthanc.inside(lambda: fetch_all(site))
    assert (outcome.exit_code, {result.state for _, result in outcome.series}) == (0, {"already here"})
    assert {path: path.stat().st_mtime_ns for path in files(site)} == before


def test_a_row_narrows_what_is_fetched(orthanc: Orthanc, make_site: MakeSite, fetch_all: Fetch) -> None:
    """By description, day and accession number; the folder is the hospital's own id, not the archive's."""
    site = make_site(ROOT)
    row = Wanted("north-007", PATIENT, uid_of(PATIENT), "9876543210", "20250301", "20250331", ("CT",), "arter*")
    assert orthanc.inside(lambda: fetch_all(site, row)).exit_code == 0
    assert {path.relative_to(site.data).parts[1] for path in files(site)} == {"north-007"}
    assert len(files(site)) == 6
    too_late = Wanted("north-007", PATIENT, first_day="20250401")
    assert orthanc.inside(lambda: fetch_all(site, too_late)).exit_code == 2


def test_a_preview_fetches_nothing_and_counts_what_would_come(orthanc: Orthanc, make_site: MakeSite) -> None:
    site = make_site(ROOT)
    found = orthanc.inside(lambda: list(preview(site, [one_patient(LARGE)], Choice())))
    [task] = [one for one in found if isinstance(one, Task)]
    assert (task.missing, task.here, task.missing_bytes) == (120, 0, 120 * 512 * 512 * 2)
    assert [*site.data.iterdir()] == []


def test_the_command_line_from_a_dry_run_to_the_table(orthanc: Orthanc, make_site: MakeSite) -> None:
    site = make_site(ROOT)
    worklist = site.work.parent / "worklist.csv"
    worklist.write_text(f"patient_id,modality\n{PATIENT},CT\nnobody,CT\n")
    dry = started(orthanc, site, "--list", str(worklist), "--dry-run")
    said, _ = dry.communicate(timeout=60)
    assert dry.returncode == 1, said
    assert "Would be fetched" in said
    assert "46" in said
    assert files(site) == []
    real = started(orthanc, site, "--list", str(worklist))
    said, _ = real.communicate(timeout=60)
    assert real.returncode == 1, said
    assert "the archive has no series of CT that fits the row" in said
    assert "40 objects, 0.1 MB fetched" in said
    assert len(files(site)) == 46
    assert not [one for one in CANARIES if one in said]


def test_a_killed_run_is_resumed(orthanc: Orthanc, make_site: MakeSite, fetch_all: Fetch) -> None:
    """SIGKILL: nothing is tidied up, no half file bears a name."""
    site = make_site(ROOT)
    process = started(orthanc, site, "--patient", LARGE)
    wait_for_a_file(site, process)
    process.kill()
    process.communicate()
    left = len(files(site))
    assert 0 < left < 120
    outcome = orthanc.inside(lambda: fetch_all(site, one_patient(LARGE)))
    [(_, result)] = outcome.series
    assert (outcome.exit_code, result.here, result.fetched) == (0, left, 120 - left)
    assert [*site.data.rglob(".*")] == []
    assert {dcmread(path).pixel_array.tobytes() for path in files(site)} == {
        ct_slice(number, patient=LARGE, rows=512).pixel_array.tobytes() for number in range(120)
    }


def test_a_frozen_archive_ends_the_run_and_a_thawed_one_resumes_it(
    orthanc: Orthanc, make_site: MakeSite, fetch_all: Fetch
) -> None:
    """SIGSTOP in the middle of a series: a DIMSE library takes the silence for success."""
    site = make_site(ROOT, timeout_s=1.0, retries=0)
    process = started(orthanc, site, "--patient", LARGE)
    wait_for_a_file(site, process)
    orthanc.freeze()
    try:
        said, wrong = process.communicate(timeout=30)
    finally:
        orthanc.thaw()
    assert process.returncode == 69, said + wrong
    assert "UnreachableError: 127.0.0.1:18042: silent for 1 s (pacs.timeout_s)" in wrong
    assert "what is here is kept, run it again" in wrong
    assert "incomplete: " in said
    left = len(files(site))
    assert 0 < left < 120
    outcome = orthanc.inside(lambda: fetch_all(site, one_patient(LARGE)))
    assert (outcome.exit_code, outcome.series[0][1].fetched) == (0, 120 - left)


def test_a_wrong_password_is_one_line(orthanc: Orthanc, make_site: MakeSite, fetch_all: Fetch) -> None:
    site = make_site(ROOT)
    (site.work.parent / "password").write_text("warm\n")
    outcome = orthanc.inside(lambda: fetch_all(site))
    assert outcome.exit_code == 78
    assert "the archive refused the user (401)" in str(outcome.cut_by)


def test_a_wrong_root_is_one_line(orthanc: Orthanc, make_site: MakeSite, fetch_all: Fetch) -> None:
    outcome = orthanc.inside(lambda: fetch_all(make_site(f"{URL}/dicomweb")))
    assert "no DICOMweb under pacs.url (404 for /studies)" in str(outcome.cut_by)


def test_an_id_in_other_capitals_is_not_taken_for_the_patient(
    orthanc: Orthanc, make_site: MakeSite, fetch_all: Fetch
) -> None:
    """Orthanc finds the study all the same."""
    outcome = orthanc.inside(lambda: fetch_all(make_site(ROOT), one_patient(PATIENT.lower())))
    assert (outcome.exit_code, outcome.series) == (2, [])
    assert "studies of another patient only" in outcome.misses[0].why
