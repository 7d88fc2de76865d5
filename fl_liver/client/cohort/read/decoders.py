"""Processes of their own in which every untrusted file is opened, so that a file that ends one costs itself alone.

Each has bounds on memory, processor time and wall time (`worker`); here items are handed out, deaths blamed and results
put in order.
"""

from __future__ import annotations

import itertools
import os
import pickle
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Literal, TypeVar

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.read.channel import pack
from fl_liver.client.cohort.read.decoder import Decoder, Stream, start, verdict
from fl_liver.client.cohort.read.worker import BROKEN, SPENT, STARTED, attempted
from fl_liver.errors import FLLiverError

T = TypeVar("T")
R = TypeVar("R")

MOST_DECODERS = 4
ITEM_S = 60.0
_CHUNKS_AHEAD = 3
"""Chunks per decoder that may be handed out before the first of them is taken: while one file is slow, others go on."""
_START_S = 120.0
_STARTS = 3
_LAST_WORDS_S = 1.0


class Decoders:
    """Up to `workers` processes, started when there is work for them; with 0, work is done in this process.

    Use it in a `with`, from one thread: when the thread that started a decoder ends, so does the decoder.

        with decoders_for(site.decoders) as decoders:
            for path, reading in zip(paths, decoders.map(examine, paths, chunk=16)):
    """

    def __init__(self, workers: int, *, memory_bytes: int = 4 << 30, seconds: float = ITEM_S) -> None:
        """`memory_bytes` of address space for each process, `seconds` of wall time for each item."""
        self._most, self._memory_bytes, self._seconds = workers, memory_bytes, seconds
        self._decoders: list[Decoder] = []
        self._selector = selectors.DefaultSelector()
        self._failed_starts = 0

    def map(self, work: Callable[[T], R], items: Iterable[T], *, chunk: int = 1) -> Iterator[R | UnusableError]:
        """Results in the order of items, streamed: at most a few chunks per decoder are under way, so memory is flat.

        Several maps may be under way at once, also one whose items are another's results.

        Args:
            work: a function of a module, which only reads. An item that ends a process that has read others before is
                read again by a new one, so that it is not blamed for what they left behind.
            chunk: items handed over at once; more than one for items of less than a millisecond or so.
        Returns:
            What `work` returns, or the UnusableError that it raised. E_DECODE_CRASH: the process died of it;
            E_DECODE_TIMEOUT: it took too long; E_TOO_LARGE: out of memory; E_DECODE_FAILED: any other exception.
        Raises:
            FLLiverError: `work` or an item cannot be imported by a decoder, or decoders do not start.
        """
        if self._most == 0:
            return (attempted(work, item) for item in items)
        return self._stream(Stream(pickle.dumps(work)), enumerate(items), chunk)

    def close(self) -> None:
        """End every decoder at once, whatever it does."""
        for one in [*self._decoders]:
            self._end(one)

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _stream(self, stream: Stream, items: Iterator[tuple[int, Any]], chunk: int) -> Iterator[Any]:
        taken = given = 0
        more = True
        try:
            while more or given < taken:
                while more and taken + chunk - given <= chunk * self._most * _CHUNKS_AHEAD and self._idle():
                    batch = deque(itertools.islice(items, chunk))
                    more, taken = len(batch) == chunk, taken + len(batch)
                    if batch:
                        self._hand_out(stream, batch)
                if given in stream.done:
                    yield stream.done.pop(given)
                    given += 1
                if given < taken or (more and not self._idle()):
                    self._listen(wait=given not in stream.done)
        finally:
            for one in [one for one in self._decoders if one.stream is stream]:
                self._end(one)

    def _idle(self) -> bool:
        return len(self._decoders) < self._most or any(one.stream is None for one in self._decoders)

    def _hand_out(self, stream: Stream, items: deque[tuple[int, Any]]) -> None:
        while not self._idle():  # the items came from another stream of these decoders, which took the idle one
            self._listen(wait=True)
        one = next((one for one in self._decoders if one.stream is None), None) or self._start()
        one.stream, one.items, one.started = stream, items, one.work == stream.work
        one.deadline = time.monotonic() + (self._seconds if one.started else max(_START_S, self._seconds))
        one.work = stream.work
        try:
            one.channel.send(pack((stream.work, [item for _, item in items])))
        except OSError:
            self._bury(one)

    def _listen(self, *, wait: bool) -> None:
        """Hear every decoder that says something; end those whose time is up. `wait`: until one of both happens."""
        busy = [one for one in self._decoders if one.stream is not None]
        soonest = min((one.deadline for one in busy), default=0.0)
        for key, _ in self._selector.select(max(0.0, soonest - time.monotonic()) if wait else 0):
            if key.data in self._decoders:
                self._hear(key.data)
        now = time.monotonic()
        for one in busy:
            if one.deadline < now and one in self._decoders:
                self._overdue(one, f"not read after {self._seconds:g} s")

    def _hear(self, one: Decoder) -> None:
        try:
            word, value = one.channel.receive()
        except BlockingIOError:
            self._overdue(one, "the reader stops in the middle of its answer")
            return
        except Exception:  # no answer, or one of a process whose memory is spoilt, which can raise anything
            self._bury(one)
            return
        if word == BROKEN:
            raise FLLiverError(f"a decoder cannot load its work ({value}); it must be importable by name")
        if word == SPENT or one.stream is None:
            self._bury(one, value)
            return
        one.deadline, one.started = time.monotonic() + self._seconds, True
        if word == STARTED:
            self._failed_starts = 0
            return
        place, _ = one.items.popleft()
        one.stream.done[place], one.fresh = value, False
        if not one.items:
            one.stream = None

    def _overdue(self, one: Decoder, cause: str) -> None:
        one.process.kill()
        self._bury(one, unusable("E_DECODE_TIMEOUT", cause))

    def _bury(self, one: Decoder, said: UnusableError | None = None) -> None:
        """Its process is gone, or must go: blame the item that it was at, and hand out the rest again."""
        stream, items = one.stream, one.items
        status = self._end(one, _LAST_WORDS_S)
        refusal = said or verdict(status)
        if stream is None:
            return
        if not one.started:
            self._failed_starts += 1
            if self._failed_starts == _STARTS:
                raise FLLiverError(f"decoders do not start ({refusal.cause}); install fl_liver again")
        elif one.fresh or refusal.code == "E_DECODE_TIMEOUT":
            stream.done[items.popleft()[0]] = refusal
        if items:
            self._hand_out(stream, items)

    def _start(self) -> Decoder:
        one = start(self._memory_bytes, self._seconds)
        self._decoders.append(one)
        self._selector.register(one.channel, selectors.EVENT_READ, one)
        return one

    def _end(self, one: Decoder, patience_s: float = 0.0) -> int:
        self._decoders.remove(one)
        self._selector.unregister(one.channel)
        return one.end(patience_s)


def decoders_for(site_decoders: int | Literal["auto"], *, seconds: float = ITEM_S) -> Decoders:
    """The decoders of `site.toml`'s key: "auto" is one per processor, four at most; 0 reads in this process."""
    usable = len(os.sched_getaffinity(0))
    workers = min(MOST_DECODERS, usable) if site_decoders == "auto" else site_decoders
    return Decoders(workers, seconds=seconds)
