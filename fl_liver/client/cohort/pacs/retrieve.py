"""One series from the archive into its folder (WADO-RS): whole on the first try, object by object after that.

A run that was killed, an archive that froze, a connection that broke: what came whole is kept, and the rest is asked
for again, within this run while that helps and in the next one otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from typing import Literal

from fl_liver.client.cohort.pacs.archive import Archive
from fl_liver.client.cohort.pacs.failure import NoWayError
from fl_liver.client.cohort.pacs.query import Listing
from fl_liver.client.cohort.pacs.store import ObjectRefusedError, OversizedError, SeriesFolder
from fl_liver.errors import ConfigError, FLLiverError, IncompleteError, ProtocolError, UnreachableError

State = Literal["fetched", "already here", "incomplete", "refused", "failed"]
Arrived = Callable[[int], None]
"""Called with the bytes of each object that is a file now."""

_HOPELESS = 3
"""Objects in a row that the archive does not hand out, before the rest of a series is left for the next run."""


@dataclass(slots=True)
class Retrieval:
    """What came of one series, in objects.

    here       were files before
    fetched    are files now; `bytes` counts theirs
    refused    came, and were not what was asked for; or are listed under a UID that is none
    surplus    the archive began to send more than it lists
    why        the last thing that went wrong, "" where nothing did
    cut_by     the error that ends the whole run: the archive went away, the disk is full
    """

    announced: int
    here: int = 0
    fetched: int = 0
    refused: int = 0
    bytes: int = 0
    surplus: bool = False
    why: str = ""
    cut_by: FLLiverError | None = field(default=None, repr=False)

    @property
    def missing(self) -> int:
        return max(self.announced - self.here - self.fetched, 0)

    @property
    def state(self) -> State:
        if self.refused:
            return "refused"
        if not self.missing and not self.surplus:
            return "fetched" if self.fetched else "already here"
        return "incomplete" if self.here + self.fetched else "failed"


def retrieve(archive: Archive, folder: SeriesFolder, listing: Listing, arrived: Arrived) -> Retrieval:
    """Bring one series up to what the archive lists; never raises for what the archive does, see `Retrieval`."""
    missing = set(listing.uids) - folder.here(listing.uids)
    result = Retrieval(announced=listing.announced, here=len(listing.uids) - len(missing), refused=listing.invalid)
    if listing.invalid:
        result.why = "the archive lists objects whose UID is none; they are not asked for"
    if missing:
        run = _Run(archive, folder, result, missing, arrived)
        try:
            folder.open(listing.about_bytes * len(missing) // len(listing.uids), archive.pacs.free_gb)
            run.all()
        except (UnreachableError, IncompleteError, ConfigError) as error:
            result.why, result.cut_by = str(error), error
        except OSError as error:
            result.cut_by = folder.no_disk(error)
            result.why = str(result.cut_by)
    if not result.why and result.state in ("incomplete", "failed"):
        result.why = "the archive lists fewer objects than it announces"
    return result


class _Run:
    """The tries that one series takes. `missing` holds the UIDs that are still to come."""

    def __init__(
        self, archive: Archive, folder: SeriesFolder, result: Retrieval, missing: set[str], arrived: Arrived
    ) -> None:
        self.archive, self.folder, self.result, self.arrived = archive, folder, result, arrived
        self.missing = missing
        self.path = folder.series.path

    def all(self) -> None:
        """Everything that is missing.

        Raises:
            UnreachableError: the archive is away, and stays away.
            ConfigError: it refuses the user, or redirects.
            IncompleteError, OSError: the disk.
        """
        try:
            if not self.result.here:
                self._lost_or(self._whole)
            in_vain = 0
            for uid in sorted(self.missing):
                in_vain = 0 if self._tried(uid) else in_vain + 1
                if in_vain == _HOPELESS:
                    return
        finally:
            self.folder.close()

    def _tried(self, uid: str) -> bool:
        """Whether one object came, after all its tries."""
        for tried in range(self.archive.pacs.retries + 1):
            if tried:
                self.archive.wait(tried - 1)
            if not self._lost_or(lambda: self._one(uid)):
                break
        return uid not in self.missing

    def _lost_or(self, ask: Callable[[], None]) -> bool:
        """Whether the answer was lost on its way although the archive is there: then the next try may help."""
        try:
            ask()
        except NoWayError:
            raise
        except UnreachableError as error:
            self.result.why = str(error)
            study = f"/studies/{self.folder.series.study.uid}/series"
            self.archive.patiently(lambda: self.archive.answers(study, "the list of series"))
            return True
        except (ProtocolError, ObjectRefusedError) as error:
            self.result.why = str(error)
        return False

    def _whole(self) -> None:
        """The series in one answer. More parts than are listed are not read; a refused one is asked for alone again."""
        most = len(self.missing) + self.result.refused  # so far, those listed under a UID that is none
        with self.archive.objects(self.path, "a series") as parts:
            for number, part in enumerate(parts):
                if number == most:
                    self.result.surplus = True
                    raise ProtocolError(f"the archive sends more than the {most} objects that it lists; run it again")
                try:
                    self._keep(part, self.missing)
                except OversizedError:
                    raise  # the rest of the answer stands behind what was not read
                except ObjectRefusedError as error:
                    self.result.why = str(error)

    def _one(self, uid: str) -> None:
        with self.archive.objects(f"{self.path}/instances/{uid}", "an object") as parts:
            for number, part in enumerate(parts):
                if number:
                    raise ProtocolError("the archive sends more than the one object that was asked for")
                try:
                    self._keep(part, {uid})
                except ObjectRefusedError:
                    self.result.refused += 1
                    raise
        if uid in self.missing:
            raise ProtocolError("the archive sends nothing for an object that it lists")

    def _keep(self, part: Iterator[bytes], asked: Set[str]) -> None:
        kept = self.folder.keep(part, asked)
        self.missing.discard(kept.sop_uid)
        self.result.fetched += 1
        self.result.bytes += kept.bytes
        self.arrived(kept.bytes)
