"""The fault matrix as it was measured: one row for each fault, as JSON and as the table of docs/operations.md.

`FL_LIVER_FAULT_MATRIX=PATH.json` says where it is kept; every run of a fault replaces its row.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

_FOLDER = re.compile(r"/\S*?/consortium/")
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_TIME = re.compile(r"^(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(,\d{3})? (\w+: |INFO |WARNING |ERROR )?")


@dataclass(frozen=True)
class Row:
    """One fault: what happened, within what time, and the line that a person reads."""

    fault: str
    happened: str
    seconds: float
    read: str
    where: str


def note(row: Row, folder: Path) -> None:
    """Keep a row, without what is of this run alone: folders and ports."""
    read = _FOLDER.sub("liver/", _PORT.sub("HOST:PORT", row.read))
    row = replace(row, read=read.replace("`", "'").replace("|", "/"))
    path = Path(os.environ.get("FL_LIVER_FAULT_MATRIX", folder / "fault-matrix.json"))
    rows = {one["fault"]: one for one in json.loads(path.read_text())} if path.exists() else {}
    rows[row.fault] = asdict(row)
    path.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
    lines = [
        f"| {one['fault']} | {one['happened']} | {one['seconds']:.0f} s | `{one['read']}` ({one['where']}) |"
        for one in rows.values()
    ]
    head = "| fault | what happens | within | what the operator reads |\n|---|---|---|---|\n"
    path.with_suffix(".md").write_text(head + "\n".join(lines) + "\n")


def line_with(words: str, text: str) -> str:
    """The last line of a log with these words, without its time."""
    found = [line for line in text.splitlines() if words in line]
    assert found, f"nobody reads '{words}' in\n{text[-3000:]}"
    return _TIME.sub("", found[-1].strip())
