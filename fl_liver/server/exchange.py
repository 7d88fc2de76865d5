"""Questions to hospitals and their answers, over any Flower Grid: explicit addresses, a deadline, nothing assumed.

Flower's own `send_and_receive` sleeps 3 s between polls, and a reply that never comes is simply absent. Here every
question goes to named sites, replies are polled every `poll_s`, and who did not answer is part of the result. A site
that was cut off or restarted (its daemon says that it lost the message) is asked again in the same words, for as long
as the others are waited for anyway, and `patience_s` beyond that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fl_liver.errors import IncompleteError, ProtocolError
from fl_liver.messages import Fit, Incoming, Outgoing, Refusal, SiteFailure
from fl_liver.wire import from_record, to_record

A = TypeVar("A", bound=Outgoing)
B = TypeVar("B")
Nodes = Mapping[str, int]
_ASK_AGAIN = frozenset({3, 4, 5, int(SiteFailure.LOST)})
"""Flower's MESSAGE_UNAVAILABLE, REPLY_MESSAGE_UNAVAILABLE and NODE_UNAVAILABLE, and a daemon that lost a message."""
_AGAIN_S = 2.0
_UPDATES_AT_ONCE = 3
"""Fetched and in memory together; a Grid hands over all that are there of those it is asked for."""
_REFUSED = frozenset({401, 403, 404})
"""It answers, and the run is over."""
log = logging.getLogger("fl_liver.server")


@dataclass(slots=True)
class Answers(Generic[A]):
    """Who answered what. `lost` maps a site to a short reason: no reply, or an error of the transport."""

    answered: dict[str, A] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    def why_not(self) -> str:
        """The sites that did not answer, with the reason of each, as one clause."""
        reasons = {name: f"refused, {refusal.code}" for name, refusal in self.refused.items()} | self.lost
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))


@dataclass(slots=True)
class _Again:
    """Sites that are to be asked again: when, and since when they are lost."""

    due: dict[str, float] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)

    def add(self, site: str) -> None:
        now = time.monotonic()
        self.since.setdefault(site, now)
        self.due[site] = now + _AGAIN_S

    def open(self, patience_s: float) -> bool:
        """Whether it is worth waiting for one of them alone."""
        now = time.monotonic()
        return any(now - self.since[site] < patience_s for site in self.due)

    def take(self) -> list[str]:
        now = time.monotonic()
        return [site for site, when in list(self.due.items()) if when <= now and self.due.pop(site)]


class Exchange:
    """Asks sites by name. `nodes` maps a site's name to its Flower node id, or is asked for that each time."""

    def __init__(
        self, grid: Grid, nodes: Nodes | Callable[[], Nodes], poll_s: float = 0.2, patience_s: float = 0.0
    ) -> None:
        """With `patience_s` 0 nobody is asked twice."""
        self._grid = grid
        self._nodes = nodes if callable(nodes) else lambda: nodes
        self._poll_s, self._patience_s = poll_s, patience_s

    def ask(
        self,
        question: Incoming,
        sites: Sequence[str],
        expected: type[A],
        *,
        timeout_s: float,
        on_answer: Callable[[str, A], None] | None = None,
        again: bool = True,
    ) -> Answers[A]:
        """Ask every site the same question and wait until all have replied or the deadline has passed.

        With `on_answer`, each answer is handed over as it arrives and not kept: thirteen updates of 45 MB never stand
        in memory together. An answer that `on_answer` refuses with a ProtocolError counts as lost, with that reason.
        Without `again`, a site that is away is lost at once, whatever the patience.
        """
        record = to_record(question)
        kind = "train" if isinstance(question, Fit) else "query"
        return self._ask(dict.fromkeys(sites, record), kind, expected, timeout_s, on_answer, again=again)

    def ask_each(
        self,
        questions: Mapping[str, Incoming],
        expected: type[A],
        *,
        timeout_s: float,
        on_answer: Callable[[str, A], None] | None = None,
    ) -> Answers[A]:
        """As `ask`, with another question for each site."""
        records = {site: to_record(question) for site, question in questions.items()}
        return self._ask(records, "query", expected, timeout_s, on_answer)

    def _ask(
        self,
        records: Mapping[str, RecordDict],
        kind: str,
        expected: type[A],
        timeout_s: float,
        on_answer: Callable[[str, A], None] | None,
        *,
        again: bool = True,
    ) -> Answers[A]:
        patience_s = self._patience_s if again else 0.0
        answers: Answers[A] = Answers()
        deadline = time.monotonic() + timeout_s
        waiting, later = self._push(answers, records, kind, timeout_s), _Again()
        at_once = _UPDATES_AT_ONCE if kind == "train" else max(len(records), 1)
        while (waiting or later.open(patience_s)) and time.monotonic() < deadline:
            names, heard = list(waiting), False
            for first in range(0, len(names), at_once):
                replies = self._patiently(partial(self._grid.pull_messages, names[first : first + at_once]))
                heard = heard or bool(replies)
                while replies:  # each goes when it was handed over, and not when the next ones are there
                    lost = _sort_in(answers, waiting, replies.pop(0), expected, on_answer)
                    if lost is not None and patience_s > 0:
                        later.add(lost)
            if not heard:
                time.sleep(self._poll_s)
            if due := later.take():
                left_s = max(deadline - time.monotonic(), 1.0)
                waiting |= self._push(answers, {site: records[site] for site in due}, kind, left_s)
        answers.lost |= dict.fromkeys(waiting.values(), f"no reply within {timeout_s:.0f} s")
        return answers

    def _push(self, answers: Answers[A], records: Mapping[str, RecordDict], kind: str, ttl_s: float) -> dict[str, str]:
        """Message id → site, of those that were sent; the others are lost."""
        nodes = self._nodes()
        reachable = [site for site in records if site in nodes]

        def push() -> Iterable[str]:
            # New messages at each try: one that was half sent has a name already, and is not taken twice.
            return self._grid.push_messages(
                [Message(records[site], nodes[site], kind, ttl=ttl_s) for site in reachable]
            )

        ids = self._patiently(push) if reachable else []
        sent = {message_id: site for message_id, site in zip(ids, reachable, strict=True) if message_id}
        for site in records:
            answers.lost[site] = "no such node" if site not in nodes else "could not be sent"
        for site in sent.values():
            del answers.lost[site]
        return sent

    def _patiently(self, do: Callable[[], Iterable[B]]) -> list[B]:
        """Again while the SuperLink is away: it may be killed and started again under a run.

        A question that was half sent is sent again as a new message; nobody gets a half one.

        Raises:
            IncompleteError: it was away for longer than the patience. Without patience, whatever Flower raises.
        """
        began = time.monotonic()
        while True:
            try:
                return list(do())
            except Exception as error:  # what Flower raises then is private to it, and changes
                status = getattr(getattr(error, "response", None), "status_code", 0)
                if self._patience_s <= 0 or status in _REFUSED:
                    raise
                if time.monotonic() - began > self._patience_s:
                    raise IncompleteError(
                        f"the SuperLink did not answer for {self._patience_s:.0f} s ({type(error).__name__}); once it"
                        " is up, `fl-liver study resume` goes on"
                    ) from error
                log.warning("the SuperLink does not answer (%s); again in %g s", type(error).__name__, _AGAIN_S)
                time.sleep(_AGAIN_S)


def _sort_in(
    answers: Answers[A],
    waiting: dict[str, str],
    reply: Message,
    expected: type[A],
    on_answer: Callable[[str, A], None] | None,
) -> str | None:
    """Returns the site where it is worth asking again."""
    site = waiting.pop(reply.metadata.reply_to_message_id, None)
    if site is None:
        return None
    if reply.has_error():
        # The reason of a transport error may quote anything; the code alone is reported.
        answers.lost[site] = f"transport error {reply.error.code}"
        return site if reply.error.code in _ASK_AGAIN else None
    try:
        word: A | Refusal = from_record(reply.content, (expected, Refusal))
    except ProtocolError as error:
        answers.lost[site] = str(error)
        return None
    if isinstance(word, Refusal):
        answers.refused[site] = word
    elif on_answer is None:
        answers.answered[site] = word
    else:
        try:
            on_answer(site, word)
        except ProtocolError as error:
            answers.lost[site] = str(error)
    return None
