"""How every figure of the report looks: colours, type, sizes, and the bytes it becomes.

Colours are of Okabe & Ito (2008), told apart with any colour vision; each model keeps its colour, dash and marker in
all figures, so that none depends on colour alone. Figures are matplotlib `Figure` objects with axes placed in inches;
pyplot is not used. The same summary gives the same bytes.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from fl_liver.server.report.number_text import fraction

P = ParamSpec("P")
T = TypeVar("T")

PAGE_WIDTH_IN = 9.1
"""Width of a full figure: 874 CSS pixels, the text width of the page."""
PNG_DPI = 160
INK, QUIET, GRID = "#1b1b1b", "#5a5a5a", "#dddddd"

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that text has the same width everywhere
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a hospital named "$x" is a name, not a formula
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "svg.hashsalt": "fl_liver",
    "svg.fonttype": "path",
}


@dataclass(frozen=True, slots=True)
class Look:
    """How one model is named and drawn."""

    label: str
    colour: str
    dash: str | tuple[float, tuple[float, ...]]
    marker: str


LOOKS = {
    "federated": Look("Federated", "#0072B2", "-", "o"),
    "local_only": Look("Local-only (mean)", "#D55E00", "--", "s"),
    "pooled": Look("Pooled", "#009E73", "-.", "^"),
    "ensemble": Look("Ensemble of folds", "#56B4E9", (0, (7, 2)), "P"),
    "fusion": Look("Fusion", "#CC79A7", (0, (5, 1, 1, 1, 1, 1)), "D"),
}
_NUMBERED: tuple[tuple[str, str | tuple[float, tuple[float, ...]], str], ...] = (
    *((look.colour, look.dash, look.marker) for look in LOOKS.values()),
    ("#E69F00", (0, (1, 1)), "v"),
    ("#56B4E9", (0, (7, 2)), "P"),
    ("#6b6b6b", (0, (3, 1, 1, 1)), "X"),
    ("#1b1b1b", (0, (2, 2)), "*"),
)
PARTS = {"internal": "Internal validation", "external": "External hospitals"}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure with its file name (no ending), the words that replace it for who cannot see it, and its caption."""

    name: str
    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A drawing as bytes. `png` is empty where only a page was wanted."""

    name: str
    svg: bytes
    alt: str
    caption: str
    width_px: int
    png: bytes = b""

    @property
    def svg_uri(self) -> str:
        """The SVG as a data URI: an image of its own, so that ids of two figures cannot collide on the page."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


def in_house_style(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function under the report's matplotlib settings and put the caller's back."""

    @wraps(function)
    def styled(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context(_SETTINGS):
            return function(*args, **kwargs)

    return styled


def look_of(model: str) -> Look:
    """The look of a model; one that is not known by name is drawn grey under its own name."""
    return LOOKS.get(model, Look(model.replace("_", " "), QUIET, "-", "v"))


def axes_at(figure: Figure, left_in: float, bottom_in: float, width_in: float, height_in: float) -> Axes:
    """Axes with their inner box placed in inches from the lower left corner of the figure."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left_in / width, bottom_in / height, width_in / width, height_in / height))


def fraction_ticks(axis: Axis, digits: int = 1) -> None:
    """Tick labels in the form that the tables use: .5, not 0.5."""
    axis.set_major_formatter(FuncFormatter(lambda x, _: "0" if x == 0 else fraction(float(x), digits)))


def wrapped(label: str, characters: int) -> str:
    """A label broken into at most two lines of `characters`; what is longer ends in an ellipsis."""
    lines = textwrap.wrap(label, characters, max_lines=2, placeholder="…", break_on_hyphens=False)
    return "\n".join(lines)


def clipped(label: str, characters: int) -> str:
    """A label of at most `characters`, for a place that has one line.

    >>> clipped("posterior_enhancement", 12)
    'posterior_e…'
    """
    return label if len(label) <= characters else label[: characters - 1] + "…"


def look_number(place: int, label: str = "") -> Look:
    """The look of the curve at a place (0, 1, …) of a list that has no models of its own; the ninth is as the first."""
    colour, dash, marker = _NUMBERED[place % len(_NUMBERED)]
    return Look(label, colour, dash, marker)


@in_house_style
def render(drawing: Drawing) -> Rendered:
    """SVG and PNG of a drawing, without date or program version, so that equal figures are equal bytes."""
    png = io.BytesIO()
    drawing.figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return replace(render_svg(drawing), png=png.getvalue())


@in_house_style
def render_svg(drawing: Drawing) -> Rendered:
    """As `render`, for a page that keeps no files beside it: the SVG alone."""
    svg = io.BytesIO()
    drawing.figure.savefig(
        svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None, "Title": drawing.name}
    )
    width_px = round(drawing.figure.get_size_inches()[0] * 96)
    return Rendered(drawing.name, svg.getvalue(), drawing.alt, drawing.caption, width_px)
