"""Whether the hospital's own files keep what they must: the work folder closed, the log without patients.

The log is searched for the ids of the very patients whose headers were just read: a leak that no test foresaw is found
where it would stand.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from fl_liver.client.cohort.codes import counted, finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.series.series import Series
from fl_liver.client.site import SiteConfig

LOG_FILES = ("site.log", "audit.jsonl")
_SEARCHED_BYTES = 16 << 20
_LEAST_CHARACTERS = 6
"""Shorter ids are parts of other words and numbers."""


def privacy_findings(site: SiteConfig, series: Sequence[Series]) -> list[Finding]:
    """F_CACHE_WORLD_READABLE and F_LOG_HAS_PHI."""
    found: list[Finding] = []
    open_to_others = [path for path in _private(site.work) if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    if open_to_others:
        what = f"{counted(len(open_to_others), 'file or folder')} below 'work' can be read by other users"
        found.append(finding("F_CACHE_WORLD_READABLE", "", what))
    ids = {one.header.patient_id for one in series} | {one.header.series_uid for one in series}
    lines = sum(_lines_with(site.work / name, ids) for name in LOG_FILES)
    if lines:
        found.append(finding("F_LOG_HAS_PHI", "", f"{counted(lines, 'line')} of the log with the id of a patient"))
    return found


def _private(work: Path) -> Iterable[Path]:
    """The folder itself, its cache and its keys."""
    if not work.is_dir():
        return []
    cache = work / "cache"
    return [work, *work.glob("*.key"), *([cache, *cache.rglob("*")] if cache.is_dir() else [])]


def _lines_with(log: Path, ids: Iterable[str]) -> int:
    """Lines of the last 16 MiB that hold one of the ids."""
    if not log.is_file():
        return 0
    wanted = [one.encode("utf-8", "surrogateescape") for one in ids if len(one) >= _LEAST_CHARACTERS]
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _SEARCHED_BYTES))
        text = file.read()
    hits = [one for one in wanted if one in text]
    return sum(any(one in line for one in hits) for line in text.splitlines()) if hits else 0
