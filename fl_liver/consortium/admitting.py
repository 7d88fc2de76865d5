"""Letting hospitals in: invite, look at what came back, admit after people compared words."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fl_liver.consortium import authority as ca
from fl_liver.consortium.admission import Admission
from fl_liver.consortium.folder import Consortium
from fl_liver.consortium.invitation import SECRET_BYTES, Invitation
from fl_liver.consortium.paper import public_hex, read_paper, read_raw
from fl_liver.consortium.register import Hospital, Register
from fl_liver.consortium.reply import Reply, check_reply, fingerprints
from fl_liver.consortium.rotation import Rotation, check_rotation
from fl_liver.consortium.safe_file import SECRET, private_folder, read_private, write_whole
from fl_liver.consortium.words import fingerprint
from fl_liver.errors import ConfigError, ProtocolError
from fl_liver.toml_file import parse


@dataclass(frozen=True, slots=True)
class Application:
    """What a hospital asks for, its proofs already checked; people have still to compare the words."""

    paper: Reply | Rotation
    words: dict[str, str]
    """What they belong to → eight words; the identity first."""

    @property
    def identity(self) -> str:
        return self.paper.identity if isinstance(self.paper, Reply) else self.paper.new


def invite(consortium: Consortium, site: str, days: int, now: datetime) -> tuple[Path, bool]:
    """Write NAME.invitation.toml (mode 0600) with a new one-time secret.

    Returns:
        Its path, and whether an open invitation was replaced: that one is worth nothing now.
    Raises:
        ConfigError: an impossible name, one that differs in capitals only, or a hospital that is in already.
    """
    register, before = consortium.register, consortium.register.hospitals.get(site)
    alike = [other for other in register.hospitals if other != site and other.lower() == site.lower()]
    if alike:
        raise ConfigError(f"'{site}' and '{alike[0]}' would be taken for each other; choose another name")
    if before is not None and before.status == "approved":
        raise ConfigError(
            f"{site} is approved already; `fl-liver coordinator renew {site}` for a new certificate, `revoke {site}` if"
            " it lost its keys"
        )
    now = now.replace(microsecond=0)
    ends = now + timedelta(days=days)
    raw: dict[str, object] = {"status": "invited", "invited": now.isoformat(), "invitation_ends": ends.isoformat()}
    hospital = parse(raw, Hospital, "coordinator enrol")
    changed = register.with_hospital(site, hospital)
    parse(changed.model_dump(mode="json", exclude_none=True), Register, "coordinator enrol")  # refuses impossible names
    secret = secrets.token_hex(SECRET_BYTES)
    key = consortium.signing_key()
    invitation = Invitation(
        consortium=register.name,
        site=site,
        address=register.address,
        expires=ends,
        coordinator=public_hex(key),
        secret=secret,
        authority=consortium.authority_certificate.read_text(encoding="ascii"),
    ).signed(key)
    private_folder(consortium.secret_path(site).parent)
    write_whole(consortium.secret_path(site), secret, SECRET)
    consortium.save(changed, now)
    path = consortium.outgoing(site, "invitation")
    invitation.write(path, SECRET)
    return path, before is not None and before.status == "invited"


def examine(consortium: Consortium, site: str, path: Path, now: datetime) -> Application:
    """Read a reply or a rotation and check every proof in it; nothing is written.

    Raises:
        ConfigError: not such a file, or a hospital that was never invited.
        ProtocolError: a proof that fails, a secret that was used, or a key that somebody else has.
    """
    hospital = known(consortium, site)
    if read_raw(path).get("kind") == Rotation.KIND:
        rotation = read_paper(path, Rotation)
        _check_applies(consortium, site, hospital, rotation)
        _refuse_known_keys(consortium, site, rotation.new)
        return Application(rotation, {"new identity": fingerprint(bytes.fromhex(rotation.new))})
    reply = read_paper(path, Reply)
    if hospital.status != "invited":
        raise ProtocolError(
            f"{site}: its one-time secret was used already, the hospital is {hospital.status}; a reply counts once"
            + ("" if hospital.status == "approved" else f", `fl-liver coordinator enrol {site}` invites it again")
        )
    if now >= hospital.invitation_ends:
        raise ProtocolError(
            f"{site}: its invitation ended on {hospital.invitation_ends:%Y-%m-%d}; `fl-liver coordinator enrol {site}`"
            " invites it again"
        )
    check_reply(reply, consortium.register.name, site, read_private(consortium.secret_path(site)).decode())
    _refuse_known_keys(consortium, site, reply.identity, reply.node_key)
    return Application(reply, fingerprints(reply))


def admit(consortium: Consortium, site: str, application: Application, now: datetime) -> Path:
    """Let the hospital in (or take its new identity), sign the roster, write what is sent to it; returns that path."""
    paper, register = application.paper, consortium.register
    hospital = known(consortium, site)
    if isinstance(paper, Rotation):
        changed = register.with_hospital(site, hospital.model_copy(update={"identity": paper.new}))
        spent = (*register.spent, paper.old)
        consortium.save(changed.model_copy(update={"rotation": (*register.rotation, paper), "spent": spent}), now)
        consortium.roster(now)
        return consortium.roster_file
    keys = {"identity": paper.identity, "node_key": paper.node_key, "request": paper.request}
    hospital = hospital.model_copy(update={**keys, "status": "approved", "approved": now.replace(microsecond=0)})
    path = issue(consortium, site, hospital, now)
    consortium.secret_path(site).unlink(missing_ok=True)
    return path


def issue(consortium: Consortium, site: str, hospital: Hospital, now: datetime) -> Path:
    """A new certificate from the request that is kept; writes the register, the roster and NAME.admission.toml.

    The register is written first, so that no certificate is out whose serial number nobody knows.
    """
    certificate = ca.client_certificate(consortium.authority(), hospital.request or "", site, now)
    earlier = (*hospital.earlier_serials, hospital.serial) if hospital.serial else hospital.earlier_serials
    dated = {"serial": f"{certificate.serial_number:x}", "expires": certificate.not_valid_after_utc}
    hospital = hospital.model_copy(update={**dated, "earlier_serials": earlier})
    consortium.save(consortium.register.with_hospital(site, hospital), now)
    admission = Admission(
        consortium=consortium.register.name, site=site, certificate=ca.pem(certificate), roster=consortium.roster(now)
    ).signed(consortium.signing_key())
    path = consortium.outgoing(site, "admission")
    admission.write(path)
    return path


def known(consortium: Consortium, site: str) -> Hospital:
    """Raises ConfigError for a hospital that was never invited."""
    hospital = consortium.register.hospitals.get(site)
    if hospital is None:
        names = ", ".join(sorted(consortium.register.hospitals)) or "nobody"
        raise ConfigError(
            f"'{site:.20}' is not in this consortium (invited so far: {names}); `fl-liver coordinator enrol` invites it"
        )
    return hospital


def _check_applies(consortium: Consortium, site: str, hospital: Hospital, rotation: Rotation) -> None:
    if (rotation.consortium, rotation.site) != (consortium.register.name, site):
        raise ProtocolError(f"the rotation is of {rotation.site} in '{rotation.consortium}', wanted {site}")
    check_rotation(rotation)
    if hospital.status != "approved" or hospital.identity != rotation.old:
        raise ProtocolError(
            f"{site}: the rotation starts from another identity than the one on the roster; it was taken already, or"
            " belongs to another time"
        )


def _refuse_known_keys(consortium: Consortium, site: str, identity: str, node_key: str = "") -> None:
    register = consortium.register
    if identity in register.spent:
        raise ProtocolError(
            f"{site}: this identity was revoked or replaced before; run `fl-liver site init` in a new folder"
        )
    for other, hospital in register.hospitals.items():
        same_node = bool(node_key) and hospital.node_key == node_key
        if (other != site and hospital.identity == identity) or (same_node and other != site):
            raise ProtocolError(
                f"{site}: {other} has the same key; each hospital makes its own with `fl-liver site init`"
            )
