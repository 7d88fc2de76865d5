"""The hospital's folder: its keys, what it was told by the coordinator, and what its own people confirmed.

site.toml                what the hospital decides (`fl_liver.client.site`)
identity.pem             Ed25519: signs this hospital's part in masked sums
identity.next.pem        the identity after a rotation, until the roster lists it
node.key node.pub        EC P-384, OpenSSH: the node at the server
client.key .csr .crt     TLS client key, its request, its certificate (after admission)
ca.crt                   the consortium's authority
consortium.toml          name, address, the coordinator's public key, this hospital's name
roster.signed.toml       the coordinator's newest roster; roster.previous.toml the one before
roster-confirmed.json    which identities were confirmed by telephone, by whom, when
roster.toml              the identities that take part in sums: on the roster *and* confirmed

Private halves are 0600, the folder 0700. Nothing here is ever sent but the reply and the rotation (public keys).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fl_liver.consortium.address import Address
from fl_liver.consortium.authority import Key, load_key
from fl_liver.consortium.paper import ConsortiumName, Hex32, public_hex
from fl_liver.consortium.safe_file import PUBLIC, read_private, write_whole
from fl_liver.errors import ConfigError
from fl_liver.identity import load_identity
from fl_liver.study import SiteName
from fl_liver.toml_file import Section, read_toml


class Membership(Section):
    """`consortium.toml` in a hospital's folder: what the invitation said. It is trusted from then on."""

    name: ConsortiumName
    address: Address
    """host:port of the coordinator's gateway."""
    site: SiteName
    coordinator: Hex32
    """The coordinator's Ed25519 public key; rosters and admissions are checked against it."""


@dataclass(frozen=True, slots=True)
class HospitalFolder:
    """Where things are; see the module."""

    path: Path

    def at(self, name: str) -> Path:
        return self.path / name

    @property
    def identity(self) -> Path:
        return self.path / "identity.pem"

    @property
    def next_identity(self) -> Path:
        return self.path / "identity.next.pem"

    @property
    def roster(self) -> Path:
        return self.path / "roster.toml"

    @property
    def signed_roster(self) -> Path:
        return self.path / "roster.signed.toml"

    @property
    def previous_roster(self) -> Path:
        return self.path / "roster.previous.toml"

    @property
    def confirmed(self) -> Path:
        return self.path / "roster-confirmed.json"

    @property
    def joined(self) -> bool:
        return (self.path / "consortium.toml").exists()

    def membership(self) -> Membership:
        """Raises ConfigError in a folder that `fl-liver site init` did not make."""
        path = self.at("consortium.toml")
        if not path.exists() or not self.at("site.toml").exists():
            raise ConfigError(
                f"{self.path}: no hospital's folder; go into it or name it, or make one with `fl-liver site"
                " init INVITATION`"
            )
        return read_toml(path, Membership)

    def write_membership(self, membership: Membership) -> None:
        head = "# Who invited this hospital; written by `fl-liver site init`, do not edit.\n"
        write_whole(self.at("consortium.toml"), head + tomli_w.dumps(membership.model_dump(mode="json")), PUBLIC)

    def own(self) -> str:
        """This hospital's public identity, 64 hex digits. Raises ConfigError."""
        return public_hex(load_identity(self.identity))

    def client_key(self) -> Key:
        return load_key(read_private(self.at("client.key")), str(self.at("client.key")))
