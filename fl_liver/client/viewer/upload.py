"""What a clinician uploads, in a private temporary folder that is laid out as one patient's and removed after reading.

Files are foreign: names give no place and are forgotten but for their ending, archives are unpacked within the same
limits as plain files, and what a file holds is opened by the cohort's guarded readers only.
"""

from __future__ import annotations

import asyncio
import errno
import lzma
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from fl_liver.client.cohort.layout import BOX_FILE, DICOM_FOLDER, MASK_FOLDER, PatientFolder, hospital_folder
from fl_liver.client.cohort.lesions.boxes import read_boxes
from fl_liver.client.cohort.lesions.masks import MASK_SUFFIXES
from fl_liver.errors import DataError

PATIENT = "upload"
MOST_FILES = 20_000
_CHUNK = 1 << 20
_ZIP = b"PK\x03\x04"
_LEFT_S = 3600.0
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNSOUND = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError, MemoryError, OSError)
"""What `zipfile` raises over a damaged or foreign archive: MemoryError, where an LZMA header asks for gigabytes."""
_OF_THE_FILE = frozenset({None, errno.EINVAL})
"""Numbers of the OSErrors among them: none (bz2), or an offset beyond every file. Others are the disk's."""


class Upload:
    """One study on its way in. `close` removes everything; it may be called twice.

    Args:
        most_bytes: of all files together, unpacked.
        below: where the folder is made, mode 0700; by default the system's place for temporary files.
    Raises:
        DataError: the disk is full.
    """

    def __init__(self, most_bytes: int, below: Path | None = None) -> None:
        self._most_bytes, self._bytes, self._files = most_bytes, 0, 0
        with _room(below or Path(tempfile.gettempdir())):
            self.folder = Path(tempfile.mkdtemp(prefix="fl-liver-view-", dir=below))
            for name in (DICOM_FOLDER, MASK_FOLDER):
                (self.folder / name / PATIENT).mkdir(mode=0o700, parents=True)

    async def add(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """One file: DICOM, a mask, lesions.csv, or a ZIP of these.

        Raises:
            DataError: more bytes or files than allowed, a second lesions.csv, an archive that cannot be unpacked, or a
                full disk.
        """
        path = self._place(name)
        with _room(self.folder):
            with path.open("xb") as file:
                async for chunk in chunks:
                    self._count(len(chunk))
                    file.write(chunk)
            if _is_zip(path):
                await asyncio.to_thread(self._unpack, path)

    def patient(self) -> PatientFolder:
        """What was uploaded, as the cohort's readers take a patient.

        Raises:
            DataError: no image, or boxes of several patients.
        """
        found = hospital_folder(self.folder).patients.get(PATIENT, PatientFolder(PATIENT))
        if not found.files:
            raise DataError("no DICOM file was uploaded; add the images of one patient, or a ZIP of them")
        table = self.folder / f"own-{BOX_FILE}"
        if not table.exists():
            return found
        boxes = read_boxes(table)
        if len(boxes.of_patient) > 1:
            raise DataError(f"lesions.csv has boxes of {len(boxes.of_patient)} patients; upload the rows of one")
        of_one = tuple(box for many in boxes.of_patient.values() for box in many)
        return replace(found, boxes=of_one, unreadable_boxes=sum(boxes.unreadable.values()))

    @property
    def has_lesions(self) -> bool:
        """Whether boxes or masks came along; a DICOM SEG or RTSTRUCT lies among the images and is found by reading."""
        return (self.folder / f"own-{BOX_FILE}").exists() or any((self.folder / MASK_FOLDER / PATIENT).iterdir())

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, name: str) -> Path:
        """A path of our own making, by the ending of a name."""
        self._files += 1
        if self._files > MOST_FILES:
            raise DataError(f"more than {MOST_FILES} files; upload one study")
        lower = name.lower()
        suffix = next((end for end in MASK_SUFFIXES if lower.endswith(end)), None)
        if suffix is not None:
            return self.folder / MASK_FOLDER / PATIENT / f"{self._files:06d}{suffix}"
        if lower.endswith(".csv"):
            table = self.folder / f"own-{BOX_FILE}"
            if table.exists():
                raise DataError("two CSV files; wanted one lesions.csv with the boxes of this study")
            return table
        ending = ".dcm" if lower.endswith(_DICOM_SUFFIXES) else ""
        return self.folder / DICOM_FOLDER / PATIENT / f"{self._files:06d}{ending}"

    def _count(self, more: int) -> None:
        self._bytes += more
        if self._bytes > self._most_bytes:
            raise DataError(f"more than {self._most_bytes >> 20} MiB; upload fewer series, or raise --most-mib")

    def _unpack(self, path: Path) -> None:
        """Replace an archive by what it holds; its own sizes are not believed."""
        self._bytes -= path.stat().st_size
        try:
            with path.open("rb") as file:
                with _sound():
                    archive = zipfile.ZipFile(file)
                for member in archive.infolist():
                    if not member.filename.endswith("/") and not _hidden(member.filename):
                        with _sound():
                            source = archive.open(member)
                        with source:
                            self._copy(member.filename, source)
        finally:
            path.unlink(missing_ok=True)

    def _copy(self, name: str, source: IO[bytes]) -> None:
        target = self._place(name)
        with target.open("xb") as file:
            for chunk in _chunks(source):
                self._count(len(chunk))
                file.write(chunk)
        if _is_zip(target):
            raise DataError("a ZIP inside a ZIP; unpack it first")


def uploads_folder(work: Path) -> Path:
    """Where uploads lie for the minutes that they are read, mode 0700; what a killed process left there goes."""
    folder = work / "viewer"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for left in folder.iterdir():
        if left.stat().st_mtime < time.time() - _LEFT_S:
            shutil.rmtree(left, ignore_errors=True)
    return folder


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Raises DataError where something inside cannot be written because the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise DataError(
            f"the disk of {folder} is full ({error.strerror}); free some room, then upload again"
        ) from error


@contextmanager
def _sound() -> Iterator[None]:
    """Raises DataError where an archive that is read inside is damaged; what is written belongs outside."""
    try:
        yield
    except _UNSOUND as error:
        if isinstance(error, OSError) and error.errno not in _OF_THE_FILE:
            raise
        raise DataError(
            f"the ZIP cannot be unpacked ({type(error).__name__}): damaged, or with a password; upload the files"
        ) from error


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while True:
        with _sound():
            chunk = source.read(_CHUNK)
        if not chunk:
            return
        yield chunk


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def _hidden(name: str) -> bool:
    """What an operating system puts into archives beside the files."""
    return any((part.strip(".") and part.startswith(".")) or part == "__MACOSX" for part in PurePosixPath(name).parts)
