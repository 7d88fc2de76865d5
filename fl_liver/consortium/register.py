"""`consortium.toml` in the coordinator's folder: who was invited, admitted and revoked. No secret is in it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from fl_liver.consortium.address import Address
from fl_liver.consortium.paper import ConsortiumName, Hex32
from fl_liver.consortium.rotation import Rotation
from fl_liver.study import SiteName
from fl_liver.toml_file import Section

Serial = Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")]
"""A certificate's serial number in hex."""


class Hospital(Section):
    """One hospital. Keys and certificate are there once it is approved, and stay after it is revoked."""

    status: Literal["invited", "approved", "revoked"]
    invited: AwareDatetime
    invitation_ends: AwareDatetime
    approved: AwareDatetime | None = None
    identity: Hex32 | None = None
    node_key: str | None = None
    """OpenSSH, EC P-384; the server lets in this node and no other under the hospital's name."""
    request: str | None = None
    """Its certificate request, kept for renewals."""
    serial: Serial | None = None
    expires: AwareDatetime | None = None
    earlier_serials: tuple[Serial, ...] = ()
    """Of certificates that were renewed; they end by themselves, or with the hospital."""


class Revocation(Section):
    """A certificate that the gateway refuses."""

    serial: Serial
    site: SiteName
    when: AwareDatetime
    reason: str


class Register(Section):
    """The whole file."""

    name: ConsortiumName
    address: Address
    also: tuple[str, ...] = ()
    """Further host names and IP addresses in the server's certificate."""
    made: AwareDatetime
    roster_version: Annotated[int, Field(ge=0)] = 0
    """Of the roster that was signed last."""
    hospitals: dict[SiteName, Hospital] = Field(default_factory=dict)
    rotation: tuple[Rotation, ...] = ()
    spent: tuple[Hex32, ...] = ()
    """Identities that were revoked or rotated away; none comes back."""
    revoked: tuple[Revocation, ...] = ()

    def with_hospital(self, site: str, hospital: Hospital) -> Register:
        return self.model_copy(update={"hospitals": {**self.hospitals, site: hospital}})

    def approved(self) -> dict[str, Hospital]:
        """Who is in, by name."""
        return {site: it for site, it in sorted(self.hospitals.items()) if it.status == "approved"}
