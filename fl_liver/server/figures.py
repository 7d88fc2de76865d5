"""What is asked of stored scores for a report, and how the answers stand in `summary.json`.

`about_*` gives the conversations, by name; `read_*` takes what was heard for one part of the cohorts: the results by
the same names, or the reason why the hospitals that have this part could not be asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fl_liver.stats.calibration import calibration
from fl_liver.stats.centres import centre_auc
from fl_liver.stats.compare import compare
from fl_liver.stats.compose import Withheld, or_withheld
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.diagnostic import diagnostic
from fl_liver.stats.multiclass import Multiclass, multiclass
from fl_liver.stats.roc import RocResult, roc
from fl_liver.study import Endpoint, Study

Scores = Mapping[str, str]
"""A model's name in the report → the name of its score at the hospitals."""
Pairs = Sequence[tuple[str, str]]
Talks = dict[str, Conversation[Any]]
Heard = dict[str, Any] | str


@dataclass(frozen=True, slots=True)
class Figured:
    """The parts of `summary.json` that are about scores: `models`, `comparisons`, `analysis`."""

    models: dict[str, dict[str, Any]]
    comparisons: list[dict[str, Any]]
    between_centres: dict[str, dict[str, Any]]


def fitting_rows(study: Study) -> str:
    """The patients on which fusion and cut-off are fitted: never ones whose score the network was trained on."""
    return "training" if study.cohort.folds else "calibration"


def out_of_training(study: Study, score: str) -> str:
    """With cross-fitting, the score of training patients comes from the federation that did not see them."""
    return f"{score}_unseen" if study.cohort.folds else score


def about_models(study: Study, scores: Scores) -> Talks:
    """ROC of each model, and its calibration or, with more than two classes, each class against the rest."""
    floor = study.analysis.min_cell
    talks: Talks = {f"roc {name}": _roc(study, f"score:{score}", "label") for name, score in scores.items()}
    for name, score in scores.items():
        if study.asks_which_class:
            columns = {label: f"score:{score}:{label}" for label in study.task.classes}
            talks[f"classes {name}"] = or_withheld(multiclass("class_name", columns, min_cell=floor))
        else:
            groups = study.analysis.calibration_groups
            talks[f"calibration {name}"] = or_withheld(
                calibration("label", f"score:{score}", log_odds=True, groups=groups, min_cell=floor)
            )
    return talks


def read_models(internal: Heard, external: Heard, scores: Scores) -> dict[str, dict[str, Any]]:
    """model → {internal, external, calibration}."""
    models: dict[str, dict[str, Any]] = {name: {} for name in scores}
    for rows, heard in (("internal", internal), ("external", external)):
        for name, model in models.items():
            if isinstance(heard, str):
                model[rows] = {"not_released": heard}
                continue
            model[rows] = figures(heard[f"roc {name}"])
            if f"classes {name}" in heard:
                model[rows] |= class_figures(heard[f"classes {name}"])
            else:
                model.setdefault("calibration", {})[rows] = heard[f"calibration {name}"].to_json()
    return models


def endpoint_score(score: str, endpoint: str) -> str:
    """The name under which hospitals keep a model's answer to a further endpoint; "" is the study's own question."""
    return f"{score}-{endpoint}" if endpoint else score


def about_endpoints(study: Study, scores: Scores) -> Talks:
    """ROC of each model for each further endpoint; of more than two classes, each against the rest."""
    return {
        f"endpoint {endpoint.name} {name}": about_endpoint(study, endpoint, score)
        for endpoint in study.endpoint
        for name, score in scores.items()
    }


def about_endpoint(study: Study, endpoint: Endpoint, score: str) -> Conversation[Any]:
    """One model's answer to one endpoint: a RocResult or a Multiclass, or why not."""
    answer, floor = f"score:{endpoint_score(score, endpoint.name)}", study.analysis.min_cell
    if endpoint.positive:
        return _roc(study, answer, f"label:{endpoint.name}")
    columns = {each: f"{answer}:{each}" for each in endpoint.among}
    return or_withheld(multiclass(f"class:{endpoint.name}", columns, min_cell=floor))


def read_endpoints(study: Study, heard: Heard, scores: Scores) -> dict[str, dict[str, Any]]:
    """model → endpoint → its figures over one part of the cohorts."""
    found: dict[str, dict[str, Any]] = {name: {} for name in scores}
    for endpoint in study.endpoint:
        for name in scores:
            if isinstance(heard, str):
                found[name][endpoint.name] = {"not_released": heard}
            else:
                found[name][endpoint.name] = endpoint_figures(heard[f"endpoint {endpoint.name} {name}"])
    return found


def endpoint_figures(result: RocResult | Multiclass | Withheld) -> dict[str, Any]:
    """Figures of one endpoint; `auc` of more than two classes is the mean of one against the rest, without interval."""
    if isinstance(result, Multiclass):
        return {"auc": result.macro_auc, "n": sum(result.n)} | class_figures(result)
    return figures(result)


def composite(study: Study, part: Mapping[str, Any], endpoints: Mapping[str, Any]) -> float | None:
    """Σ weight × AUC over `analysis.composite`, of one model and one part of the cohorts; None where one is missing."""
    weights = study.analysis.composite
    aucs: dict[str, float | None] = {"main": part.get("auc")}
    aucs |= {name: figure.get("auc") for name, figure in endpoints.items()}
    weighted = [weight * auc for name, weight in weights.items() if (auc := aucs.get(name)) is not None]
    return sum(weighted) / sum(weights.values()) if weights and len(weighted) == len(weights) else None


def about_pairs(study: Study, pairs: Pairs) -> Talks:
    """DeLong's paired test of scores a and b (Obuchowski's where a row is a lesion)."""
    floor, cluster = study.analysis.min_cell, study.cohort.cluster

    def pair(a: str, b: str) -> Conversation[Any]:
        return compare([f"score:{a}", f"score:{b}"], "label", key="logit32", min_cell=floor, cluster=cluster)

    return {_pair(a, b): or_withheld(pair(a, b)) for a, b in pairs}


def read_pairs(heard: Heard, rows: str, pairs: Pairs) -> list[dict[str, Any]]:
    """A line a pair: difference a − b, interval, p."""
    lines = []
    for a, b in pairs:
        line: dict[str, Any] = {"name": _pair(a, b), "a": a, "b": b, "rows": rows}
        found = Withheld(heard) if isinstance(heard, str) else heard[_pair(a, b)]
        if isinstance(found, Withheld):
            lines.append(line | found.to_json())
            continue
        test = found.paired()
        line |= {"difference": test.difference, "ci95": list(test.ci95), "p": test.p, "n": test.n_pos + test.n_neg}
        lines.append(line)
    return lines


def about_centres(study: Study, scores: Scores) -> Talks:
    """Within-centre AUC and the spread between hospitals."""
    floor = study.analysis.min_cell
    return {
        _centres(name): or_withheld(centre_auc(f"score:{score}", "label", min_cell=floor))
        for name, score in scores.items()
    }


def read_centres(heard: Heard, scores: Scores) -> dict[str, dict[str, Any]]:
    """`within_centre_<model>` → figures over the training hospitals."""
    found = {name: Withheld(heard) if isinstance(heard, str) else heard[name] for name in map(_centres, scores)}
    return {name: one.to_json() | {"rows": "internal"} for name, one in found.items()}


def about_cutoffs(study: Study, scores: Scores) -> Talks:
    """ROC of scores of patients that the network was not trained on, for Youden's cut-off."""
    columns = {name: f"score:{out_of_training(study, score)}" for name, score in scores.items()}
    floor = study.analysis.min_cell  # no interval is read of these: nothing more is asked than a cut-off needs
    return {
        f"cutoff {name}": or_withheld(roc(column, "label", key="logit32", min_cell=floor))
        for name, column in columns.items()
    }


def read_cutoffs(heard: Heard, rows: str, scores: Scores) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """model → cut-off, and the thresholds (log-odds) of those that have one."""
    cutoffs: dict[str, dict[str, Any]] = {}
    thresholds: dict[str, float] = {}
    for name in scores:
        found: RocResult | Withheld = Withheld(heard) if isinstance(heard, str) else heard[f"cutoff {name}"]
        if isinstance(found, Withheld):
            cutoffs[name] = found.to_json()
        elif found.youden is None or not math.isfinite(found.youden.threshold):
            cutoffs[name] = {"not_released": "no threshold separates anybody"}
        else:
            cutoffs[name] = {"n": found.n_pos + found.n_neg, "auc": found.auc} | found.youden.to_json()
            thresholds[name] = found.youden.threshold
        cutoffs[name] = {"rows": rows} | cutoffs[name]
    return cutoffs, thresholds


def about_thresholds(study: Study, scores: Scores, thresholds: Mapping[str, float]) -> Talks:
    """Accuracy of each model at its threshold."""
    floor = study.analysis.min_cell
    return {
        name: or_withheld(diagnostic(f"score:{scores[name]}", "label", threshold, min_cell=floor))
        for name, threshold in thresholds.items()
    }


def figures(result: RocResult | Withheld) -> dict[str, Any]:
    """One ROC in the form of `summary.json`."""
    if isinstance(result, Withheld):
        return result.to_json()
    return result.to_json() | {"n": result.n_pos + result.n_neg, "positives": result.n_pos}


def class_figures(result: Multiclass | Withheld) -> dict[str, Any]:
    """Each class against the rest, and the confusion matrix, in the form of `summary.json`."""
    if isinstance(result, Withheld):
        return {"per_class": result.to_json(), "confusion": result.to_json()}
    body = result.to_json()
    return {
        "per_class": {
            name: {"auc": auc, "ci95": interval, "n": n}
            for name, auc, interval, n in zip(body["classes"], body["auc"], body["ci95"], body["n"], strict=True)
        },
        "confusion": {"labels": body["classes"], "counts": body["confusion"]},
    } | {key: body[key] for key in ("macro_auc", "micro_auc", "hand_till", "accuracy", "kappa")}


def _roc(study: Study, score: str, label: str) -> Conversation[RocResult | Withheld]:
    floor, cluster = study.analysis.min_cell, study.cohort.cluster
    return or_withheld(roc(score, label, key="logit32", min_cell=floor, cluster=cluster))


def _pair(a: str, b: str) -> str:
    return f"{a} − {b}"


def _centres(name: str) -> str:
    return f"within_centre_{name}"
