"""Questions to hospitals and their answers, over any Flower Grid: explicit addresses, a deadline, nothing assumed.

Flower's own `send_and_receive` sleeps 3 s between polls, and a reply that never comes is simply absent. Here every
question goes to named sites, replies are polled every `poll_s`, and who did not answer is part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fl_liver.errors import ProtocolError
from fl_liver.messages import Fit, Incoming, Outgoing, Refusal
from fl_liver.wire import from_record, to_record

A = TypeVar("A", bound=Outgoing)


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


class Exchange:
    """Asks sites by name. `nodes` maps a site's name to its Flower node id."""

    def __init__(self, grid: Grid, nodes: Mapping[str, int], poll_s: float = 0.2) -> None:
        self._grid = grid
        self._nodes = dict(nodes)
        self._poll_s = poll_s

    def ask(
        self,
        question: Incoming,
        sites: Sequence[str],
        expected: type[A],
        *,
        timeout_s: float,
        on_answer: Callable[[str, A], None] | None = None,
    ) -> Answers[A]:
        """Ask every site the same question and wait until all have replied or the deadline has passed.

        With `on_answer`, each answer is handed over as it arrives and not kept: thirteen updates of 45 MB never stand
        in memory together. An answer that `on_answer` refuses with a ProtocolError counts as lost, with that reason.
        """
        record = to_record(question)
        kind = "train" if isinstance(question, Fit) else "query"
        return self._ask(dict.fromkeys(sites, record), kind, expected, timeout_s, on_answer)

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
    ) -> Answers[A]:
        answers: Answers[A] = Answers()
        answers.lost |= {site: "no such node" for site in records if site not in self._nodes}
        reachable = {site: record for site, record in records.items() if site in self._nodes}
        waiting = self._push(reachable, kind, timeout_s)
        answers.lost |= {
            site: "could not be sent" for site in records if site not in {*waiting.values(), *answers.lost}
        }
        deadline = time.monotonic() + timeout_s
        while waiting and time.monotonic() < deadline:
            replies = list(self._grid.pull_messages(list(waiting)))
            for reply in replies:
                site = waiting.pop(reply.metadata.reply_to_message_id, None)
                if site is not None:
                    _sort_in(answers, site, reply, expected, on_answer)
            if not replies:
                time.sleep(self._poll_s)
        answers.lost |= dict.fromkeys(waiting.values(), f"no reply within {timeout_s:.0f} s")
        return answers

    def _push(self, records: Mapping[str, RecordDict], kind: str, timeout_s: float) -> dict[str, str]:
        messages = [Message(record, self._nodes[site], kind, ttl=timeout_s) for site, record in records.items()]
        ids = list(self._grid.push_messages(messages))
        return {message_id: site for message_id, site in zip(ids, records, strict=True) if message_id}


def _sort_in(
    answers: Answers[A], site: str, reply: Message, expected: type[A], on_answer: Callable[[str, A], None] | None
) -> None:
    if reply.has_error():
        # The reason of a transport error may quote anything; the code alone is reported.
        answers.lost[site] = f"transport error {reply.error.code}"
        return
    try:
        word: A | Refusal = from_record(reply.content, (expected, Refusal))
    except ProtocolError as error:
        answers.lost[site] = str(error)
        return
    if isinstance(word, Refusal):
        answers.refused[site] = word
    elif on_answer is None:
        answers.answered[site] = word
    else:
        try:
            on_answer(site, word)
        except ProtocolError as error:
            answers.lost[site] = str(error)
