"""When a hospital's machine may compute: windows of its local time, as `allowed_hours` in site.toml has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time


def is_open(windows: Sequence[str], now: datetime | None = None) -> bool:
    """Whether `now` (local time) lies in a window "HH:MM-HH:MM"; the end does not belong to it. No windows: always.

    >>> is_open(["20:00-06:00"], datetime(2026, 1, 1, 5, 59)), is_open(["20:00-06:00"], datetime(2026, 1, 1, 6, 0))
    (True, False)
    """
    at = (now or datetime.now()).time()
    return not windows or any(_inside(window, at) for window in windows)


def _inside(window: str, at: time) -> bool:
    start, end = (time.fromisoformat(one) for one in window.split("-"))
    return start <= at < end if start < end else at >= start or at < end
