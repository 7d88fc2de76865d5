"""`series.toml`: what a hospital says its series are, where the tags of its machines do not.

    [[series]]
    description = "LAVA ART 25s"     # the whole SeriesDescription; case and runs of spaces do not count
    kind = "arterial"                # a kind of sequence or phase, or "ignore"

    [[series]]
    folder = "*/ax t2*"              # glob of its folder below dicom/; * also spans folders, case does not count
    kind = "t2"

    [split]
    by = ["acquisition_number"]      # several phases stored under one SeriesInstanceUID may be told apart by this

What stands here outweighs every tag. Of several entries that fit a series, the first counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fl_liver.client.cohort.read.words import description_digest
from fl_liver.client.cohort.series.phases import SplitBy
from fl_liver.study_cohort import SequenceKind
from fl_liver.toml_file import Section, read_toml

MappedKind = Literal[SequenceKind, "ignore"]


class Entry(Section):
    """One series named by its description, its folder, or both; both must then fit."""

    description: Annotated[str, Field(min_length=1)] | None = None
    folder: Annotated[str, Field(min_length=1)] | None = None
    kind: MappedKind

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.description is None and self.folder is None:
            raise ValueError("an entry wants description or folder")
        if self.description is not None and not self.description.strip():
            raise ValueError("description is blank")
        return self

    def fits(self, digest: str, folder: str) -> bool:
        """Whether it names a series with this `description_digest` in this folder below dicom/."""
        named = self.description is None or description_digest(self.description) == digest
        return named and (self.folder is None or fnmatchcase(folder.casefold(), self.folder.casefold()))


class _Split(Section):
    by: tuple[SplitBy, ...] = ()


class _File(Section):
    series: tuple[Entry, ...] = ()
    split: _Split = _Split()


@dataclass(frozen=True, slots=True)
class Mapping:
    """A read `series.toml`.

    split   what may part a series that holds several volumes, in the order in which it is tried
    """

    entries: tuple[Entry, ...] = ()
    split: tuple[SplitBy, ...] = ()

    def kind_of(self, digest: str, folder: str) -> MappedKind | None:
        """What the first entry that fits says; None where none does.

        Args:
            digest: `Acquisition.description`.
            folder: of the series, below dicom/, with forward slashes.
        """
        return next((one.kind for one in self.entries if one.fits(digest, folder)), None)

    def unused(self, seen: Iterable[tuple[str, str]]) -> tuple[int, ...]:
        """Places, from 1, of the entries that fit none of the (digest, folder) pairs: most often slips of the pen."""
        pairs = set(seen)
        numbered = enumerate(self.entries, start=1)
        return tuple(number for number, one in numbered if not any(one.fits(*pair) for pair in pairs))


NO_MAPPING = Mapping()


def read_mapping(path: Path) -> Mapping:
    """Read `series.toml`; a file that is not there maps nothing.

    Raises:
        ConfigError: not TOML, an unknown key (with a did-you-mean), an unknown kind, an entry that names no series.
    """
    if not path.exists():
        return NO_MAPPING
    read = read_toml(path, _File)
    return Mapping(read.series, read.split.by)
