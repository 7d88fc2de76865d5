"""The server's side of one sum, as a state machine without I/O: it collects, names the survivors, and opens.

    take_announcement → take_sealed → begin → take_masked → survivors → take_endorsement → take_released → open

It can open nothing but the sum over the survivors (for statistics: over the whole roster).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import IncompleteError, ProtocolError
from fl_liver.securesum import shamir
from fl_liver.securesum.context import Context, Roster, Slot, abandon_statement, mask_info, survivors_statement
from fl_liver.securesum.encoding import check_words, words
from fl_liver.securesum.keys import Announcement, check_announcement, pair_seed, public_key, self_seed, verify
from fl_liver.securesum.keystream import add_keystreams


class ServerSum:
    """One sum over the hospitals of a roster. `take_…` raise ProtocolError and change nothing where a part is wrong."""

    def __init__(self, roster: Roster, slot: Slot) -> None:
        self.roster, self.slot = roster, slot
        self._announced: dict[str, bytes] = {}
        self._sealed: dict[str, dict[str, bytes]] = {}
        self._context: Context | None = None
        self._participants: dict[str, bytes] = {}
        self._mask_info = b""
        self._total: NDArray[Any] | None = None
        self._masked: list[str] = []
        self._survivors: tuple[str, ...] = ()
        self._endorsed: dict[str, bytes] = {}
        self._released: dict[str, dict[str, bytes]] = {}

    def take_announcement(self, site: str, content: bytes) -> None:
        """A hospital's signed keys; a second, other announcement of one hospital is refused."""
        check_announcement(content, self.roster, self.slot, site)
        if self._announced.setdefault(site, content) != content:
            raise ProtocolError(f"{site} announced other keys than before for {self.slot}")

    @property
    def announced(self) -> dict[str, bytes]:
        """What every hospital is shown before it seals shares."""
        return dict(self._announced)

    def take_sealed(self, site: str, sealed: dict[str, bytes]) -> None:
        """A hospital's shares, sealed for each of the others that announced keys."""
        if site not in self._announced:
            raise ProtocolError(f"{site} sealed shares without keys for {self.slot}")
        self._sealed[site] = dict(sealed)

    def ready(self) -> tuple[str, ...]:
        """Hospitals whose keys (and, where the sum can recover, shares for each other) have come."""
        if not self.slot.recovers:
            return tuple(sorted(self._announced))
        ready = set(self._sealed)
        while True:
            short = {one for one in ready if not ready - {one} <= self._sealed[one].keys()}
            if not short:
                return tuple(sorted(ready))
            ready.remove(min(short, key=lambda one: (len(self._sealed[one].keys() & ready), one)))

    def begin(self, context: Context) -> dict[str, bytes]:
        """Fix the participants and what is asked of them; returns their announcements, part of the question.

        Raises:
            IncompleteError: fewer hospitals are ready than the sum needs.
        """
        ready = self.ready()
        wanted = self.roster.threshold if self.slot.recovers else len(self.roster.names)
        if len(ready) < wanted:
            raise IncompleteError(
                f"{self.slot}: {len(ready)} of {len(self.roster.names)} hospitals have keys, wanted at least {wanted};"
                f" missing: {', '.join(sorted(set(self.roster.names) - set(ready)))}"
            )
        self._context = context
        self._participants = {name: self._announced[name] for name in ready}
        self._mask_info = mask_info(self.roster, context, self._participants)
        self._total = np.zeros(context.length + check_words(context.bits), words(context.bits))
        return dict(self._participants)

    def take_masked(self, site: str, vector: NDArray[Any]) -> None:
        """Add one participant's masked vector."""
        total = self._begun()
        if site not in self._participants or site in self._masked or self._survivors:
            raise ProtocolError(f"a masked vector of {site} is not expected (or came twice) for {self.slot}")
        if vector.shape != total.shape or vector.dtype != total.dtype:
            raise ProtocolError(f"{site} sent {vector.dtype}{vector.shape}, wanted {total.dtype}{total.shape}")
        np.add(total, vector, out=total)
        self._masked.append(site)

    def survivors(self) -> tuple[str, ...]:
        """Those whose masked vectors came; from now on nobody else is waited for.

        Raises:
            IncompleteError: fewer than the sum needs; nothing will be opened.
        """
        wanted = self.roster.threshold if self.slot.recovers else len(self.roster.names)
        if len(self._masked) < wanted:
            raise IncompleteError(
                f"{self.slot}: {len(self._masked)} of {len(self.roster.names)} hospitals answered, wanted at least"
                f" {wanted}; missing: {', '.join(sorted(set(self.roster.names) - set(self._masked)))}"
            )
        self._survivors = tuple(sorted(self._masked))
        return self._survivors

    def take_endorsement(self, site: str, signature: bytes) -> None:
        """A survivor's signature over the list."""
        if site not in self._survivors:
            raise ProtocolError(f"{site} signed the survivors of {self.slot} but is not one")
        signed = survivors_statement(self.roster, self._mask_info, self.slot, self._survivors)
        verify(self.roster, site, signature, signed, "list of survivors")
        self._endorsed[site] = signature

    def endorsements(self) -> dict[str, bytes]:
        """The signatures that survivors are shown.

        Raises:
            IncompleteError: fewer than the threshold signed; nothing can be opened.
        """
        self._enough(self._endorsed, "signed the list of survivors")
        return dict(self._endorsed)

    def sealed_for(self, site: str) -> dict[str, bytes]:
        """What the other participants sealed for one hospital."""
        return {name: self._sealed[name][site] for name in self._participants if name != site}

    def take_released(self, site: str, shares: dict[str, bytes]) -> None:
        """A survivor's shares, one of every participant."""
        if site not in self._survivors or shares.keys() != self._participants.keys():
            raise ProtocolError(
                f"{site} released shares of {len(shares)} hospitals for {self.slot}, wanted one of each"
            )
        self._released[site] = dict(shares)

    def open(self) -> NDArray[Any]:
        """The sum over the survivors, check words included (`encoding.checked` looks at them).

        Raises:
            IncompleteError: fewer than the threshold released their shares.
            ProtocolError: shares that do not rebuild the key that a lost hospital announced.
        """
        total, context = self._begun(), self._context
        if not self._survivors or context is None:
            raise ProtocolError(f"{self.slot}: opened before its survivors were named")
        if self.slot.recovers:
            add_keystreams(total, self._masks_left(), context.keystream)
        self._total = None
        return total

    def _masks_left(self) -> list[tuple[bytes, int]]:
        """Seeds of what is left in the total: every survivor's own mask, and its masks with those that were lost."""
        self._enough(self._released, "released their shares")
        holders = sorted(self._released)[: self.roster.threshold]
        numbers = {holder: self.roster.number(holder) for holder in holders}
        weight_of = dict(zip(numbers.values(), shamir.weights(list(numbers.values())), strict=True))
        seeds: list[tuple[bytes, int]] = []
        for name, content in self._participants.items():
            secret = shamir.rebuild({numbers[one]: self._released[one][name] for one in holders}, weight_of)
            if name in self._survivors:
                seeds.append((self_seed(secret, self._mask_info, name), -1))
                continue
            if public_key(secret) != Announcement.from_bytes(content).mask_key:
                raise ProtocolError(
                    f"{self.slot}: the shares of {name} do not rebuild the key that it announced; a hospital gave a"
                    " wrong share"
                )
            for survivor in self._survivors:
                key = Announcement.from_bytes(self._participants[survivor]).mask_key
                sign = -1 if survivor < name else 1
                seeds.append((pair_seed(secret, key, self._mask_info, survivor, name), sign))
        return seeds

    def _begun(self) -> NDArray[Any]:
        if self._total is None:
            raise ProtocolError(f"{self.slot}: not begun, or over")
        return self._total

    def _enough(self, found: dict[str, Any], did: str) -> None:
        if len(found) < self.roster.threshold:
            silent = sorted(set(self._survivors) - set(found))
            raise IncompleteError(
                f"{self.slot}: {len(found)} hospitals {did}, wanted at least {self.roster.threshold}; nothing is"
                f" opened; missing: {', '.join(silent)}"
            )


def check_abandoned(roster: Roster, slot: Slot, statements: dict[str, bytes]) -> None:
    """That enough hospitals swore off a slot: with t of them, no t shares of it can ever come together.

    Of t that swore, n − t may lie; those and the n − t that did not swear are 2(n − t) < t.

    Raises:
        ProtocolError: a statement that is not signed. IncompleteError: fewer than t.
    """
    for site, signature in statements.items():
        roster.number(site)
        verify(roster, site, signature, abandon_statement(roster, slot), "statement to abandon an attempt")
    if len(statements) < roster.threshold:
        raise IncompleteError(
            f"{slot}: {len(statements)} hospitals swore it off, wanted at least {roster.threshold}; it is not attempted"
            " again"
        )
