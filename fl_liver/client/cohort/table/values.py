"""One column of text as numbers, bounds, dates or codes. What can be read in two ways is not read.

"3,5" is 3.5. "1,234" is 1.234 in a column that also holds "3,5" and no "3.5"; elsewhere it may be a thousand and is not
read. "1.234" is 1.234, but not read in a column that holds "3,5". "1.234,5" and "1,234.5" read one way.

Laboratories write "<0.5" and ">1000" where their assay ends. Such a bound is no number, and often enough for a factor:
">1000" is above 200.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINARY = {"y": 1.0, "yes": 1.0, "true": 1.0, "n": 0.0, "no": 0.0, "false": 0.0}
_AGE = re.compile(r"(\d{1,3}) ?([DWMY])", re.ASCII | re.IGNORECASE)
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_GROUPS_THEN_POINT = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+\.\d+|[+-]?[1-9]\d{0,2}(,\d{3}){2,}", re.ASCII)
_GROUPS_THEN_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+,\d+|[+-]?[1-9]\d{0,2}(\.\d{3}){2,}", re.ASCII)
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)
_BOUND = re.compile(r"(<=|>=|[<>≤≥]) ?(.+)")
_ISO_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_COMPACT_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII)
_DOTTED_DATE = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", re.ASCII)
_CENTURIES = range(1900, 2101)
_TIME = re.compile(r"(.{8,10})[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII)


class Bounds(NamedTuple):
    """(n,) each: the smallest and the largest value that a cell allows; equal for a number, NaN where unreadable."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def exact(self) -> NDArray[np.float64]:
        """(n,) the numbers, NaN for bounds and for what is unreadable."""
        return np.where(self.low == self.high, self.low, np.nan)


def read_bounds(texts: Sequence[str], words: bool = False) -> Bounds:
    """Numbers and bounds of a whole column, which also tells whether its commas are decimal.

    Args:
        words: also Y/N, yes/no and true/false as 1 and 0, and ages as DICOM writes them, "062Y" in years.

    >>> found = read_bounds(["3,5", "1,234", "<0,5", "> 1000", "x"])
    >>> found.exact.tolist(), bool(found.low[3] > 1000), bool(found.high[2] < 0.5)
    ([3.5, 1.234, nan, nan, nan], True, True)
    """
    bare = [_without_sign(text) for text in texts]
    comma = any(_is_comma(text) for text in bare)
    point = any(_is_point(text) for text in bare)
    # Most cells of a clinical column are alike.
    ends = {text: _interval(text, comma, point, words) for text in set(texts)}
    found = np.array([ends[text] for text in texts], dtype=np.float64).reshape(-1, 2)
    return Bounds(found[:, 0], found[:, 1])


def years(text: str) -> float | None:
    """An age as DICOM writes it, "062Y", "006M", "10D", in years; None for anything else.

    >>> years("062y"), years("006M"), years("62")
    (62.0, 0.5, None)
    """
    found = _AGE.fullmatch(text)
    return int(found[1]) * _YEARS[found[2].upper()] if found else None


def read_dates(texts: Sequence[str]) -> list[str]:
    """Each as YYYY-MM-DD, "" where it is no date. Reads YYYY-MM-DD, YYYYMMDD and D.M.YYYY, each with or without a time.

    Dots are read day first, as they are written everywhere, unless a date of the column makes that impossible: then
    none of its dotted dates is read. Slashes are not read: 04/05/2020 is two dates.

    >>> read_dates(["2020-1-5", "20200105", "05.01.2020 10:30", "04/05/2020", "30.02.2020"])
    ['2020-01-05', '2020-01-05', '2020-01-05', '', '']
    """
    bare = [found[1] if (found := _TIME.fullmatch(text)) else text for text in texts]
    dotted = [found for text in bare if (found := _DOTTED_DATE.fullmatch(text))]
    day_first = all(int(found[2]) <= 12 for found in dotted)
    return [_date(text, day_first) for text in bare]


def same_code(text: str) -> str:
    """Codes compare without case; "1", "1.0" and "01" are one code."""
    return repr(float(text)) if _POINT.fullmatch(text) else text.strip().casefold()


def plain(value: float) -> str:
    """A number without ".0".

    >>> plain(62.0), plain(0.1), plain(-3.25)
    ('62', '0.1', '-3.25')
    """
    return repr(float(value)).removesuffix(".0")


def shown(text: str) -> str:
    """A cell as an error may show it: short, so that free text in the wrong column is not copied out."""
    return "empty" if text == "" else f"'{text[:8]}…'" if len(text) > 8 else f"'{text}'"


def _without_sign(text: str) -> str:
    found = _BOUND.fullmatch(text)
    return found[2] if found else text


def _is_comma(text: str) -> bool:
    """The comma of this number can only be a decimal one."""
    return bool(_GROUPS_THEN_COMMA.fullmatch(text) or (_COMMA.fullmatch(text) and not _EITHER.fullmatch(text)))


def _is_point(text: str) -> bool:
    """The point of this number can only be a decimal one."""
    if _GROUPS_THEN_POINT.fullmatch(text):
        return True
    return "." in text and bool(_POINT.fullmatch(text)) and not _EITHER.fullmatch(text)


def _interval(text: str, comma: bool, point: bool, words: bool) -> tuple[float, float]:
    found = _BOUND.fullmatch(text)
    value = _number(found[2] if found else text, comma, point, words and not found)
    if not found or np.isnan(value):
        return value, value
    if found[1] in ("<", "<=", "≤"):
        return -np.inf, value if found[1] != "<" else float(np.nextafter(value, -np.inf))
    return value if found[1] != ">" else float(np.nextafter(value, np.inf)), np.inf


def _number(text: str, comma: bool, point: bool, words: bool) -> float:
    if words and (text.lower() in BINARY or years(text) is not None):
        return BINARY.get(text.lower(), years(text) or 0.0)
    if _EITHER.fullmatch(text):
        if "," in text:
            return float(text.replace(",", ".")) if comma and not point else np.nan
        return np.nan if comma else float(text)
    value = np.nan
    if _POINT.fullmatch(text):
        value = float(text)
    elif _GROUPS_THEN_POINT.fullmatch(text):
        value = float(text.replace(",", ""))
    elif _GROUPS_THEN_COMMA.fullmatch(text) or _COMMA.fullmatch(text):
        value = float(text.replace(".", "").replace(",", "."))
    return value if np.isfinite(value) else np.nan


def _date(text: str, day_first: bool) -> str:
    found = _ISO_DATE.fullmatch(text) or _COMPACT_DATE.fullmatch(text)
    parts = found.groups() if found else ()
    if not parts and day_first and (dotted := _DOTTED_DATE.fullmatch(text)):
        parts = dotted.groups()[::-1]
    if not parts:
        return ""
    try:
        found_day = datetime.date(*(int(part) for part in parts))
    except ValueError:  # no such day
        return ""
    return found_day.isoformat() if found_day.year in _CENTURIES else ""
