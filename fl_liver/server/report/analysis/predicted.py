"""Sections about predicted risks: calibration, Hosmer–Lemeshow, the decision curve."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fl_liver.server.report.analysis.content import Content, Titled, facts, folded_if_long, numbers, risk
from fl_liver.server.report.calibration import calibration_frame, draw_counts, draw_groups
from fl_liver.server.report.number_text import count, decimal, fraction, p_value
from fl_liver.server.report.pieces import Missing, Series, Summary, find, number, series, table
from fl_liver.server.report.style import QUIET, Drawing, axes_at, clipped, fraction_ticks, in_house_style, look_number
from fl_liver.server.report.tables import Cell, TextTable

APPARENT = (
    "Apparent calibration: the plan says that these predictions were fitted on these very rows. It flatters; "
    "a slope near 1 is then no evidence that the risks fit further patients."
)
NOT_MARKED = (
    "The plan does not mark this as apparent: it is calibration proper only if the predictions were not fitted on "
    "these rows."
)
POWER = (
    "Hosmer–Lemeshow finds little in small samples and rejects trivial misfit in large ones; a large p is no proof of "
    "good calibration. Read the calibration curve beside it."
)


def calibration(entry: Any, result: Summary) -> Content:
    """Slope, intercept, Brier score, the groups, and the curve."""
    rows = numbers(
        result,
        {
            "slope": ("Slope (1 is right)", decimal),
            "slope_se": ("Standard error of the slope", decimal),
            "intercept": ("Intercept beside the slope", decimal),
            "citl": ("Calibration in the large (0 is right)", decimal),
            "citl_se": ("Standard error of it", decimal),
            "brier": ("Brier score", fraction),
        },
    )
    tables = [facts("Calibration", rows)]
    for title, key in (("Groups of equal size", None), ("Tenths of predicted risk", "fixed_bins")):
        groups = groups_table(result if key is None else table(result, key))
        tables += [] if groups is None else [Titled(title, groups, folded=key is not None)]
    said = f"slope {rows['Slope (1 is right)'].text}, Brier {rows['Brier score'].text}"
    drawing = calibration_drawing(entry.p, result)
    return Content(said, tuple(tables), (drawing,), predicted_notes(result))


def hosmer_lemeshow(_entry: Any, result: Summary) -> Content:
    """Observed and expected events of each group, and the test."""
    rows = numbers(
        result, {"chi2": ("χ²", decimal), "df": ("Degrees of freedom", count), "p": ("p of good fit", p_value)}
    )
    observed, expected = _pairs(result, "observed"), _pairs(result, "expected")
    groups = tuple(
        (Cell(str(place)), Cell(count(o[0] + o[1])), Cell(count(o[1])), Cell(decimal(e[1], 1)))
        for place, (o, e) in enumerate(zip(observed, expected, strict=True), start=1)
    )
    head = ("Group", "Patients", "Events observed", "Events expected")
    tables = (facts("Hosmer–Lemeshow", rows), Titled("Groups by predicted risk", TextTable(head, groups)))
    return Content(
        f"χ² {rows['χ²'].text}, p {rows['p of good fit'].text}", tables, (), (POWER, *predicted_notes(result))
    )


def decision_curve(entry: Any, result: Summary) -> Content:
    """Net benefit of the model, of treating all, and of treating none."""
    columns = [series(result, key) for key in ("thresholds", "net_benefit", "treat_all")]
    known = [column for column in columns if not isinstance(column, Missing)]
    if len(known) < len(columns):
        return Content("not computed", (), (), ("The result holds no curve.",))
    thresholds, model, everybody = known
    rows = tuple(
        (Cell(risk(t)), Cell(decimal(a, 4)), Cell(decimal(b, 4)))
        for t, a, b in zip(thresholds.tolist(), model.tolist(), everybody.tolist(), strict=True)
    )
    best = [t for t, a, b in zip(thresholds.tolist(), model.tolist(), everybody.tolist(), strict=True) if a > max(b, 0)]
    said = f"best of the three at {len(best)} of {len(thresholds)} thresholds"
    where = f", from {risk(min(best))} to {risk(max(best))}" if best else ""
    head = ("Threshold", "Model", "Treating all")
    tables = (
        facts("Patients", numbers(result, {"n": ("Patients", count)})),
        folded_if_long("Net benefit (treating none: 0)", TextTable(head, rows, names=0)),
    )
    note = (
        "Net benefit = true positives / n − false positives / n · t / (1 − t) (Vickers and Elkin 2006): true positives "
        "per patient after paying for false ones at the odds of the threshold. It has no interval here; small gaps "
        "between the lines mean nothing."
    )
    return Content(said + where, tables, (decision_drawing(entry.p, thresholds, model, everybody),), (note,))


@in_house_style
def calibration_drawing(name: str, result: Summary) -> Drawing:
    """Groups with Wilson intervals, the smooth curve, and patients by tenths of predicted risk."""
    figure = Figure(figsize=(4.5, 6.0))
    axes, strip = axes_at(figure, 0.65, 1.5, 3.7, 3.7), axes_at(figure, 0.65, 0.55, 3.7, 0.75)
    groups, smooth = look_number(0, clipped(name, 24)), look_number(1)
    draw_groups(axes, result, groups, line=False)
    predicted, observed = series(result, "smooth", "predicted"), series(result, "smooth", "observed")
    if not isinstance(predicted, Missing) and not isinstance(observed, Missing):
        axes.plot(predicted, observed, color=smooth.colour, linestyle=smooth.dash, label="Smooth curve (local linear)")
    draw_counts(strip, table(result, "fixed_bins"), groups)
    calibration_frame(axes, strip, "", 1)
    caption = (
        "Points: groups of equal size, with 95 % Wilson intervals. Strip: patients by tenths of predicted risk, at "
        "their mean. On the dotted line, predictions are exactly right."
    )
    return Drawing("calibration", figure, f"Calibration plot of {name}.", caption)


@in_house_style
def decision_drawing(name: str, thresholds: Series, model: Series, everybody: Series) -> Drawing:
    """The three lines; the panel ends a quarter of its height below 0, where treating all is hopeless."""
    figure = Figure(figsize=(5.0, 4.1))
    axes = axes_at(figure, 0.7, 0.55, 4.15, 3.45)
    look = look_number(0)
    mark = look.marker if len(thresholds) <= 25 else ""
    axes.plot(thresholds, everybody, color=QUIET, linestyle="--", linewidth=1.3, label="Treat all")
    axes.axhline(0, color=QUIET, linewidth=1.3, linestyle=":", label="Treat none")
    axes.plot(thresholds, model, color=look.colour, marker=mark, markersize=4.5, label=clipped(name, 24), zorder=3)
    top = max(float(model.max()), float(everybody.max()), 0.01)
    axes.set_ylim(max(-0.25 * top, 1.1 * min(float(model.min()), float(everybody.min()), -0.05 * top)), 1.1 * top)
    axes.set(xlabel="Threshold probability", ylabel="Net benefit per patient")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        ticks = MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(*limits)
        axis.set_ticks([tick for tick in ticks if limits[0] <= tick <= limits[1]])
    fraction_ticks(axes.yaxis, 2)
    axes.grid()
    axes.set_axisbelow(True)
    axes.legend(loc="upper right")
    caption = "The higher line is the better way to decide for whoever would act at that threshold of risk."
    return Drawing("decision", figure, f"Decision curve of {name}, of treating all and of treating none.", caption)


def groups_table(measured: Summary | Missing) -> TextTable | None:
    """Mean prediction, observed rate and size of each group; None where they are missing."""
    columns = [series(measured, key) for key in ("mean_pred", "obs_rate", "n")]
    known = [column.tolist() for column in columns if not isinstance(column, Missing)]
    if len(known) < len(columns):
        return None
    rows = tuple((Cell(fraction(p)), Cell(fraction(rate)), Cell(count(n))) for p, rate, n in zip(*known, strict=True))
    return TextTable(("Mean predicted", "Observed", "Patients"), rows, names=0)


def predicted_notes(result: Summary) -> tuple[str, ...]:
    """Apparent or not, and why a fit is missing."""
    flags = find(result, "flags")
    given = [] if isinstance(flags, Missing) else [str(flag) for flag in flags]
    known = {"apparent": APPARENT, "fewer_groups": "Ties or the floor left fewer groups than asked for."}
    marked = [] if "apparent" in given else [NOT_MARKED]
    return (*marked, *(known.get(flag, flag) for flag in given))


def _pairs(result: Summary, key: str) -> list[tuple[float, float]]:
    found = find(result, key)
    rows = [] if isinstance(found, Missing) else [[number(value) for value in row] for row in found]
    return [(row[0], row[1]) for row in rows if not isinstance(row[0], Missing) and not isinstance(row[1], Missing)]
