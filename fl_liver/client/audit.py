"""What left this hospital, one line each, written and on disk before it leaves: `work/audit.jsonl`, mode 0600.

Every line carries the SHA-256 of the line before it, and `audit.head` the number of lines and the hash of the last, so
that an edit, a line taken out and a shortened file are all found. Who may write both files can write both anew: note
the head that `fl-liver site audit` prints elsewhere, and `site audit verify --head` holds the log against it.

A full disk, or a log that does not go with its head: nothing leaves.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fl_liver.errors import AuditError

LOG_FILE = "audit.jsonl"
HEAD_FILE = "audit.head"
_FIRST = "0" * 64
_HEAD_BYTES = 256


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log: lines, SHA-256 of the last one, size of the file."""

    entries: int = 0
    last: str = _FIRST
    bytes: int = 0

    @property
    def text(self) -> str:
        """What to note elsewhere."""
        return f"{self.entries}:{self.last}"


def append(work: Path, **about: Any) -> Head:
    """Write one line about something that is going to leave. It is on disk when this returns.

    Raises:
        AuditError: it could not be written, or the log does not go with its head.
    """
    path = work / LOG_FILE
    try:
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(log, fcntl.LOCK_EX)
            return _append(work, log, about)
        finally:
            os.close(log)
    except OSError as error:
        raise AuditError(f"{path}: cannot be written ({error.strerror}); nothing leaves until it can") from error


def entries(work: Path) -> Iterator[dict[str, Any]]:
    """Every line, oldest first. Raises AuditError at one that is not JSON."""
    for number, line in enumerate(_lines(work / LOG_FILE), start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise AuditError(f"{work / LOG_FILE}: line {number} is not JSON; it was changed") from error


def verify(work: Path, noted: str = "") -> Head:
    """The whole log against itself, its head and, with `noted` ("ENTRIES:SHA256"), a head from before.

    Raises:
        AuditError: says the first line that is wrong, or what is missing.
    """
    path, last, count, size = work / LOG_FILE, _FIRST, 0, 0
    hashes: dict[int, str] = {0: _FIRST}
    wanted_number, _, wanted_hash = noted.partition(":")
    if noted and (not wanted_number.isdecimal() or len(wanted_hash) != len(_FIRST)):
        raise AuditError(f"head '{noted[:40]}': wanted ENTRIES:SHA256, as `fl-liver site audit` prints it")
    for line in _lines(path):
        count += 1
        size += len(line) + 1
        about = _parsed(line)
        if about.get("n") != count or about.get("previous") != last:
            raise AuditError(
                f"{path}: line {count} does not follow the one before it; a line was changed, put in or taken out"
            )
        last = hashlib.sha256(line).hexdigest()
        if noted and count == int(wanted_number):
            hashes[count] = last
    head = _read_head(work)
    if head.entries > count:
        raise AuditError(f"{path}: {count} lines, but {head.entries} were written; the end was cut off")
    if count - head.entries > 1 or (head.entries == count and head.last != last):
        raise AuditError(f"{path}: its last line is not the one that was written (audit.head); it was changed")
    if noted and hashes.get(int(wanted_number)) != wanted_hash:
        raise AuditError(f"{path}: line {wanted_number} is not the one that was noted; the log was written anew")
    return Head(count, last, size)


def _append(work: Path, log: int, about: dict[str, Any]) -> Head:
    head, size = _read_head(work), os.fstat(log).st_size
    if size != head.bytes:
        head = _mended(work, log, head, size)
        size = head.bytes
    body = {
        "n": head.entries + 1,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **about,
        "previous": head.last,
    }
    line = json.dumps(body, allow_nan=False).encode()
    try:
        _write_all(log, line + b"\n")
        os.fdatasync(log)
        written = Head(head.entries + 1, hashlib.sha256(line).hexdigest(), size + len(line) + 1)
        _write_head(work, written)
    except OSError:
        if os.fstat(log).st_size > size:
            os.ftruncate(log, size)
        raise
    return written


def _mended(work: Path, log: int, head: Head, size: int) -> Head:
    """After a power cut between a line and its head: a whole line that follows counts, half a line is removed."""
    if size < head.bytes:
        raise AuditError(
            f"{work / LOG_FILE}: {head.bytes - size} bytes shorter than when it was last written; nothing leaves."
            " Look into it; to begin a new log, move audit.jsonl and audit.head away together"
        )
    tail = os.pread(log, size - head.bytes, head.bytes)
    line, newline, rest = tail.partition(b"\n")
    if newline and not rest and _parsed(line).get("previous") == head.last:
        return Head(head.entries + 1, hashlib.sha256(line).hexdigest(), size)
    if newline:
        raise AuditError(f"{work / LOG_FILE}: lines were put in behind the last one; nothing leaves; look into it")
    os.ftruncate(log, head.bytes)
    return head


def _read_head(work: Path) -> Head:
    path = work / HEAD_FILE
    if not path.exists():
        return Head()
    try:
        raw = json.loads(path.read_text(encoding="ascii"))
        return Head(int(raw["entries"]), str(raw["last"]), int(raw["bytes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError(f"{path}: cannot be read; nothing leaves; move it and {LOG_FILE} away together") from error


def _write_head(work: Path, head: Head) -> None:
    """In place and of one size: no room is needed for it on a disk that has become full."""
    text = json.dumps({"entries": head.entries, "last": head.last, "bytes": head.bytes}).ljust(_HEAD_BYTES - 1) + "\n"
    file = os.open(work / HEAD_FILE, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        _write_all(file, text.encode("ascii"))
    finally:
        os.close(file)


def _write_all(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        about = json.loads(line)
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")
