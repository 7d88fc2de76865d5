"""Before the first round: which hospitals of the study can take part, and why the others cannot."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fl_liver.errors import IncompleteError
from fl_liver.messages import Prepare, Ready
from fl_liver.securesum.context import threshold
from fl_liver.server.exchange import Answers, Exchange
from fl_liver.server.journal import Journal
from fl_liver.study import Study

_SOON = frozenset({"NOT_APPROVED", "BUSY"})
_SOON_S, _SLOW_S, _TICK_S, _LEAST_S = 5.0, 60.0, 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Participants:
    """Hospitals that are ready, in the study's order, and the reason of each one that is not."""

    ready: dict[str, Ready]
    out: dict[str, str]

    def training(self, study: Study) -> tuple[str, ...]:
        return tuple(site for site in study.sites.train if site in self.ready)

    def external(self, study: Study) -> tuple[str, ...]:
        return tuple(site for site in study.sites.external if site in self.ready)

    def named(self) -> tuple[str, ...]:
        """Hospitals that consent to the release of their own figures."""
        return tuple(site for site, card in self.ready.items() if card.named)

    def incomplete(self, study: Study) -> str | None:
        """The first line of a run that is not whole."""
        if not self.out:
            return None
        reasons = "; ".join(f"{site} ({reason})" for site, reason in self.out.items())
        return f"{len(self.ready)} of {len(study.every_site)} hospitals took part; out: {reasons}"


def gather(exchange: Exchange, study: Study, journal: Journal, wait_s: float = 0.0) -> Participants:
    """Ask every hospital of the study to prepare.

    Those that are not ready are asked again until all are, or `wait_s` is over: a person may have to approve first, or
    a daemon to be started. With 0 everybody is asked once.

    Raises:
        IncompleteError: fewer hospitals can train than a sum needs.
    """
    waiting = _Waiting(exchange, study, journal)
    end = time.monotonic() + wait_s
    waiting.ask(study.training.round_timeout_s)
    while waiting.out and (left_s := end - time.monotonic()) > 0:
        time.sleep(min(_TICK_S, left_s))
        waiting.ask(min(study.training.round_timeout_s, max(end - time.monotonic(), _LEAST_S)))
    participants = Participants(
        {site: waiting.ready[site] for site in study.every_site if site in waiting.ready}, waiting.out
    )
    for site, card in participants.ready.items():
        journal.write("site_ready", site=site, figures=card.figures, version=card.version, role=card.role)
    for site, reason in participants.out.items():
        journal.write("site_out", site=site, reason=reason)
    able, wanted = len(participants.training(study)), wanted_sites(study)
    if able < wanted:
        raise IncompleteError(
            f"study {study.name}: {able} of {len(study.sites.train)} training hospitals can take part, wanted at least"
            f" {wanted}; {participants.incomplete(study)}; each hospital's own log says why"
        )
    return participants


def wanted_sites(study: Study) -> int:
    """How many training hospitals a run cannot do without."""
    if study.privacy.secure_sum == "masked":
        return max(study.privacy.min_sites, threshold(len(study.sites.train)))
    return study.privacy.min_sites


class _Waiting:
    """Who is ready, who is not, and when each of those is asked next."""

    def __init__(self, exchange: Exchange, study: Study, journal: Journal) -> None:
        self._exchange, self._study, self._journal = exchange, study, journal
        self._question = Prepare(study.sha256, study.to_toml())
        self._due = dict.fromkeys(study.every_site, 0.0)
        self.ready: dict[str, Ready] = {}
        self.out: dict[str, str] = {}

    def ask(self, timeout_s: float) -> None:
        """Ask those whose turn it is."""
        due = [site for site, when in self._due.items() if time.monotonic() >= when]
        if not due:
            return
        answers = self._exchange.ask(self._question, due, Ready, timeout_s=timeout_s, again=False)
        for site in due:
            self.out.pop(site, None) if site in answers.answered else self._not_ready(site, answers)
        self.ready |= answers.answered
        self._due = {site: when for site, when in self._due.items() if site not in self.ready}
        self.out = {site: self.out[site] for site in self._study.every_site if site in self.out}

    def _not_ready(self, site: str, answers: Answers[Ready]) -> None:
        refusal = answers.refused.get(site)
        reason = f"refused, {refusal.code}" if refusal else answers.lost.get(site, "no reply")
        # What a person or a restart mends is looked at every few seconds; to read a cohort again takes longer.
        slow = refusal is not None and refusal.code not in _SOON
        self._due[site] = time.monotonic() + (_SLOW_S if slow else _SOON_S)
        if self.out.get(site) != reason:
            self._journal.write("site_waiting", site=site, reason=reason)
        self.out[site] = reason
