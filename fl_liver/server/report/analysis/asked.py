"""What an analysis asks, in one or two sentences for a clinician."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fl_liver.server.report.analysis.content import shortest
from fl_liver.server.report.number_text import listed
from fl_liver.stats.plan_entry import Analysis


def asked(entry: Analysis) -> str:
    """The question of a plan's entry."""
    question = _QUESTIONS[entry.kind](entry)
    among = f" Among patients with {_all(entry.among)}." if entry.among else ""
    return question + among + ("" if entry.by is None else f" Once for each level of {quoted(entry.by)}.")


def quoted(name: str) -> str:
    """
    >>> quoted("afp_ng_ml")
    '‘afp_ng_ml’'
    """
    return f"‘{name}’"


def _all(names: Sequence[str], last: str = "and") -> str:
    return listed([quoted(name) for name in names], last)


def _roc(e: Any) -> str:
    asks = f"How well does {quoted(e.score)} separate patients with {quoted(e.label)} = 1 from those with 0?"
    return asks + _clustered(e)


def _clustered(e: Any) -> str:
    if e.cluster is None:
        return ""
    return f" A row is a lesion, its patient stands in {quoted(e.cluster)}; the variance allows for this (Obuchowski)."


def _compare(e: Any) -> str:
    return f"Do {_all(e.scores)} of the same patients separate {quoted(e.label)} equally well?{_clustered(e)}"


def _unpaired(e: Any) -> str:
    a, b = e.levels
    return f"Does {quoted(e.score)} separate {quoted(e.label)} equally well in {quoted(e.strata)} = {a} and = {b}?"


def _diagnostic(e: Any) -> str:
    return f"How often is {quoted(e.score)} ≥ {shortest(e.threshold)} right about {quoted(e.label)}?"


def _rank_sum(e: Any) -> str:
    return f"Does {quoted(e.x)} differ between the two groups of {quoted(e.group)}?"


def _table_one(e: Any) -> str:
    return f"Who are the patients of each {quoted(e.group)}, by {_all([*e.numeric, *e.categorical])}?"


def _logistic(e: Any) -> str:
    how = " Fitted with Firth's correction." if e.firth else ""
    return f"How does the chance of {quoted(e.outcome)} = 1 depend on {_all(e.terms)} together?{how}"


def _readers(e: Any) -> str:
    return (
        f"How do {_all(e.readers)} compare with {quoted(e.model)} ≥ {shortest(e.threshold)} "
        f"on the same patients, against {quoted(e.label)}?"
    )


def _reader_mean(e: Any) -> str:
    than = f" Does that differ from {_all(e.against)}?" if e.against else ""
    return f"How well do {_all(e.scores)} separate {quoted(e.label)} on average over the readers?{than}"


def _readers_with_ai(e: Any) -> str:
    return f"Do {_all(e.alone)} call {quoted(e.label)} better with AI ({_all(e.with_ai)}), on the same patients?"


def _private_roc(e: Any) -> str:
    noise = f"With noise that hides each patient (ε = {shortest(e.epsilon)})"
    return f"{noise}: how well do {_all(e.scores)} separate {quoted(e.label)}?"


_QUESTIONS: dict[str, Callable[[Any], str]] = {
    "roc": _roc,
    "compare_paired": _compare,
    "compare_joint": _compare,
    "compare_unpaired": _unpaired,
    "diagnostic": _diagnostic,
    "proportion": lambda e: f"In what share of patients is {quoted(e.column)} 1?",
    "mcnemar": lambda e: f"Is {quoted(e.first)} positive as often as {quoted(e.second)} in the same patients?",
    "cohen_kappa": lambda e: f"How far do {_all(e.raters)} agree, beyond chance?",
    "fleiss_kappa": lambda e: f"How far do {_all(e.raters)} agree, beyond chance?",
    "rank_sum": _rank_sum,
    "kruskal_wallis": lambda e: f"Does {quoted(e.x)} differ between the groups of {quoted(e.group)}?",
    "logistic": _logistic,
    "hosmer_lemeshow": lambda e: f"Do events of {quoted(e.y)} occur as often as {quoted(e.p)} predicts, by risk group?",
    "calibration": lambda e: f"Does {quoted(e.y)} occur as often as {quoted(e.p)} predicts?",
    "decision_curve": lambda e: f"Is acting on {quoted(e.p)} better for patients than treating all, or none?",
    "nomogram": lambda e: f"{_logistic(e)} Drawn for reading a patient's probability with a ruler.",
    "table_one": _table_one,
    "multiclass": lambda e: f"How well do {len(e.scores)} scores tell the classes of {quoted(e.label)} apart?",
    "readers": _readers,
    "readers_with_ai": _readers_with_ai,
    "reader_mean": _reader_mean,
    "low_confidence": lambda e: f"How often is {_all(list(e.scales), 'or')} in the zone of low confidence?",
    "private_roc": _private_roc,
}
