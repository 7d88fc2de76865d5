"""What one analysis may ask: its questions with the columns of each place, and the numbers that its plan names.

Beside each statistic's conversation this is the second account of what it asks; a test holds the two together. Plans
(`Analysis.allows`) and studies (`client.permit`) are built from the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fl_liver.stats.asked import Asked, ask

Order = Literal["mixed", "occupied", "search"]
"""Which ranges of an order search may be split: with two groups in them, with two patients, around a quantile."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """One analysis.

    thresholds  at which its scores may be cut; `cutoffs` further ones for each score and part of the rows (a cut-off
                that the study finds on its way is not known when it is approved)
    groups      numbers of groups of equal size into which its predictions may be cut
    order       how far its order searches may go
    """

    questions: frozenset[Asked]
    thresholds: frozenset[float] = frozenset()
    cutoffs: int = 0
    groups: frozenset[int] = frozenset()
    order: frozenset[Order] = frozenset()

    def within(self, column: str) -> Allowed:
        """The same about the patients of one level of a column."""
        inside = (replace(one, where=one.where | {column}, present=one.present | {column}) for one in self.questions)
        return replace(self, questions=frozenset(inside))

    def among(self, columns: Iterable[str]) -> Allowed:
        """The same about the patients who have a value in each of these columns."""
        return replace(self, questions=_among(columns, *self.questions))

    def stratified(self, by: str, columns: Iterable[str]) -> Allowed:
        """The same within each level of `by`, which are learned among the patients with all `columns`."""
        levels = of_one("level_bytes", [*columns, by], columns=by).questions
        return replace(self, questions=self.within(by).questions | levels)


def of_one(kind: str, complete: Iterable[str] = (), **places: str | Iterable[str]) -> Allowed:
    """A statistic of one question, among the patients who also have the columns `complete`."""
    return Allowed(_among(complete, ask(kind, **places)))


def of_scores(scores: Sequence[str], label: str, cluster: str | None = None, complete: Iterable[str] = ()) -> Allowed:
    """ROC curves, and with several scores their comparison; `cluster` as in `roc`."""
    asked = [ask("cell_counts", columns=label), *(ask("bins", column=one, label=label) for one in scores)]
    if cluster is not None:
        named = {"cluster": cluster} if cluster else {}
        asked.append(ask("cluster_cross", scores=scores, label=label, **named))
    elif len(scores) > 1:
        asked.append(ask("delong_cross", scores=scores, label=label))
    return Allowed(_among([*scores, label, *([cluster] if cluster else []), *complete], *asked))


def of_centres(score: str, label: str) -> Allowed:
    """AUC within hospitals."""
    return Allowed(frozenset(ask(kind, score=score, label=label) for kind in ("centre_counts", "centre_sums")))


def of_cut(score: str, label: str, thresholds: Iterable[float] = (), cutoffs: int = 0) -> Allowed:
    """Accuracy and net benefit at thresholds."""
    asked = frozenset(ask(kind, score=score, label=label) for kind in ("class_counts", "counts_at_thresholds"))
    return Allowed(asked, thresholds=frozenset(map(float, thresholds)), cutoffs=cutoffs)


def of_groups(y: str, p: str, groups: int) -> Allowed:
    """Observed against predicted events in groups of equal size."""
    asked = ask("cell_counts", columns=y), ask("bins", column=p), ask("calibration_groups", y=y, p=p)
    return Allowed(_among([y, p], *asked), groups=frozenset({groups}))


def of_calibration(y: str, p: str, groups: int, *, log_odds: bool = False) -> Allowed:
    """As `of_groups`, a smooth curve, and fits on the log-odds of p and with them as an offset."""
    place = "" if log_odds else "_logit"
    asked = [ask(kind, y=y, p=p) for kind in ("prediction_spread", "local_linear")]
    asked += [ask("moments", **{f"terms{place}": p})]
    asked += [ask("newton_step", outcome=y, **{f"{term}{place}": p}) for term in ("columns", "offset")]
    grouped = of_groups(y, p, groups)
    return replace(grouped, questions=grouped.questions | _among([y, p], *asked))


def of_fit(outcome: str, terms: Sequence[str], factors: Iterable[str] = (), *, firth: bool = False) -> Allowed:
    """A logistic model of these terms together; `factors` are those of them that have levels."""
    levels = list(factors)
    numeric = [term for term in terms if term not in levels]
    asked = [ask("cell_counts", columns=outcome)]
    asked += [ask(kind, outcome=outcome, columns=numeric, factors=levels) for kind in _steps(firth)]
    if numeric:
        asked += [ask("binary_cells", outcome=outcome, columns=numeric), ask("moments", terms=numeric)]
    for factor in levels:
        asked += [ask("level_bytes", columns=factor), ask("level_holders", column=factor)]
        asked += [ask("cell_counts", columns=[factor, outcome])]
    return Allowed(_among([outcome, *terms], *asked))


def of_ranks(x: str, group: str, levels: Sequence[str], *, quantiles: bool, unit: float = 0.0) -> Allowed:
    """A number in groups, by its ranks; medians only with `quantiles`."""
    asked = [ask("cross_table", columns=group), *_described(x, group)]
    asked += [replace(ask("key_children", columns=x, group=group), unit=one) for one in {0.0, unit}]
    asked += [] if levels else [ask("level_bytes", columns=group)]
    order: frozenset[Order] = frozenset({"occupied", "search"} if quantiles else {"occupied"})
    return Allowed(_among([x, group], *asked), order=order)


def of_table(
    group: str,
    numeric: Sequence[str],
    categorical: Sequence[str],
    levels: Sequence[str],
    units: Mapping[str, float],
) -> Allowed:
    """Table 1: each column among the patients who have it."""
    asked = _among([], ask("cross_table", columns=group), *([] if levels else [ask("level_bytes", columns=group)]))
    for name in numeric:
        order = replace(ask("key_children", columns=name, group=group), unit=units.get(name, 0.0))
        asked |= _among([name, group], ask("cross_table", columns=group), *_described(name, group), order)
    for name in categorical:
        asked |= _among([name, group], ask("level_bytes", columns=name), ask("cross_table", columns=[name, group]))
    return Allowed(asked, order=frozenset({"search"}))


def of_raters(kind: str, raters: Sequence[str], place: str) -> Allowed:
    """Agreement of raters over the levels that they use."""
    return Allowed(_among(raters, ask("level_bytes", columns=raters), ask(kind, **{place: raters})))


def of_classes(label: str, scores: Sequence[str]) -> Allowed:
    """Several classes, a score each: every score alone, and all stacked."""
    asked = [ask("cross_table", columns=label), ask("highest_score_table", label=label, columns=scores)]
    asked += [ask("key_children", columns=columns, group=label) for columns in (scores, *([one] for one in scores))]
    return Allowed(_among([label, *scores], *asked), order=frozenset({"mixed"}))


def _steps(firth: bool) -> tuple[str, ...]:
    return ("newton_step", "firth_penalty") if firth else ("newton_step",)


def _described(x: str, group: str) -> list[Asked]:
    return [ask(kind, x=x, group=group) for kind in ("group_sums", "group_squares")]


def _among(columns: Iterable[str], *asked: Asked) -> frozenset[Asked]:
    """Questions about the patients who have all these columns."""
    every = frozenset(columns)
    return frozenset(replace(one, present=one.present | every) for one in asked)
