"""What every source of a table gives: numbered rows of text, each cell as a person would read it there."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from fl_liver.client.cohort.table.values import plain

Rows = Sequence[tuple[int, list[str]]]
"""(number as the source counts its rows, cells), the row of names first."""
MOST_ROWS = 500_000


def cell_text(value: object) -> str:
    """A value of a database as text: dates as YYYY-MM-DD, with the time only where it is not midnight, integers
    without ".0", numbers with all their digits.

    Raises:
        TypeError: bytes and other things that are no text.

    >>> cell_text(62.0), cell_text(Decimal("3.50")), cell_text(datetime.datetime(2020, 1, 5)), cell_text(None)
    ('62', '3.50', '2020-01-05', '')
    """
    match value:
        case None:
            return ""
        case str() | bool() | int() | UUID():
            return str(value)
        case float():
            return plain(value)
        case Decimal():
            return f"{value:f}"
        case datetime.datetime():
            midnight = value.time() == datetime.time()
            return value.date().isoformat() if midnight else value.isoformat(sep=" ", timespec="seconds")
        case datetime.date() | datetime.time():
            return value.isoformat()
    raise TypeError(type(value).__name__)
