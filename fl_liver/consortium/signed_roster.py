"""The roster that the coordinator signs: every admitted hospital's identity, under a version that only grows.

The signature says that it is the coordinator's word, not that it is true: the coordinator also runs the server, and one
that swapped a key could read masked sums. That is why each hospital confirms identities by telephone (`pinned`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field

from fl_liver.consortium.paper import Hex32, Paper
from fl_liver.consortium.rotation import Rotation, leads_to
from fl_liver.consortium.words import fingerprint
from fl_liver.errors import ProtocolError
from fl_liver.study import SiteName

Kind = Literal["new", "removed", "rotated", "changed"]


class SignedRoster(Paper):
    """roster.signed.toml."""

    KIND: ClassVar[str] = "fl-liver roster"
    ABOUT: ClassVar[str] = "Identities of all admitted hospitals, signed by the coordinator. No secret in it."

    kind: Literal["fl-liver roster"] = "fl-liver roster"
    version: Annotated[int, Field(ge=1)]
    made: AwareDatetime
    identity: dict[SiteName, Hex32]
    rotation: tuple[Rotation, ...] = ()
    """The signed steps by which identities on it were changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """One hospital's difference between two rosters; `words` are those of its new identity."""

    site: str
    kind: Kind
    words: str = ""

    def __str__(self) -> str:
        """One line for a person."""
        if self.kind == "new":
            return f"{self.site}: new on the roster"
        if self.kind == "removed":
            return f"{self.site}: NO LONGER ON THE ROSTER; nothing is added up with it any more"
        if self.kind == "rotated":
            return f"{self.site}: NEW KEY, signed with its old one; confirm its words again by telephone"
        return (
            f"{self.site}: CHANGED KEY, and the old key did not sign the change; it lost its key, or somebody is"
            " posing as it: telephone before anything else"
        )


def changes(before: Mapping[str, str], after: SignedRoster) -> list[Change]:
    """What is different in `after`; `before` is {hospital: identity}. Changed keys come first."""
    found: list[Change] = []
    for site in sorted(before.keys() | after.identity.keys()):
        old, new = before.get(site), after.identity.get(site)
        if old == new:
            continue
        if new is None:
            found.append(Change(site, "removed"))
        else:
            words = fingerprint(bytes.fromhex(new))
            if old is None:
                found.append(Change(site, "new", words))
            else:
                steps = [step for step in after.rotation if step.consortium == after.consortium]
                signed = leads_to(steps, site, old, new)
                found.append(Change(site, "rotated" if signed else "changed", words))
    order = ("changed", "rotated", "removed", "new")
    return sorted(found, key=lambda change: order.index(change.kind))


def check_roster(roster: SignedRoster, coordinator: str, consortium: str) -> None:
    """Raises ProtocolError unless the coordinator signed it for this consortium and no identity is there twice."""
    roster.check_signature(coordinator, "the coordinator's key of the invitation")
    if roster.consortium != consortium:
        raise ProtocolError(f"the roster is of '{roster.consortium}', this hospital joined '{consortium}'")
    if len(set(roster.identity.values())) < len(roster.identity):
        twice = sorted(site for site, key in roster.identity.items() if list(roster.identity.values()).count(key) > 1)
        raise ProtocolError(f"the roster gives {' and '.join(twice)} one identity; each hospital has its own: refused")


def check_follows(before: SignedRoster | None, after: SignedRoster) -> None:
    """Raises ProtocolError where `after` is older than `before`, or differs from it under the same version."""
    if before is None or after.version > before.version:
        return
    if after.version < before.version:
        raise ProtocolError(
            f"the roster is version {after.version}, this hospital has version {before.version} already; an older one"
            " is never installed, ask for the newest"
        )
    if after.statement() != before.statement():
        raise ProtocolError(
            f"two rosters with version {after.version} and different content, both signed by the coordinator: call the"
            " coordinator and the other hospitals before anything else"
        )
