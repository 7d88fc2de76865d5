"""What was read of each file, kept in the hospital's work folder so that a second check reads only what changed.

A file is known by its path, size and time. The index holds headers, and with them patients' ids and dates: mode 0600,
removed by `fl-liver site cohort purge`. Another version of what is kept of a header makes it void.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.read.acquisition import Acquisition
from fl_liver.client.cohort.read.dicom import Reading, examine
from fl_liver.client.cohort.read.folder import Listed
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.region import UltrasoundRegion
from fl_liver.client.cohort.store import Store

INDEX_FILE = "index.json"
READER_VERSION = 1
"""Raise it whenever the same bytes would give another reading."""
_HEADER = [one.name for one in fields(Header)]
_ACQUISITION = [one.name for one in fields(Acquisition)]
_REGION = [one.name for one in fields(UltrasoundRegion)]


class Index:
    """Readings of files by path; `examine` answers from them where a file is as it was."""

    def __init__(self, path: Path) -> None:
        self._store = Store(path, _version())

    def examine(self, one: Listed, relative: str) -> Reading:
        """As `dicom.examine`."""
        stamp = [one.bytes, one.mtime_ns, relative]
        known = self._store.get(one.relative)
        if known is not None and known[0] == stamp:
            return _reading(known[1])
        reading = examine(one.path, relative)
        self._store.put(one.relative, [stamp, _plain(reading)])
        return reading

    def save(self) -> None:
        """Keep what was asked for since this index was opened, and forget the rest."""
        self._store.save()


def _version() -> str:
    """Of this code and of what it keeps."""
    kept = json.dumps([READER_VERSION, _HEADER, _ACQUISITION, _REGION])
    return hashlib.sha256(kept.encode()).hexdigest()[:16]


def _plain(reading: Reading) -> list[Any]:
    refusal = None if reading.refusal is None else str(reading.refusal)
    frames = [_plain_header(one) for one in reading.frames]
    return [None if reading.header is None else _plain_header(reading.header), refusal, frames, reading.names_patient]


def _plain_header(header: Header) -> list[Any]:
    found = [getattr(header, name) for name in _HEADER]
    acquisition = [getattr(header.acquisition, name) for name in _ACQUISITION]
    acquisition = [sorted(one) if isinstance(one, frozenset) else one for one in acquisition]
    found[_HEADER.index("acquisition")] = acquisition
    found[_HEADER.index("regions")] = [[getattr(one, name) for name in _REGION] for one in header.regions]
    return found


def _reading(plain: list[Any]) -> Reading:
    header, refusal, frames, named = plain
    return Reading(
        None if header is None else _header(header),
        None if refusal is None else UnusableError(refusal),
        tuple(_header(one) for one in frames),
        named,
    )


def _header(plain: list[Any]) -> Header:
    found = dict(zip(_HEADER, map(_tuples, plain), strict=True))
    acquisition = dict(zip(_ACQUISITION, map(_tuples, found["acquisition"]), strict=True))
    acquisition["words"] = frozenset(acquisition["words"])
    found["acquisition"] = Acquisition(**acquisition)
    found["regions"] = tuple(UltrasoundRegion(*one) for one in found["regions"])
    return Header(**found)


def _tuples(value: Any) -> Any:
    """JSON knows lists only."""
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
