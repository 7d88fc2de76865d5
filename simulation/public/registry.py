"""The public data sets that `--data DIR --reader NAME` can read, each with where to get it and on what terms."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fl_liver.errors import ConfigError, DataError
from simulation.public import mct_ltdiag
from simulation.public.cohort import PublicCohort, write_virtual_hospitals

__all__ = ["READERS", "PublicCohort", "Reader", "describe", "read_public", "write_virtual_hospitals"]


@dataclass(frozen=True, slots=True)
class Reader:
    """One data set: the files by which its folder is known, and what a user must know before using it."""

    name: str
    title: str
    obtain: str
    licence: str
    files: tuple[str, ...]
    read: Callable[[Path], PublicCohort]


READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader(
            name="mct_ltdiag",
            title="MCT-LTDiag tables: 517 patients with one of five focal liver lesions, radiologist's findings in CT",
            obtain="Harvard Dataverse doi 10.7910/DVN/S3RW15 or meta/ of github.com/Hoyant-Su/Multi-phase_LT_Benchmark",
            licence="CC0 1.0 as others state it; the repository has no licence file, look at the Dataverse page",
            files=mct_ltdiag.FILES,
            read=mct_ltdiag.read,
        ),
    )
}


def read_public(name: str | None, folder: Path) -> PublicCohort:
    """Read a public data set.

    Args:
        name: A key of READERS, or None: the reader whose files all lie in `folder`.
    Raises:
        ConfigError: unknown reader, or no folder.
        DataError: no reader knows the folder, or the tables cannot be used.
    """
    if name is not None and name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(READERS)}"
        raise ConfigError(f"reader '{name}': unknown, {hint}")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give the folder that holds the data set with --data")
    return (_detect(folder) if name is None else READERS[name]).read(folder)


def _detect(folder: Path) -> Reader:
    for reader in READERS.values():
        if all((folder / file).is_file() for file in reader.files):
            return reader
    wanted = "; ".join(f"{reader.name}: {', '.join(reader.files)}" for reader in READERS.values())
    found = sorted(entry.name for entry in folder.iterdir())
    listing = ", ".join(found[:5]) + (", …" if len(found) > 5 else "") if found else "nothing"
    raise DataError(f"{folder}: no known data set (found {listing}; wanted {wanted}); give another folder")


def describe() -> str:
    """Text for `--help`: per data set its name, content, source and licence."""
    blocks = [
        f"{reader.name}\n  {reader.title}\n  files    {', '.join(reader.files)}\n"
        f"  from     {reader.obtain}\n  licence  {reader.licence}"
        for reader in READERS.values()
    ]
    return "\n".join(blocks)
