"""Before the first round: which hospitals of the study can take part, and why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass

from fl_liver.errors import IncompleteError
from fl_liver.messages import Prepare, Ready
from fl_liver.securesum.context import threshold
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.study import Study


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


def gather(exchange: Exchange, study: Study, journal: Journal) -> Participants:
    """Ask every hospital of the study to prepare.

    Raises:
        IncompleteError: fewer hospitals can train than a sum needs.
    """
    question = Prepare(study.sha256, study.to_toml())
    answers = exchange.ask(question, study.every_site, Ready, timeout_s=study.training.round_timeout_s)
    ready: dict[str, Ready] = {}
    out: dict[str, str] = {}
    for site in study.every_site:
        if site in answers.answered:
            ready[site] = answers.answered[site]
            journal.write("site_ready", site=site, figures=ready[site].figures)
        else:
            refusal = answers.refused.get(site)
            out[site] = f"refused, {refusal.code}" if refusal else answers.lost.get(site, "no reply")
            journal.write("site_out", site=site, reason=out[site])
    participants = Participants(ready, out)
    able = len(participants.training(study))
    wanted = study.privacy.min_sites
    if study.privacy.secure_sum == "masked":
        wanted = max(wanted, threshold(len(study.sites.train)))
    if able < wanted:
        raise IncompleteError(
            f"study {study.name}: {able} of {len(study.sites.train)} training hospitals can take part, wanted at least"
            f" {wanted}; {participants.incomplete(study)}; each hospital's own log says why"
        )
    return participants
