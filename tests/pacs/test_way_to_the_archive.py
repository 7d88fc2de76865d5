"""The connection itself: secrets, TLS, names, ports, proxies; and what is said and logged of it."""

from __future__ import annotations

import datetime
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fl_liver.client.cohort.pacs.fetch import Outcome
from fl_liver.client.doctor import examine as doctor
from fl_liver.client.one_at_a_time import one_at_a_time
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, IncompleteError, UnreachableError
from tests.pacs.dicom_objects import CANARIES, OTHER, as_bytes, changed, ct_slice
from tests.pacs.orthanc import PASSWORD
from tests.pacs.tiny_archive import Answer, TinyArchive

MakeSite = Callable[..., SiteConfig]
Fetch = Callable[..., Outcome]


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """(certificate, key) for a host of that name; its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate, private = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.touch(mode=0o600)
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return certificate, private


@pytest.fixture
def tls_archive(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(url, certificate) of an archive that answers as "localhost"."""
    archive = TinyArchive([ct_slice(0)])
    certificate, key = self_signed(tmp_path, "localhost")
    archive.speak_tls(certificate, key)
    yield f"https://localhost:{archive.port}", certificate
    archive.close()


def cut_by(outcome: Outcome) -> str:
    assert isinstance(outcome.cut_by, UnreachableError)
    assert outcome.exit_code == 69
    return str(outcome.cut_by)


def test_the_authority_named_in_site_toml_is_believed(
    tls_archive: tuple[str, Path], make_site: MakeSite, fetch_all: Fetch
) -> None:
    url, certificate = tls_archive
    assert fetch_all(make_site(url, ca=certificate)).exit_code == 0


def test_no_other_authority_is(
    tls_archive: tuple[str, Path], tmp_path: Path, make_site: MakeSite, fetch_all: Fetch
) -> None:
    other, _ = self_signed(tmp_path, "elsewhere")
    said = cut_by(fetch_all(make_site(tls_archive[0], ca=other)))
    assert "the certificate is not believed (self-signed certificate)" in said
    assert "wanted one that elsewhere.crt vouches for" in said


def test_without_an_authority_those_of_the_machine_count(
    tls_archive: tuple[str, Path], make_site: MakeSite, fetch_all: Fetch
) -> None:
    said = cut_by(fetch_all(make_site(tls_archive[0])))
    assert "wanted one of an authority that this machine knows" in said
    assert "put the archive's authority in pacs.ca" in said


def test_a_certificate_for_another_name_is_not_believed(
    tls_archive: tuple[str, Path], make_site: MakeSite, fetch_all: Fetch
) -> None:
    url, certificate = tls_archive
    said = cut_by(fetch_all(make_site(url.replace("localhost", "127.0.0.1"), ca=certificate)))
    assert "IP address mismatch" in said


def test_https_to_a_port_of_http_is_said(archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch) -> None:
    said = cut_by(fetch_all(make_site(archive.url.replace("http:", "https:"))))
    assert "is the port in pacs.url the one for https?" in said


def test_a_certificate_that_goes_with_another_key_is_said(
    tls_archive: tuple[str, Path], tmp_path: Path, make_site: MakeSite, fetch_all: Fetch
) -> None:
    _, key = self_signed(tmp_path, "elsewhere")
    url, certificate = tls_archive
    with pytest.raises(ConfigError, match=r"localhost.crt: does not go with elsewhere.key"):
        fetch_all(make_site(url, certificate=certificate, certificate_key=key))


def test_an_authority_that_is_none_is_said(tmp_path: Path, make_site: MakeSite, fetch_all: Fetch) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ca.crt: no readable certificate \(pacs.ca, SSLError\); wanted PEM"):
        fetch_all(make_site("https://localhost:1", ca=tmp_path / "ca.crt"))


def test_a_name_that_is_not_found_is_said_and_not_tried_again(
    make_site: MakeSite, fetch_all: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def nowhere(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    said = cut_by(fetch_all(make_site("https://pacs.hospital.invalid/dicom-web")))
    assert "the name pacs.hospital.invalid is not found; correct pacs.url" in said
    assert len(asked) == 1


def test_a_port_where_nobody_listens_is_said_after_all_tries(make_site: MakeSite, fetch_all: Fetch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        said = cut_by(fetch_all(make_site(f"http://127.0.0.1:{taken.getsockname()[1]}")))
    assert "refuses connections; is the archive up, and is the port in pacs.url right?" in said


def test_the_way_goes_straight_unless_site_toml_names_the_proxy(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy set for the whole machine leads out of the hospital, and would see every patient's id."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert fetch_all(make_site(archive.url)).exit_code == 0
    assert "refuses connections" in cut_by(fetch_all(make_site(archive.url, proxy="environment")))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch_all(make_site(archive.url, proxy="environment")).exit_code == 0


def test_user_and_password_go_with_the_first_request(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch
) -> None:
    fetch_all(make_site(archive.url))
    assert {one["authorization"] for one in archive.headers} == {"Basic Zmw6a2FsdGVzLWtsYXJlcy13YXNzZXI="}
    assert {one["accept-encoding"] for one in archive.headers} == {"identity"}
    assert archive.headers[-1]["accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'


def test_a_token_goes_in_place_of_a_user(
    archive: TinyArchive, tmp_path: Path, make_site: MakeSite, fetch_all: Fetch
) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("abc.def\n")
    fetch_all(make_site(archive.url, user_file=None, password_file=None, token_file=token))
    assert {one["authorization"] for one in archive.headers} == {"Bearer abc.def"}


@pytest.mark.parametrize(
    ("content", "mode", "what"),
    [
        (b"secret\n", 0o644, r"password: others than its owner may read it; run `chmod 600` on it"),
        (b"", 0o600, r"password: wanted one line of printable text, and nothing else"),
        (b"two\nlines\n", 0o600, r"password: wanted one line"),
        (b"\xff\xfe", 0o600, r"password: cannot be read \(UnicodeDecodeError\)"),
        (b"x" * 9000, 0o600, r"password: wanted one line"),
        (None, 0o600, r"password: cannot be read \(FileNotFoundError\); named in \[pacs\] of site.toml"),
    ],
)
def test_a_secret_that_is_none_is_a_configuration_error(
    archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch, content: bytes | None, mode: int, what: str
) -> None:
    site = make_site(archive.url)
    password = site.work.parent / "password"
    password.unlink()
    if content is not None:
        password.write_bytes(content)
        password.chmod(mode)
    with pytest.raises(ConfigError, match=what):
        fetch_all(site)
    assert archive.asked == {}


def test_a_second_fetch_on_one_folder_is_refused(archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch) -> None:
    site = make_site(archive.url)
    with one_at_a_time(site.work / "fetch.lock"), pytest.raises(IncompleteError, match="another fetch runs"):
        fetch_all(site)


def test_nothing_that_is_said_or_logged_names_a_patient(
    archive: TinyArchive,
    make_site: MakeSite,
    fetch_all: Fetch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The address of every request holds an id or a UID, and HTTP libraries log addresses."""
    caplog.set_level(logging.DEBUG)
    wrong = [as_bytes(changed(one, PatientID=OTHER)) for one in map(ct_slice, range(8))]
    for kind, hook in (
        ("studies", lambda answer: answer.whole(b"Ziegenpeter", "text/plain", 500)),
        ("objects", lambda answer: answer.whole(b"Ziegenpeter", "text/plain", 404)),
        ("one", lambda answer: answer.whole(b"Ziegenpeter", "text/plain", 500)),
        ("whole", lambda answer: answer.parts_of(wrong)),
        ("series", Answer.honest),
    ):
        archive.hooks[kind] = hook
        fetch_all(make_site(archive.url))
        if kind in ("studies", "objects"):
            del archive.hooks[kind]
    said = capsys.readouterr()
    everything = said.out + said.err + caplog.text
    assert "fails on the list of studies" in everything
    assert "refused: " in everything or "fetched" in everything
    uids = [str(one.StudyInstanceUID) for one in archive.objects]
    assert [one for one in (*CANARIES, *uids, PASSWORD) if one in everything] == []


def test_names_on_disk_hold_no_name_and_no_uid(archive: TinyArchive, make_site: MakeSite, fetch_all: Fetch) -> None:
    """But for the hospital's own patient id, which is the folder that the cohort asks for."""
    site = make_site(archive.url)
    fetch_all(site)
    paths = [path.relative_to(site.data).parts for path in site.data.rglob("*.dcm")]
    assert {(first, second) for first, second, *_ in paths} == {("dicom", CANARIES[0])}
    below = {part for path in paths for part in path[2:]}
    assert not [part for part in below for one in CANARIES if one in part]
    assert not [part for part in below if "1.2." in part]


def test_the_doctor_says_whether_the_archive_answers(archive: TinyArchive, make_site: MakeSite, tmp_path: Path) -> None:
    """And looks at nothing of what is found."""
    make_site(archive.url)
    found = {one.name: one for one in doctor(tmp_path / "H01" / "site.toml")}
    assert (found["archive"].state, found["archive"].found) == ("ok", "answers a search with this user")
    archive.close()
    found = {one.name: one for one in doctor(tmp_path / "H01" / "site.toml")}
    assert found["archive"].state == "fail"
    assert "UnreachableError" in found["archive"].found
