"""A hospital joins: keys are made, site.toml is written, the reply says the public halves. Run again, keys are kept."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from fl_liver.consortium import authority as ca
from fl_liver.consortium.hospital_folder import HospitalFolder, Membership
from fl_liver.consortium.invitation import Invitation
from fl_liver.consortium.reply import Reply, fingerprints, make_reply
from fl_liver.consortium.safe_file import PUBLIC, SECRET, locked, private_folder, read_private, write_whole
from fl_liver.errors import ConfigError
from fl_liver.identity import ensure_identity, load_identity


@dataclass(frozen=True, slots=True)
class Joined:
    """What `site init` did."""

    reply_file: Path
    reply: Reply
    words: dict[str, str]
    """What they belong to → eight words; the identity first."""
    keys_kept: bool


def join(invitation: Invitation, folder: Path, *, role: str = "train") -> Joined:
    """Make what is missing in `folder`; the private halves stay there.

    Raises:
        ConfigError: the folder belongs to another consortium or hospital, or others may enter it.
    """
    hospital = HospitalFolder(folder)
    said = {"name": invitation.consortium, "site": invitation.site, "coordinator": invitation.coordinator}
    membership = Membership.model_validate({**said, "address": invitation.address})
    private_folder(folder)
    with locked(folder):
        _refuse_another(hospital, membership)
        kept = hospital.identity.exists()
        _make_keys(hospital, invitation.site)
        write_whole(hospital.at("ca.crt"), invitation.authority, PUBLIC)
        if not hospital.at("site.toml").exists():
            write_whole(hospital.at("site.toml"), filled_template(invitation.site, role), SECRET)
        hospital.write_membership(membership)
        reply = make_reply(
            invitation.consortium,
            invitation.site,
            invitation.secret,
            identity=load_identity(hospital.identity),
            node_key=hospital.at("node.pub").read_text(encoding="ascii").strip(),
            request=hospital.at("client.csr").read_text(encoding="ascii"),
        )
        path = hospital.at(f"{invitation.site}.reply.toml")
        reply.write(path)
    return Joined(path, reply, fingerprints(reply), kept)


def filled_template(site: str, role: str = "train") -> str:
    """`sites/template.toml`, which ships in this package too, with the hospital's name and role in it.

    Raises:
        ConfigError: the template has no line for one of them (it was changed and this function was not).
    """
    text = resources.files("fl_liver.consortium").joinpath("site_template.toml").read_text(encoding="utf-8")
    for key, value in (("site", site), ("role", role)):
        text, found = re.subn(rf'(?m)^{key} = ".*"$', f'{key} = "{value}"', text)
        if found != 1 or tomllib.loads(text)[key] != value:
            raise ConfigError(f"site_template.toml has {found} lines '{key} = …', wanted one; install fl_liver again")
    return re.sub(r"(?m)^# Copy it into .*$", "# Change the values to yours. An unknown key is refused.", text)


def _refuse_another(hospital: HospitalFolder, membership: Membership) -> None:
    if not hospital.joined:
        if (hospital.path / "ca.key").exists():
            raise ConfigError(f"{hospital.path}: this is a coordinator's folder; name another for the hospital")
        return
    before = hospital.membership() if hospital.at("site.toml").exists() else None
    if (hospital.path / "ca.key").exists() or before is None:
        raise ConfigError(f"{hospital.path}: belongs to something else; name another folder for this hospital")
    if before.model_copy(update={"address": membership.address}) != membership:
        raise ConfigError(
            f"{hospital.path}: is {before.site} of '{before.name}' already, or its coordinator's key changed; name"
            " another folder, and telephone the coordinator if you expected this one"
        )


def _make_keys(hospital: HospitalFolder, site: str) -> None:
    ensure_identity(hospital.identity)
    node, client = hospital.at("node.key"), hospital.at("client.key")
    _ensure(node, lambda: ca.make_key().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    _ensure(client, lambda: ca.key_pem(ca.make_key()))
    try:
        public = load_ssh_private_key(read_private(node), None).public_key()
    except ValueError as error:
        raise ConfigError(f"{node}: not a key in OpenSSH format; restore it, or begin in a new folder") from error
    write_whole(hospital.at("node.pub"), public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n", PUBLIC)
    _ensure(hospital.at("client.csr"), lambda: ca.make_request(hospital.client_key(), site), PUBLIC)


def _ensure(path: Path, make: Callable[[], bytes], mode: int = SECRET) -> None:
    if not path.exists():
        write_whole(path, make(), mode)
