"""The invitation: one file, from the coordinator to one hospital; the only paper with a secret in it.

The one-time secret ties the hospital's reply to this invitation. It is worth nothing once a reply was approved.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal

from cryptography import x509
from pydantic import AwareDatetime

from fl_liver.consortium.address import Address
from fl_liver.consortium.paper import Hex32, Paper, read_paper
from fl_liver.errors import ProtocolError
from fl_liver.study import SiteName

SECRET_BYTES = 32


class Invitation(Paper):
    """NAME.invitation.toml, signed with the coordinator's key."""

    KIND: ClassVar[str] = "fl-liver invitation"
    ABOUT: ClassVar[str] = (
        "Invitation of one hospital. Holds a one-time secret: send it encrypted, to the person in charge there only."
    )

    kind: Literal["fl-liver invitation"] = "fl-liver invitation"
    site: SiteName
    address: Address
    expires: AwareDatetime
    coordinator: Hex32
    """The coordinator's Ed25519 public key; all that it signs later is checked against it."""
    secret: Hex32
    authority: str
    """The consortium's certificate authority in PEM."""


def read_invitation(path: Path, now: datetime) -> Invitation:
    """Read and check an invitation.

    Raises:
        ConfigError: not an invitation. ProtocolError: changed on its way, or expired.
    """
    invitation = read_paper(path, Invitation)
    invitation.check_signature(invitation.coordinator, "the coordinator's key that it names")
    try:
        x509.load_pem_x509_certificate(invitation.authority.encode())
    except ValueError as error:
        raise ProtocolError(
            f"{path}: its certificate authority cannot be read; ask for the invitation again"
        ) from error
    if now >= invitation.expires:
        raise ProtocolError(
            f"{path}: the invitation ended on {invitation.expires:%Y-%m-%d}; ask the coordinator to run"
            f" `fl-liver coordinator enrol {invitation.site}` again"
        )
    return invitation
