"""Sections about ROC curves: one score, several scores of the same patients, one score in two groups of patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from fl_liver.server.report.analysis.content import Content, Titled, facts, numbers, shortest
from fl_liver.server.report.forest import Row
from fl_liver.server.report.number_text import count, decimal, fraction, p_value, with_interval
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, find, number, series, table
from fl_liver.server.report.roc import Curve, curve_of, roc_panel
from fl_liver.server.report.style import Drawing, axes_at, clipped, in_house_style, look_number
from fl_liver.server.report.tables import Cell, TextTable, absent, cell, interval_cell
from fl_liver.stats.delong import interval
from fl_liver.stats.proportion import with_limits

NAME_LENGTH = 24
CUTOFFS = (
    "Both cut-offs are chosen on these same patients, which flatters them. Youden: largest sensitivity + specificity. "
    "Balanced: where the two are nearest to each other."
)
FLAGS = {
    "one_class": "All patients are of one class, so that no AUC exists.",
    "no_variance": "A class has a single patient, so that the AUC has no variance.",
    "degenerate_variance": "DeLong's variance is 0 (perfect separation, or none); read the score interval instead.",
    "variance_incomplete": "A hospital with one patient of a class adds pairs but no variance.",
}


def roc(entry: Any, result: Summary) -> Content:
    """AUC with its intervals, two cut-offs, the curve, and the AUC within and between hospitals."""
    auc = estimate(result, "auc")
    rows = {
        "AUC [95 %, DeLong]": interval_cell(auc),
        "AUC [95 %, score interval]": interval_cell(estimate(result, "auc", "ci95_score")),
        **numbers(result, {"se": ("Standard error", lambda x: fraction(x, 4))}),
        **_partial(entry, result),
        **numbers(result, {"n_pos": ("Positive patients", count), "n_neg": ("Negative patients", count)}),
    }
    centres = _centres(result)
    tables = [facts("AUC", rows), *([centres] if centres else []), *_cutoffs(result)]
    curve = curve_of(result, clipped(entry.score, NAME_LENGTH), look_number(0, entry.score))
    drawings = () if isinstance(curve, Missing) else (roc_drawing([curve], entry.score),)
    row = Row(clipped(entry.score, NAME_LENGTH), auc, patients(result))
    cut = () if isinstance(table(result, "youden"), Missing) else (CUTOFFS,)
    notes = (*cut, *_why_no_centres(result), *flag_notes(result))
    return Content(f"AUC {_in_words(auc)}", tuple(tables), drawings, notes, (row,))


def paired(entry: Any, result: Summary) -> Content:
    """Two AUCs of the same patients and DeLong's test of their difference."""
    difference = estimate(result, "difference")
    test = {
        f"{entry.scores[0]} − {entry.scores[1]} [95 %]": interval_cell(difference),
        **numbers(result, {"z": ("z (DeLong)", decimal), "p": ("p, two-sided", p_value)}),
    }
    said = f"difference {_in_words(difference)}, {_p(result)}"
    return _compared("Score", entry.scores, result, variances(result), facts("Test of equal AUC", test), said)


def joint(entry: Any, result: Summary) -> Content:
    """AUCs of the same patients and the test that all are equal."""
    test = numbers(
        result,
        {"chi2": ("χ²", decimal), "df": ("Degrees of freedom", count), "p": ("p that all are equal", p_value)},
    )
    spread = records_of_matrix(result)
    found = [row[i] for i, row in enumerate(spread)]
    return _compared("Score", entry.scores, result, found, facts("Test that all AUCs are equal", test), _p(result))


def unpaired(entry: Any, result: Summary) -> Content:
    """The AUC of one score in two groups of patients."""
    test = numbers(
        result,
        {
            "t": ("t (Welch–Satterthwaite)", decimal),
            "df": ("Degrees of freedom", lambda x: decimal(x, 1)),
            "p": ("p, two-sided", p_value),
            "z": ("z", decimal),
            "p_normal": ("p, normal", p_value),
        },
    )
    names = [f"{entry.strata} = {level}" for level in entry.levels]
    return _compared("Group", names, result, variances(result), facts("Test of equal AUC", test), _p(result))


def _compared(
    of: str, names: Sequence[str], result: Summary, spread: Sequence[float | Missing], test: Titled, said: str
) -> Content:
    aucs = [_with_variance(auc, var) for auc, var in zip(_values(result, "auc"), spread, strict=True)]
    rows = tuple((Cell(name), interval_cell(auc)) for name, auc in zip(names, aucs, strict=True))
    counts = numbers(result, {"n_pos": ("Positive patients", count), "n_neg": ("Negative patients", count)})
    tables = [Titled("AUC, DeLong intervals", TextTable((of, "AUC [95 %]"), rows)), test]
    if any(not one.absent for one in counts.values()):
        tables.append(facts("Patients", counts))
    forest = tuple(
        Row(clipped(name, NAME_LENGTH), auc, patients(result)) for name, auc in zip(names, aucs, strict=True)
    )
    shown = ", ".join(with_interval(auc) for auc in aucs if isinstance(auc, Estimate))
    curves = curves_beside(names, result)
    drawings = (roc_drawing(curves, ", ".join(names)),) if curves else ()
    return Content(f"AUC {shown}; {said}", tuple(tables), drawings, flag_notes(result), forest)


def curves_beside(names: Sequence[str], result: Summary) -> list[Curve]:
    """The curves that the page asked for beside a comparison, in the order of `names`."""
    found = table(result, "curves")
    if isinstance(found, Missing):
        return []
    curves = [
        curve_of(table(found, name), clipped(name, NAME_LENGTH - 4), look_number(place, name))
        for place, name in enumerate(names)
    ]
    return [curve for curve in curves if isinstance(curve, Curve)]


@in_house_style
def roc_drawing(curves: Sequence[Curve], what: str, points: Mapping[str, tuple[float, float]] | None = None) -> Drawing:
    """One square panel; `points` are readers at (1 − specificity, sensitivity)."""
    figure = Figure(figsize=(4.5, 4.35))
    axes = axes_at(figure, 0.6, 0.55, 3.75, 3.75)
    for place, (name, (x, y)) in enumerate((points or {}).items(), start=1):
        look = look_number(place)
        label = clipped(name, NAME_LENGTH)
        axes.plot([x], [y], look.marker, color=look.colour, markersize=7, label=label, zorder=4)
    roc_panel(axes, "", curves)
    band = "Shaded: 95 % band of the sensitivity at each specificity, from a bootstrap of the pooled histogram. "
    caption = (
        f"{band if any(curve.band for curve in curves) else ''}Dotted diagonal: chance. Legend: AUC [95 % interval]."
    )
    return Drawing("roc", figure, f"ROC curve of {what}.", caption)


def _cutoffs(result: Summary) -> list[Titled]:
    """Youden's cut-off and the balanced one side by side, shares with exact intervals."""
    found = {name: table(result, key) for key, name in (("youden", "Youden"), ("balanced", "Balanced"))}
    known = {name: one for name, one in found.items() if not isinstance(one, Missing)}
    if not known:
        return []
    shown = {name: _cutoff(one) for name, one in known.items()}
    labels = list(next(iter(shown.values())))
    rows = tuple((Cell(label), *(column[label] for column in shown.values())) for label in labels)
    return [Titled("", TextTable(("Cut-off", *shown), rows))]


def _cutoff(cutoff: Summary) -> dict[str, Cell]:
    tp, fp, fn, tn = (number(cutoff, key) for key in ("tp", "fp", "fn", "tn"))
    return {
        "Score ≥": cell(number(cutoff, "threshold"), shortest),
        "Sensitivity": _share(tp, fn),
        "Specificity": _share(tn, fp),
        "True +, false +": Cell(f"{_whole(cutoff, 'tp')}, {_whole(cutoff, 'fp')}"),
        "False −, true −": Cell(f"{_whole(cutoff, 'fn')}, {_whole(cutoff, 'tn')}"),
    }


def _share(hits: float | Missing, misses: float | Missing) -> Cell:
    if isinstance(hits, Missing) or isinstance(misses, Missing) or not hits + misses:
        return absent(Missing("not computed"))
    return interval_cell(Estimate(*with_limits(round(hits), round(hits + misses))))


def _centres(result: Summary) -> Titled | None:
    """The AUC inside hospitals and its spread, which the page asked for beside the plan; `_why_no_centres` else."""
    if "centres" not in result:
        return None
    found = table(result, "centres")
    if isinstance(found, Missing):
        return None
    interval_ends = series(found, "prediction95")
    mean = number(found, "mean")
    predicted: Estimate | Missing = Missing("fewer than three hospitals with a variance")
    if not isinstance(interval_ends, Missing) and not isinstance(mean, Missing):
        predicted = Estimate(mean, float(interval_ends[0]), float(interval_ends[1]))
    rows = {
        "AUC within hospitals [95 %]": interval_cell(estimate(found, "auc")),
        "Further hospital, mean [95 %]": interval_cell(predicted),
        **numbers(found, {"tau2": ("τ² between hospitals", lambda x: fraction(x, 5)), "i2": ("I²", fraction)}),
        **numbers(found, {"centres": ("Hospitals with both classes", count)}),
    }
    return facts("AUC within and between hospitals", rows)


def _why_no_centres(result: Summary) -> tuple[str, ...]:
    found = table(result, "centres") if "centres" in result else None
    return (f"AUC within and between hospitals: {found.reason}.",) if isinstance(found, Missing) else ()


def flag_notes(result: Summary) -> tuple[str, ...]:
    """The flags of a result as sentences; one without a sentence stands as it is."""
    flags = find(result, "flags")
    given = [] if isinstance(flags, Missing) else list(flags)
    beside = find(result, "centres")
    given += list(beside.get("flags", [])) if isinstance(beside, Mapping) else []
    return tuple(FLAGS.get(str(flag), str(flag)) for flag in given)


def patients(result: Summary) -> str:
    """ "n (positives)" for the forest plot."""
    n_pos, n_neg = number(result, "n_pos"), number(result, "n_neg")
    if isinstance(n_pos, Missing) or isinstance(n_neg, Missing):
        return ""
    return f"{count(n_pos + n_neg)} ({count(n_pos)})"


def variances(result: Summary) -> list[float | Missing]:
    """The variance of each AUC."""
    return _values(result, "var")


def records_of_matrix(result: Summary) -> list[list[float | Missing]]:
    """The rows of the covariance matrix."""
    found = find(result, "cov")
    return [] if isinstance(found, Missing) else [[number(value) for value in row] for row in found]


def _values(result: Summary, key: str) -> list[float | Missing]:
    found = find(result, key)
    return [] if isinstance(found, Missing) else [number(value) for value in found]


def _with_variance(auc: float | Missing, var: float | Missing) -> Estimate | Missing:
    if isinstance(auc, Missing):
        return auc
    ends = interval(auc, None if isinstance(var, Missing) else var)
    return Estimate(auc) if ends is None else Estimate(auc, *ends)


def _partial(entry: Any, result: Summary) -> dict[str, Cell]:
    if entry.partial is None:
        return {}
    ends = f"{fraction(entry.partial.from_, 2)} to {fraction(entry.partial.to, 2)}"
    return {f"Area at {entry.partial.on} {ends}": cell(number(result, "partial_auc"), lambda x: fraction(x, 4))}


def _in_words(value: Estimate | Missing) -> str:
    return value.reason if isinstance(value, Missing) else with_interval(value)


def _p(result: Summary) -> str:
    p = number(result, "p")
    return f"p: {p.reason}" if isinstance(p, Missing) else f"p {p_value(p) if p < 0.001 else '= ' + p_value(p)}"


def _whole(tree: Summary, key: str) -> str:
    return cell(number(tree, key), count).text
