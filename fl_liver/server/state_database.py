"""Reading in the SuperLink's database, beside it and on the same machine: who has a message waiting, answers, parts.

The SuperLink answers one request after the other, 10 ms each and 60 ms for a part of 5 MiB; its database is an SQLite
file that others may read meanwhile. Its tables are private to Flower (tested with 1.41): whatever is not as
expected is None here, and is then asked of the SuperLink.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WAITING = """
SELECT DISTINCT message_ins.dst_node_id FROM message_ins JOIN objects ON objects.object_id = message_ins.message_id
WHERE message_ins.delivered_at = '' AND message_ins.created_at + message_ins.ttl > ? AND objects.is_available = 1
"""
"""A message is put down last, after its parts: once it is there they can be fetched."""
_PART = """
SELECT objects.is_available, objects.content FROM objects JOIN run_objects ON run_objects.object_id = objects.object_id
WHERE run_objects.run_id = ? AND objects.object_id = ?
"""
_ANSWERS = """
WITH RECURSIVE parts(answered, object_id) AS (
    SELECT reply_to_message_id, message_id FROM message_res
    WHERE delivered_at = '' AND reply_to_message_id IN (SELECT value FROM json_each(?))
    UNION
    SELECT parts.answered, object_children.child_id FROM object_children
    JOIN parts ON object_children.parent_id = parts.object_id)
SELECT parts.answered, MIN(COALESCE(objects.is_available, 0)) FROM parts
LEFT JOIN objects ON objects.object_id = parts.object_id GROUP BY parts.answered
"""
_SIGNED, _UNSIGNED = 1 << 63, 1 << 64
"""Flower keeps unsigned numbers as signed ones."""


class StateDatabase:
    """Opened for reading when it is first needed, once in each thread."""

    def __init__(self, path: Path) -> None:
        self._path, self._own = path, threading.local()

    def waiting(self, now: float) -> frozenset[int] | None:
        """The nodes that have a message which can be fetched and is still wanted. `now` in s since 1970."""
        rows = self._rows(_WAITING, now)
        return None if rows is None else frozenset(int(node) % _UNSIGNED for (node,) in rows)

    def answers(self, message_ids: Sequence[str]) -> dict[str, bool] | None:
        """Those of these messages that have an answer which was not fetched: whether all parts of it are there."""
        rows = self._rows(_ANSWERS, json.dumps(list(message_ids)))
        return None if rows is None else {str(name): bool(whole) for name, whole in rows}

    def part(self, run_id: int, object_id: str) -> bytes | None:
        """A part of a message of that run; b"" where it was announced and is still on its way."""
        rows = self._rows(_PART, run_id - _UNSIGNED if run_id >= _SIGNED else run_id, object_id)
        if not rows:
            return None
        available, content = rows[0]
        return bytes(content) if available else b""

    def _rows(self, question: str, *values: object) -> list[tuple[Any, ...]] | None:
        try:
            return self._connection().execute(question, values).fetchall()
        except (sqlite3.Error, OSError, OverflowError):
            self.close()
            return None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            # Without the file SQLite would say so too, but only after it has looked for it for a while.
            self._path.stat()
            connection = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, timeout=0.05)
            self._own.connection = connection
        return connection

    def close(self) -> None:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        self._own.connection = None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
