"""Which files of a folder are looked at: regular files inside it, in name order, hidden ones left out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fl_liver.client.cohort.read.dicom import looks_like_dicom

_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry below a root. `relative` may name a patient: it is read and hashed, never printed."""

    relative: str
    path: Path
    bytes: int
    mtime_ns: int


def list_files(root: Path, leave_out: tuple[Path, ...] = ()) -> list[Listed]:
    """Every entry below `root` that is not a folder, sorted by relative path.

    Links are not followed into folders; folders in `leave_out` and hidden names are passed over.
    """
    found: list[Listed] = []
    out = {str(path) for path in leave_out}
    waiting = [(str(root), "")]
    while waiting:
        folder, prefix = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.path in out:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{prefix}{entry.name}/"))
                    continue
                status = entry.stat(follow_symlinks=False)
                found.append(Listed(prefix + entry.name, Path(entry.path), status.st_size, status.st_mtime_ns))
    return sorted(found, key=lambda one: one.relative)


def stays_inside(root: Path, path: Path) -> bool:
    """False for a link that leads out of `root`, or nowhere."""
    return not path.is_symlink() or (path.exists() and path.resolve().is_relative_to(root.resolve()))


def meant_as_dicom(path: Path) -> bool:
    """Whether a file should be read: by its name (.dcm, or the last number of a UID) or by its first bytes."""
    suffix = path.suffix.lower()
    return suffix in _DICOM_SUFFIXES or suffix[1:].isdigit() or looks_like_dicom(path)
