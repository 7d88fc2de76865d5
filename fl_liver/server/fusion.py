"""Model LBC: the network's score joined with clinical and sonographic factors by logistic regression across hospitals.

As Yang 2020: each factor alone, then the significant ones together, then the score with those that stay. The clinical
models see the whole training part. The fused model and every cut-off see only patients that the network was not trained
on (a calibration quarter, or cross-fitted scores): on its own training patients a network's score is too good, and the
regression would trust it too much. Yang fixes the cut-off on training scores; the report says that we differ.

A factor that has too few patients in a cell of factor × outcome among those patients is left out of the fused model, by
name and with the reason: the first Newton step would publish the cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fl_liver.errors import DataError, FLLiverError, IncompleteError, PrivacyError
from fl_liver.messages import Combine
from fl_liver.server.enrolment import Participants
from fl_liver.server.evaluation import Evaluation
from fl_liver.server.figures import fitting_rows, out_of_training
from fl_liver.server.sums import Sums
from fl_liver.stats.compose import Withheld, or_withheld
from fl_liver.stats.conversation import Conversation, over
from fl_liver.stats.logistic import LogisticResult, fittable, logistic, univariate

R = TypeVar("R")
FUSION = "fusion"
SCORE_LABEL = "Network score (log-odds)"
INTERCEPT = "(Intercept)"


def fuse(sums: Sums, participants: Participants, evaluation: Evaluation, base: str) -> dict[str, Any]:
    """Fit the fused model, have every ready hospital store the score `fusion`, return the regressions as JSON values.

    A fusion that a floor forbids, or whose hospitals stayed away, is `{"not_released": reason}`.
    """
    study = sums.study
    rows, floor, limit = fitting_rows(study), study.analysis.min_cell, study.analysis.screening_p
    score = f"score:{out_of_training(study, base)}"
    try:
        alone = _whole(evaluation, "training", univariate("label", study.analysis.fusion, min_cell=floor))
        chosen = [name for name, found in alone.items() if _p(found, name) < limit]
        together, forbidden = _together(evaluation, chosen, rows, floor)
        kept = [name for name in chosen if _p(together, name) < limit]
        left_out = {name: found.reason for name in kept if (found := forbidden[name]) is not None}
        used = [name for name in kept if name not in left_out]
        fused = _whole(evaluation, rows, finite([score, *used], floor))
    except (PrivacyError, DataError, IncompleteError) as error:
        return {"not_released": str(error)}
    beta = dict(zip(fused.terms, fused.beta, strict=True))
    factors = {name: beta[name] for name in used}
    combine = Combine(study.sha256, FUSION, base, beta[score], beta[INTERCEPT], factors)
    _store(sums, tuple(participants.ready), combine)
    if study.cohort.folds:
        unseen = replace(combine, name=out_of_training(study, FUSION), base=out_of_training(study, base))
        _store(sums, participants.training(study), unseen)
    labels = {factor.name: factor.label for factor in study.factor} | {score: SCORE_LABEL}
    return {
        "rows": rows,
        "screening": [_screening_line(name, found, name in chosen, labels) for name, found in alone.items()],
        "multivariable": _model(together, labels) if together is not None else None,
        "fused": _model(fused, labels),
        "left_out": [{"name": name, "label": labels[name], "reason": reason} for name, reason in left_out.items()],
    }


def _together(
    evaluation: Evaluation, chosen: Sequence[str], rows: str, floor: int
) -> tuple[LogisticResult | None, dict[str, Withheld | None]]:
    """The significant factors in one model of the training part, and which of them a model of `rows` may not hold.

    The same hospitals are asked both, so that both go in the same exchanges.
    """
    if not chosen:
        return None, {}
    wide, narrow = finite(chosen, floor), fittable("label", chosen, min_cell=floor)
    found = evaluation.ask_all("training", {"together": over("training", wide), "forbidden": over(rows, narrow)})
    return _require_whole(found["together"]), _require_whole(found["forbidden"])


def _whole(evaluation: Evaluation, rows: str, talk: Conversation[R]) -> R:
    result: R | Withheld = evaluation.ask(rows, {"fusion": talk})["fusion"]
    return _require_whole(result)


def _require_whole(result: R | Withheld) -> R:
    """One result, whole: the next step of a fusion follows from it."""
    if isinstance(result, Withheld):
        raise IncompleteError(result.reason)
    return result


def finite(terms: Sequence[str], min_cell: int) -> Conversation[LogisticResult]:
    """Maximum likelihood; Firth's penalised likelihood where a term separates the classes."""
    usual = yield from or_withheld(logistic("label", terms, min_cell=min_cell))
    if isinstance(usual, LogisticResult):
        return usual
    return (yield from logistic("label", terms, min_cell=min_cell, firth=True))


def _store(sums: Sums, sites: tuple[str, ...], combine: Combine) -> None:
    answers = sums.make_score(combine, sites)
    if len(answers.answered) < len(sites):
        raise FLLiverError(f"fused score: not every hospital stored it: {answers.why_not()}")


def _p(found: LogisticResult | Withheld | None, name: str) -> float:
    """p of one term; 1 where there is none, so that it is not chosen."""
    return found.p[found.terms.index(name)] if isinstance(found, LogisticResult) else 1.0


def _lines(result: LogisticResult, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    columns = zip(
        result.terms, result.beta, result.se, result.z, result.p, result.odds_ratio, result.or_ci95, strict=True
    )
    return [
        {"name": name, "label": labels.get(name, name), "beta": beta, "se": se, "z": z, "p": p}
        | {"odds_ratio": odds_ratio, "or_ci95": list(interval)}
        for name, beta, se, z, p, odds_ratio, interval in columns
    ]


def _model(result: LogisticResult, labels: Mapping[str, str]) -> dict[str, Any]:
    method = "Firth's penalised likelihood" if "firth" in result.flags else "maximum likelihood"
    lines = _lines(result, labels)
    return {"terms": lines, "n": result.n, "events": result.n_events, "method": method, "flags": list(result.flags)}


def _screening_line(
    name: str, found: LogisticResult | Withheld, selected: bool, labels: Mapping[str, str]
) -> dict[str, Any]:
    if isinstance(found, Withheld):
        return {"name": name, "label": labels[name], "selected": False} | found.to_json()
    return _lines(found, labels)[1] | {"n": found.n, "selected": selected}
