"""One series' folder below `dicom/`: an object becomes a file when it is whole, is what was asked for, and is on disk.

    dicom/<patient_id>/<series>/<object>.dcm      folders 0700, files 0600

The patient's id is the hospital's own; the other two are keyed names of the UIDs (`cohort.pseudonym`). Until it is
checked, an object lies in a hidden `.….part`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from fl_liver.client.cohort.pacs.query import Series
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.read.dicom import MAX_FILE_BYTES, examine
from fl_liver.errors import DataError, IncompleteError
from fl_liver.whole_file import sync

GB = 10**9


class ObjectRefusedError(DataError):
    """An object that came is not what was asked for; it was not kept."""


class OversizedError(ObjectRefusedError):
    """It was not read to its end."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that is a file now."""

    sop_uid: str = field(repr=False)
    bytes: int


class SeriesFolder:
    """Where the objects of one series go.

    Args:
        data: the hospital's folder; `dicom/` is made below it.
    """

    def __init__(self, data: Path, series: Series, names: Pseudonyms) -> None:
        self.series = series
        self._names = names
        self._data = data
        self.path = data / "dicom" / series.study.patient_id / names.series(series.uid)

    def file_of(self, sop_uid: str) -> Path:
        return self.path / f"{self._names.file(sop_uid)}.dcm"

    def here(self, sop_uids: tuple[str, ...]) -> set[str]:
        """Those objects that are files already."""
        if not self.path.is_dir():
            return set()
        with os.scandir(self.path) as entries:
            there = {entry.name for entry in entries}
        return {uid for uid in sop_uids if self.file_of(uid).name in there}

    def open(self, about_bytes: int, free_gb: float) -> None:
        """Make the folder, remove what a killed run left, and see that the disk has room.

        Raises:
            IncompleteError: free space is, or would fall, below the floor.
        """
        self.require_room(about_bytes, free_gb)
        for folder in (self.path.parent.parent, self.path.parent, self.path):
            folder.mkdir(mode=0o700, exist_ok=True)
        for left in self.path.glob(".*.part"):
            left.unlink()

    def close(self) -> None:
        """Force the names of the files to the disk; remove the folders if nothing came."""
        sync(self.path)
        for folder in (self.path, self.path.parent):
            if not any(folder.iterdir()):
                folder.rmdir()

    def require_room(self, about_bytes: int, free_gb: float) -> None:
        """Raises IncompleteError where so many bytes more would leave less than `free_gb` free."""
        free = shutil.disk_usage(self._data).free
        if free - about_bytes < free_gb * GB:
            raise IncompleteError(
                f"disk of 'data': {free / GB:.1f} GB free, the next series wants about {about_bytes / GB:.1f} GB and"
                f" {free_gb:g} GB stay free (pacs.free_gb); make room and run it again"
            )

    def no_disk(self, error: OSError) -> IncompleteError:
        """What a disk that fails becomes."""
        return IncompleteError(
            f"folder dicom of 'data': cannot be written ({error.strerror or type(error).__name__}); make room or"
            " correct its rights and run it again; what is here is kept"
        )

    def keep(self, pieces: Iterator[bytes], asked: Set[str]) -> Kept:
        """Write one object, look at its header, and give it its name.

        Raises:
            ObjectRefusedError: it is too large, no DICOM, or another object than those `asked` for.
            UnreachableError, ProtocolError: from `pieces`.
        """
        part = self.path / f".{secrets.token_hex(8)}.part"
        try:
            size = _write(part, pieces)
            sop_uid = self._examined(part, asked)
            sync(part)
            part.replace(self.file_of(sop_uid))
        finally:
            part.unlink(missing_ok=True)
        return Kept(sop_uid, size)

    def _examined(self, part: Path, asked: Set[str]) -> str:
        """The object's SOPInstanceUID. Pixels that are damaged are not refused here: `site check` names them."""
        reading = examine(part)
        header, study = reading.header, self.series.study
        if header is None:
            code = reading.refusal.code if reading.refusal else "E_UNREADABLE"
            raise ObjectRefusedError(f"an object without a readable header ({code})")
        for what, found, wanted in (
            ("patient", header.patient_id.strip(), study.archive_id),
            ("study", header.study_uid, study.uid),
            ("series", header.series_uid, self.series.uid),
        ):
            if found != wanted:
                raise ObjectRefusedError(f"an object of another {what} than the one asked for")
        if header.sop_uid not in asked:
            raise ObjectRefusedError("another object of the series than the one asked for, or one twice")
        return header.sop_uid


def _write(part: Path, pieces: Iterator[bytes]) -> int:
    size = 0
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for piece in pieces:
            size += len(piece)
            if size > MAX_FILE_BYTES:
                raise OversizedError(f"an object of more than {MAX_FILE_BYTES >> 30} GiB")
            file.write(piece)
    return size
