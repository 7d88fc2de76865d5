"""A study as a public data set can serve it: as it is, or with the set's own question in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fl_liver.errors import ConfigError
from fl_liver.study import Study
from simulation.public.cohort import PublicCohort, answering
from simulation.public.question import Question


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A study as a data set can serve it, with the patients whom it asks about.

    notes   what was changed in the study; () where it is as it was
    """

    study: Study
    cohort: PublicCohort
    notes: tuple[str, ...] = ()


def serve(cohort: PublicCohort, study: Study) -> Served:
    """The study, or the set's own question in its place, and the patients who can be used.

    Factors, schemas, the background and the size that the set knows nothing of are left out, with a note; one whose
    column is spelled nearly as a column of the set is a slip of the pen, and refused.

    Raises:
        ConfigError: the set has not the images that the study reads, or a factor is refused (`check_study`); its
            question does not fit the study's recipe; nobody is left.
    """
    changes: list[str] = []
    if cohort.question is not None and not _answers(cohort, study):
        changes.append(
            f"{cohort.name} cannot answer '{study.task.outcome}' of study {study.name}; it is asked:"
            f" {cohort.question.title}"
        )
        study = _with_question(cohort, study, cohort.question, changes)
    study = _without_what_is_not_there(cohort, study, changes)
    cohort.check_study(study)
    images = None if study.task.modality == "table" else cohort.images
    return Served(study, answering(cohort, study, None if images is None else images.patients), tuple(changes))


def _answers(cohort: PublicCohort, study: Study) -> bool:
    """Whether the study's own outcome is there, with patients of two of its classes or more."""
    if study.task.outcome not in cohort.outcomes:
        return False
    there = set(cohort.clinical[study.task.outcome].dropna().astype(str))
    return len(there & set(study.task.classes.values())) >= 2


def _without_what_is_not_there(cohort: PublicCohort, study: Study, changes: list[str]) -> Study:
    """Without columns of which the set knows nothing; what it refuses stays, and `check_study` says why."""
    unknown = {one.column for one in study.factor if cohort.knows_nothing_of(one.column)}
    schemas = [one.name for one in study.column if cohort.knows_nothing_of(one.name)]
    dropped = [one.name for one in study.factor if one.column in unknown]
    raw = study.model_dump(mode="json", exclude_none=True)
    if dropped or schemas:
        raw["factor"] = [one for one in raw["factor"] if one["name"] not in dropped]
        raw["column"] = [one for one in raw["column"] if one["name"] not in schemas]
        raw["analysis"]["fusion"] = [name for name in raw["analysis"]["fusion"] if name not in dropped]
        changes.append(f"{cohort.name} knows nothing of {', '.join(dict.fromkeys([*dropped, *schemas]))}: left out")
    for key in ("background", "size_mm"):
        column = getattr(study.task, key)
        if column is not None and cohort.knows_nothing_of(column):
            raw["task"].pop(key)
            if key == "background":
                raw["task"].pop("background_classes")
            changes.append(f"{cohort.name} knows nothing of {key} '{column}': left out")
    return study.with_top(**{key: raw[key] for key in ("task", "analysis", "factor", "column")}) if changes else study


def _with_question(cohort: PublicCohort, study: Study, question: Question, changes: list[str]) -> Study:
    """Another question, other classes and another title; further questions of the study go with its own."""
    if question.lesion_free and study.cohort.crops != "whole" and study.task.modality != "table":
        raise ConfigError(
            f"study {study.name} crops lesions, {cohort.name} can only be asked '{question.title}', where some have"
            ' none; choose a study with cohort.crops = "whole"'
        )
    task = {
        "modality": study.task.modality,
        "outcome": question.outcome,
        "classes": question.classes,
        "positive": list(question.positive),
        "lesion_free": list(question.lesion_free),
    }
    analysis = study.analysis.model_dump(mode="json")
    if set(analysis["composite"]) - {"main", *(one["name"] for one in question.endpoints)}:
        analysis["composite"] = {}  # weights of questions that nobody asks any more
    replaced: dict[str, Any] = {"analysis": analysis}
    if question.factors:
        analysis["fusion"] = []
        replaced |= {"factor": [dict(one) for one in question.factors], "column": []}
    return study.with_top(
        title=f"{question.title} ({cohort.name}; network and recipe of {study.name})",
        task=task,
        cohort=_cohort_rules(cohort, study, question.outcome, changes),
        endpoint=[dict(one) for one in question.endpoints],
        **replaced,
    )


def _cohort_rules(cohort: PublicCohort, study: Study, outcome: str, changes: list[str]) -> dict[str, Any]:
    """`[cohort]` with the series that are there, and a unit that the outcome allows."""
    rules: dict[str, Any] = study.cohort.model_dump(mode="json", exclude_none=True)
    images = cohort.images
    if images is None or study.task.modality != images.modality:
        return rules
    wanted = study.cohort.sequences
    there = [kind for kind in wanted if kind in images.sequences]
    if wanted and not there:
        raise ConfigError(
            f"study {study.name} wants {', '.join(wanted)} series, {cohort.name} has {', '.join(images.sequences)};"
            " copy the study and change cohort.sequences"
        )
    if len(there) < len(wanted):
        changes.append(f"of the series {', '.join(wanted)} only {', '.join(there)} are there")
        rules["sequences"] = there
    drawn_on = study.cohort.drawn_on or next(iter(wanted), None)
    if drawn_on is not None and drawn_on not in images.drawn_on:
        possible = [kind for kind in there if kind in images.drawn_on]
        if not possible:
            raise ConfigError(f"{cohort.name}: lesions are drawn on {', '.join(images.drawn_on)}; add it to sequences")
        changes.append(f"lesions are drawn on {possible[0]}, not on {drawn_on}")
        rules["drawn_on"] = possible[0]
    if study.cohort.unit == "lesion" and outcome not in images.lesion_outcomes:
        changes.append(f"'{outcome}' is known of patients, not of lesions: each patient counts once")
        rules["unit"] = "patient"
    return rules
