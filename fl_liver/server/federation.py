"""Training: rounds, one after the other, each checkpointed before the next. Resumes after the last whole round."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fl_liver.errors import FLLiverError, IncompleteError, LostRoundError
from fl_liver.messages import Vector
from fl_liver.parameters import Layout
from fl_liver.securesum.encoding import LOSS_RANGE
from fl_liver.server.checkpoint import Checkpoints, RoundRecord
from fl_liver.server.journal import Journal
from fl_liver.server.rounds import Rounds
from fl_liver.study import Study
from fl_liver.update_code import update_code

SUSPECT_LOSS = 8.0
"""Above any honest mean: guessing among K classes costs ln K."""
EachRound = Callable[[int, Vector], float | None]


@dataclass(frozen=True, slots=True)
class Federation:
    """One federation of a study: who trains, on which rows. Cross-fitting runs several."""

    study: Study
    sites: tuple[str, ...]
    rounds: Rounds
    journal: Journal
    rows: str = "train"
    count: int | None = None
    """Rounds; by default the study's."""

    def train(
        self, checkpoints: Checkpoints, initial: tuple[Vector, Layout], each_round: EachRound | None = None
    ) -> tuple[Vector, list[RoundRecord]]:
        """The final model and the history. `each_round` may return the internal AUC of a round for the curve.

        Raises:
            IncompleteError: too few hospitals answered a round, or nobody's training was finite; the last checkpoint
                stands.
        """
        vector, layout = initial
        last = self.study.training.rounds if self.count is None else self.count
        history: list[RoundRecord] = []
        if (resumed := checkpoints.latest()) is not None:
            vector, history = resumed
            self.journal.write("resumed", rows=self.rows, round=history[-1].round)
        for number in range(len(history) + 1, last + 1):
            vector, record = self._round(number, last, vector, layout, each_round)
            history.append(record)
            checkpoints.save(vector, layout, history)
            self.journal.write("checkpoint", rows=self.rows, round=number)
        return vector, history

    def _round(
        self, number: int, last: int, vector: Vector, layout: Layout, each_round: EachRound | None
    ) -> tuple[Vector, RoundRecord]:
        self.journal.write("round_started", rows=self.rows, round=number, rounds=last, sites=len(self.sites))
        began = time.monotonic()
        code = update_code(self.study, layout)
        try:
            opened = self.rounds.ask(number, vector, code, lambda site: self._answered(number, site))
        except LostRoundError as error:
            self.journal.write("warning", text=f"round {number} is lost, the model of the round before stands: {error}")
            return vector, RoundRecord(number, 0.0, len(self.sites), 0, None, None, self.sites)
        mean, loss = self._opened(code.decode(opened.total, vector, len(opened.answered)))
        self._check_loss(number, loss)
        seconds = round(time.monotonic() - began, 3)
        auc = self._point(number, mean, each_round)
        record = RoundRecord(number, seconds, len(self.sites), len(opened.answered), loss, auc, opened.missing)
        self.journal.write(
            "round_done", rows=self.rows, round=number, loss=loss, auc=auc, answered=len(opened.answered)
        )
        return mean, record

    def _opened(self, found: tuple[Vector, float]) -> tuple[Vector, float | None]:
        """The mean model and loss; under private training no loss was sent."""
        return found if self.study.privacy.training is None else (found[0], None)

    def _check_loss(self, number: int, loss: float | None) -> None:
        """A hospital whose training was not finite sends the largest loss there is, and does not say that it did."""
        if loss is None or loss <= SUSPECT_LOSS:
            return
        if loss >= LOSS_RANGE * 0.99:
            raise IncompleteError(
                f"round {number}: no hospital's training was finite (mean loss {loss:.0f}); the model of round"
                f" {number - 1} stands; lower training.learning_rate, or look at `fl-liver site status` of each"
            )
        self.journal.write(
            "warning",
            text=f"round {number}: mean loss {loss:.1f}; a hospital whose training is not finite counts as"
            f" {LOSS_RANGE:.0f}: ask each to look at `fl-liver site status`",
        )

    def _answered(self, number: int, site: str) -> None:
        self.journal.write("site_answered", rows=self.rows, round=number, site=site)

    def _point(self, number: int, vector: Vector, each_round: EachRound | None) -> float | None:
        """The curve is a picture: a hospital that cannot draw its part must not cost the round that is trained."""
        if each_round is None:
            return None
        try:
            return each_round(number, vector)
        except FLLiverError as error:
            self.journal.write("warning", text=f"round {number}: no point of the learning curve: {error}")
            return None
