"""Figures of the baselines, asked of the hospitals by the same questions as those of the federated model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fl_liver.errors import FLLiverError, PrivacyError
from fl_liver.messages import Score, Vector
from fl_liver.server.enrolment import Participants
from fl_liver.server.evaluation import Evaluation
from fl_liver.server.figures import about_endpoint, endpoint_figures, endpoint_score, figures
from fl_liver.server.sums import Sums
from fl_liver.stats.compare import compare
from fl_liver.stats.compose import Withheld, or_withheld
from fl_liver.stats.conversation import converse, over
from fl_liver.stats.roc import roc
from fl_liver.study import Study


class BaselineFigures:
    """Scores baseline models at the hospitals and asks for their AUCs."""

    def __init__(self, sums: Sums, participants: Participants, evaluation: Evaluation) -> None:
        self._sums, self._study, self._participants, self._evaluation = sums, sums.study, participants, evaluation
        self._external = participants.external(sums.study)

    def score(self, name: str, vector: Vector) -> None:
        """A hospital's own model is scored there and at the external hospitals; the pooled one everywhere."""
        everyone = tuple(self._participants.ready)
        sites = (name, *self._external) if name in everyone else everyone
        for endpoint in ("", *(one.name for one in self._study.endpoint)):
            question = Score(self._study.sha256, endpoint_score(name, endpoint), "all", "", vector, endpoint)
            answers = self._sums.make_score(question, sites)
            if len(answers.answered) < len(sites):
                raise FLLiverError(f"baseline {name}: not every hospital scored its patients: {answers.why_not()}")

    def pooled(self, name: str) -> dict[str, Any]:
        """The pooled model, like any other."""
        return self._evaluation.of_models({name: name}, cutoffs=False)[name]

    def local(self, study: Study) -> dict[str, Any]:
        """Each hospital's own model: the mean AUC on the external patients with its interval, and on its own patients.

        The external interval is that of a mean of correlated AUCs (contrast 1/M of their covariance). The internal
        mean is over hospitals whose own test part has enough of both classes, "models" of "of_models": it has no
        interval, its patients differ by model, and where those hospitals are few it stands for them alone.
        """
        training = self._participants.training(study)
        return {
            "internal": self._own(training),
            "external": self._elsewhere(training) | self._endpoints(training),
            "per_site": {},
            "is": "mean over hospitals' own models",
        }

    def _elsewhere(self, training: tuple[str, ...]) -> dict[str, Any]:
        scores, cluster = [f"score:{name}" for name in training], self._study.cohort.cluster
        talk = compare(scores, "label", key="logit32", min_cell=self._floor, cluster=cluster)
        try:
            found = self._evaluation.ask("external", {"local": talk})["local"]
        except PrivacyError as error:
            return {"not_released": str(error)}
        if isinstance(found, Withheld):
            return found.to_json()
        curve = self._mean_curve(training)
        mean = found.mean()
        by_model = {name: float(auc) for name, auc in zip(training, found.auc, strict=True)}
        counts = {"n": found.n_pos + found.n_neg, "positives": found.n_pos}
        return (
            {"auc": mean.estimate, "ci95": list(mean.ci95), "se": math.sqrt(mean.var), "by_model": by_model}
            | counts
            | curve
        )

    def _endpoints(self, training: tuple[str, ...]) -> dict[str, Any]:
        """Mean over the hospitals' own models of the AUC of each further endpoint on the external patients."""
        if not self._study.endpoint:
            return {}
        talks = {
            f"{endpoint.name} {name}": about_endpoint(self._study, endpoint, name)
            for endpoint in self._study.endpoint
            for name in training
        }
        try:
            heard = self._evaluation.ask("external", talks)
        except PrivacyError as error:
            return {"endpoints": {endpoint.name: {"not_released": str(error)} for endpoint in self._study.endpoint}}
        found: dict[str, dict[str, Any]] = {}
        for endpoint in self._study.endpoint:
            figured = [endpoint_figures(heard[f"{endpoint.name} {name}"]) for name in training]
            aucs = [one["auc"] for one in figured if one.get("auc") is not None]
            found[endpoint.name] = {"auc": math.fsum(aucs) / len(aucs), "ci95": None} if aucs else figured[0]
        return {"endpoints": found}

    def _mean_curve(self, training: tuple[str, ...]) -> dict[str, Any]:
        """Mean sensitivity of the hospitals' own models at each specificity (vertical average of their ROC curves)."""
        talks = {name: roc(f"score:{name}", "label", key="logit32", min_cell=self._floor) for name in training}
        results = self._evaluation.ask("external", talks).values()
        if missing := [result.reason for result in results if isinstance(result, Withheld)]:
            return {"roc": {"not_released": missing[0]}}
        curves = [result.curve for result in results]
        fpr = np.linspace(0.0, 1.0, 101)
        tpr = np.mean([np.interp(fpr, curve.fpr, curve.tpr) for curve in curves], axis=0)
        return {"roc": {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "tpr_low": None, "tpr_high": None}}

    def _own(self, training: tuple[str, ...]) -> dict[str, Any]:
        named = [name for name in training if name in self._participants.named()]
        by_model: dict[str, float] = {}
        for name in named:
            summer = self._sums.summer([name], "named")
            talk = or_withheld(roc(f"score:{name}", "label", key="logit32", min_cell=self._floor))
            result = converse({"own": over("internal", talk)}, summer)["own"]
            if not isinstance(result, Withheld) and (auc := figures(result)["auc"]) is not None:
                by_model[name] = auc
        if not by_model:
            return {"not_released": "no hospital's own test part is large enough, or none consents"}
        mean = math.fsum(by_model.values()) / len(by_model)
        counts = {"n": None, "positives": None, "models": len(by_model), "of_models": len(training)}
        return {"auc": mean, "ci95": None, **counts, "by_model": by_model}

    @property
    def _floor(self) -> int:
        return self._study.analysis.min_cell
