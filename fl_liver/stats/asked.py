"""A question as far as it names columns: which, in which place, and about which patients. A `Permit` is a set of these.

Every argument that a site function reads as a column is listed here; a test answers each question from a table that
holds no other column.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from fl_liver.stats.conversation import Question

_ONE: Mapping[str, tuple[str, ...]] = {
    "bins": ("column", "label"),
    "binary_cells": ("outcome",),
    "calibration_groups": ("y", "p"),
    "centre_counts": ("score", "label"),
    "centre_sums": ("score", "label"),
    "class_counts": ("score", "label"),
    "cluster_cross": ("label", "cluster"),
    "counts_at_thresholds": ("score", "label"),
    "delong_cross": ("label",),
    "firth_penalty": ("outcome",),
    "group_squares": ("x", "group"),
    "group_sums": ("x", "group"),
    "highest_score_table": ("label",),
    "key_children": ("group",),
    "level_holders": ("column",),
    "local_linear": ("y", "p"),
    "newton_step": ("outcome",),
    "noised_histogram": ("label",),
    "other_levels": ("column",),
    "paired_zero_one": ("first", "second"),
    "prediction_spread": ("y", "p"),
    "reader_model_calls": ("label", "model"),
    "reader_pair_calls": ("label",),
    "zero_one_counts": ("column",),
}
_SEVERAL: Mapping[str, tuple[str, ...]] = {
    "binary_cells": ("columns",),
    "cell_counts": ("columns",),
    "cluster_cross": ("scores",),
    "cross_table": ("columns",),
    "delong_cross": ("scores",),
    "firth_penalty": ("columns",),
    "highest_score_table": ("columns",),
    "key_children": ("columns",),
    "left_out": ("columns",),
    "level_bytes": ("columns",),
    "low_confidence_zone": ("columns",),
    "moments": ("terms",),
    "newton_step": ("columns",),
    "noised_histogram": ("scores",),
    "rating_sums": ("raters",),
    "reader_model_calls": ("readers",),
    "reader_pair_calls": ("alone", "with_ai"),
}
"""Arguments that hold one column, and lists of columns, of (column, levels), or of terms."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question asks of which columns.

    named     (argument, column); a term's log-odds and its levels are places of their own ("columns_logit", …)
    present   every column in which the patients must have a value: those named, of `complete`, `among` and `where`
    where     columns whose levels choose the patients
    unit      to which an order search rounds
    """

    kind: str
    named: frozenset[tuple[str, str]]
    present: frozenset[str]
    where: frozenset[str] = frozenset()
    unit: float = 0.0

    def __str__(self) -> str:
        places = ", ".join(f"{argument} {column}" for argument, column in sorted(self.named))
        within = f", within levels of {', '.join(sorted(self.where))}" if self.where else ""
        rounded = f", rounded to {self.unit:g}" if self.unit else ""
        return f"{places}, among patients with {', '.join(sorted(self.present))}{within}{rounded}"


def ask(kind: str, **places: str | Iterable[str]) -> Asked:
    """A question of a plan: a column, or several, for each argument."""
    named = [
        (argument, column)
        for argument, held in places.items()
        for column in ([held] if isinstance(held, str) else held)
    ]
    return Asked(kind, frozenset(named), frozenset(column for _, column in named))


def asked_of(question: Question) -> Asked:
    """What a question that came asks.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: its arguments are not as its kind has them.
    """
    arguments, kind = question.arguments, question.kind
    factors = _keys(arguments.get("factors", {}))
    named = [("factors", name) for name in factors]
    named += [(one, _name(arguments[one])) for one in _ONE.get(kind, ()) if not _absent(kind, one, arguments[one])]
    for argument in _SEVERAL.get(kind, ()):
        named += _listed(argument, arguments[argument], factors)
    if kind in ("newton_step", "firth_penalty") and arguments["offset"] is not None:
        named += _listed("offset", [arguments["offset"]], ())
    where = frozenset(_keys(arguments.get("where", {})))
    complete = frozenset(_name(one) for part in ("complete", "among") for one in arguments.get(part, ()))
    return Asked(
        kind,
        frozenset(named),
        complete | where | {column for _, column in named},
        where,
        float(arguments["resolution"]) if kind == "key_children" else 0.0,
    )


def _absent(kind: str, argument: str, value: object) -> bool:
    """Bins without a class, an order search without groups, lesions of patients whom no column names."""
    optional = ("bins", "label"), ("key_children", "group"), ("cluster_cross", "cluster")
    return (kind, argument) in optional and not value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a column is named by a word")
    return value


def _keys(value: object) -> list[str]:
    if not isinstance(value, Mapping):
        raise TypeError("columns with levels are a mapping")
    return [_name(one) for one in value]


def _listed(argument: str, values: object, factors: Collection[str]) -> Iterator[tuple[str, str]]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError("columns are a list")
    for value in values:
        match value:
            case str(column):
                yield argument, column
            case [str(column), [*_]]:
                yield argument, column
            case {"column": str(column), "level": None, "logit": bool(logit)}:
                yield f"{argument}_logit" if logit else argument, column
            case {"column": str(column), "level": str()}:
                if column not in factors:  # a dummy of a named factor stands under "factors"
                    yield f"{argument}_level", column
            case _:
                raise TypeError("no column is named")
