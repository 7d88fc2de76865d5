"""What a study that a hospital approved lets the server ask of its rows."""

from __future__ import annotations

from functools import partial

from fl_liver.errors import PrivacyError
from fl_liver.stats.allowed import (
    Allowed,
    of_calibration,
    of_centres,
    of_classes,
    of_cut,
    of_fit,
    of_one,
    of_scores,
)
from fl_liver.stats.permit import Permit
from fl_liver.study import Study

LABEL, CLASS, SCORE = "label", "class_name", "score:"


def study_permit(study: Study, min_cell: int) -> Permit:
    """The statistics of a study, with the larger of its floor and the hospital's own.

    They are those that `server.evaluation`, `server.fusion` and `server.run` ask in every study, of scores: a factor is
    a term of a regression and nothing else. Names of scores are the server's; which of them are stored is known when
    they are read. A further endpoint has the same figures of its own label, and no cut-off or calibration. A study with
    `histogram_epsilon` may ask for the noised histogram of its scores, with the noise that follows from it, and nothing
    else.
    """
    floor, lesions = max(min_cell, study.analysis.min_cell), study.cohort.unit == "lesion"
    if study.histogram_noise is not None:
        return Permit(floor, _noised, study.histogram_noise)
    return Permit(floor, partial(_exact, study), by_patient=lesions)


def require_exact_figures(site: str, study: Study) -> None:
    """Raises PrivacyError where the study promises that nothing exact leaves: this hospital's own figures would."""
    if study.histogram_noise is not None:
        raise PrivacyError(
            f"site {site}: its own figures were asked, but the study says privacy.histogram_epsilon ="
            f" {study.histogram_noise[0]:g}: figures leave in the one noised sum, and no exact one beside it"
        )


def _exact(study: Study, present: frozenset[str]) -> list[Allowed]:
    """What is asked of the patients who have exactly these columns: of one score, of several, of several classes, or
    of a regression. With columns that none of them has, a question is none of theirs (`Asked.present`).
    """
    scores = _scores(present)
    terms = [*scores, *(name for name in study.analysis.fusion if name in present)]
    found = [*_of_main_classes(study, present), *_of_endpoints(study, scores, present)]
    if len(scores) == 1:
        found += _of_score(study, scores[0])
    if len(scores) > 1:
        found.append(of_scores(scores, LABEL, study.cohort.cluster))
    elif terms and study.analysis.fusion:
        found.append(of_fit(LABEL, terms, firth=True))
    return found


def _of_score(study: Study, score: str) -> list[Allowed]:
    """Curve, comparison with itself, AUC within hospitals, and one cut-off for each part of the rows, which is found
    on the way (Youden's).
    """
    curve = of_scores([score, score], LABEL, study.cohort.cluster)
    found = [curve, of_centres(score, LABEL), of_cut(score, LABEL, cutoffs=1)]
    if not study.asks_which_class:
        found.append(of_calibration(LABEL, score, study.analysis.calibration_groups, log_odds=True))
    return found


def _of_main_classes(study: Study, present: frozenset[str]) -> list[Allowed]:
    return _of_classes(CLASS, tuple(study.task.classes), present) if study.asks_which_class else []


def _of_endpoints(study: Study, scores: list[str], present: frozenset[str]) -> list[Allowed]:
    """Curves and comparisons of the further endpoints."""
    found: list[Allowed] = []
    for endpoint in study.endpoint:
        if not endpoint.positive:
            found += _of_classes(f"class:{endpoint.name}", endpoint.among, present)
        elif (label := f"label:{endpoint.name}") in present and scores:
            found.append(of_scores(scores * 2 if len(scores) == 1 else scores, label, study.cohort.cluster))
    return found


def _of_classes(label: str, classes: tuple[str, ...], present: frozenset[str]) -> list[Allowed]:
    """The classes of one model, where there are more than two."""
    models = {column.split(":")[1] for column in present if column.startswith(SCORE)}
    if label not in present or len(classes) < 3 or len(models) != 1:
        return []
    return [of_classes(label, [f"{SCORE}{model}:{one}" for model in models for one in classes])]


def _noised(present: frozenset[str]) -> list[Allowed]:
    return [of_one("noised_histogram", scores=_scores(present), label=LABEL)]


def _scores(columns: frozenset[str]) -> list[str]:
    """Those that are a model's log-odds of disease, `score:NAME`; `score:NAME:CLASS` is of one class."""
    return sorted(one for one in columns if one.startswith(SCORE) and one.count(":") == 1)
