"""A masked sum over hospitals whose state lies on disk; each step is taken by a process that has just been started."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.securesum.context import Context, Slot
from fl_liver.securesum.encoding import decode_integers, encode_integers
from fl_liver.securesum.server import ServerSum
from tests.securesum.wards import Ward


@dataclass
class OnDisk:
    """One sum over `sites` of a ward, with the vectors that each hospital would give."""

    ward: Ward
    slot: Slot
    sites: tuple[str, ...]
    question: str = "9" * 64
    masked: dict[str, NDArray[Any]] = field(default_factory=dict)
    server: ServerSum = field(init=False)

    def __post_init__(self) -> None:
        self.server = ServerSum(self.ward.roster.only(self.sites), self.slot)

    @staticmethod
    def training(ward: Ward, **changes: Any) -> OnDisk:
        return OnDisk(ward, ward.slot(**changes), ward.study.sites.train)

    @staticmethod
    def statistics(ward: Ward, batch: str = "batch", step: int = 0, sites: tuple[str, ...] | None = None) -> OnDisk:
        slot = ward.slot(0, purpose=f"statistics/{batch}", sum=step)
        return OnDisk(ward, slot, sites or ward.study.sites.train)

    @property
    def context(self) -> Context:
        return Context(self.slot, 3, 32, self.question)

    def vector(self, site: str) -> NDArray[np.int64]:
        return np.arange(3) * 10 + int(site[1:])

    def announce(self, without: Collection[str] = ()) -> OnDisk:
        for site in self._but(without):
            content = self.ward.sums(site).announce(self.slot, () if self.slot.recovers else self.sites)
            self.server.take_announcement(site, content)
        return self

    def share(self, without: Collection[str] = ()) -> OnDisk:
        for site in self._but(without):
            self.server.take_sealed(site, self.ward.sums(site).share(self.slot, self.server.announced))
        return self

    def answer(
        self,
        site: str,
        vector: NDArray[np.int64] | None = None,
        announced: Mapping[str, bytes] | None = None,
        abandoned: Mapping[str, bytes] | None = None,
    ) -> NDArray[Any]:
        """As a hospital does it: is it allowed, was it answered, else compute and mask."""
        sums, keys = self.ward.sums(site), self.server.announced if announced is None else announced
        if self.slot.recovers:
            sums.admit(self.slot, keys, abandoned or {})
        kept = sums.kept(self.context, keys)
        if kept is not None:
            return kept
        coded = encode_integers(self.vector(site) if vector is None else vector, 32)
        return self.ward.sums(site).mask(self.context, keys, coded).copy()

    def mask(self, without: Collection[str] = (), abandoned: Mapping[str, bytes] | None = None) -> OnDisk:
        participants = self.server.begin(self.context)
        for site in self._but(without):
            self.masked[site] = self.answer(site, announced=participants, abandoned=abandoned)
            self.server.take_masked(site, self.masked[site])
        return self

    def endorse(self, without: Collection[str] = ()) -> OnDisk:
        survivors = self.server.survivors()
        for site in survivors:
            if site not in without:
                self.server.take_endorsement(site, self.ward.sums(site).endorse(self.slot, survivors))
        return self

    def release(self, without: Collection[str] = ()) -> OnDisk:
        for site in self.masked:
            if site not in without:
                self.server.take_released(site, self.shares(site))
        return self

    def shares(self, site: str) -> dict[str, bytes]:
        return self.ward.sums(site).release(self.slot, self.server.endorsements(), self.server.sealed_for(site))

    def until(self, step: str, without: Collection[str] = ()) -> OnDisk:
        steps = ("announce", "share", "mask", "endorse", "release") if self.slot.recovers else ("announce", "mask")
        for one in steps[: steps.index(step) + 1]:
            getattr(self, one)(without if one in ("mask", "endorse", "release") else ())
        return self

    def opened(self) -> list[int]:
        """The totals."""
        survivors = self.server.survivors()
        found: list[int] = decode_integers(self.server.open(), 32, len(survivors)).tolist()
        return found

    def expected(self, *sites: str) -> list[int]:
        found: list[int] = np.sum([self.vector(site) for site in sites or self.sites], axis=0).tolist()
        return found

    def statements(self, *sites: str) -> dict[str, bytes]:
        return {site: self.ward.sums(site).abandon(self.slot) for site in sites}

    def _but(self, without: Collection[str]) -> list[str]:
        return [site for site in self.sites if site not in without]
