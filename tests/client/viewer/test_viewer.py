"""The viewer's web server, asked as a browser would, and as a stranger would."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette

from fl_liver.client.cohort.lesions.boxes import COLUMNS
from fl_liver.client.cohort.read.decoders import Decoders
from fl_liver.client.explain.page import Picture
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.client.viewer import reading
from fl_liver.client.viewer.app import viewer_app
from fl_liver.client.viewer.reading import Viewer
from fl_liver.errors import ConfigError
from fl_liver.models.registry import initial_vector
from fl_liver.study import Study
from fl_liver.study_files import load_study
from simulation.phantom.registry import phantom_of
from simulation.phantom.virtual import PatientRows
from simulation.phantom.write import write_hospitals

TOKEN = "t" * 32
HOME = f"/{TOKEN}/"
MOST = 64 << 20


class Browser:
    """Asks the server without a socket; leaving it ends the server."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._life = app.router.lifespan_context(app)
        self._loop = asyncio.Runner()

    def __enter__(self) -> Self:
        self._loop.run(self._life.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._life.__aexit__(None, None, None))
        self._loop.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self._loop.run(self._ask("GET", path, b"", headers))

    def post(self, path: str, content: bytes = b"", headers: dict[str, str] | None = None) -> httpx.Response:
        return self._loop.run(self._ask("POST", path, content, headers))

    async def _ask(self, method: str, path: str, content: bytes, headers: dict[str, str] | None) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            return await client.request(method, path, content=content, headers=headers)


def us_study(**cohort: object) -> Study:
    return load_study("lesion_us_fusion").changed(model={"width": 4}, cohort={"masks": True, "views": 2, **cohort})


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("viewer")
    one = phantom_of(us_study(), scale=0.01)[-1]
    write_hospitals([one], root)
    return root / one.name


@pytest.fixture
def site(hospital: Path) -> SiteConfig:
    return load_site(hospital / "site.toml")


@pytest.fixture
def below(tmp_path: Path) -> Path:
    place = tmp_path / "uploads"
    place.mkdir()
    return place


def viewer_of(study: Study, site: SiteConfig, below: Path, most: int = MOST) -> Starlette:
    """The server, with a first model and figures that are not drawn."""
    vector, layout = initial_vector(study)
    viewer = Viewer(site, study, vector, layout, lambda *_: [Picture("data:image/svg+xml;base64,AA==", "a", "c", 9)])
    return viewer_app(viewer, TOKEN, most, below)


def client_of(study: Study, site: SiteConfig, below: Path, most: int = MOST) -> Browser:
    return Browser(viewer_of(study, site, below, most))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read here and not in a guarded process, which takes seconds to start; one test has the real thing."""
    monkeypatch.setattr(reading, "decoders_for", lambda _count, seconds: Decoders(0, seconds=seconds))


@pytest.fixture
def client(site: SiteConfig, below: Path, in_process: None) -> Iterator[Browser]:
    with client_of(us_study(), site, below) as made:
        yield made


def files_of(hospital: Path) -> dict[str, bytes]:
    """The first patient's images, and a lesions.csv with that patient's rows."""
    patient = min((hospital / "dicom").iterdir())
    table = (hospital / "lesions.csv").read_text().splitlines()
    rows = [table[0], *(row for row in table if row.startswith(f"{patient.name},"))]
    images = {path.name: path.read_bytes() for path in sorted(patient.iterdir())}
    return {**images, "lesions.csv": "\n".join(rows).encode()}


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def upload(client: Browser, files: dict[str, bytes]) -> str:
    name = client.post(HOME + "new").text
    for file, content in files.items():
        reply = client.post(f"{HOME}{name}/file", content=content, headers={"X-Name": file})
        assert reply.status_code == 204, reply.text
    return name


def refused(client: Browser, files: dict[str, bytes]) -> str:
    reply = client.post(f"{HOME}{upload(client, files)}/read")
    assert reply.status_code == 422
    return reply.text


def test_an_uploaded_study_gets_the_score_that_the_cohort_gets(hospital: Path, site: SiteConfig, below: Path) -> None:
    """The same patient through the hospital's own folder is the oracle; files are read in a guarded process."""
    from fl_liver.client.cohort.load import load_cohort
    from fl_liver.client.train import pick_device, score

    study = us_study()
    cohort = load_cohort(site, study)
    vector, _ = initial_vector(study)
    logit = score(study, cohort, vector, rows=np.arange(1), device=pick_device("cpu"))[0, 0]
    with client_of(study, site, below) as client:
        reply = client.post(f"{HOME}{upload(client, files_of(hospital))}/read")
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert found["rows"][0]["probability"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-3)
    assert found["question"] == "malignant"
    assert found["pictures"][0]["uri"].startswith("data:")
    assert not list(below.iterdir())


def test_a_zip_gives_the_same_answer_and_its_names_are_not_places(hospital: Path, client: Browser, below: Path) -> None:
    plain = client.post(f"{HOME}{upload(client, files_of(hospital))}/read").json()
    nasty = {f"../../{name}" if i % 2 else f"/a/{name}": c for i, (name, c) in enumerate(files_of(hospital).items())}
    nasty["__MACOSX/._x"] = nasty["folder/.DS_Store"] = b"junk"
    packed = client.post(f"{HOME}{upload(client, {'study.zip': zipped(nasty)})}/read").json()
    assert packed["rows"] == plain["rows"]
    assert not list(below.iterdir())
    assert not list(below.parent.glob("*.dcm"))


def test_a_stranger_sees_nothing(client: Browser) -> None:
    """Another token, another host's name (a page of the internet that points here), no token."""
    assert client.get(HOME).status_code == 200
    for path, headers in (
        (f"/{'x' * 32}/", {}),
        (HOME, {"Host": "evil.example"}),
        (HOME, {"Host": "127.0.0.1.evil.example:8080"}),
        ("/", {}),
    ):
        assert client.get(path, headers=headers).status_code == 404
    assert client.post(f"/{'x' * 32}/new").status_code == 404


def test_the_page_loads_nothing_from_elsewhere_and_is_not_kept(client: Browser) -> None:
    reply = client.get(HOME)
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "'unsafe-inline'" not in reply.headers["content-security-policy"].partition("script-src")[2]
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert "http" not in reply.text.replace("http-equiv", "")
    assert TOKEN not in reply.text
    assert "Not a medical device" in reply.text


def test_crops_without_a_box_are_refused_in_a_clear_sentence(hospital: Path, client: Browser, below: Path) -> None:
    files = {name: content for name, content in files_of(hospital).items() if name != "lesions.csv"}
    why = refused(client, files)
    assert "no box came with the images: add lesions.csv" in why
    assert all(column in why for column in COLUMNS)
    assert "liver background" in why
    assert not list(below.iterdir())


def test_more_than_the_limit_is_cut_off_and_removed(hospital: Path, site: SiteConfig, below: Path) -> None:
    with client_of(us_study(), site, below, most=20_000) as client:
        name = client.post(HOME + "new").text
        reply = client.post(f"{HOME}{name}/file", content=b"x" * 30_000, headers={"X-Name": "a.dcm"})
        assert (reply.status_code, "more than 0 MiB" in reply.text) == (422, True)
        assert not list(below.iterdir())


def test_a_zip_that_unpacks_beyond_the_limit_is_stopped(site: SiteConfig, below: Path) -> None:
    """10 MB of zeros in 10 kB: what counts is what comes out, not what a header says."""
    with client_of(us_study(), site, below, most=1 << 20) as client:
        name = client.post(HOME + "new").text
        bomb = zipped({"a.dcm": b"\0" * 10_000_000})
        assert len(bomb) < 20_000
        reply = client.post(f"{HOME}{name}/file", content=bomb, headers={"X-Name": "a.zip"})
        assert (reply.status_code, "more than 1 MiB" in reply.text) == (422, True)
        assert not list(below.iterdir())


def broken_inside(method: int) -> bytes:
    """An archive whose directory is whole; what it holds is not what `method` makes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.dcm", b"\x09\x04\x05\x00" + b"\xff" * 999)
    content = bytearray(made.getvalue())
    content[8], content[content.index(b"PK\x01\x02") + 10] = method, method
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (zipped({"inner.zip": zipped({"a": b"b"})}), "a ZIP inside a ZIP"),
        (zipped({"a.dcm": b"x" * 999})[:-30], "cannot be unpacked (BadZipFile)"),
        (broken_inside(zipfile.ZIP_DEFLATED), "cannot be unpacked (error)"),
        (broken_inside(zipfile.ZIP_BZIP2), "cannot be unpacked (OSError)"),
        (broken_inside(zipfile.ZIP_LZMA), "cannot be unpacked (LZMAError)"),
        (broken_inside(99), "cannot be unpacked (NotImplementedError)"),
        (zipped({"a.csv": b"x", "b.csv": b"y"}), "two CSV files"),
    ],
    # an archive holds the time it was made: another name in each worker
    ids=["nested", "cut short", "deflate", "bzip2", "lzma", "unknown method", "two tables"],
)
def test_archives_that_cannot_be_used_are_named(client: Browser, content: bytes, why: str) -> None:
    name = client.post(HOME + "new").text
    reply = client.post(f"{HOME}{name}/file", content=content, headers={"X-Name": "x.zip"})
    assert (reply.status_code, why in reply.text) == (422, True)


def test_a_table_whose_first_row_is_too_long_for_a_cell_is_refused(client: Browser) -> None:
    assert "a cell has more than 131072 characters" in refused(client, {"a.dcm": b"x", "lesions.csv": b"y" * 200_000})


def test_files_that_are_no_images_are_refused(client: Browser) -> None:
    assert "no DICOM file was uploaded" in refused(client, {"letter.txt": b"Dear colleague"})
    table = ",".join(COLUMNS).encode() + b"\np,1.2,lesion,1,1,9,9,0\n"
    why = refused(client, {"broken.dcm": b"DICM" * 200, "lesions.csv": table})
    assert why.startswith("E_")
    assert "Dear colleague" not in why


def test_boxes_of_two_patients_are_refused(hospital: Path, client: Browser) -> None:
    files = files_of(hospital)
    files["lesions.csv"] = (hospital / "lesions.csv").read_bytes()
    assert "upload the rows of one" in refused(client, files)


def test_an_upload_is_read_once_and_replaced_by_the_next(hospital: Path, client: Browser, below: Path) -> None:
    first = upload(client, files_of(hospital))
    second = upload(client, files_of(hospital))
    assert len(list(below.iterdir())) == 1
    assert "no longer there" in client.post(f"{HOME}{first}/read").text
    assert client.post(f"{HOME}{second}/read").status_code == 200
    assert "no longer there" in client.post(f"{HOME}{second}/read").text


def test_what_was_left_lying_goes_when_the_server_ends(hospital: Path, site: SiteConfig, below: Path) -> None:
    with client_of(us_study(), site, below) as client:
        upload(client, files_of(hospital))
        assert list(below.iterdir())
    assert not list(below.iterdir())


def patient_of(study: Study, folder: Path) -> tuple[dict[str, bytes], dict[str, bytes], PatientRows]:
    """Images and masks of one phantom patient of an external hospital, by file name, and the rows of the tables."""
    told = phantom_of(study, scale=0.01)[-1].write_patient(0, folder)
    found: list[dict[str, bytes]] = []
    for place in ("dicom", "masks"):
        paths = sorted(path for path in (folder / place).rglob("*") if path.is_file())
        found.append({f"{i}{''.join(path.suffixes)}": path.read_bytes() for i, path in enumerate(paths)})
    return found[0], found[1], told


def test_whole_pictures_need_no_lesion(site: SiteConfig, below: Path, tmp_path: Path, in_process: None) -> None:
    """Wang's page: whole CT slices, score and heat map."""
    study = load_study("hcc_ct").changed(model={"width": 4})
    images, masks, _ = patient_of(study, tmp_path / "ct")
    with client_of(study, site, below) as client:
        assert "The whole picture is looked at" in client.get(HOME).text
        for files in (images, images | masks):
            reply = client.post(f"{HOME}{upload(client, {'ct.zip': zipped(files)})}/read")
            assert reply.status_code == 200, reply.text
            assert 0 <= reply.json()["rows"][0]["probability"] <= 1
        assert not list(below.iterdir())


def test_each_lesion_has_its_own_score_where_that_is_the_unit(
    site: SiteConfig, below: Path, tmp_path: Path, in_process: None
) -> None:
    study = load_study("nodule_ct").changed(model={"width": 8})
    images, masks, told = patient_of(study, tmp_path / "ct")
    with client_of(study, site, below) as client:
        why = refused(client, images)
        assert "E_ROI_MISSING" in why
        assert "add the drawn lesion (NIfTI, DICOM SEG or RTSTRUCT)" in why
        reply = client.post(f"{HOME}{upload(client, images | masks)}/read")
        assert reply.status_code == 200, reply.text
        rows = reply.json()["rows"]
    assert [row["name"] for row in rows] == [f"Lesion {k + 1}" for k in range(len(told.rows["clinical.csv"]))]


def test_a_study_of_tables_has_no_viewer(site: SiteConfig) -> None:
    study = load_study("clinical")
    vector, layout = initial_vector(study)
    with pytest.raises(ConfigError, match="no image to look at"):
        Viewer(site, study, vector, layout, lambda *_: [])
