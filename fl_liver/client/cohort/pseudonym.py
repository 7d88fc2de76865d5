"""Names for patients, series and files that mean nothing outside the hospital: HMAC-SHA256 under a key of its own.

Unkeyed hashes would not do: hospital numbers can be counted through. Losing the key loses the names, not the data.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from fl_liver.errors import ConfigError, PrivacyError

KEY_FILE = "pseudonym.key"
KEY_BYTES = 32
_HEX = 12


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """One key and the names that it makes: 12 hex digits, the same for the same input, apart for each kind of thing.

    48 bits: two of 10 000 patients share a name with probability 2 · 10⁻⁷.
    """

    key: bytes = field(repr=False)

    def patient(self, patient_id: str) -> str:
        """Spaces around an id do not count: DICOM pads to even length."""
        return self._name("patient", patient_id.strip())

    def series(self, series_uid: str) -> str:
        """Of a SeriesInstanceUID."""
        return self._name("series", series_uid)

    def file(self, relative_path: str) -> str:
        """Of a file that belongs to no known patient; starts with "file-"."""
        return "file-" + self._name("file", relative_path)

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart without showing either."""
        return self._name("key", "")

    def _name(self, kind: str, what: str) -> str:
        message = b"\0".join((b"fl-liver/v1", kind.encode(), what.encode("utf-8", "surrogateescape")))
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()[:_HEX]


def site_pseudonyms(work: Path) -> Pseudonyms:
    """The names of one hospital; its key is made on first use as `work/pseudonym.key`, mode 0600.

    Raises:
        ConfigError: `work` cannot be written, or the key file has the wrong length.
        PrivacyError: others can read the key.
    """
    path = work / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        return Pseudonyms(_read_key(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made or read ({type(error).__name__}); make 'work' writable") from error


def random_pseudonyms() -> Pseudonyms:
    """Names that nobody can make again."""
    return Pseudonyms(secrets.token_bytes(KEY_BYTES))


def _make_key(path: Path) -> None:
    """Write beside and link into place: a second process sees a whole key or none, and the first to link wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        if not path.exists():
            path.hardlink_to(beside)
    except FileExistsError:
        pass  # another process of this site was first; its key is read
    finally:
        beside.unlink()


def _read_key(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PrivacyError(f"{path}: other users can read the key of the pseudonyms; run chmod 600 on it")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path}: {len(key)} bytes, wanted {KEY_BYTES}; restore it, or remove it and the cache")
    return key
