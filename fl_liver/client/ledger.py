"""A hospital's own list of what it answered, and over which hospitals: two sums over nearly the same patients are one
patient's, or one hospital's, row.

One file a study. A new batch over the same hospitals is allowed, and so is one over others as long as no sum and
difference of the batches' totals can tell apart a group of fewer than three hospitals: all hospitals that stood in
exactly the same batches are one group. One whose pooled counts, or whose own patients, differ by fewer than k patients
from those of a batch that was answered is refused too.

Leaving one centre out differs by one hospital on purpose. Each such run is a study of its own, with its own hash, its
own approval at every hospital and so its own ledger: the person who approves it says that the difference may be known.
A change of the cohort by a few patients is a new study for the same reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fl_liver.errors import PrivacyError, ProtocolError
from fl_liver.messages import Purpose
from fl_liver.whole_file import write_whole

MIN_SITES = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch that was begun.

    sites       who contributes to its sums, sorted
    rows        parts of the cohorts that its first questions are about
    patients    this hospital's own patients; `cohort` is a hash of their names
    plan        SHA-256 of the first questions
    counts      {hash of a counting question: its total}, once opened
    """

    batch: str
    purpose: Purpose
    sites: tuple[str, ...]
    rows: tuple[str, ...]
    patients: int
    cohort: str
    plan: str
    commitment: str
    counts: Mapping[str, int] = field(default_factory=dict)


class Ledger:
    """`ledger.jsonl` in a study's folder at the hospital: a line for each batch begun, a further one for its counts."""

    def __init__(self, study_folder: Path, min_cell: int) -> None:
        self._folder, self._min_cell = study_folder, min_cell
        self._path = study_folder / "ledger.jsonl"

    def entries(self) -> list[Entry]:
        """In order; a line that was cut short by a crash is the last and is left out."""
        found: dict[str, Entry] = {}
        text = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
        for line in text.splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            fields = json.loads(line)
            fields |= {name: tuple(fields[name]) for name in ("sites", "rows")}
            found[fields["batch"]] = Entry(**fields)
        return list(found.values())

    def require_new(self, batch: str) -> None:
        """Raises ProtocolError where a batch of that name was begun before: it is over."""
        if any(entry.batch == batch for entry in self.entries()):
            raise ProtocolError(f"batch {batch} was answered before and is over; a new plan is a new batch")

    def require_apart(self, purpose: Purpose, sites: Sequence[str], patients: Iterable[str]) -> None:
        """Hospitals and own patients of a new batch are those of every answered one, or clearly others.

        A named release is this hospital's own word about itself and is not compared.

        Raises:
            PrivacyError: names the earlier batch and the rule.
        """
        if purpose == "named":
            return
        own, answered = set(patients), self._answered()
        small = _told_apart([*(entry.sites for entry in answered), sites])
        if len(small) < MIN_SITES:
            raise PrivacyError(
                f"ledger: with the {len(answered)} batches that were answered, one over these {len(sites)} hospitals"
                f" would tell apart {', '.join(small)}; groups of at least {MIN_SITES} wanted"
            )
        for entry in answered:
            changed = len(own ^ self._patients_of(entry))
            if 0 < changed < self._min_cell:
                raise PrivacyError(
                    f"ledger: the cohort differs by {changed} patients from that of batch {entry.batch}, fewer than"
                    f" {self._min_cell}; a changed cohort is a new study"
                )

    def begin(self, entry: Entry, patients: Sequence[str]) -> None:
        """Note a batch before its first answer leaves."""
        path = self._folder / f"cohort-{entry.cohort}.json"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(path, json.dumps(sorted(patients)))
        self._append(entry)

    def note_counts(self, batch: str, counts: Mapping[str, int]) -> None:
        """Compare the opened counts of a batch with those of the same questions in earlier ones, and keep them.

        Raises:
            PrivacyError: the same question counted fewer than k patients more or fewer than before.
        """
        every = {entry.batch: entry for entry in self._answered()}
        if batch not in every:
            return
        this = every[batch]
        for entry in every.values():
            for question in counts.keys() & entry.counts.keys():
                apart = abs(counts[question] - entry.counts[question])
                same_sites = entry.sites == this.sites
                if apart < self._min_cell and not (same_sites and apart == 0):
                    raise PrivacyError(
                        f"ledger: this batch and batch {entry.batch} count patients that differ by fewer than"
                        f" {self._min_cell} over all hospitals"
                    )
        self._append(Entry(**{**asdict(this), "counts": {**this.counts, **counts}}))

    def require_unspent(self, batch: str) -> None:
        """Raises PrivacyError where another batch of the study had a noised histogram: two of them spend ε twice."""
        path = self._folder / "noised.txt"
        if path.is_file() and (spent := path.read_text(encoding="utf-8")) != batch:
            raise PrivacyError(
                f"ledger: a noised histogram was answered in batch {spent}; a second one would spend epsilon again"
            )

    def spend(self, batch: str) -> None:
        """Note, before the answer leaves, that this batch has the study's noised histogram."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._folder / "noised.txt").write_text(batch, encoding="utf-8")

    def _answered(self) -> list[Entry]:
        return [entry for entry in self.entries() if entry.purpose == "masked"]

    def _patients_of(self, entry: Entry) -> set[str]:
        return set(json.loads((self._folder / f"cohort-{entry.cohort}.json").read_text(encoding="utf-8")))

    def _append(self, entry: Entry) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # a line that a crash cut short: its answer never left
            file.write(json.dumps(asdict(entry)).encode() + b"\n")


def _told_apart(batches: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The smallest group of hospitals that stood in exactly the same batches.

    A combination of totals weighs all hospitals of a group alike, so that none isolates less than a group.
    """
    groups: dict[tuple[bool, ...], list[str]] = {}
    for site in sorted(set().union(*batches)):
        groups.setdefault(tuple(site in batch for batch in batches), []).append(site)
    smallest: list[str] = min(groups.values(), key=len)
    return tuple(smallest)


def cohort_hash(patients: Iterable[str]) -> str:
    """16 hex digits of a set of patients' names."""
    return hashlib.sha256("\0".join(sorted(patients)).encode()).hexdigest()[:16]
