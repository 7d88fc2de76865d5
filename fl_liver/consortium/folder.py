"""The coordinator's folder: the authority, the signing key, the register, and the roster that follows from it.

consortium.toml          the register (`register`); everything else but the keys follows from it
ca.crt ca.key            the certificate authority
server.crt server.key    the gateway's certificate
coordinator.pem          Ed25519: signs invitations, admissions and rosters
roster.signed.toml       the newest signed roster
revoked.crl.pem          the authority's revocation list
secrets/NAME             one-time secret of an open invitation
nodes/NAME.pub           node keys of admitted hospitals, as the server wants them

Keys are 0600, the folder 0700. What a person does with it stands in `admitting` and `keeping`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_liver.consortium import authority as ca
from fl_liver.consortium.address import checked_host, host_of
from fl_liver.consortium.paper import public_hex, read_paper, verified
from fl_liver.consortium.register import Register
from fl_liver.consortium.safe_file import PUBLIC, SECRET, locked, private_folder, read_private, write_whole
from fl_liver.consortium.signed_roster import SignedRoster
from fl_liver.consortium.words import fingerprint
from fl_liver.errors import ConfigError
from fl_liver.identity import ensure_identity, load_identity
from fl_liver.toml_file import parse, read_toml

REGISTER = "consortium.toml"
ROSTER = "roster.signed.toml"
_KIND = "# The coordinator's register, written by `fl-liver coordinator`; do not edit.\n"


@dataclass(slots=True)
class Consortium:
    """An opened folder. `register` is replaced as a whole and written by `save`."""

    folder: Path
    register: Register

    @property
    def authority_certificate(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def server_certificate(self) -> Path:
        return self.folder / "server.crt"

    @property
    def server_key(self) -> Path:
        return self.folder / "server.key"

    @property
    def revocation_list(self) -> Path:
        return self.folder / "revoked.crl.pem"

    @property
    def roster_file(self) -> Path:
        return self.folder / ROSTER

    @property
    def words(self) -> str:
        """Of the coordinator's signing key: what hospitals compare before they trust an invitation."""
        return fingerprint(bytes.fromhex(public_hex(self.signing_key())))

    def node_keys(self) -> dict[str, str]:
        """Admitted hospital → its node key in OpenSSH format: whom the server registers; everybody else it removes."""
        return {site: it.node_key for site, it in self.register.approved().items() if it.node_key}

    def revoked_serials(self) -> frozenset[int]:
        """Certificates that the gateway refuses although they are signed and not expired."""
        return frozenset(int(entry.serial, 16) for entry in self.register.revoked)

    def signing_key(self) -> Ed25519PrivateKey:
        return load_identity(self.folder / "coordinator.pem")

    def authority(self) -> ca.Authority:
        key = ca.load_key(read_private(self.folder / "ca.key"), str(self.folder / "ca.key"))
        return ca.Authority(ca.read_certificate(self.authority_certificate), key)

    def secret_path(self, site: str) -> Path:
        return self.folder / "secrets" / site

    def outgoing(self, site: str, what: str) -> Path:
        """NAME.invitation.toml or NAME.admission.toml."""
        return self.folder / f"{site}.{what}.toml"

    def save(self, register: Register, now: datetime) -> None:
        """Write the register, then what follows from it; whatever a crash leaves undone, the next `save` does."""
        body = register.model_dump(mode="json", exclude_none=True)
        write_whole(self.folder / REGISTER, _KIND + tomli_w.dumps(body, multiline_strings=True))
        self.register = register
        entries = [(int(entry.serial, 16), entry.when) for entry in register.revoked]
        write_whole(self.revocation_list, ca.revocation_list(self.authority(), entries, now), PUBLIC)
        self._write_node_keys()

    def roster(self, now: datetime) -> SignedRoster:
        """The newest signed roster; a new version is signed where the register says something else."""
        identity = {site: it.identity for site, it in self.register.approved().items() if it.identity}
        steps = tuple(step for step in self.register.rotation if step.site in identity)
        kept = self._signed()
        if kept is not None and (kept.identity, kept.rotation) == (identity, steps):
            return kept
        version = max(self.register.roster_version, kept.version if kept else 0) + 1
        # The number is taken before the roster is signed: after a crash a number is left out, never given twice.
        self.save(self.register.model_copy(update={"roster_version": version}), now)
        made = now.replace(microsecond=0)
        roster = SignedRoster(
            consortium=self.register.name, version=version, made=made, identity=identity, rotation=steps
        ).signed(self.signing_key())
        roster.write(self.roster_file)
        return roster

    def write_server_certificate(self, now: datetime) -> x509.Certificate:
        """A new certificate for the key that the server has."""
        key = ca.load_key(read_private(self.server_key), str(self.server_key))
        names = [host_of(self.register.address), *self.register.also]
        certificate = ca.server_certificate(self.authority(), key.public_key(), names, now)
        write_whole(self.server_certificate, ca.pem(certificate), PUBLIC)
        return certificate

    def _signed(self) -> SignedRoster | None:
        if not self.roster_file.exists():
            return None
        roster = read_paper(self.roster_file, SignedRoster)
        if not verified(public_hex(self.signing_key()), roster.signature, roster.statement()):
            raise ConfigError(
                f"{self.roster_file}: was changed by hand, its signature is wrong; remove it and run"
                " `fl-liver coordinator roster`"
            )
        return roster

    def _write_node_keys(self) -> None:
        folder = self.folder / "nodes"
        private_folder(folder)
        wanted = {f"{site}.pub": key + "\n" for site, key in self.node_keys().items()}
        for path in folder.glob("*.pub"):
            if path.name not in wanted:
                path.unlink()
        for name, content in wanted.items():
            write_whole(folder / name, content, PUBLIC)


def make_consortium(folder: Path, name: str, address: str, also: tuple[str, ...], now: datetime) -> Consortium:
    """Make the folder with all its keys.

    Raises:
        ConfigError: there is one already, or the name or address is of no use.
    """
    if (folder / REGISTER).exists():
        raise ConfigError(f"{folder / REGISTER}: exists already; a consortium is made once, name another folder")
    try:
        hosts = tuple(checked_host(host) for host in also)
    except ValueError as error:
        raise ConfigError(f"--also: {error}") from None
    raw: dict[str, object] = {
        "name": name,
        "address": address,
        "also": hosts,
        "made": now.replace(microsecond=0).isoformat(),
    }
    register = parse(raw, Register, "coordinator init")
    private_folder(folder)
    with locked(folder):
        private_folder(folder / "secrets")
        authority, server = ca.make_authority(name, now), ca.make_key()
        write_whole(folder / "ca.key", ca.key_pem(authority.key), SECRET)
        write_whole(folder / "ca.crt", ca.pem(authority.certificate), PUBLIC)
        write_whole(folder / "server.key", ca.key_pem(server), SECRET)
        ensure_identity(folder / "coordinator.pem")
        consortium = Consortium(folder, register)
        consortium.write_server_certificate(now)
        consortium.save(register, now)  # last: a folder without a register is no consortium yet, and init goes on
        return consortium


def open_consortium(folder: Path) -> Consortium:
    """Read the folder; nothing is changed.

    Raises:
        ConfigError: no consortium there, or a hospital's folder.
    """
    path = folder / REGISTER
    if not path.exists():
        raise ConfigError(
            f"{folder}: no consortium here; go into its folder, name it with --folder, or make one with"
            " `fl-liver coordinator init`"
        )
    if (folder / "site.toml").exists():
        raise ConfigError(f"{folder}: this is a hospital's folder; name the coordinator's with --folder")
    return Consortium(folder, read_toml(path, Register))


@contextmanager
def changing(folder: Path) -> Iterator[Consortium]:
    """Open it for a change; another command waits."""
    open_consortium(folder)  # so that no lock is left in a folder that is none
    with locked(folder):
        yield open_consortium(folder)
