"""This hospital in masked sums: which slots it has keys for, which it answered, kept on disk between messages.

One file for each run and purpose, mode 0600, so that any worker process can answer the next message and a hospital that
was restarted goes on. Slots of one purpose only ever grow: what was answered is answered once, and a slot before it is
refused. The secrets of a slot are gone from the disk when it is released, sworn off, or followed by a later one.

A second answer under the same masks would show the difference of the two. Hence one message at a time, whatever the
server asks at once, and an answer is on the disk, not only in the system's buffers, before it leaves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import IO, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.one_at_a_time import one_at_a_time
from fl_liver.client.site import SiteConfig
from fl_liver.errors import PrivacyError, ProtocolError
from fl_liver.identity import load_identity, read_roster
from fl_liver.securesum.context import Context, Roster, Slot, mask_info, threshold
from fl_liver.securesum.server import check_abandoned
from fl_liver.securesum.site import SiteSum
from fl_liver.study import Study
from fl_liver.whole_file import instead_of

_PENDING = 2
"""Slots with keys that were not answered yet: the current one and the next."""
P = ParamSpec("P")
R = TypeVar("R")


def _alone(
    method: Callable[Concatenate[SiteSums, P], R],
) -> Callable[Concatenate[SiteSums, P], R]:
    """One step of its own, or part of the message that is being answered."""

    @wraps(method)
    def step(self: SiteSums, /, *arguments: P.args, **named: P.kwargs) -> R:
        if self._inside:
            return method(self, *arguments, **named)
        with self.one_message():
            return method(self, *arguments, **named)

    return step


class SiteSums:
    """The masked sums of one study at this hospital. What a step, or a message, changed is saved before it returns."""

    def __init__(self, site: SiteConfig, study: Study) -> None:
        """Raises ConfigError without a readable identity and roster."""
        self._site, self._study, self._durable = site.site, study, site.durable
        self._identity = load_identity(site.identity)
        self._pinned = read_roster(site.roster)
        own = self._pinned.identity.get(site.site)
        if own != self._identity.public_key().public_bytes_raw().hex():
            raise ProtocolError(f"site {site.site}: {site.roster.name} pins another identity for it than its own key")
        self._folder = site.study_folder(study.sha256) / "sums"
        self.lock = self._folder / "lock"
        self._channels: dict[Path, _Channel] = {}
        self._inside = False

    @contextmanager
    def one_message(self) -> Iterator[None]:
        """What is done inside is saved once, at its end, or not at all where it raises.

        Nobody else of this hospital is between reading and writing the state of the study's sums.
        """
        with one_at_a_time(self.lock):
            self._inside = True
            try:
                yield
                for channel in self._channels.values():
                    channel.save()
            finally:
                self._inside, self._channels = False, {}

    @_alone
    def announce(self, slot: Slot, sites: tuple[str, ...] = ()) -> bytes:
        """Fresh keys for a slot that was not answered.

        Args:
            sites: the hospitals of a batch of statistics.
        Raises:
            ProtocolError: an older slot, or hospitals that are not the study's.
            PrivacyError: fewer hospitals than the study pins for the purpose.
        """
        self._pin(slot)
        channel = self._open(slot, sites)
        channel.refuse_older(slot)
        if slot.order == channel.last:
            raise ProtocolError(f"site {self._site}: keys for {slot} were asked, it was answered already")
        sum_ = channel.slot(slot)
        content = sum_.announcement(self._identity)
        channel.put(sum_)
        return content

    @_alone
    def share(self, slot: Slot, announced: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `SiteSum.sealed`."""
        channel = self._open(slot)
        sum_ = channel.slot(slot)
        sealed = sum_.sealed(announced)
        channel.put(sum_)
        return sealed

    @_alone
    def admit(self, slot: Slot, announced: Mapping[str, bytes], abandoned: Mapping[str, bytes]) -> None:
        """Whether a slot of training may be answered at all, before an hour of training is spent on it.

        Raises:
            ProtocolError: a slot of statistics, an older one, a further attempt that too few hospitals' statements
                allow, or keys that are not what they should be.
            PrivacyError: too few participants.
        """
        if not slot.recovers:
            raise ProtocolError(f"site {self._site}: training was asked in a slot of statistics ({slot})")
        channel = self._open(slot)
        channel.refuse_older(slot)
        wanted = self._wanted(channel)
        if len(announced) < wanted or self._site not in announced:
            raise PrivacyError(
                f"site {self._site}: a sum over {len(announced)} hospitals was asked, wanted this one and at least"
                f" {wanted} of {len(channel.roster.names)} ({slot})"
            )
        if slot.attempt:
            before = Slot(slot.study, slot.run, slot.purpose, slot.round, slot.sum, slot.attempt - 1)
            check_abandoned(channel.roster, before, dict(abandoned))
        sum_ = channel.slot(slot)
        if not sum_.answered:
            sum_.require_keys(announced)

    @_alone
    def mask(self, context: Context, announced: Mapping[str, bytes], vector: NDArray[Any]) -> NDArray[Any]:
        """The masked vector (the same array, masked in place); see `SiteSum.mask`. Keys of earlier slots are erased.

        A slot that was answered gives the very answer again that was written down before it left: another vector under
        the same masks would show the difference of the two.
        """
        kept = self._kept(context, announced)
        if kept is not None:
            return kept
        channel = self._open(context.slot)
        channel.refuse_older(context.slot)
        sum_ = channel.slot(context.slot)
        sum_.mask(context, announced, vector)
        path = self._answer_path(context.slot)
        _write(path, lambda file: np.save(file, vector, allow_pickle=False), self._durable)
        channel.answered(sum_)
        self._forget_answers(context.slot, but=path)
        return vector

    @_alone
    def kept(self, context: Context, announced: Mapping[str, bytes]) -> NDArray[Any] | None:
        """The answer that was already given to this question, None where the slot was not answered.

        Raises:
            PrivacyError: the slot was answered, and this is another question.
            ProtocolError: the answer is no longer here (the sum was opened or sworn off).
        """
        return self._kept(context, announced)

    def _kept(self, context: Context, announced: Mapping[str, bytes]) -> NDArray[Any] | None:
        channel = self._open(context.slot)
        sum_ = channel.slot(context.slot)
        if channel.last != context.slot.order or not sum_.answered:
            return None
        if sum_.answered != mask_info(channel.roster, context, announced):
            raise PrivacyError(
                f"site {self._site}: a second sum with the same masks was asked ({context.slot}); refused"
            )
        path = self._answer_path(context.slot)
        if not path.is_file():
            raise ProtocolError(f"site {self._site}: {context.slot} is over")
        vector: NDArray[Any] = np.load(path, allow_pickle=False)
        return vector

    @_alone
    def endorse(self, slot: Slot, survivors: tuple[str, ...]) -> bytes:
        """See `SiteSum.endorse`. Raises PrivacyError also below the study's `min_sites`."""
        channel = self._open(slot)
        if len(survivors) < self._wanted(channel):
            raise PrivacyError(
                f"site {self._site}: {len(survivors)} survivors of {slot}, wanted at least {self._wanted(channel)};"
                " nothing is opened"
            )
        sum_ = channel.slot(slot)
        signature = sum_.endorse(survivors, self._identity)
        channel.put(sum_)
        return signature

    @_alone
    def release(self, slot: Slot, endorsements: Mapping[str, bytes], sealed: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `SiteSum.release`."""
        channel = self._open(slot)
        sum_ = channel.slot(slot)
        shares = sum_.release(endorsements, sealed)
        channel.put(sum_)
        self._answer_path(slot).unlink(missing_ok=True)
        return shares

    @_alone
    def abandon(self, slot: Slot) -> bytes:
        """See `SiteSum.abandon`; also for a slot that this hospital never saw, which it then never answers.

        Raises:
            PrivacyError: shares of this attempt or of one before it were released. Otherwise attempt 1, which nobody
                began, could be sworn off after attempt 0 was opened, and attempt 2 opened over other survivors.
        """
        channel = self._open(slot)
        channel.refuse_older(slot)
        channel.refuse_released(slot)
        sum_ = channel.slot(slot)
        signature = sum_.abandon(self._identity)
        channel.answered(sum_)
        self._forget_answers(slot)
        return signature

    def _pin(self, slot: Slot) -> None:
        """The first run of a study here is its only one: training is repeatable, so that a second one over other
        hospitals would show the difference of the two.
        """
        path = self._folder / "run"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(path, lambda file: file.write(slot.run.encode()), self._durable)
        pinned = path.read_text(encoding="utf-8")
        if pinned != slot.run:
            raise PrivacyError(
                f"site {self._site}: the study was begun here as run {pinned}, run {slot.run} was asked; resume that"
                " one, or have a changed study approved"
            )

    def _wanted(self, channel: _Channel) -> int:
        return max(channel.roster.threshold, self._study.privacy.min_sites)

    def _open(self, slot: Slot, sites: tuple[str, ...] = ()) -> _Channel:
        if slot.study != self._study.sha256:
            raise ProtocolError(
                f"site {self._site}: a sum of study {slot.study[:12]}, wanted {self._study.sha256[:12]}"
            )
        if slot.recovers and slot.purpose not in _trainings(self._study):
            raise ProtocolError(
                f"site {self._site}: {slot} is no training of the study; wanted {', '.join(_trainings(self._study))}"
            )
        path = self._path(slot)
        channel = self._channels.get(path)
        raw = json.loads(path.read_text(encoding="utf-8")) if channel is None and path.is_file() else {}
        known = tuple(raw.get("sites", ())) if channel is None else channel.roster.names
        named = self._study.sites.train if slot.recovers else sites or known
        if known and set(named) != set(known):
            raise ProtocolError(
                f"site {self._site}: {slot} was begun over {', '.join(known)}; its hospitals are frozen"
            )
        if not known:
            self._check_hospitals(slot, named)
            self._drop_older(slot, path)
        if channel is None:
            channel = _Channel(path, self._site, self._pinned.only(named), raw, self._durable)
            self._channels[path] = channel
        return channel

    def _check_hospitals(self, slot: Slot, named: tuple[str, ...]) -> None:
        """The roster that the study pins: all training hospitals to train; for statistics more than two thirds of those
        that the study has in the part.
        """
        study = self._study
        strangers = sorted(set(named) - set(study.every_site))
        if strangers or self._site not in named or len(set(named)) < len(named):
            raise ProtocolError(
                f"site {self._site}: hospitals {', '.join(named) or 'none'} for {slot}; wanted hospitals of the study,"
                " each once, this one among them"
            )
        parts = (study.sites.train, study.sites.external, study.every_site)
        pinned = next(part for part in parts if set(named) <= set(part))
        wanted = max(study.privacy.min_sites, threshold(len(pinned)))
        if len(named) < wanted:
            raise PrivacyError(
                f"site {self._site}: a sum over {len(named)} of {len(pinned)} hospitals was asked, wanted at least"
                f" {wanted} ({slot})"
            )

    def _drop_older(self, slot: Slot, path: Path) -> None:
        """One batch of statistics is open at a time; a new one ends the one before."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not slot.recovers:
            for older in self._folder.glob("statistics-*"):
                if older != path:
                    older.unlink(missing_ok=True)

    def _path(self, slot: Slot) -> Path:
        name = hashlib.sha256(f"{slot.run}\0{slot.purpose}".encode()).hexdigest()[:16]
        return self._folder / f"{slot.purpose.partition('/')[0]}-{name}.json"

    def _answer_path(self, slot: Slot) -> Path:
        """Of one slot: the answer of the next one may lie beside it when its state was not saved yet."""
        return self._path(slot).with_suffix(f".{slot.round}-{slot.sum}-{slot.attempt}.npy")

    def _forget_answers(self, slot: Slot, but: Path | None = None) -> None:
        for older in self._folder.glob(f"{self._path(slot).stem}.*.npy"):
            if older != but:
                older.unlink(missing_ok=True)


class _Channel:
    """The slots of one run and purpose, as they lie in one file."""

    def __init__(self, path: Path, site: str, roster: Roster, raw: Mapping[str, Any], durable: bool) -> None:
        self._path, self._site, self.roster, self._durable = path, site, roster, durable
        self._slots: dict[tuple[int, int, int], dict[str, Any]] = {
            (int(order[0]), int(order[1]), int(order[2])): state for order, state in raw.get("slots", ())
        }
        last = raw.get("last")
        self.last: tuple[int, int, int] | None = None if last is None else (last[0], last[1], last[2])
        self._changed = False

    def refuse_older(self, slot: Slot) -> None:
        """Raises ProtocolError where a later slot was answered or sworn off."""
        if self.last is not None and slot.order < self.last:
            raise ProtocolError(
                f"site {self._site}: {slot} was asked, but round {self.last[0]}, sum {self.last[1]}, attempt"
                f" {self.last[2]} was answered already"
            )

    def refuse_released(self, slot: Slot) -> None:
        """Raises PrivacyError where shares of an earlier attempt at the same sum were released."""
        for order, state in self._slots.items():
            if order[:2] == slot.order[:2] and order < slot.order and state["released"]:
                raise PrivacyError(
                    f"site {self._site}: shares of attempt {order[2]} were released; no later one is sworn off ({slot})"
                )

    def slot(self, slot: Slot) -> SiteSum:
        state = self._slots.get(slot.order)
        if state is None:
            return SiteSum(self._site, self.roster, slot)
        return SiteSum.from_json(self._site, self.roster, slot, state)

    def put(self, sum_: SiteSum) -> None:
        """Remember a slot; of those that were not answered yet only the last few.

        The first ones are of rounds that it missed: were they kept instead, it would never take part again.
        """
        self._changed = True
        self._slots[sum_.slot.order] = sum_.to_json()
        pending = sorted(order for order in self._slots if self.last is None or order > self.last)
        for order in pending[:-_PENDING]:
            del self._slots[order]

    def answered(self, sum_: SiteSum) -> None:
        """Remember a slot as the last one that was answered or sworn off, and forget all before it."""
        self._changed = True
        self._slots[sum_.slot.order] = sum_.to_json()
        self.last = max(sum_.slot.order, self.last or sum_.slot.order)
        for order in [order for order in self._slots if order < self.last]:
            del self._slots[order]

    def save(self) -> None:
        """Does nothing where nothing changed."""
        if not self._changed:
            return
        body = {"sites": self.roster.names, "slots": list(self._slots.items()), "last": self.last}
        _write(self._path, lambda file: file.write(json.dumps(body).encode()), self._durable)


def _trainings(study: Study) -> tuple[str, ...]:
    """The purposes of a study's federations. Other words that choose the same patients would be further sums of them,
    and the difference of two sums over other survivors would be one hospital's update.
    """
    rows = ("train", *(f"not-fold-{fold}" for fold in range(study.cohort.folds)))
    stages = ("", "selection-") if study.selection is not None else ("",)
    return tuple(f"training/{stage}{one}" for one in rows for stage in stages)


def _write(path: Path, write: Callable[[IO[bytes]], object], durable: bool) -> None:
    """On the disk when this returns, if durable."""
    if not durable:
        path.unlink(missing_ok=True)  # file systems write out at once what takes the place of another file
    with instead_of(path, durable=durable) as part, part.open("wb") as file:
        write(file)
