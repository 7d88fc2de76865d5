"""One line of `fl-liver site doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Found:
    """remedy: what to do, where something is wrong."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""
