"""What a section of the page is made of, whatever the kind of analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fl_liver.server.report.forest import Row
from fl_liver.server.report.number_text import count, decimal, fraction, p_value
from fl_liver.server.report.pieces import Missing, Summary, number, triple
from fl_liver.server.report.style import Drawing
from fl_liver.server.report.tables import Cell, TextTable, absent, cell, interval_cell

FOLD_BEYOND = 14
"""A table of more rows is folded away under its title."""


@dataclass(frozen=True, slots=True)
class Titled:
    """A table under its title, which is "" where the head says it; `folded` where the reader opens it."""

    title: str
    table: TextTable
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """One result as the page shows it.

    headline   the answer in one line, for the overview
    tables     in reading order
    drawings   in reading order
    notes      sentences that a reader needs with these numbers
    forest     the lines that this result adds to a forest plot of AUCs
    """

    headline: str
    tables: tuple[Titled, ...]
    drawings: tuple[Drawing, ...] = ()
    notes: tuple[str, ...] = ()
    forest: tuple[Row, ...] = ()


def facts(title: str, rows: Mapping[str, Cell]) -> Titled:
    """Two columns, what and its value, with the title as their head."""
    return Titled("", TextTable((title, ""), tuple((Cell(name), value) for name, value in rows.items())))


def folded_if_long(title: str, table: TextTable) -> Titled:
    """A table that is folded beyond `FOLD_BEYOND` rows."""
    return Titled(title, table, folded=len(table.rows) > FOLD_BEYOND)


def numbers(result: Summary, forms: Mapping[str, tuple[str, Callable[[float], str]]]) -> dict[str, Cell]:
    """{label: cell} of {key: (label, form)}, each a number of the result."""
    return {label: cell(number(result, key), form) for key, (label, form) in forms.items()}


def proportion_cell(result: Summary, *path: str) -> Cell:
    """[estimate, low, high] of a proportion."""
    return interval_cell(triple(result, *path))


def p_cell(result: Summary, key: str = "p") -> Cell:
    """A p-value."""
    return cell(number(result, key), p_value)


def value_cell(value: object, form: Callable[[float], str] | None = None) -> Cell:
    """A bare JSON number, or an interval [low, high] where the floor forbids the value."""
    if isinstance(value, list):
        ends = [number(end) for end in value]
        known = [shortest(end) for end in ends if not isinstance(end, Missing)]
        return Cell(f"{known[0]} to {known[1]}") if len(known) == 2 else absent(Missing("not computed"))
    return cell(number(value), form or shortest)


def shortest(x: float) -> str:
    """A number of any size: whole where it is whole, otherwise with four significant digits and a true minus.

    >>> shortest(42.0), shortest(0.13456), shortest(-2769.23), shortest(-0.0000321)
    ('42', '0.1346', '−2769', '−3.21e-05')
    """
    shown = count(x) if x == int(x) and abs(x) < 1e9 else f"{x:.4g}"
    return decimal(-1, 0)[0] + shown[1:] if shown.startswith("-") else shown


def share(part: float, whole: float) -> str:
    """
    >>> share(13, 52), share(0, 0)
    ('13 (25.0 %)', '0')
    """
    return f"{part:.0f} ({100 * part / whole:.1f} %)" if whole else f"{part:.0f}"


def risk(x: float) -> str:
    """A probability to two digits, more at the ends.

    >>> risk(0.25), risk(0.005), risk(0.999)
    ('.25', '.005', '.999')
    """
    return fraction(x, 3 if x < 0.0095 or x > 0.9905 else 2)
