"""The batches of sums of one study at one hospital: which step is due, over whom, and what was asked before.

A batch is begun by its step 0, which freezes its hospitals, its purpose and this hospital's commitment. Each further
step brings the opened totals of the step before; `Guard` follows the plan with them. A step may be asked again in the
same words (its answer was lost); anything else out of order is refused. One batch is open at a time: a new one ends the
one before.

Every answered step is a file, so that a hospital that was restarted goes on, and any worker process can answer.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.alarms import read_alarm, write_alarm
from fl_liver.client.ledger import Entry, Ledger, cohort_hash
from fl_liver.errors import FalseTotalsError, PrivacyError, ProtocolError
from fl_liver.messages import Sum
from fl_liver.stats.conversation import IntVector, Question
from fl_liver.stats.guard import Guard, require_own_part
from fl_liver.stats.patients import PATIENTS
from fl_liver.stats.permit import Permit
from fl_liver.study import Study
from fl_liver.whole_file import write_whole

_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_FALSE_TOTALS = "false-totals"
_COUNTING = frozenset({"cell_counts", "class_counts", "cross_table", PATIENTS})


@dataclass(frozen=True, slots=True)
class _Step:
    """One exchange: what was asked, this hospital's answer, and the totals that came with the question."""

    questions: tuple[Question, ...]
    own: IntVector
    previous: IntVector


_followed: dict[Path, tuple[int, Guard]] = {}
"""Batch folder → steps seen and the guard that saw them: a guard is rebuilt from the files in another process."""


class Batches:
    """`admit` before a step is answered, `keep` when the answer is ready to leave."""

    def __init__(self, site: str, study: Study, folder: Path, permit: Permit) -> None:
        """folder: the study's at this hospital."""
        self._site, self._study, self._permit = site, study, permit
        self._folder = folder / "batches"
        self._ledger = Ledger(folder, permit.min_cell)
        self._guard: Guard | None = None

    def admit(self, asked: Sum, commitment: str, patients: Sequence[str]) -> None:
        """Nothing, if the step may be answered.

        Where totals were once shown that cannot be the sum, everything of the study is looked at as ever, and nothing
        of it is answered with this hospital's numbers until a person has looked.

        Raises:
            FalseTotalsError: such totals, now or before; whoever answers with noise keeps the step all the same.
            ProtocolError: the batch, its step, hospitals, commitment or a question is not what the plan has next.
            PrivacyError: a floor, or nearly the same patients as in a batch that was answered (`ledger`).
        """
        self._check_order(asked, commitment, patients)
        if asked.purpose == "masked" and (why := read_alarm(self._folder.parent, _FALSE_TOTALS)):
            raise FalseTotalsError(f"site {self._site}: false totals were shown ({why}); read docs/security.md first")

    def _check_order(self, asked: Sum, commitment: str, patients: Sequence[str]) -> None:
        self._check_roster(asked)
        if _is_noised(asked):
            self._check_noised(asked)
        if asked.step == 0 and not self._count(asked.batch):
            self._admit_first(asked, patients)
            return
        head = self._head(asked, commitment)
        steps = self._count(asked.batch)
        if asked.step == steps - 1:
            self._check_repeat(asked)
        elif asked.step == steps:
            self._admit_next(asked)
        else:
            raise ProtocolError(
                f"batch {asked.batch}: step {asked.step} was asked, {steps} is due ({head['plan'][:8]})"
            )

    def answered(self, asked: Sum) -> IntVector | None:
        """The answer of a step that was answered before: a repeat gets the very same numbers, noise included."""
        path = self._path(asked.batch) / f"{asked.step:04d}.npz"
        return _unpacked(path).own if path.is_file() else None

    def keep(self, asked: Sum, own: IntVector, commitment: str, patients: Sequence[str]) -> None:
        """Write down a step that was admitted, before its answer leaves; the first one also into the ledger."""
        folder = self._path(asked.batch)
        if asked.step == 0 and not folder.is_dir():
            self._begin(asked, commitment, patients)
        if self._count(asked.batch) == asked.step:
            if _is_noised(asked):
                self._ledger.spend(asked.batch)
            write_whole(folder / f"{asked.step:04d}.npz", _packed(_Step(asked.questions, own, asked.previous)))
            if self._guard is not None:
                _followed[folder] = asked.step + 1, self._guard

    def _check_roster(self, asked: Sum) -> None:
        if not _NAME.fullmatch(asked.batch):
            raise ProtocolError(f"site {self._site}: a sum belongs to a batch; '{asked.batch[:70]}' is no name of one")
        strangers = sorted(set(asked.sites) - set(self._study.every_site))
        if strangers or self._site not in asked.sites or len(set(asked.sites)) < len(asked.sites):
            raise ProtocolError(
                f"batch {asked.batch}: its hospitals are {', '.join(asked.sites) or 'not named'}; wanted hospitals of"
                f" the study, each once, {self._site} among them"
            )
        if asked.contributors != len(asked.sites):
            raise ProtocolError(
                f"batch {asked.batch}: {asked.contributors} contributors, but {len(asked.sites)} hospitals are named"
            )

    def _check_noised(self, asked: Sum) -> None:
        """Enough hospitals for the noise that was agreed, and no noised histogram before this one."""
        honest = 0 if self._permit.noise is None else self._permit.noise[1]
        if len(asked.sites) < honest:
            raise PrivacyError(
                f"batch {asked.batch}: a noised histogram over {len(asked.sites)} hospitals was asked; the noise is the"
                f" sum of shares, of which {honest} are needed: fewer would give less noise than was agreed"
            )
        self._ledger.require_unspent(asked.batch)

    def _admit_first(self, asked: Sum, patients: Sequence[str]) -> None:
        self._ledger.require_new(asked.batch)
        self._ledger.require_apart(asked.purpose, asked.sites, patients)
        if asked.previous.size:
            raise ProtocolError(f"batch {asked.batch}: totals came with its first step")
        self._guard = Guard(self._permit)
        self._guard.check(asked.questions)

    def _head(self, asked: Sum, commitment: str) -> dict[str, Any]:
        path = self._path(asked.batch) / "head.json"
        if not path.is_file():
            raise ProtocolError(
                f"batch {asked.batch}: step {asked.step} was asked, but it was not begun here or is over"
            )
        head: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if sorted(asked.sites) != head["sites"] or asked.purpose != head["purpose"]:
            raise ProtocolError(
                f"batch {asked.batch}: begun as a {head['purpose']} sum over {', '.join(head['sites'])}, now asked as a"
                f" {asked.purpose} one over {', '.join(sorted(asked.sites))}; the hospitals of a batch are frozen"
            )
        if commitment != head["commitment"]:
            raise ProtocolError(
                f"batch {asked.batch}: this hospital's patients, labels or scores changed since it was begun;"
                " ask again as a new batch"
            )
        return head

    def _check_repeat(self, asked: Sum) -> None:
        before = self._step(asked.batch, asked.step)
        if _fingerprint(asked.questions) != _fingerprint(before.questions) or not np.array_equal(
            asked.previous, before.previous
        ):
            raise ProtocolError(f"batch {asked.batch}: step {asked.step} was asked again in other words")

    def _admit_next(self, asked: Sum) -> None:
        folder = self._path(asked.batch)
        guard = self._follow(asked.batch)
        del _followed[folder]  # what follows changes the guard; it is remembered only if the step is kept
        before = self._step(asked.batch, asked.step - 1)
        totals = _cut(asked.previous, before.questions, f"batch {asked.batch}")
        try:
            require_own_part(before.questions, totals, _cut(before.own, before.questions, "own"))
        except FalseTotalsError as error:
            if asked.purpose != "masked":
                raise  # a named sum is this hospital's own part, which the server was told
            write_alarm(self._folder.parent, _FALSE_TOTALS, f"batch {asked.batch}, step {asked.step}: {error}")
        self._ledger.note_counts(asked.batch, _counted(before.questions, totals))
        guard.opened(before.questions, totals)
        guard.check(asked.questions)
        self._guard = guard

    def _follow(self, batch: str) -> Guard:
        """The guard after every answered step, whose last totals it has not seen."""
        folder, steps = self._path(batch), self._count(batch)
        known, guard = _followed.get(folder, (0, Guard(self._permit)))
        before = self._step(batch, known - 1) if known else None
        for number in range(known, steps):
            step = self._step(batch, number)
            if before is not None:
                guard.opened(before.questions, _cut(step.previous, before.questions, f"batch {batch}"))
            guard.check(step.questions)
            before = step
        _followed[folder] = steps, guard
        return guard

    def _begin(self, asked: Sum, commitment: str, patients: Sequence[str]) -> None:
        for older in self._folder.iterdir() if self._folder.is_dir() else ():
            _followed.pop(older, None)
            shutil.rmtree(older)
        rows = {str(question.arguments.get("rows", "")) for question in asked.questions}
        head = Entry(
            batch=asked.batch,
            purpose=asked.purpose,
            sites=tuple(sorted(asked.sites)),
            rows=tuple(sorted(rows)),
            patients=len(patients),
            cohort=cohort_hash(patients),
            plan=_fingerprint(asked.questions),
            commitment=commitment,
        )
        self._ledger.begin(head, patients)
        folder = self._path(asked.batch)
        folder.mkdir(parents=True, mode=0o700)
        content = {name: getattr(head, name) for name in ("purpose", "sites", "plan", "commitment")}
        write_whole(folder / "head.json", json.dumps(content).encode())

    def _count(self, batch: str) -> int:
        return len(list(self._path(batch).glob("*.npz")))

    def _step(self, batch: str, number: int) -> _Step:
        return _unpacked(self._path(batch) / f"{number:04d}.npz")

    def _path(self, batch: str) -> Path:
        return self._folder / batch


def _is_noised(asked: Sum) -> bool:
    return any(question.kind == "noised_histogram" for question in asked.questions)


def _counted(questions: Sequence[Question], totals: Sequence[IntVector]) -> dict[str, int]:
    """Pooled patients of every question that counts them, by a hash of the question."""
    pairs = zip(questions, totals, strict=True)
    return {_fingerprint([one])[:16]: int(total.sum()) for one, total in pairs if one.kind in _COUNTING}


def _cut(vector: NDArray[Any], questions: Sequence[Question], what: str) -> list[IntVector]:
    wanted = sum(question.length for question in questions)
    if vector.shape != (wanted,):
        raise ProtocolError(f"{what}: {vector.size} totals of the step before came, wanted {wanted}")
    return np.split(vector, np.cumsum([question.length for question in questions])[:-1]) if questions else []


def _heads(questions: Sequence[Question]) -> str:
    return json.dumps([one.head() for one in questions], sort_keys=True)


def _fingerprint(questions: Sequence[Question]) -> str:
    """SHA-256 of everything that the questions say."""
    digest = hashlib.sha256(_heads(questions).encode())
    for place, question in enumerate(questions):
        for name, array in sorted(question.arrays.items()):
            digest.update(f"\0{place}/{name} {array.dtype.str} {array.shape}\0".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _packed(step: _Step) -> bytes:
    arrays: dict[str, NDArray[Any]] = {
        "heads": np.frombuffer(_heads(step.questions).encode(), np.uint8),
        "own": step.own,
        "previous": step.previous,
    }
    for place, question in enumerate(step.questions):
        arrays |= {f"{place}/{name}": array for name, array in question.arrays.items()}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpacked(path: Path) -> _Step:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    questions: list[Question] = []
    for place, head in enumerate(json.loads(arrays["heads"].tobytes())):
        prefix = f"{place}/"
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        questions.append(Question(head["kind"], head["arguments"], head["length"], own, head["bound"]))
    return _Step(tuple(questions), arrays["own"], arrays["previous"])
