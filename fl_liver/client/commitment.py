"""What a hospital commits to before it answers: patients, labels, factors, what made its scores, under its own key.

HMAC-SHA256, so that nobody outside can try out the rows of a small hospital. The value is the same as long as nothing
changed; within a batch it must not change. Scores stand in it by their origin and not by their values: the server makes
them, and whether two questions of its choice give every patient here the same score would be an answer about patients.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms

_PURPOSE = b"fl-liver/v1\0commitment"


def commit(
    work: Path, cohort: Cohort, columns: Mapping[str, NDArray[Any]], scores: Mapping[str, str] | None = None
) -> str:
    """64 hex digits over the patients in the order of their names, their parts and folds, and every column.

    work: the folder with the site's key. columns: (n,) each, of the hospital's own data. scores: name → origin.
    """
    mac = hmac.new(site_pseudonyms(work).key, _PURPOSE, hashlib.sha256)
    order = np.argsort(np.array(cohort.patients, dtype=object), kind="stable")
    named: dict[str, NDArray[Any]] = {
        "patients": np.array(cohort.patients, dtype=object),
        "part": cohort.part,
        "fold": cohort.fold,
        **{f"column {name}": column for name, column in columns.items()},
    }
    for name in sorted(named):
        content = _bytes(named[name][order])
        mac.update(f"\0{name}\0{len(content)}\0".encode())
        mac.update(content)
    for name, made in sorted((scores or {}).items()):
        mac.update(f"\0score {name}\0{made}\0".encode())
    return mac.hexdigest()


def _bytes(column: NDArray[Any]) -> bytes:
    if column.dtype == object:
        return "\0".join(map(str, column)).encode()
    little: bytes = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<")).tobytes()
    return little
