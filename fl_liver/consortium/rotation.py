"""A rotation: a hospital's new identity, signed with the old one and with itself.

It shows that whoever holds the old key wanted the change. Hospitals still compare the new words by telephone: a stolen
key could have signed it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_liver.consortium.paper import Hex32, Paper, Signature, public_hex, verified
from fl_liver.errors import ProtocolError
from fl_liver.study import SiteName


class Rotation(Paper):
    """NAME.rotation.toml; `signature` is the old identity's, `by_new` the new one's."""

    KIND: ClassVar[str] = "fl-liver rotation"
    ABOUT: ClassVar[str] = (
        "New identity of one hospital, signed with its old one, for the coordinator. No secret in it."
    )
    UNSIGNED: ClassVar[frozenset[str]] = frozenset({"signature", "by_new"})

    kind: Literal["fl-liver rotation"] = "fl-liver rotation"
    site: SiteName
    old: Hex32
    new: Hex32
    by_new: Signature


def make_rotation(consortium: str, site: str, old: Ed25519PrivateKey, new: Ed25519PrivateKey) -> Rotation:
    draft = Rotation(consortium=consortium, site=site, old=public_hex(old), new=public_hex(new), by_new="0" * 128)
    return draft.model_copy(update={"by_new": new.sign(draft.statement()).hex()}).signed(old)


def check_rotation(rotation: Rotation) -> None:
    """Raises ProtocolError unless both identities signed it."""
    rotation.check_signature(rotation.old, "the old identity that it names")
    if not verified(rotation.new, rotation.by_new, rotation.statement()) or rotation.new == rotation.old:
        raise ProtocolError(f"{rotation.site}: the new identity did not sign its rotation; ask for it again")


def leads_to(rotations: Iterable[Rotation], site: str, old: str, new: str) -> bool:
    """Whether signed steps lead from one identity of `site` to another; steps with wrong signatures do not count."""
    steps = {step.old: step for step in rotations if step.site == site}
    seen: set[str] = set()
    while old != new and old in steps and old not in seen:
        seen.add(old)
        try:
            check_rotation(steps[old])
        except ProtocolError:
            return False
        old = steps[old].new
    return old == new
