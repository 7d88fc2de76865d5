"""Whether a frozen cohort was as it was when somebody last looked: a small file, so that the daemon need not look.

The process that answers looks at every `Prepare`; so do `fl-liver site cohort list` and `site status`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from fl_liver.whole_file import write_whole

FOLDER = "frozen"


@dataclass(frozen=True, slots=True)
class Verdict:
    """reason: empty where nothing had changed. when: seconds since 1970."""

    reason: str
    when: float


def write_verdict(work: Path, name: str, reason: str) -> None:
    """Raises OSError where the folder cannot be written."""
    path = _path(work, name)
    write_whole(path, json.dumps({"reason": reason, "when": time.time()}))


def read_verdict(work: Path, name: str) -> Verdict:
    """The last look; a cohort at which nobody has looked yet is no good news."""
    try:
        raw = json.loads(_path(work, name).read_text(encoding="utf-8"))
        return Verdict(str(raw["reason"]), float(raw["when"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Verdict(f"cohort '{name}' was never looked at; `fl-liver site cohort list`", 0.0)


def _path(work: Path, name: str) -> Path:
    return work / FOLDER / f"{name}.verdict"
