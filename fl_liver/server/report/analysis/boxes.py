"""The box plot of a number in groups, from quantiles that the page asked for beside the plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fl_liver.server.report.number_text import count
from fl_liver.server.report.pieces import Missing, Summary, find, number, table
from fl_liver.server.report.style import INK, QUIET, Drawing, axes_at, clipped, in_house_style, look_number, wrapped

BOX_IN = 0.85
"""Width of the panel for one group."""
_KEYS = ("low", "q1", "median", "q3", "high")
CAPTION = (
    "Box: quartiles, with the median as a thick line. Whiskers: 10th and 90th percentile, where enough patients lie "
    "beyond them; smallest and largest values are not released."
)
_INTERVALS = " A line that the floor keeps inexact stands in the middle of its interval, which is shaded."


def box_drawings(x: str, group: str, result: Summary) -> tuple[Drawing, ...]:
    """The box plot of a result; nothing where the page did not ask for one, or the floor forbade it."""
    found = table(result, "boxes")
    if isinstance(found, Missing):
        return ()
    names = [str(name) for name in _listed(found, "groups")]
    sizes = [number(n) for n in _listed(found, "n")]
    columns = {key: [_ends(one) for one in _listed(found, key)] for key in _KEYS}
    return (_drawn(x, group, names, sizes, columns),) if names else ()


Ends = tuple[float, float] | None


@in_house_style
def _drawn(
    x: str, group: str, names: Sequence[str], sizes: Sequence[float | Missing], columns: dict[str, list[Ends]]
) -> Drawing:
    width = max(2.2, BOX_IN * len(names))
    figure = Figure(figsize=(width + 0.95, 3.9))
    axes = axes_at(figure, 0.8, 0.85, width, 2.95)
    inexact = False
    for place in range(len(names)):
        inexact |= _box(axes, place, {key: ends[place] for key, ends in columns.items()})
    characters = max(5, int(12 * width / BOX_IN / len(names)))
    labels = [
        f"{wrapped(name, characters)}\n{'' if isinstance(n, Missing) else 'n = ' + count(n)}"
        for name, n in zip(names, sizes, strict=True)
    ]
    axes.set_xticks(range(len(names)), labels)
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-0.6, len(names) - 0.4), xlabel=clipped(group, 40), ylabel=clipped(x, 36))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    alt = f"Box plot of {x} for each {group}: {', '.join(names)}."
    return Drawing("boxes", figure, alt, CAPTION + (_INTERVALS if inexact else ""))


def _box(axes: Axes, place: int, ends: dict[str, Ends]) -> bool:
    """One box; whether a line of it is an interval."""
    colour = look_number(0).colour
    middle = {key: float(np.mean(both)) for key, both in ends.items() if both is not None}
    if not {"q1", "median", "q3"} <= set(middle):
        return False
    left, wide = place - 0.28, 0.56
    inexact = [both for both in ends.values() if both is not None and both[1] > both[0]]
    for low, high in inexact:
        axes.add_patch(Rectangle((left, low), wide, high - low, facecolor=QUIET, alpha=0.13, linewidth=0))
    height = middle["q3"] - middle["q1"]
    axes.add_patch(
        Rectangle((left, middle["q1"]), wide, height, facecolor=colour, alpha=0.28, edgecolor="none", zorder=2)
    )
    axes.add_patch(Rectangle((left, middle["q1"]), wide, height, fill=False, edgecolor=colour, linewidth=1.4, zorder=3))
    axes.plot([left, left + wide], [middle["median"]] * 2, color=INK, linewidth=2.2, zorder=4, solid_capstyle="butt")
    for key, end in (("low", "q1"), ("high", "q3")):
        if key in middle:
            axes.plot([place, place], [middle[end], middle[key]], color=colour, linewidth=1.4, zorder=2)
            axes.plot([place - 0.12, place + 0.12], [middle[key]] * 2, color=colour, linewidth=1.4, zorder=2)
    return bool(inexact)


def _ends(value: object) -> Ends:
    """A released quantile as (low, high); equal ends where it is a value."""
    given = value if isinstance(value, list) else [value, value]
    ends = [number(one) for one in given]
    low, high = ends[0], ends[-1]
    return None if isinstance(low, Missing) or isinstance(high, Missing) else (low, high)


def _listed(found: Summary, key: str) -> list[object]:
    values = find(found, key)
    return [] if isinstance(values, Missing) else list(values)
