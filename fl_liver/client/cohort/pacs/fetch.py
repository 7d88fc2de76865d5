"""`fl-liver site fetch`: from a worklist to files below `dicom/`, patient by patient, all that is said in pseudonyms.

A row, study or series that fails costs itself. An archive that is away, a refused user and a full disk end the run.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from fl_liver.client.cohort.pacs.archive import Archive
from fl_liver.client.cohort.pacs.config import PacsConfig
from fl_liver.client.cohort.pacs.failure import FailsThereError
from fl_liver.client.cohort.pacs.query import Listing, Series, Study, find_series, find_studies, list_objects
from fl_liver.client.cohort.pacs.retrieve import Retrieval, retrieve
from fl_liver.client.cohort.pacs.store import SeriesFolder
from fl_liver.client.cohort.pacs.wanted import Wanted
from fl_liver.client.cohort.pseudonym import Pseudonyms, site_pseudonyms
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError, FLLiverError, IncompleteError, ProtocolError, UnreachableError

_OF_ONE_THING = (DataError, ProtocolError, FailsThereError)
"""These cost a row or a study; other errors end the run."""


@dataclass(frozen=True, slots=True)
class Task:
    """A series that is wanted. patient and series are pseudonyms."""

    patient: str
    name: str
    series: Series = field(repr=False)
    listing: Listing = field(repr=False)
    here: int

    @property
    def modality(self) -> str:
        return self.series.modality

    @property
    def missing(self) -> int:
        return self.listing.announced - self.here

    @property
    def missing_bytes(self) -> int:
        """About, without compression."""
        return self.listing.about_bytes * self.missing // max(self.listing.announced, 1)

    @property
    def summary(self) -> Task:
        """Without the UIDs of its objects: of ten thousand series they would fill the memory."""
        return replace(self, listing=replace(self.listing, uids=()))


@dataclass(frozen=True, slots=True)
class Miss:
    """A row or study of which nothing can be fetched."""

    patient: str
    why: str


class Watcher(Protocol):
    """What is told while it goes on."""

    def began(self, task: Task) -> None: ...

    def arrived(self, size: int) -> None: ...

    def ended(self, task: Task, result: Retrieval) -> None: ...

    def missed(self, miss: Miss) -> None: ...


@dataclass(slots=True)
class Outcome:
    """What came of a run; `cut_by` is the error that ended it early."""

    series: list[tuple[Task, Retrieval]] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    cut_by: FLLiverError | None = None

    @property
    def exit_code(self) -> int:
        """0 all here, 1 some failed, 2 nothing here, or the status of the error that ended it."""
        if self.cut_by is not None:
            return self.cut_by.exit_code
        states = {result.state for _, result in self.series}
        if not any(result.here + result.fetched for _, result in self.series):
            return 2
        return 1 if self.misses or states - {"fetched", "already here"} else 0


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line narrows down. modalities: empty for those of the row, then of site.toml."""

    modalities: tuple[str, ...] = ()
    studies: int | None = None


def fetch(site: SiteConfig, rows: Iterable[Wanted], choice: Choice, watcher: Watcher) -> Outcome:
    """Fetch what `rows` name and is not here.

    Raises:
        ConfigError: no [pacs] in site.toml, no folder `data`, or a secret that cannot be used.
        IncompleteError: another fetch runs on this hospital's folder.
    """
    pacs, names, outcome = require_pacs(site), site_pseudonyms(site.work), Outcome()
    with _alone(site.work / "fetch.lock"), Archive(pacs) as archive:
        try:
            for found in look_up(archive, site, rows, choice, names):
                if isinstance(found, Miss):
                    outcome.misses.append(found)
                    watcher.missed(found)
                    continue
                watcher.began(found)
                folder = SeriesFolder(site.data, found.series, names)
                result = retrieve(archive, folder, found.listing, watcher.arrived)
                outcome.series.append((found.summary, result))
                watcher.ended(found, result)
                if result.cut_by is not None:
                    raise result.cut_by
        except (UnreachableError, ConfigError, IncompleteError) as error:
            outcome.cut_by = error
    return outcome


def preview(site: SiteConfig, rows: Iterable[Wanted], choice: Choice) -> Iterator[Task | Miss]:
    """What `fetch` would find, by searches alone; nothing is fetched and no folder is made.

    Raises: as `fetch`, and UnreachableError where the archive is away.
    """
    with Archive(require_pacs(site)) as archive:
        for found in look_up(archive, site, rows, choice, site_pseudonyms(site.work)):
            yield found.summary if isinstance(found, Task) else found


def look_up(
    archive: Archive, site: SiteConfig, rows: Iterable[Wanted], choice: Choice, names: Pseudonyms
) -> Iterator[Task | Miss]:
    """Every series that is wanted, study by study, each once; a row or study that cannot be looked up is a `Miss`."""
    search = _Search(archive, site, choice, names)
    for row in rows:
        if search.studies == choice.studies:
            return
        yield from search.row(row)


class _Search:
    """Remembers over all rows which series were found, and in how many studies."""

    def __init__(self, archive: Archive, site: SiteConfig, choice: Choice, names: Pseudonyms) -> None:
        self.archive, self.site, self.choice, self.names = archive, site, choice, names
        self.seen: set[str] = set()
        self.studies = 0
        self.series = 0

    def row(self, row: Wanted) -> Iterator[Task | Miss]:
        modalities = self.choice.modalities or row.modalities or self.archive.pacs.modalities
        patient = self.names.patient(row.patient_id) if row.patient_id else "not known"
        try:
            studies = find_studies(self.archive, row, modalities)
        except _OF_ONE_THING as error:
            yield Miss(patient, str(error))
            return
        before = self.series
        for study in studies:
            if self.studies == self.choice.studies:
                return
            yield from self.study(study, modalities)
        if self.series == before:
            yield Miss(patient, f"the archive has no series of {', '.join(modalities)} that fits the row")

    def study(self, study: Study, modalities: tuple[str, ...]) -> Iterator[Task | Miss]:
        patient = self.names.patient(study.patient_id)
        try:
            many = find_series(self.archive, study, modalities)
            self.studies += bool(many)
            self.series += len(many)
            for series in many:
                if series.uid not in self.seen:
                    self.seen.add(series.uid)
                    listing = list_objects(self.archive, series)
                    folder = SeriesFolder(self.site.data, series, self.names)
                    here = len(folder.here(listing.uids))
                    yield Task(patient, self.names.series(series.uid), series, listing, here)
        except _OF_ONE_THING as error:
            self.series += 1  # of which more is known than that nothing fits
            yield Miss(patient, str(error))


def require_pacs(site: SiteConfig) -> PacsConfig:
    """Raises ConfigError where site.toml has no [pacs], or `data` is no folder."""
    if site.pacs is None:
        raise ConfigError(
            f"site {site.site}: site.toml has no [pacs]; add it with the url of the archive (docs/pacs.md)"
        )
    if not site.data.is_dir():
        raise ConfigError(f"site {site.site}: no folder {site.data}; make it, or correct 'data' in site.toml")
    return site.pacs


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two runs would remove each other's unfinished files."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise IncompleteError(f"{lock}: another fetch runs on this folder; wait until it is done") from error
        yield
