"""Keeping a consortium in order: who is in and until when, new certificates, revocation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from fl_liver.consortium import authority as ca
from fl_liver.consortium.admitting import issue, known
from fl_liver.consortium.folder import Consortium
from fl_liver.consortium.register import Revocation
from fl_liver.consortium.words import fingerprint
from fl_liver.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Row:
    """One hospital as the coordinator sees it; words and days are None before it is approved."""

    site: str
    status: str
    words: str | None
    certificate_days: int | None

    @property
    def ends_soon(self) -> bool:
        return self.status == "approved" and self.certificate_days is not None and self.certificate_days < ca.WARN_DAYS


def rows(consortium: Consortium, now: datetime) -> list[Row]:
    """Every hospital that was ever invited, by name."""
    found: list[Row] = []
    for site, it in sorted(consortium.register.hospitals.items()):
        words = fingerprint(bytes.fromhex(it.identity)) if it.identity else None
        days = ca.days_left(it.expires, now) if it.expires else None
        found.append(Row(site, it.status, words, days))
    return found


def certificate_days(consortium: Consortium, now: datetime) -> dict[str, int]:
    """Days left of the authority's and the server's certificate."""
    paths = {"authority": consortium.authority_certificate, "server": consortium.server_certificate}
    return {name: ca.days_left(ca.read_certificate(path).not_valid_after_utc, now) for name, path in paths.items()}


def revoke(consortium: Consortium, site: str, reason: str, now: datetime) -> int:
    """Put a hospital out: off the roster, its certificates on the revocation list, its identity spent, its secret gone.

    Returns:
        How many hospitals are still approved.
    Raises:
        ConfigError: never invited, revoked already, or no reason given.
    """
    hospital, register = known(consortium, site), consortium.register
    if hospital.status == "revoked":
        raise ConfigError(f"{site} is revoked already; `fl-liver coordinator enrol {site}` would invite it again")
    if not reason.strip() or not reason.isprintable():
        raise ConfigError(f"{site}: a reason in one line is wanted, as in --reason 'key lost'; it stays in this folder")
    when = now.replace(microsecond=0)
    serials = [*hospital.earlier_serials, *([hospital.serial] if hospital.serial else [])]
    entries = tuple(Revocation(serial=serial, site=site, when=when, reason=reason.strip()) for serial in serials)
    update = {
        "revoked": (*register.revoked, *entries),
        "spent": (*register.spent, *([hospital.identity] if hospital.identity else [])),
        "rotation": tuple(step for step in register.rotation if step.site != site),
    }
    changed = register.with_hospital(site, hospital.model_copy(update={"status": "revoked"}))
    consortium.save(changed.model_copy(update=update), now)
    consortium.secret_path(site).unlink(missing_ok=True)
    if hospital.identity:
        consortium.roster(now)
    return len(consortium.register.approved())


def renew(consortium: Consortium, site: str, now: datetime) -> tuple[Path, int]:
    """New certificate for the same key; the old one is good until it ends. Returns NAME.admission.toml and its days."""
    hospital = known(consortium, site)
    if hospital.status != "approved":
        raise ConfigError(
            f"{site} is {hospital.status}, wanted approved; only an approved hospital's certificate is renewed"
        )
    path = issue(consortium, site, hospital, now)
    return path, _left(consortium.register.hospitals[site].expires, now)


def renew_server(consortium: Consortium, now: datetime) -> tuple[x509.Certificate, int]:
    """A new certificate for the gateway; returns it and its days left."""
    certificate = consortium.write_server_certificate(now)
    return certificate, _left(certificate.not_valid_after_utc, now)


def _left(expires: datetime | None, now: datetime) -> int:
    return ca.days_left(expires, now) if expires else 0
