"""Which messages the daemon took and which it answered: `work/daemon.jsonl`, so that a restart leaves nobody waiting.

The server hands a message out once. Its head is written down before anything else is done with it; a head without an
end is a message that was lost, and is answered with that.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from fl_liver.errors import AuditError
from fl_liver.whole_file import write_whole

FILE = "daemon.jsonl"
_LONG = 1 << 20


class AnswersJournal:
    """Every method has written to the disk when it returns.

    Raises:
        AuditError: it could not be written; nothing of the line is on the disk.
    """

    def __init__(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = work / FILE
        self._open: dict[str, bytes] = {}
        for about in self._read():
            if about.get("event") == "taken":
                self._open[str(about["message"])] = base64.b64decode(about["head"])
            else:
                self._open.pop(str(about.get("message")), None)
        try:
            self._shorten()
        except OSError:
            return  # a full disk: it stays long, and a daemon that starts says what cannot be written

    @property
    def unanswered(self) -> dict[str, bytes]:
        """Message id → head."""
        return dict(self._open)

    def taken(self, message_id: str, head: bytes, kind: str) -> None:
        self._write({"event": "taken", "message": message_id, "kind": kind, "head": base64.b64encode(head).decode()})
        self._open[message_id] = head

    def closed(self, message_id: str, how: str) -> None:
        """how: answered, lost, or that nobody waits any more."""
        self._write({"event": "closed", "message": message_id, "how": how})
        self._open.pop(message_id, None)
        if not self._open and self._path.stat().st_size > _LONG:
            self._shorten()

    def _read(self) -> list[dict[str, Any]]:
        """Every whole line; half a line at the end is of a power cut."""
        found: list[dict[str, Any]] = []
        for line in self._path.read_bytes().splitlines() if self._path.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def _write(self, about: dict[str, Any]) -> None:
        line = (json.dumps({"time": round(time.time(), 3), **about}) + "\n").encode()
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                self._append(file, line)
            finally:
                os.close(file)
        except OSError as error:
            raise AuditError(
                f"{self._path}: cannot be written ({error.strerror}); nothing is answered until it can"
            ) from error

    @staticmethod
    def _append(file: int, line: bytes) -> None:
        """The whole line or nothing: half a line would swallow the next one."""
        size = os.fstat(file).st_size
        try:
            while line:
                line = line[os.write(file, line) :]
            os.fdatasync(file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, size)
            raise

    def _shorten(self) -> None:
        """Only what is open is worth keeping."""
        now = round(time.time(), 3)
        lines = [
            {"time": now, "event": "taken", "message": name, "head": base64.b64encode(head).decode()}
            for name, head in self._open.items()
        ]
        write_whole(self._path, "".join(json.dumps(line) + "\n" for line in lines))
