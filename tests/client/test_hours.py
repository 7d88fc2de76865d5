"""Windows of the hospital's own clock."""

from __future__ import annotations

from datetime import datetime

import pytest
from pydantic import ValidationError

from fl_liver.client.hours import is_open
from fl_liver.client.site import SiteConfig


@pytest.mark.parametrize(
    ("windows", "hour", "minute", "wanted"),
    [
        ([], 3, 0, True),
        (["20:00-06:00"], 20, 0, True),
        (["20:00-06:00"], 19, 59, False),
        (["20:00-06:00"], 0, 0, True),
        (["20:00-06:00"], 6, 0, False),
        (["12:00-13:00", "20:00-21:00"], 20, 30, True),
        (["12:00-13:00", "20:00-21:00"], 13, 0, False),
        (["00:00-00:00"], 11, 11, True),
    ],
)
def test_a_window_may_pass_midnight_and_its_end_is_outside(
    windows: list[str], hour: int, minute: int, wanted: bool
) -> None:
    assert is_open(windows, datetime(2026, 11, 21, hour, minute)) is wanted


@pytest.mark.parametrize("window", ["8-10", "24:00-06:00", "20:00-06:60", "20:00–06:00", ""])
def test_a_window_that_is_none_is_refused(window: str) -> None:
    with pytest.raises(ValidationError):
        SiteConfig(site="H01", allowed_hours=(window,))
