"""Why the network says what it says: heat maps, t-SNE, physical features and hit rates, as figures.

Drawn for the report from phantom patients only, and for a hospital's own local page from its patients. Nothing here
computes: what is drawn comes from `fl_liver.client.explain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fl_liver.errors import DataError
from fl_liver.server.report.number_text import fraction
from fl_liver.server.report.style import (
    GRID,
    PAGE_WIDTH_IN,
    QUIET,
    Drawing,
    axes_at,
    clipped,
    in_house_style,
    look_number,
)

Grey = NDArray[np.uint8]
Values = NDArray[np.float64]
OUTLINE = "#56B4E9"
HEAT = "inferno"
MOST_HEAT = 0.72
"""Opacity of a map's maximum; where a map is 0 the image is seen through it."""
MOST_IMAGES = 12
_ACROSS = {1: 3, 2: 2, 3: 2}
"""How many images stand side by side, by the number of methods; with more methods one."""
_GAP_IN, _BETWEEN_IN = 0.06, 0.14
CANVAS_PX, FRAME_PX = 1400, 4
THUMBNAIL_PX = (36, 96)
"""Smallest, of many images, and largest."""
NOT_PATIENTS = "Phantom patients: drawn by a program, not images of patients."


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """One image of a figure of heat maps.

    title   one line above it
    image   (H, W) grey
    mask    (H, W) in 0 … 1, the drawn lesion, whose outline is shown; None where it is not known
    maps    method → (H, W) in 0 … 1
    """

    title: str
    image: Grey = field(repr=False)
    mask: NDArray[np.float32] | None = field(repr=False)
    maps: Mapping[str, NDArray[np.float32]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rate:
    """Hits of one method: x of n, with the 95 % interval."""

    method: str
    x: int
    n: int
    ci95: tuple[float, float]


@in_house_style
def draw_heat_maps(name: str, items: Sequence[Heat], caption: str) -> Drawing:
    """Each image as it is with the lesion's outline, then under each method's map. At most 12 images.

    Raises:
        DataError: no image, an image that is not 2-D uint8, or a map of another shape.
    """
    if not items:
        raise DataError("no image to draw heat maps over; the figure was not made")
    items = items[:MOST_IMAGES]
    methods = list(dict.fromkeys(method for one in items for method in one.maps))
    ratio = max(one.image.shape[0] / one.image.shape[1] for one in items if _require_grey(one))
    across, columns = min(_ACROSS.get(len(methods), 1), len(items)), 1 + len(methods)
    pitch_in = (PAGE_WIDTH_IN - 0.1) / across
    width_in = min(1.75, (pitch_in - _BETWEEN_IN) / columns - _GAP_IN)
    down_in = width_in * ratio + 0.3
    rows = -(-len(items) // across)
    figure = Figure(figsize=(PAGE_WIDTH_IN, rows * down_in + 0.3))
    for beside in range(across):
        for column, title in enumerate(["Image", *methods]):
            left_in = 0.05 + beside * pitch_in + column * (width_in + _GAP_IN)
            _words(figure, left_in, rows * down_in + 0.06, title, bold=True)
    for place, one in enumerate(items):
        row, beside = divmod(place, across)
        bottom_in, left_in = (rows - 1 - row) * down_in + 0.03, 0.05 + beside * pitch_in
        _words(figure, left_in, bottom_in + width_in * ratio + 0.04, clipped(one.title, int(13 * pitch_in)))
        for column, method in enumerate([None, *methods]):
            axes = axes_at(figure, left_in + column * (width_in + _GAP_IN), bottom_in, width_in, width_in * ratio)
            _heat(axes, one, method)
    words = f"Heat maps of {len(items)} images by {', '.join(methods) or 'no method'}."
    return Drawing(name, figure, words, caption)


def _require_grey(one: Heat) -> bool:
    if one.image.ndim != 2 or one.image.dtype != np.uint8:
        raise DataError(f"image '{one.title:.40}': {one.image.dtype}{one.image.shape}, wanted 2-D uint8")
    other = [*one.maps.values(), *([] if one.mask is None else [one.mask])]
    if any(values.shape != one.image.shape for values in other):
        raise DataError(f"image '{one.title:.40}': a map or mask has another shape than {one.image.shape}")
    return True


def _heat(axes: Axes, one: Heat, method: str | None) -> None:
    axes.set_axis_off()
    heat = np.zeros(one.image.shape, np.float32) if method is None else one.maps.get(method)
    if heat is None:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=QUIET)
        return
    # Mixed here: an SVG shows an image with an opacity of its own at every pixel as if it were opaque.
    share = (MOST_HEAT * heat.clip(0, 1))[..., None]
    mixed = (1 - share) * one.image[..., None] + share * 255 * colormaps[HEAT](heat.clip(0, 1))[..., :3]
    axes.imshow(mixed.astype(np.uint8), interpolation="none")
    if one.mask is not None and 0 < (one.mask >= 0.5).mean() < 1:
        axes.contour(one.mask, levels=[0.5], colors=[OUTLINE], linewidths=1.1)


def _words(figure: Figure, left_in: float, bottom_in: float, text: str, *, bold: bool = False) -> None:
    width, height = figure.get_size_inches()
    weight = "bold" if bold else "normal"
    figure.text(left_in / width, bottom_in / height, text, va="bottom", fontsize=9, weight=weight)


@in_house_style
def draw_embedding(
    name: str, places: Values, thumbnails: Grey, classes: NDArray[np.int64], names: Sequence[str], caption: str
) -> Drawing:
    """t-SNE: every image as a thumbnail at its place, framed in its class's colour.

    places      (m, 2); thumbnails (m, H, W) uint8; classes (m,) index into `names`
    Raises:
        DataError: arrays of different length.
    """
    if not len(places) == len(thumbnails) == len(classes) or not len(places):
        raise DataError(f"{len(places)} places, {len(thumbnails)} images, {len(classes)} classes; wanted as many each")
    colours = [look_number(place).colour for place in range(len(names))]
    figure = Figure(figsize=(PAGE_WIDTH_IN, PAGE_WIDTH_IN * 0.78))
    side_in = PAGE_WIDTH_IN * 0.78 - 0.1
    axes = axes_at(figure, 0.05, 0.05, side_in, side_in)
    axes.imshow(_canvas(places, thumbnails, classes, colours), interpolation="none")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=GRID)
    there = [(k, int((classes == k).sum())) for k in range(len(names)) if (classes == k).any()]
    keys = [
        Line2D([], [], marker="s", linestyle="", markersize=9, markerfacecolor="none", markeredgewidth=2.4,
               markeredgecolor=colours[k], label=f"{clipped(names[k], 22)}, {n} images")
        for k, n in there
    ]  # fmt: skip
    axes.legend(handles=keys, loc="upper left", bbox_to_anchor=(1.0, 1.01), title="Truth", alignment="left")
    alt = f"t-SNE of {len(places)} images, framed by class: " + ", ".join(names[k] for k, _ in there) + "."
    return Drawing(name, figure, alt, caption)


def _canvas(places: Values, thumbnails: Grey, classes: NDArray[np.int64], colours: Sequence[str]) -> Grey:
    """(CANVAS_PX, CANVAS_PX, 3): one picture of all thumbnails, so that a page does not carry thousands."""
    side = int(np.clip(CANVAS_PX / (1.6 * np.sqrt(len(places))), *THUMBNAIL_PX))
    tile = side + 2 * FRAME_PX
    low, high = places.min(axis=0), places.max(axis=0)
    share = (places - low) / np.where(high > low, high - low, 1)
    corner = np.rint(share * (CANVAS_PX - tile)).astype(int)
    canvas = np.full((CANVAS_PX, CANVAS_PX, 3), 255, np.uint8)
    for (x, y), image, label in zip(corner, thumbnails, classes, strict=True):
        small = _sized(image, side)
        picture = np.empty((*(extent + 2 * FRAME_PX for extent in small.shape), 3), np.uint8)
        picture[...] = np.rint(255 * np.array(to_rgb(colours[label])))
        picture[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX] = small[..., None]
        top = CANVAS_PX - tile - y  # y grows upwards
        canvas[top : top + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas


def _sized(image: Grey, side: int) -> Grey:
    """To a thumbnail whose longer side is `side`, by the nearest pixel."""
    extents = [max(1, round(side * extent / max(image.shape))) for extent in image.shape]
    rows, columns = (np.arange(to) * extent // to for to, extent in zip(extents, image.shape, strict=True))
    return image[np.ix_(rows, columns)]


@in_house_style
def draw_physical(
    name: str,
    values: Mapping[str, Values],
    groups: Sequence[tuple[str, NDArray[np.int64], Sequence[str]]],
    p_values: Mapping[tuple[str, str], str],
    caption: str,
) -> Drawing:
    """Box plots: a row of panels for each feature, a column for each way to group the nodules.

    values    title of a feature → (n,); NaN is left out
    groups    (heading, (n,) group of each nodule, names of the groups)
    p_values  (feature, heading) → what stands in the panel's corner
    """
    if not values or not groups:
        raise DataError("no features or no groups to draw; the figure was not made")
    pitch_in, width_in = 2.05, (PAGE_WIDTH_IN - 0.75) / len(groups) - 0.55
    figure = Figure(figsize=(PAGE_WIDTH_IN, len(values) * pitch_in + 0.45))
    for row, (title, of_all) in enumerate(values.items()):
        bottom_in = (len(values) - 1 - row) * pitch_in + 0.55
        for column, (heading, group, names) in enumerate(groups):
            axes = axes_at(figure, 0.75 + column * (width_in + 0.55), bottom_in, width_in, pitch_in - 0.5)
            _boxes(axes, of_all, group, names if row == len(values) - 1 else [""] * len(names))
            axes.set_ylabel(title if column == 0 else "")
            if row == 0:
                axes.set_title(heading)
            axes.text(
                0.995, 0.99, p_values.get((title, heading), ""), transform=axes.transAxes, ha="right", va="top",
                fontsize=8.5, color=QUIET,
            )  # fmt: skip
    alt = f"Box plots of {', '.join(values)} by " + " and ".join(heading.lower() for heading, _, _ in groups) + "."
    return Drawing(name, figure, alt, caption)


def _boxes(axes: Axes, values: Values, group: NDArray[np.int64], names: Sequence[str]) -> None:
    shown = [values[(group == k) & np.isfinite(values)] for k in range(len(names))]
    made = axes.boxplot(
        shown, widths=0.55, patch_artist=True, medianprops={"color": "#1b1b1b"}, whis=1.5,
        flierprops={"marker": ".", "markersize": 4, "markerfacecolor": QUIET, "markeredgecolor": "none"},
    )  # fmt: skip
    for place, box in enumerate(made["boxes"]):
        colour = look_number(place).colour if len(names) == 2 else look_number(0).colour
        box.set(facecolor=(*to_rgb(colour), 0.3), edgecolor=colour)
    axes.set_xticks(range(1, len(names) + 1), [clipped(one, 18) for one in names])
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.14 * (high - low))  # room for the p value
    axes.grid(axis="y")
    axes.set_axisbelow(True)


@in_house_style
def draw_hit_rates(name: str, rates: Sequence[Rate], by_chance: float, caption: str) -> Drawing:
    """One line a method: the share of maps that hit with its interval, and what chance would give, dotted."""
    height_in = 0.34 * len(rates)
    figure = Figure(figsize=(PAGE_WIDTH_IN, height_in + 0.85))
    axes = axes_at(figure, 1.9, 0.55, PAGE_WIDTH_IN - 4.6, height_in)
    for place, one in enumerate(rates):
        y = len(rates) - 1 - place
        share = one.x / one.n if one.n else float("nan")
        axes.plot(one.ci95, [y, y], color=look_number(0).colour, linewidth=1.4)
        axes.plot([share], [y], "o", color=look_number(0).colour, markersize=6)
        said = "no lesion drawn" if not one.n else (
            f"{fraction(share, 3)} [{fraction(one.ci95[0], 3)}, {fraction(one.ci95[1], 3)}]  {one.x} of {one.n}"
        )  # fmt: skip
        axes.annotate(said, (1.03, y), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    if np.isfinite(by_chance):
        axes.axvline(by_chance, color=QUIET, linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(rates)), [one.method for one in reversed(rates)])
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(rates) - 0.4), xlabel="Share of maps that hit the lesion")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    alt = "Hit rates: " + "; ".join(f"{one.method} {one.x} of {one.n}" for one in rates) + "."
    return Drawing(name, figure, alt, caption)
