"""The hospital's daemon: connect outward, take a message, have it answered, send the answer; for months.

It runs the code that is installed here and nothing else: a bundle that the server holds is never fetched. It opens no
port. What can go wrong outside (network, server, refused activation) is tried again for ever; what goes wrong in a
message costs that message, which is then answered with a code.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fl_liver import __version__
from fl_liver.client import audit
from fl_liver.client.answers_journal import AnswersJournal
from fl_liver.client.compute import Mode, Reply, Request
from fl_liver.client.compute_process import ComputeProcess
from fl_liver.client.connection import read_connection
from fl_liver.client.fleet import Fleet, Parcel, Taken, failure, read_head
from fl_liver.client.hours import is_open
from fl_liver.client.notify import tell
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.errors import AuditError, ComputeLostError, ConfigError, FleetError, RunOverError, UnreachableError
from fl_liver.messages import SiteFailure

log = logging.getLogger("fl_liver.daemon")
T = TypeVar("T")
PAUSE_FILE = "paused"
_GRACE_S = 5.0
"""From an interrupt until the compute process is ended."""
_POLLS = ((5.0, 0.25), (30.0, 0.5), (float("inf"), 2.0))
"""Seconds since the last message, seconds between two questions for the next. A question costs the server 9 ms of a
core: eleven hospitals in a round take 40 % of one, fifty idle ones 22 %."""
_RETRY_S = (1.0, 2.0, 3.0, 5.0)
_ASK_EVERY_S = 5.0
"""How often a daemon that computes looks whether the run still goes on: a stopped run frees the processor."""
_APART_S = 1.5
"""Between goodbye and hello: the server app, which looks every 0.2 s, must see that the hospital was away."""


@dataclass(slots=True)
class State:
    """What the daemon knows of itself; `control` shows it."""

    started: float = field(default_factory=time.time)
    node_id: int | None = None
    registered_since: float | None = None
    trouble: str = "not connected yet"
    """Why it is not registered; empty while it is."""
    working_on: str = ""
    answered: int = 0
    failed: int = 0
    last_message: float | None = None
    last_answer: str = ""
    last_lost: str = ""
    """Why the last message got no answer; empty when the last one got one."""
    seconds_computing: float = 0.0


class Daemon:
    """One hospital's. `run` returns when `stop` was called."""

    def __init__(self, site_file: Path) -> None:
        """Raises ConfigError where site.toml or the connection's folder is wrong."""
        self._site_file = site_file
        self.site: SiteConfig = load_site(site_file)
        self.connection = read_connection(self.site.connection)
        self.connection.tls()
        self._journal = AnswersJournal(self.site.work)
        self._compute = ComputeProcess(site_file)
        self._stopping = threading.Event()
        self.fleet: Fleet | None = None
        self._ask_at = 0.0
        self.state = State()

    @property
    def paused(self) -> bool:
        return (self.site.work / PAUSE_FILE).exists()

    @property
    def compute_pid(self) -> int | None:
        return self._compute.pid

    def stop(self, *_: object) -> None:
        """Abandon what is being computed at the next batch, say goodbye, and return from `run`."""
        self._stopping.set()

    def run(self) -> None:
        """Until `stop`. Errors of the connection are logged and tried again."""
        tries = 0
        while not self._stopping.is_set():
            try:
                with Fleet(self.connection) as fleet:
                    tries = 0
                    self._registered(fleet)
                    self._serve(fleet)
                if not self._stopping.is_set():
                    self._pause(_APART_S)
            except FleetError as error:
                wait = _RETRY_S[min(tries, len(_RETRY_S) - 1)]
                tries += 1
                self._not_registered(f"{error}; next try in {wait:.0f} s")
                self._pause(wait)
            finally:
                self.fleet = None
        self._compute.end()
        log.info("site %s: stopped", self.site.site)

    def _serve(self, fleet: Fleet) -> None:
        """Until `stop`, or until something may have been lost on its way here.

        The server hands a message out once. If its answer to the question for the next one does not arrive, a message
        may have been in it, and the coordinator would wait for the round's deadline. A goodbye and a hello tell it
        that everything that this hospital has not answered is lost; it then asks again.
        """
        for head in self._journal.unanswered.values():
            self._fail(fleet, read_head(head), SiteFailure.LOST, "the daemon was restarted in between")
        heard, missed = time.monotonic(), False
        while not self._stopping.is_set():
            asked = time.monotonic()
            try:
                taken = fleet.take()
                if missed and taken is None:
                    fleet.beat()  # a goodbye that nobody hears keeps this hospital out for 40 s
            except UnreachableError as error:
                missed = True
                self._not_registered(str(error))
                self._pause(3.0)
                continue
            if self.state.trouble:
                self._registered(fleet)
            if missed and taken is None:
                log.info("site %s: the network is back; what was lost meanwhile is asked for again", self.site.site)
                return
            if taken is not None:
                self._handle(fleet, taken)
                heard = time.monotonic()
                continue
            self._compute.rest()
            # The coordinator's gateway holds the question while there is nothing; another server answers at once.
            now = time.monotonic()
            self._pause(max(0.0, next(wait for limit, wait in _POLLS if now - heard < limit) - (now - asked)))

    def _handle(self, fleet: Fleet, taken: Taken) -> None:
        self.state.last_message = time.time()
        try:
            self._journal.taken(taken.message_id, taken.head, taken.kind)
        except AuditError as error:
            self._fail(fleet, taken, SiteFailure.AUDIT, str(error))
            return
        started = time.monotonic()
        try:
            parcel = self._patiently(taken, lambda: fleet.fetch(taken))
            reply = self._answered(taken, parcel)
            if reply.failure is not None or reply.parcel is None:
                self._fail(fleet, taken, reply.failure or SiteFailure.CRASHED, reply.word)
                return
            answer = reply.parcel
            self._patiently(taken, lambda: fleet.give(answer, taken.run_id, time.monotonic() - started))
        except ComputeLostError as error:
            code = SiteFailure.LOST if self._stopping.is_set() else SiteFailure.CRASHED
            self._fail(fleet, taken, code, str(error))
        except RunOverError as error:
            log.warning("site %s: %s", self.site.site, error)
            self._close(taken, "the run is over")
        else:
            self._close(taken, "answered")
            self.state.answered += 1
            self.state.last_answer, self.state.last_lost = reply.word, ""
        finally:
            self.state.working_on = ""
            self.state.seconds_computing += time.monotonic() - started

    def _answered(self, taken: Taken, parcel: Parcel) -> Reply:
        """The compute process's answer; it is interrupted when nobody waits any more or the daemon stops."""
        self._read_again()
        mode: Mode = "paused" if self.paused else "open" if is_open(self.site.allowed_hours) else "closed"
        self.state.working_on = f"a {taken.kind} message, {parcel.bytes} bytes"
        self._compute.ask(Request(parcel, mode), self.site)
        interrupted: float | None = None
        self._ask_at = time.monotonic() + _ASK_EVERY_S
        while True:
            reply = self._compute.reply(0.2)
            if reply is not None:
                return reply
            tell("WATCHDOG=1")
            if interrupted is None and (self._stopping.is_set() or time.time() > taken.expires or self._over(taken)):
                self._compute.interrupt()
                interrupted = time.monotonic()
            if interrupted is not None and time.monotonic() - interrupted > _GRACE_S:
                self._compute.end()
                raise ComputeLostError("the compute process was ended: the daemon stops, or the deadline has passed")

    def _over(self, taken: Taken) -> bool:
        """Whether the coordinator stopped the run meanwhile; asked every 5 s."""
        now = time.monotonic()
        if self.fleet is None or now < self._ask_at:
            return False
        self._ask_at = now + _ASK_EVERY_S
        try:
            self.fleet.require_wanted(taken)
        except RunOverError:
            log.info("site %s: the run was stopped; its %s message is abandoned", self.site.site, taken.kind)
            return True
        except FleetError:
            return False  # a short cut is no reason to throw work away
        return False

    def _read_again(self) -> None:
        """site.toml may have been edited. A wrong one stops no daemon: messages are answered with a code until then."""
        try:
            self.site = load_site(self._site_file)
        except ConfigError as error:
            log.error("%s", error)

    def _fail(self, fleet: Fleet, taken: Taken, code: SiteFailure, why: str) -> None:
        """Answer with a code, so that nobody waits for the deadline."""
        log.warning("site %s: a %s message got no answer (%s): %s", self.site.site, taken.kind, code.name, why)
        self.state.failed += 1
        self.state.last_lost = f"{code.name}: {why}"
        self._write_down(code)
        try:
            answer = failure(taken.head, code)
            self._patiently(taken, lambda: fleet.give(answer, taken.run_id, 0.0))
        except RunOverError:
            pass
        except UnreachableError as error:
            if self._stopping.is_set():
                return  # still open in the journal: the next daemon says it
            log.warning("site %s: nor could that be told: %s", self.site.site, error)
        self._close(taken, code.name)

    def _close(self, taken: Taken, how: str) -> None:
        """On a full disk the message stays open in the journal, and is told as lost by the next daemon."""
        try:
            self._journal.closed(taken.message_id, how)
        except AuditError as error:
            log.error("site %s: %s", self.site.site, error)

    def _write_down(self, code: SiteFailure) -> None:
        if not self.site.audit:
            return
        try:
            audit.append(self.site.work, kind="Failure", code=code.name, bytes=0)
        except AuditError as error:
            log.error("%s; a bare code leaves, no content", error)

    def _patiently(self, taken: Taken, do: Callable[[], T]) -> T:
        """Again while the network is away, until the message's deadline, or a few seconds when the daemon stops."""
        stopping_since: float | None = None
        while True:
            try:
                return do()
            except UnreachableError as error:
                if self._stopping.is_set():
                    stopping_since = stopping_since or time.monotonic()
                    if time.monotonic() - stopping_since > _GRACE_S:
                        raise
                if time.time() > taken.expires:
                    raise RunOverError(
                        f"nobody waits for message {taken.message_id[:12]} any more ({error})"
                    ) from error
                self._not_registered(str(error))
                time.sleep(1.0) if self._stopping.is_set() else self._pause(2.0)

    def _registered(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.state.node_id, self.state.trouble = fleet.node_id, ""
        self.state.registered_since = time.time()
        log.info("site %s: registered as node %d, fl_liver %s", self.site.site, fleet.node_id, __version__)
        tell("READY=1", f"STATUS=registered as {self.site.site}")

    def _not_registered(self, why: str) -> None:
        why += self._ended()
        self.state.registered_since, self.state.trouble = None, why
        log.warning("site %s: %s", self.site.site, why)
        tell("READY=1", f"STATUS=not registered: {why}")

    def _ended(self) -> str:
        """A gateway that is shown an expired certificate hangs up without a word."""
        with contextlib.suppress(ConfigError):
            ended = [name for name, days in self.connection.days_left().items() if days <= 0]
            return f"; {', '.join(ended)} has expired: ask the coordinator to renew it" if ended else ""
        return ""

    def _pause(self, seconds: float) -> None:
        tell("WATCHDOG=1")
        self._stopping.wait(seconds)
