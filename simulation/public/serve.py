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

    Raises:
        ConfigError: the set has not the images that the study reads, or a factor is refused (`check_study`); its
            question does not fit the study's recipe; nobody is left.
    """
    if cohort.question is None or _answers(cohort, study):
        return _served(cohort, study, ())
    asked, changes = _with_question(cohort, study, cohort.question)
    said = (
        f"{cohort.name} cannot answer '{study.task.outcome}' of study {study.name}; it is asked:"
        f" {cohort.question.title}"
    )
    return _served(cohort, asked, (said, *changes))


def _served(cohort: PublicCohort, study: Study, notes: tuple[str, ...]) -> Served:
    cohort.check_study(study)
    reads_images = study.task.modality != "table" and cohort.images is not None
    patients = cohort.images.patients if reads_images and cohort.images is not None else None
    return Served(study, answering(cohort, study, patients), notes)


def _answers(cohort: PublicCohort, study: Study) -> bool:
    """Whether the study's own outcome is there, with patients of two of its classes or more."""
    if study.task.outcome not in cohort.outcomes:
        return False
    there = set(cohort.clinical[study.task.outcome].dropna().astype(str))
    return len(there & set(study.task.classes.values())) >= 2


def _with_question(cohort: PublicCohort, study: Study, question: Question) -> tuple[Study, tuple[str, ...]]:
    if question.lesion_free and study.cohort.crops != "whole" and study.task.modality != "table":
        raise ConfigError(
            f"study {study.name} crops lesions, {cohort.name} can only be asked '{question.title}', where some have"
            ' none; choose a study with cohort.crops = "whole"'
        )
    factors = [one.model_dump(mode="json", exclude_none=True) for one in study.factor if cohort.offers(one.column)]
    factors = list(question.factors) or factors
    names = {str(one["name"]) for one in factors}
    dropped = [one.name for one in study.factor if one.name not in names]
    analysis = study.analysis.model_copy(
        update={"fusion": tuple(name for name in study.analysis.fusion if name in names)}
    )
    rules, changes = _cohort_rules(cohort, study, question.outcome)
    task = {
        "modality": study.task.modality,
        "outcome": question.outcome,
        "classes": question.classes,
        "positive": list(question.positive),
        "lesion_free": list(question.lesion_free),
    }
    asked = study.with_top(
        title=f"{question.title} ({cohort.name}; network and recipe of {study.name})",
        task=task,
        cohort=rules,
        factor=factors,
        analysis=analysis.model_dump(mode="json", exclude_none=True),
        column=[one.model_dump(mode="json", exclude_none=True) for one in study.column if one.name in cohort.clinical],
        endpoint=[dict(one) for one in question.endpoints],
    )
    if dropped:
        changes.append(f"factors that {cohort.name} does not have are left out: {', '.join(dropped)}")
    if study.task.background is not None:
        changes.append("the kind of liver background is not known, so it is not taught")
    return asked, tuple(changes)


def _cohort_rules(cohort: PublicCohort, study: Study, outcome: str) -> tuple[dict[str, Any], list[str]]:
    """`[cohort]` with the series that are there, and a unit that the outcome allows."""
    rules: dict[str, Any] = study.cohort.model_dump(mode="json", exclude_none=True)
    changes: list[str] = []
    images = cohort.images
    if images is None or study.task.modality == "table":
        return rules, changes
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
    return rules, changes
