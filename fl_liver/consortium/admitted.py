"""What the coordinator sends back reaches a hospital's folder: certificate, rosters, and its own rotation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from fl_liver.consortium import authority as ca
from fl_liver.consortium.admission import Admission
from fl_liver.consortium.hospital_folder import HospitalFolder, Membership
from fl_liver.consortium.paper import public_hex, read_paper
from fl_liver.consortium.pinned import read_trust, write_pinned
from fl_liver.consortium.rotation import Rotation, make_rotation
from fl_liver.consortium.safe_file import PUBLIC, write_whole
from fl_liver.consortium.signed_roster import Change, SignedRoster, changes, check_follows, check_roster
from fl_liver.errors import ConfigError, ProtocolError
from fl_liver.identity import ensure_identity, load_identity, read_roster
from fl_liver.whole_file import sync


@dataclass(frozen=True, slots=True)
class News:
    """A roster whose signature, version and own entry are right, and what it would change here."""

    roster: SignedRoster
    changes: list[Change]
    """Against the roster installed now; empty for the first."""
    stops: list[str]
    """Hospitals in roster.toml whose key this roster changes or takes away: studies with them stop here."""


def read_admission(hospital: HospitalFolder, path: Path, now: datetime) -> tuple[Admission, News]:
    """Check an admission from end to end; nothing is written.

    Raises:
        ConfigError: not an admission. ProtocolError: not this coordinator's, not for this hospital, changed, too old.
    """
    membership = hospital.membership()
    admission = read_paper(path, Admission)
    admission.check_signature(membership.coordinator, "the coordinator's key of the invitation")
    if (admission.consortium, admission.site) != (membership.name, membership.site):
        raise ProtocolError(
            f"{path}: admits {admission.site} to '{admission.consortium}', this is {membership.site} of"
            f" '{membership.name}'; give the other file"
        )
    authority = hospital.at("ca.crt").read_bytes()
    new = ca.check_client_certificate(admission.certificate, authority, hospital.client_key(), membership.site, now)
    installed = hospital.at("client.crt")
    if installed.exists():
        old = x509.load_pem_x509_certificate(installed.read_bytes())
        if new.not_valid_after_utc < old.not_valid_after_utc:
            raise ProtocolError(
                f"{path}: its certificate ends before the one installed here; give the newest admission"
            )
    return admission, look_at(hospital, admission.roster)


def install(hospital: HospitalFolder, news: News, certificate: str | None = None) -> None:
    """Install a roster that was looked at, and a certificate that was checked with it. Doing it twice changes nothing.

    Confirmations stay by identity, so a changed key is unconfirmed; roster.toml follows.
    """
    if certificate is not None:
        write_whole(hospital.at("client.crt"), certificate, PUBLIC)
    before = _installed(hospital, hospital.membership())
    if before is not None and before.version < news.roster.version:
        before.write(hospital.previous_roster)
    news.roster.write(hospital.signed_roster)
    if _awaits(hospital, news.roster):
        hospital.next_identity.replace(hospital.identity)  # the old private half is gone with this rename
        sync(hospital.path)
    write_pinned(hospital, read_trust(hospital))


def read_news(hospital: HospitalFolder, path: Path) -> News:
    """Check a roster file; nothing is written. Raises as `read_admission` does."""
    return look_at(hospital, read_paper(path, SignedRoster))


def look_at(hospital: HospitalFolder, roster: SignedRoster) -> News:
    """Check a signed roster against what is here.

    Raises:
        ProtocolError: not this coordinator's, older than the installed one, or with another identity for this hospital.
    """
    membership = hospital.membership()
    check_roster(roster, membership.coordinator, membership.name)
    before = _installed(hospital, membership)
    check_follows(before, roster)
    listed = roster.identity.get(membership.site)
    if listed is None:
        raise ProtocolError(
            f"{membership.site}: this hospital is not on roster {roster.version}: it was revoked; ask the coordinator"
        )
    if listed != hospital.own() and not _awaits(hospital, roster):
        raise ProtocolError(
            f"{membership.site}: roster {roster.version} lists another identity for this hospital than identity.pem"
            " holds: SOMEBODY POSES AS THIS HOSPITAL, or the coordinator made a mistake; nothing is installed, call the"
            " coordinator and the other hospitals"
        )
    pinned = dict(read_roster(hospital.roster).identity) if hospital.roster.exists() else {}
    stops = sorted(site for site, key in pinned.items() if roster.identity.get(site) != key)
    return News(roster, changes(before.identity, roster) if before else [], stops)


def latest_changes(hospital: HospitalFolder) -> list[Change]:
    """What the installed roster changed against the one before it."""
    membership = hospital.membership()
    now = _installed(hospital, membership)
    if now is None or not hospital.previous_roster.exists():
        return []
    return changes(read_paper(hospital.previous_roster, SignedRoster).identity, now)


def rotate(hospital: HospitalFolder) -> tuple[Path, Rotation]:
    """Make identity.next.pem and write NAME.rotation.toml; the old identity is used until a roster lists the new one.

    Run again before that, it writes the same new identity again.

    Raises:
        ConfigError: the hospital is not admitted.
    """
    membership = hospital.membership()
    listed = read_trust(hospital).signed.identity.get(membership.site)
    if listed != hospital.own():
        raise ConfigError(f"{membership.site}: identity.pem is not on the roster; install the newest roster first")
    ensure_identity(hospital.next_identity)
    old, new = load_identity(hospital.identity), load_identity(hospital.next_identity)
    rotation = make_rotation(membership.name, membership.site, old, new)
    path = hospital.at(f"{membership.site}.rotation.toml")
    rotation.write(path)
    return path, rotation


def _installed(hospital: HospitalFolder, membership: Membership) -> SignedRoster | None:
    if not hospital.signed_roster.exists():
        return None
    roster = read_paper(hospital.signed_roster, SignedRoster)
    check_roster(roster, membership.coordinator, membership.name)
    return roster


def _awaits(hospital: HospitalFolder, roster: SignedRoster) -> bool:
    """Whether the roster lists the identity that this hospital rotated to."""
    path = hospital.next_identity
    listed = roster.identity.get(hospital.membership().site)
    return path.exists() and listed == public_hex(load_identity(path))
