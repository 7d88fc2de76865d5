"""The coordinator's part in all sums of one run: whose identities count, the run's name, which slots were begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fl_liver.identity import RosterFile, read_roster
from fl_liver.messages import Average, Combine, Done, Purpose, Score
from fl_liver.server.exchange import Answers, Exchange
from fl_liver.server.journal import Journal
from fl_liver.server.masked_rounds import MaskedRounds
from fl_liver.server.rounds import PlainRounds, Rounds
from fl_liver.server.run_record import RunRecord
from fl_liver.server.summing import BatchSummer
from fl_liver.study import Study


@dataclass(frozen=True, slots=True)
class Sums:
    """Makes the sums of one run. `roster` is None where the study adds in the clear."""

    exchange: Exchange
    study: Study
    roster: RosterFile | None
    record: RunRecord

    @staticmethod
    def of_run(exchange: Exchange, study: Study, folder: Path, roster_file: Path) -> Sums:
        """For the run in `folder`.

        Raises:
            ConfigError: masked sums without a roster of the study's hospitals, or a run record that cannot be read.
        """
        roster = None
        if study.privacy.secure_sum == "masked":
            roster = read_roster(roster_file)
            roster.only(study.every_site)
        return Sums(exchange, study, roster, RunRecord(folder / "sums.json"))

    def summer(self, sites: Sequence[str], purpose: Purpose) -> BatchSummer:
        """A batch of statistics over these hospitals. Raises PrivacyError below the floor of masked sums."""
        roster = self.roster.only(sites) if self.roster is not None and purpose == "masked" else None
        origins = self.record.origins()
        return BatchSummer(self.exchange, self.study, sites, purpose, roster, self.record.run, origins)

    def make_score(self, question: Score | Combine | Average, sites: Sequence[str]) -> Answers[Done]:
        """Have hospitals make and keep a score; what made it is bound into every sum over it."""
        self.record.note_score(question)
        return self.exchange.ask(question, sites, Done, timeout_s=self.study.training.round_timeout_s)

    def rounds(self, sites: Sequence[str], rows: str, journal: Journal) -> Rounds:
        """The rounds of one federation."""
        if self.roster is None:
            return PlainRounds(self.exchange, self.study, sites, rows, self.record.run, journal)
        roster = self.roster.only(self.study.sites.train)
        return MaskedRounds(self.exchange, self.study, sites, rows, roster, self.record, journal)
