"""The connection to the archive: every request with timeouts, bounded answers, verified TLS and no redirects.

Written on httpx, like the rest of fl_liver, and not on dicomweb-client: that parses each object whole in memory and
writes it anew, where ours go to the disk as they come and are parsed behind the gates of `read.dicom`.
"""

from __future__ import annotations

import json
import logging
import ssl
import stat
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from fl_liver.client.cohort.pacs.config import PacsConfig
from fl_liver.client.cohort.pacs.failure import (
    NoWayError,
    broken_off,
    lost,
    no_root,
    refused,
    silent,
)
from fl_liver.client.cohort.pacs.multipart import Multipart, boundary_of
from fl_liver.errors import ConfigError, ProtocolError, UnreachableError

MAX_ANSWER_BYTES = 64 << 20
_SLOWEST_BYTES_S = 1000
_JSON = "application/dicom+json, application/json;q=0.5"
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Without the star, archives transcode to Explicit VR Little Endian: four times the bytes, seven times the seconds."""
_MAX_SECRET_BYTES = 8192

T = TypeVar("T")
Item = dict[str, object]

# Their lines hold the addresses asked for, and those hold patients' ids.
for _noisy in ("httpx", "httpcore"):
    logging.getLogger(_noisy).setLevel(logging.CRITICAL + 1)


class Archive:
    """One connection; a context manager.

    Raises:
        ConfigError: a secret, certificate or authority is missing, wrong, or readable by others.
    """

    def __init__(self, pacs: PacsConfig) -> None:
        self.pacs = pacs
        headers = {"Accept-Encoding": "identity", "User-Agent": "fl-liver"}
        if pacs.token_file:
            headers["Authorization"] = f"Bearer {_secret(pacs.token_file)}"
        auth = None
        if pacs.user_file and pacs.password_file:
            auth = httpx.BasicAuth(_secret(pacs.user_file), _secret(pacs.password_file))
        self._client = httpx.Client(
            verify=_tls(pacs) if pacs.is_encrypted else False,  # False: plain http to this machine has no TLS to verify
            auth=auth,
            headers=headers,
            proxy=_proxy(pacs),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(pacs.timeout_s, connect=pacs.connect_timeout_s),
        )

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def search(self, path: str, parameters: Sequence[tuple[str, str]], what: str) -> list[Item]:
        """QIDO-RS: the items that fit, DICOM JSON. Tried again where the archive is busy or breaks off.

        Args:
            path: below the root, such as "/studies"; UIDs in it are checked before.
            what: names the thing in errors, and nobody.

        Raises:
            UnreachableError: no answer after all retries.
            ConfigError: the user, the root or a redirect.
            ProtocolError: an answer that is no DICOM JSON, or too long.
        """
        return self.patiently(lambda: self._search(path, parameters, what))

    def patiently(self, ask: Callable[[], T]) -> T:
        """`ask`, and again after 1, 2, 4 … seconds while it raises UnreachableError and a retry may help."""
        for tried in range(self.pacs.retries):
            try:
                return ask()
            except NoWayError:
                raise
            except UnreachableError:
                self.wait(tried)
        return ask()

    def wait(self, tried: int) -> None:
        """Before a request is made again that was made and lost `tried` + 1 times."""
        time.sleep(2.0**tried)

    def answers(self, path: str, what: str) -> None:
        """Ask once. Raises UnreachableError where the archive is away, whatever the answer would be."""
        try:
            self._search(path, [("limit", "1")], what)
        except (ProtocolError, ConfigError):
            return

    @contextmanager
    def objects(self, path: str, what: str) -> Iterator[Multipart]:
        """WADO-RS: the objects of a series, or one, in the transfer syntax in which they are stored; not retried.

        Raises:
            UnreachableError: no answer, or it broke off, or came slower than 1 kB/s.
            ProtocolError: not a multipart answer of DICOM objects, or refused.
        """
        with self._answer(path, (), _AS_STORED, what) as response:
            boundary = boundary_of(response.headers.get("content-type", ""), self.pacs.where)
            yield Multipart(self._pieces(response), boundary, self.pacs.where, broken_off(self.pacs))

    def _search(self, path: str, parameters: Sequence[tuple[str, str]], what: str) -> list[Item]:
        with self._answer(path, parameters, _JSON, what) as response:
            if response.status_code == 204:
                return []
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            held = bytearray()
            for piece in self._pieces(response):
                held += piece
                if len(held) > MAX_ANSWER_BYTES:
                    raise ProtocolError(
                        f"{self.pacs.where}: more than {MAX_ANSWER_BYTES} bytes for {what}; ask for less"
                    )
        return _items(bytes(held), kind, f"{self.pacs.where}: {what}")

    @contextmanager
    def _answer(
        self, path: str, parameters: Sequence[tuple[str, str]], accept: str, what: str
    ) -> Iterator[httpx.Response]:
        url = self.pacs.root + path
        try:
            with self._client.stream("GET", url, params=list(parameters), headers={"Accept": accept}) as response:
                self._require_success(response, path, what)
                yield response
        except httpx.TransportError as error:
            raise lost(error, self.pacs) from error

    def _require_success(self, response: httpx.Response, path: str, what: str) -> None:
        status = response.status_code
        if path == "/studies" and status in (403, 404):
            raise no_root(status, self.pacs)
        if not 200 <= status < 300:
            raise refused(status, what, self.pacs)
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise ProtocolError(
                f"{self.pacs.where}: packs its answers ({coding:.20}) though asked not to; switch that off in the proxy"
                " before the archive"
            )

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        """The body as it comes. A server that sends a byte now and then keeps every timeout of a socket waiting."""
        begun, since = time.monotonic(), 0
        for piece in response.iter_raw():
            yield piece
            since += len(piece)
            passed = time.monotonic() - begun
            if passed > self.pacs.timeout_s:
                if since < _SLOWEST_BYTES_S * passed:
                    raise UnreachableError(silent(self.pacs).replace("silent", "all but silent", 1))
                begun, since = time.monotonic(), 0


def _items(body: bytes, kind: str, what: str) -> list[Item]:
    if not body.strip():
        return []
    if kind not in ("application/dicom+json", "application/json"):
        raise ProtocolError(f"{what} is {kind or 'of no kind'!r:.40}, wanted application/dicom+json; is it DICOMweb?")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{what} is no JSON ({type(error).__name__}); tell the archive's administrator") from None
    many = [found] if isinstance(found, dict) else found
    if not isinstance(many, list) or not all(isinstance(one, dict) for one in many):
        raise ProtocolError(f"{what} is no list of DICOM JSON items; tell the archive's administrator")
    return many


def _tls(pacs: PacsConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(pacs.ca) if pacs.ca else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{pacs.ca}: no readable certificate (pacs.ca, {type(error).__name__}); wanted PEM"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if pacs.certificate and pacs.certificate_key:
        _require_private(pacs.certificate_key)
        try:
            context.load_cert_chain(str(pacs.certificate), str(pacs.certificate_key))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{pacs.certificate}: does not go with {pacs.certificate_key.name} ({type(error).__name__}); correct"
                " pacs.certificate and pacs.certificate_key"
            ) from error
    return context


def _proxy(pacs: PacsConfig) -> str | None:
    parts = urlsplit(pacs.url)
    if pacs.proxy == "none" or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _secret(path: Path) -> str:
    """The one line of a secret's file."""
    _require_private(path)
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_SECRET_BYTES + 1).decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); wanted one line of text") from None
    if not text or not text.isprintable() or len(text) > _MAX_SECRET_BYTES:
        raise ConfigError(f"{path}: wanted one line of printable text, and nothing else; write it again")
    return text


def _require_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); named in [pacs] of site.toml") from None
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{path}: not a regular file; named in [pacs] of site.toml")
    if mode & 0o077:
        raise ConfigError(f"{path}: others than its owner may read it; run `chmod 600` on it")
