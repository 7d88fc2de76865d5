"""What docs/pacs.md tells a hospital to write and type, done: its orthanc.json, a PACS that sends, and a pull."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless

from fl_liver.client.cohort.pacs.fetch import Outcome
from fl_liver.client.cohort.pacs.wanted import COLUMNS
from fl_liver.client.site import SiteConfig
from fl_liver.toml_file import parse
from tests.pacs.dicom_objects import as_bytes, as_jpeg_ls, ct_slice
from tests.pacs.orthanc import PASSWORD, PLUGIN, USER, Orthanc, absent

MakeSite = Callable[..., SiteConfig]
Fetch = Callable[..., Outcome]
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "pacs.md").read_text(encoding="utf-8")
needs_orthanc = pytest.mark.skipif(bool(absent()), reason=absent())
URL, DICOM_PORT, TITLE = "http://127.0.0.1:8042", "4242", "FLLIVER"
PACS_URL = "http://127.0.0.1:18043"


def block(language: str) -> str:
    """The page's only code block of that language."""
    [found] = re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc with the page's own JSON; only its disk and the address of the PACS are this machine's."""
    config = block("json").replace("/var/lib/orthanc/fl-liver", "STORAGE").replace("192.0.2.10", "127.0.0.1")
    config = config.replace('"Port": 104', '"Port": 11104')
    one = Orthanc(tmp_path_factory.mktemp("front") / "orthanc", config, url=URL, user=("fl-liver", "a-long-password"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, front: Orthanc) -> Iterator[Orthanc]:
    """An archive that answers C-FIND and C-MOVE; it knows where FLLIVER is."""
    storage = {"StorageDirectory": "STORAGE", "IndexDirectory": "STORAGE", "RegisteredUsers": {USER: PASSWORD}}
    known = {"AET": TITLE, "Host": "127.0.0.1", "Port": int(DICOM_PORT), "AllowFind": True, "AllowMove": True}
    ports = {"HttpPort": 18043, "DicomPort": 11104, "DicomAet": "PACS", "AuthenticationEnabled": True}
    config = json.dumps({**storage, **ports, "DicomModalities": {"fl": known}})
    one = Orthanc(tmp_path_factory.mktemp("pacs") / "orthanc", config, beside=front, url=PACS_URL)
    one.push(as_bytes(as_jpeg_ls(ct_slice(number, patient="MOVED"))) for number in range(5))
    yield one
    one.close()


def dcmtk(front: Orthanc, program: str, *words: str, title: str = "PACS") -> subprocess.CompletedProcess[str]:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: dcmtk)")
    command = front.command("env", "TCP_NODELAY=1", program, "-aet", title, "-aec", TITLE, "127.0.0.1", DICOM_PORT)
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=30, check=False)


def fetched(front: Orthanc, make_site: MakeSite, fetch_all: Fetch, patient: str) -> tuple[Outcome, list[Path]]:
    from fl_liver.client.cohort.pacs.wanted import one_patient

    site = make_site(f"{URL}/dicom-web")
    (site.work.parent / "user").write_text("fl-liver\n")
    (site.work.parent / "password").write_text("a-long-password\n")
    outcome = front.inside(lambda: fetch_all(site, one_patient(patient)))
    return outcome, [*site.data.rglob("*.dcm")]


@needs_orthanc
def test_a_pacs_that_sends_reaches_the_hospitals_folder(
    front: Orthanc, tmp_path: Path, make_site: MakeSite, fetch_all: Fetch
) -> None:
    for number in range(5):
        (tmp_path / f"{number}.dcm").write_bytes(as_bytes(ct_slice(number, patient="SENT")))
    assert dcmtk(front, "echoscu").returncode == 0
    sent = dcmtk(front, "storescu", "+sd", str(tmp_path))
    assert sent.returncode == 0, sent.stderr
    outcome, found = fetched(front, make_site, fetch_all, "SENT")
    assert (outcome.exit_code, len(found)) == (0, 5)


@needs_orthanc
def test_a_stranger_may_not_even_echo(front: Orthanc) -> None:
    refused = dcmtk(front, "echoscu", title="STRANGER")
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stdout + refused.stderr


@needs_orthanc
def test_what_is_pulled_stays_as_it_was_compressed(
    front: Orthanc, pacs: Orthanc, make_site: MakeSite, fetch_all: Fetch
) -> None:
    """The page's own calls: echo, query, retrieve."""
    assert pacs.stored() == 5

    def pull() -> int:
        front.http.post("/modalities/pacs/echo", json={}).raise_for_status()
        query = {"Level": "Study", "Query": {"PatientID": "MOVED"}}
        path = front.http.post("/modalities/pacs/query", json=query).raise_for_status().json()["Path"]
        return front.http.post(f"{path}/retrieve", content=TITLE, timeout=30).status_code

    assert front.inside(pull) == 200
    outcome, found = fetched(front, make_site, fetch_all, "MOVED")
    assert (outcome.exit_code, len(found)) == (0, 5)
    assert {dcmread(path).file_meta.TransferSyntaxUID for path in found} == {JPEGLSLossless}


@needs_orthanc
def test_orthanc_listens_on_the_two_ports_of_the_page(front: Orthanc) -> None:
    listening = subprocess.run(front.command("ss", "-tlnH"), capture_output=True, text=True, check=True).stdout
    assert {"8042", "4242"} <= {line.split()[3].rpartition(":")[2] for line in listening.splitlines()}
    assert str(PLUGIN) in block("json")


def test_the_pacs_table_of_the_page_is_read(tmp_path: Path) -> None:
    import tomllib

    text = block("toml")
    for given in (text, re.sub(r"^( *)# ", r"\1", text, flags=re.MULTILINE)):
        site = parse({"site": "H01", **tomllib.loads(given)}, SiteConfig, "page")
        assert site.pacs is not None
        assert site.pacs.where == "pacs.hospital.example"


def test_the_page_names_every_column_of_a_worklist() -> None:
    assert [name for name in COLUMNS if f"`{name}`" not in PAGE] == []
