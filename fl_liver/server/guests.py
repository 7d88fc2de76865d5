"""Who may knock at the coordinator's door, and how often: the register, the revoked certificates, a bucket for each."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from fl_liver.consortium.folder import REGISTER, open_consortium
from fl_liver.errors import ConfigError

log = logging.getLogger("fl_liver.gateway")
PER_SECOND, BURST = 100.0, 1000.0
"""Requests of one certificate: a model of 45 MB is about 20, an idle hospital sends one in 1.5 s."""
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whose certificate a connection was opened with."""

    serial: int
    name: str


@dataclass(slots=True)
class Bucket:
    """Tokens of one certificate: `BURST` at once, `PER_SECOND` in the long run."""

    tokens: float = BURST
    filled: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        now = time.monotonic()
        self.tokens = min(BURST, self.tokens + (now - self.filled) * PER_SECOND)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Guests:
    """Whom the register lets in, read again when the file changes; while it cannot be read the last one holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked, self._stamp = 0.0, (0, 0)
        self._approved: frozenset[str] = frozenset()
        self._revoked: frozenset[int] = frozenset()
        self._buckets: dict[int, Bucket] = {}
        self._refresh()
        if self._stamp == (0, 0):
            open_consortium(folder)  # raises what is wrong

    def refusal(self, visitor: Visitor | None) -> str | None:
        """Why this visitor is not let in; None where it is."""
        self._refresh()
        if visitor is None:
            return "no certificate of one hospital"
        if visitor.serial in self._revoked:
            return "its certificate is revoked"
        if visitor.name not in self._approved:
            return "not an approved hospital"
        return None

    def may_ask(self, visitor: Visitor) -> bool:
        return self._buckets.setdefault(visitor.serial, Bucket()).take()

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._looked and now - self._looked < _LOOK_AGAIN_S:
            return
        self._looked = now
        try:
            about = (self._folder / REGISTER).stat()
            stamp = (about.st_mtime_ns, about.st_ino)
            if stamp == self._stamp:
                return
            consortium = open_consortium(self._folder)
        except (OSError, ConfigError) as error:
            log.error("the register cannot be read, the last one holds: %s", error)
            return
        first, self._stamp = self._stamp == (0, 0), stamp
        self._approved = frozenset(consortium.register.approved())
        self._revoked = consortium.revoked_serials()
        again = "read" if first else "read again"
        log.info("register %s: %d hospitals, %d revoked certificates", again, len(self._approved), len(self._revoked))
