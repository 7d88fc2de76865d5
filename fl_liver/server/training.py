"""The federations of one study: the model itself, before it the one that selects images, and with folds those that give
unseen scores and an ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fl_liver.errors import IncompleteError
from fl_liver.messages import Average, Done, Look, Score, Vector
from fl_liver.parameters import Layout
from fl_liver.server.checkpoint import Checkpoints, RoundRecord
from fl_liver.server.enrolment import Participants
from fl_liver.server.evaluation import Evaluation
from fl_liver.server.exchange import Answers
from fl_liver.server.federation import EachRound, Federation
from fl_liver.server.figures import about_endpoint, endpoint_score, out_of_training
from fl_liver.server.journal import Journal
from fl_liver.server.snapshots import Snapshots
from fl_liver.server.sums import Sums
from fl_liver.stats.coarse import coarse_auc
from fl_liver.stats.compose import or_withheld
from fl_liver.stats.multiclass import Multiclass
from fl_liver.study import Endpoint

ENSEMBLE = "ensemble"
"""The mean probability of the models of all folds."""
SELECTION = "selection"
"""What the model that selects images says of everybody: no figure of the study, but each hospital's to look at."""
_CURVE = "curve"


class StudyTraining:
    """Trains, and has hospitals keep the scores of what was trained."""

    def __init__(
        self,
        sums: Sums,
        participants: Participants,
        evaluation: Evaluation,
        folder: Path,
        journal: Journal,
        initial: tuple[Vector, Layout],
    ) -> None:
        self._sums, self._exchange, self._study = sums, sums.exchange, sums.study
        self._evaluation, self._folder, self._journal, self._initial = evaluation, folder, journal, initial
        self._everyone, self._sites = tuple(participants.ready), participants.training(sums.study)
        self._endpoints = ("", *(one.name for one in sums.study.endpoint))
        self.snapshots = Snapshots(folder / "snapshots", sums.study.sha256)
        self.missing: set[str] = set()
        """Hospitals that missed a round of one of the federations."""

    def federate(self, name: str) -> tuple[Vector, list[dict[str, Any]]]:
        """Train, and have every hospital's patients scored as `name`; the final model and the records of its rounds."""
        vector, history = self._federation("train", self._curve)
        for endpoint in self._endpoints:
            best = self.snapshots.model(endpoint, vector)
            self._score(best, endpoint_score(name, endpoint), "all", "train", self._everyone, endpoint)
        for fold in range(self._study.cohort.folds):
            self._fold(fold, name)
        if self._study.cohort.folds:
            for endpoint in self._endpoints:
                of = tuple(endpoint_score(f"{name}_fold{fold}", endpoint) for fold in range(self._study.cohort.folds))
                average = Average(self._study.sha256, endpoint_score(ENSEMBLE, endpoint), of)
                _require_all(self._sums.make_score(average, self._everyone), self._everyone, average.name)
        return vector, [asdict(record) | {"missing": list(record.missing)} for record in history]

    def _fold(self, fold: int, name: str) -> None:
        """A federation without one fold scores the patients of that fold, and everybody for the ensemble."""
        rows = f"not-fold-{fold}"
        without, _ = self._federation(rows, None)
        unseen = out_of_training(self._study, name)
        for endpoint in self._endpoints:
            self._score(without, endpoint_score(unseen, endpoint), f"fold-{fold}", rows, self._sites, endpoint)
            self._score(without, endpoint_score(f"{name}_fold{fold}", endpoint), "all", rows, self._everyone, endpoint)

    def _federation(self, rows: str, curve: EachRound | None) -> tuple[Vector, list[RoundRecord]]:
        """Rounds on `rows`, after those that select images where the study has them."""
        selection = self._study.selection
        if selection is not None:
            seeing, _ = self._rounds(f"selection-{rows}", None, selection.rounds)
            look = Look(self._study.sha256, rows, seeing)
            timeout_s = self._study.training.round_timeout_s
            _require_all(self._exchange.ask(look, self._sites, Done, timeout_s=timeout_s), self._sites, "selection")
            if rows == "train":
                self._score(seeing, SELECTION, "all", f"selection-{rows}", self._everyone)
        return self._rounds(rows, curve, self._study.training.rounds)

    def _rounds(self, rows: str, curve: EachRound | None, count: int) -> tuple[Vector, list[RoundRecord]]:
        rounds = self._sums.rounds(self._sites, rows, self._journal)
        federation = Federation(self._study, self._sites, rounds, self._journal, rows, count)
        checkpoints = Checkpoints(self._folder / "checkpoints" / rows, self._study.sha256)
        vector, history = federation.train(checkpoints, self._initial, curve)
        self.missing |= {site for record in history for site in record.missing}
        return vector, history

    def _score(
        self, vector: Vector, name: str, rows: str, layers: str, sites: Sequence[str], endpoint: str = ""
    ) -> None:
        """Have sites score patients and keep the scores.

        Raises:
            IncompleteError: a site did not; its patients would silently be missing from every figure.
        """
        question = Score(self._study.sha256, name, rows, layers, vector, endpoint)
        _require_all(self._sums.make_score(question, sites), sites, name)

    def _curve(self, number: int, vector: Vector) -> float | None:
        """Internal AUC of some rounds, from one histogram of 2¹² bins: for the picture, not for a decision.

        Snapshots are decided here too, on other patients.
        """
        study = self._study
        if study.histogram_noise is not None:
            return None
        if number % study.analysis.curve_every and number < study.training.rounds:
            return None
        if study.analysis.snapshots:
            self._offer_snapshots(number, vector)
        self._score(vector, _CURVE, "internal", "train", self._sites)
        return self._coarse("internal", _CURVE, "label")

    def _offer_snapshots(self, number: int, vector: Vector) -> None:
        rows = "internal" if self._study.cohort.folds else "calibration"
        by_name = {one.name: one for one in self._study.endpoint}
        for endpoint in self._endpoints:
            score = endpoint_score("snapshot", endpoint)
            self._score(vector, score, rows, "train", self._sites, endpoint)
            auc = self._answered(rows, score, by_name.get(endpoint))
            if auc is not None:
                self.snapshots.offer(endpoint, number, auc, vector, self._initial[1])

    def _answered(self, rows: str, score: str, endpoint: Endpoint | None) -> float | None:
        """AUC of an endpoint for choosing a round; of several classes the mean of one against the rest."""
        if endpoint is None or endpoint.positive:
            return self._coarse(rows, score, "label" if endpoint is None else f"label:{endpoint.name}")
        talk = about_endpoint(self._study, endpoint, "snapshot")
        found = self._evaluation.ask(rows, {"auc": talk})["auc"]
        return found.macro_auc if isinstance(found, Multiclass) else None

    def _coarse(self, rows: str, score: str, label: str) -> float | None:
        talk = or_withheld(coarse_auc(f"score:{score}", label, key="logit32"))
        auc = self._evaluation.ask(rows, {"auc": talk})["auc"]
        return auc if isinstance(auc, float) else None


def _require_all(answers: Answers[Done], sites: Sequence[str], what: str) -> None:
    if len(answers.answered) < len(sites):
        raise IncompleteError(f"score '{what}': not every hospital scored its patients: {answers.why_not()}")
