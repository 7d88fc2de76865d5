"""What a hospital lets a plan ask of it: kinds of questions, thresholds, groups, strata.

A `Permit` follows from what the hospital approved: a study, whose statistics are fixed, or a plan of analyses. `guard`
holds every question against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fl_liver.errors import ProtocolError
from fl_liver.stats.plan import Plan
from fl_liver.stats.plan_private import noise_of

Order = Literal["mixed", "occupied", "search"]
"""Which ranges of an order search may be split: with two groups in them, with two patients, around a quantile."""

_ROC = {"cell_counts", "bins", "cluster_cross"}
_FIT = {"cell_counts", "binary_cells", "moments", "newton_step", "firth_penalty", "level_bytes", "level_holders"}
_RANKS = {"level_bytes", "cross_table", "key_children", "group_sums", "group_squares"}
_GROUPS = {"cell_counts", "bins", "calibration_groups"}
_SPREAD = {"moments", "newton_step", "prediction_spread", "local_linear"}
_CUT = {"class_counts", "counts_at_thresholds"}
QUESTIONS: Mapping[str, frozenset[str]] = {
    name: frozenset(kinds)
    for name, kinds in {
        "roc": _ROC,
        "coarse_auc": {"bins"},
        "centre_auc": {"centre_counts", "centre_sums"},
        "compare_paired": _ROC | {"delong_cross"},
        "compare_joint": _ROC | {"delong_cross"},
        "compare_unpaired": _ROC,
        "diagnostic": _CUT,
        "proportion": {"zero_one_counts"},
        "mcnemar": {"paired_zero_one"},
        "cohen_kappa": {"level_bytes", "cross_table"},
        "fleiss_kappa": {"level_bytes", "rating_sums"},
        "rank_sum": _RANKS,
        "kruskal_wallis": _RANKS,
        "logistic": _FIT,
        "hosmer_lemeshow": _GROUPS,
        "calibration": _GROUPS | _SPREAD,
        "decision_curve": _CUT,
        "nomogram": _FIT,
        "table_one": _RANKS,
        "multiclass": {"cross_table", "highest_score_table", "key_children"},
        "readers": {"reader_model_calls"},
        "reader_mean": _ROC | {"delong_cross"},
        "low_confidence": {"low_confidence_zone"},
        "private_roc": {"noised_histogram"},
    }.items()
}
"""The kinds of questions that each statistic asks."""
_ORDER: Mapping[str, frozenset[Order]] = {
    "multiclass": frozenset({"mixed"}),
    "rank_sum": frozenset({"occupied", "search"}),
    "kruskal_wallis": frozenset({"occupied"}),
    "table_one": frozenset({"search"}),
}


@dataclass(frozen=True, slots=True)
class Permit:
    """What may be asked in one batch.

    kinds       question kinds
    min_cell    smallest pooled group; the larger of the plan's and the hospital's own
    thresholds  thresholds that the plan names; `cutoffs` further ones for each score and part of the rows (a cut-off
                that the study finds on its way is not known when it is approved)
    groups      numbers of groups of equal size into which predictions may be cut
    strata      columns whose levels may choose rows
    order       how far order searches may go
    noise       (ε, honest hospitals) of noised histograms; None where they may not be asked
    """

    kinds: frozenset[str]
    min_cell: int
    thresholds: frozenset[float] = frozenset()
    cutoffs: int = 0
    groups: frozenset[int] = frozenset()
    strata: frozenset[str] = frozenset()
    order: frozenset[Order] = frozenset()
    noise: tuple[float, int] | None = None


def permit_for(analyses: Iterable[str], *, min_cell: int, **further: Any) -> Permit:
    """A permit for statistics by name; `further` are the other fields of `Permit`.

    Raises:
        ProtocolError: a statistic that is not known.
    """
    named = list(analyses)
    unknown = [name for name in named if name not in QUESTIONS]
    if unknown:
        raise ProtocolError(f"no statistic '{unknown[0]}' (known: {', '.join(QUESTIONS)})")
    kinds = frozenset[str]().union(*(QUESTIONS[name] for name in named))
    order = frozenset[Order]().union(*(_ORDER.get(name, frozenset()) for name in named))
    if further.get("strata"):
        kinds |= {"level_bytes"}
    return Permit(kinds=kinds, min_cell=min_cell, order=order, **further)


def permit_of_plan(plan: Plan, *, min_cell: int) -> Permit:
    """What an analysis plan may ask, and nothing that it does not name."""
    thresholds: set[float] = set()
    groups: set[int] = set()
    strata: set[str] = set()
    for one in plan.analyses:
        named = one.model_dump()
        thresholds |= {*named.get("thresholds", ()), *([named["threshold"]] if "threshold" in named else [])}
        groups |= {named["groups"]} if "groups" in named else set()
        strata |= {column for column in (named.get("by"), named.get("strata")) if column is not None}
    return permit_for(
        (one.kind for one in plan.analyses),
        min_cell=min_cell,
        thresholds=frozenset(float(one) for one in thresholds),
        groups=frozenset(groups),
        strata=frozenset(strata),
        noise=noise_of(plan.analyses),
    )
