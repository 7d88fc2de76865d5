"""What was found in a patient's pixels, so that a second check looks only at whom something changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple
from pathlib import Path

from fl_liver.client.cohort.check.case import CaseFiles, CaseFound
from fl_liver.client.cohort.check.fingerprint import Intensity
from fl_liver.client.cohort.codes import PASSING, finding
from fl_liver.client.cohort.store import Store

LOOK_VERSION = "2"
"""Raise it whenever the same pixels would give other findings."""


class Remembered:
    """Without a cache folder nothing is kept."""

    def __init__(self, cache: Path | None) -> None:
        self._store = Store(cache / "looked_at.json", LOOK_VERSION) if cache is not None else None

    def get(self, files: CaseFiles) -> CaseFound | None:
        kept = self._store.get(_key(files)) if self._store is not None else None
        if kept is None:
            return None
        return CaseFound(
            findings=tuple(finding(*one) for one in kept["findings"]),
            hashes=frozenset(kept["hashes"]),
            notes=tuple(kept["notes"]),
            intensities=tuple((series, Intensity(*values)) for series, values in kept["intensities"]),
        )

    def put(self, files: CaseFiles, found: CaseFound) -> None:
        """Pictures are not kept, nor that a process died or took too long, which may pass."""
        if self._store is None or any(one.code in PASSING for one in found.findings):
            return
        plain = {
            "findings": [[one.code, one.case, one.cause, one.series] for one in found.findings],
            "hashes": sorted(found.hashes),
            "notes": list(found.notes),
            "intensities": [[series, astuple(one)] for series, one in found.intensities],
        }
        self._store.put(_key(files), plain)

    def save(self) -> None:
        if self._store is not None:
            self._store.save()


def _key(files: CaseFiles) -> str:
    """Of everything that was looked at: files by path, size and time, series by name, masks and boxes."""
    paths = sorted({*(path for one in files.series for path in one.files), *files.masks})
    stamps = [[str(path), (stat := path.stat()).st_size, stat.st_mtime_ns] for path in paths]
    series = [[one.id, one.kind] for one in files.series]
    text = json.dumps([files.case, stamps, series, [astuple(one) for one in files.boxes]])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
