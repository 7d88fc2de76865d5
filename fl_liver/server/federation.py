"""Training: rounds, one after the other, each checkpointed before the next. Resumes after the last whole round."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fl_liver.errors import FLLiverError
from fl_liver.messages import Fit, Update, Vector
from fl_liver.parameters import Layout
from fl_liver.server.checkpoint import Checkpoints, RoundRecord
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.server.rounds import Round
from fl_liver.study import Study

EachRound = Callable[[int, Vector], float | None]


@dataclass(frozen=True, slots=True)
class Federation:
    """One federation of a study: who trains, on which rows. Cross-fitting runs several."""

    study: Study
    sites: tuple[str, ...]
    rows: str = "train"

    def train(
        self,
        exchange: Exchange,
        journal: Journal,
        checkpoints: Checkpoints,
        initial: tuple[Vector, Layout],
        each_round: EachRound | None = None,
    ) -> tuple[Vector, list[RoundRecord]]:
        """The final model and the history. `each_round` may return the internal AUC of a round for the curve.

        Raises:
            IncompleteError: fewer than `min_sites` hospitals answered a round; the last checkpoint stands.
        """
        vector, layout = initial
        history: list[RoundRecord] = []
        if (resumed := checkpoints.latest()) is not None:
            vector, history = resumed
            journal.write("resumed", rows=self.rows, round=history[-1].round)
        for number in range(len(history) + 1, self.study.training.rounds + 1):
            vector, record = self._round(exchange, journal, number, vector, each_round)
            history.append(record)
            checkpoints.save(vector, layout, history)
        return vector, history

    def _round(
        self, exchange: Exchange, journal: Journal, number: int, vector: Vector, each_round: EachRound | None
    ) -> tuple[Vector, RoundRecord]:
        journal.write(
            "round_started", rows=self.rows, round=number, rounds=self.study.training.rounds, sites=len(self.sites)
        )
        began = time.monotonic()
        current = Round(number, self.sites, len(vector), self.study.privacy.min_sites)

        def receive(site: str, update: Update) -> None:
            current.receive(site, update)
            journal.write("site_answered", rows=self.rows, round=number, site=site)

        answers = exchange.ask(
            Fit(self.study.sha256, number, self.rows, vector),
            self.sites,
            Update,
            timeout_s=self.study.training.round_timeout_s,
            on_answer=receive,
        )
        if reasons := answers.why_not():
            journal.write("warning", text=f"round {number}: {reasons}")
        result = current.close()
        seconds = time.monotonic() - began
        auc = self._point(journal, number, result.vector, each_round)
        record = RoundRecord(
            number, round(seconds, 3), len(self.sites), len(result.answered), result.loss, auc, result.missing
        )
        journal.write(
            "round_done", rows=self.rows, round=number, loss=result.loss, auc=auc, answered=len(result.answered)
        )
        return result.vector, record

    def _point(self, journal: Journal, number: int, vector: Vector, each_round: EachRound | None) -> float | None:
        """The curve is a picture: a hospital that cannot draw its part must not cost the round that is trained."""
        if each_round is None:
            return None
        try:
            return each_round(number, vector)
        except FLLiverError as error:
            journal.write("warning", text=f"round {number}: no point of the learning curve: {error}")
            return None
