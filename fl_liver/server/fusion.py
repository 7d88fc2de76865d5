"""Model LBC: the network's score joined with clinical and sonographic factors by logistic regression across hospitals.

As Yang 2020: each factor alone, then the significant ones together, then the score with those that stay. The clinical
models see the whole training part. The fused model and every cut-off see only patients that the network was not trained
on (a calibration quarter, or cross-fitted scores): on its own training patients a network's score is too good, and the
regression would trust it too much. Yang fixes the cut-off on training scores; the report says that we differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fl_liver.errors import DataError, FLLiverError, PrivacyError
from fl_liver.messages import Combine, Done
from fl_liver.server.enrolment import Participants
from fl_liver.server.evaluation import Evaluation, fitting_rows, out_of_training
from fl_liver.server.exchange import Exchange
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.logistic import LogisticResult, logistic
from fl_liver.study import Study

FUSION = "fusion"
SCORE_LABEL = "Network score (log-odds)"


def fuse(
    exchange: Exchange, study: Study, participants: Participants, evaluation: Evaluation, base: str
) -> dict[str, Any]:
    """Fit the fused model, have every ready hospital store the score `fusion`, return the regressions as JSON values."""
    try:
        screening = evaluation.ask(
            "training", {name: screened(name, study.analysis.min_cell) for name in study.analysis.fusion}
        )
        chosen = [
            name
            for name, found in screening.items()
            if isinstance(found, LogisticResult) and _term(found, name).p < study.analysis.screening_p
        ]
        together = evaluation.ask("training", {"multivariable": robust(chosen, study.analysis.min_cell)})["multivariable"]
        kept = [name for name in chosen if _term(together, name).p < study.analysis.screening_p]
        score = f"score:{out_of_training(study, base)}"
        rows = fitting_rows(study)
        fused = evaluation.ask(rows, {"fused": robust([score, *kept], study.analysis.min_cell)})["fused"]
    except (PrivacyError, DataError) as error:
        return {"not_released": str(error)}
    beta = {term.name: term.beta for term in fused.terms}
    answers = exchange.ask(
        Combine(study.sha256, FUSION, base, beta[score], beta["(Intercept)"], {name: beta[name] for name in kept}),
        tuple(participants.ready),
        Done,
        timeout_s=study.training.round_timeout_s,
    )
    if len(answers.answered) < len(participants.ready):
        raise FLLiverError(f"fused score: not every hospital stored it: {answers.why_not()}")
    labels = {factor.name: factor.label for factor in study.factor} | {score: SCORE_LABEL}
    return {
        "rows": rows,
        "screening": [_screening_line(name, found, name in chosen, labels) for name, found in screening.items()],
        "multivariable": _model(together, labels),
        "fused": _model(fused, labels),
    }


def screened(name: str, min_cell: int) -> Conversation[LogisticResult | str]:
    """One factor alone; a factor that may not or cannot be fitted gives the reason instead of stopping the others."""
    try:
        return (yield from robust([name], min_cell))
    except (PrivacyError, DataError) as error:
        return str(error)


def robust(terms: Sequence[str], min_cell: int) -> Conversation[LogisticResult]:
    """Maximum likelihood; Firth's penalised likelihood where a factor separates the classes."""
    result: LogisticResult = yield from logistic("label", list(terms), min_cell=min_cell, on_separation="firth")
    return result


def _term(result: LogisticResult, name: str) -> Any:
    return next(term for term in result.terms if term.name == name)


def _line(term: Any, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "name": term.name,
        "label": labels.get(term.name, term.name),
        "beta": term.beta,
        "se": term.se,
        "z": term.z,
        "p": term.p,
        "odds_ratio": term.odds_ratio,
        "or_ci95": list(term.or_ci95),
    }


def _model(result: LogisticResult, labels: dict[str, str]) -> dict[str, Any]:
    return {"terms": [_line(term, labels) for term in result.terms], "n": result.n, "method": result.method}


def _screening_line(
    name: str, found: LogisticResult | str, selected: bool, labels: dict[str, str]
) -> dict[str, Any]:
    if isinstance(found, str):
        return {"name": name, "label": labels[name], "not_released": found, "selected": False}
    return _line(_term(found, name), labels) | {"n": found.n, "selected": selected}
