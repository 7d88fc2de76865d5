"""Whom a hospital adds up with: those on the coordinator's roster *and* confirmed by a person here, nobody else.

The coordinator signs the roster and runs the server; people who know each other's voices are what it cannot forge. A
changed key is unconfirmed again and leaves `roster.toml` at once; studies approved with it stop, since an approval
holds the roster's digest.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import AwareDatetime, Field

from fl_liver.consortium.hospital_folder import HospitalFolder
from fl_liver.consortium.paper import Hex32, read_paper
from fl_liver.consortium.safe_file import PUBLIC, SECRET, write_whole
from fl_liver.consortium.signed_roster import SignedRoster, check_roster
from fl_liver.consortium.words import check_words, fingerprint
from fl_liver.errors import ConfigError, PrivacyError, ProtocolError
from fl_liver.identity import read_roster
from fl_liver.study import SiteName
from fl_liver.toml_file import Section, parse

State = Literal["this hospital", "confirmed", "not confirmed", "CHANGED KEY"]


class Confirmation(Section):
    """One identity whose words were heard on the telephone."""

    identity: Hex32
    when: AwareDatetime
    by: str


class Confirmations(Section):
    """roster-confirmed.json."""

    confirmed: dict[SiteName, Confirmation] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One hospital of the roster, as this hospital sees it."""

    site: str
    state: State
    words: str
    confirmed: Confirmation | None = None
    """Of an earlier key, where the state is CHANGED KEY."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What this hospital was told and what it confirmed, read together; signatures are checked."""

    site: str
    own: str
    signed: SignedRoster
    confirmed: dict[str, Confirmation] = field(default_factory=dict)

    def pinned(self) -> dict[str, str]:
        """Hospital → identity: what roster.toml holds."""
        known = {site: it.identity for site, it in self.confirmed.items()}
        return {self.site: self.own, **{s: key for s, key in self.signed.identity.items() if known.get(s) == key}}

    def others(self) -> set[str]:
        """Confirmed hospitals but this one."""
        return set(self.pinned()) - {self.site}

    def rows(self) -> list[Row]:
        """By name, this hospital first."""
        found: list[Row] = []
        for site, key in sorted(self.signed.identity.items(), key=lambda item: (item[0] != self.site, item[0])):
            before = self.confirmed.get(site)
            state: State = "not confirmed"
            if site == self.site:
                state = "this hospital"
            elif before is not None:
                state = "confirmed" if before.identity == key else "CHANGED KEY"
            found.append(Row(site, state, fingerprint(bytes.fromhex(key)), before))
        return found


def read_trust(hospital: HospitalFolder) -> Trust:
    """Read roster.signed.toml and roster-confirmed.json.

    Raises:
        ConfigError: not admitted yet, or a file that cannot be read. ProtocolError: the roster was changed here.
    """
    membership = hospital.membership()
    if not hospital.signed_roster.exists():
        raise ConfigError(
            f"{hospital.path}: not admitted yet; send {membership.site}.reply.toml to the coordinator, then"
            " `fl-liver site admit` what comes back"
        )
    signed = read_paper(hospital.signed_roster, SignedRoster)
    check_roster(signed, membership.coordinator, membership.name)
    return Trust(membership.site, hospital.own(), signed, read_confirmations(hospital))


def read_confirmations(hospital: HospitalFolder) -> dict[str, Confirmation]:
    """Raises ConfigError where the file is damaged."""
    if not hospital.confirmed.exists():
        return {}
    try:
        raw = json.loads(hospital.confirmed.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{hospital.confirmed}: cannot be read; remove it and confirm the hospitals again") from error
    return parse(raw, Confirmations, str(hospital.confirmed)).confirmed


def confirm(hospital: HospitalFolder, site: str, heard: str, by: str, now: datetime) -> Trust:
    """Write down that the words of `site` were heard; its identity goes into roster.toml.

    Raises:
        ConfigError: not on the roster, this hospital itself, or mistyped words. ProtocolError: another key's words.
    """
    trust = read_trust(hospital)
    if site == trust.site:
        raise ConfigError(f"{site} is this hospital itself; others confirm it, you read its words to them")
    key = trust.signed.identity.get(site)
    if key is None:
        raise ConfigError(f"'{site:.20}' is not on the roster ({', '.join(sorted(trust.signed.identity))})")
    check_words(heard, bytes.fromhex(key), site)
    entry = Confirmation(identity=key, when=now.replace(microsecond=0), by=by)
    confirmed = Confirmations(confirmed={**trust.confirmed, site: entry})
    write_whole(hospital.confirmed, confirmed.model_dump_json(indent=1) + "\n", SECRET)
    trust = read_trust(hospital)
    write_pinned(hospital, trust)
    return trust


def write_pinned(hospital: HospitalFolder, trust: Trust) -> list[str]:
    """Make roster.toml what was confirmed; returns the hospitals whose entry was another one, or nothing."""
    before, wanted = _pinned_file(hospital), trust.pinned()
    different = sorted(site for site in before.keys() | wanted.keys() if before.get(site) != wanted.get(site))
    if different or not hospital.roster.exists():
        head = "# On the signed roster and confirmed here by telephone; written by `fl-liver site confirm`.\n"
        write_whole(hospital.roster, head + tomli_w.dumps({"identity": dict(sorted(wanted.items()))}), PUBLIC)
    return different


def require_confirmed(site_folder: Path, min_sites: int, among: Collection[str] | None = None) -> tuple[str, ...]:
    """What must hold before a study is approved here.

    Args:
        min_sites: how many hospitals at least a sum is over, this one included.
        among: the study's hospitals; without it every hospital on the roster counts.
    Returns:
        The other hospitals that were confirmed, sorted.
    Raises:
        PrivacyError: fewer than min_sites − 1 others; says who is missing.
        ConfigError: not admitted yet, or roster.toml is not what was confirmed.
        ProtocolError: the roster lists another identity for this hospital.
    """
    hospital = HospitalFolder(site_folder)
    trust = read_trust(hospital)
    if trust.signed.identity.get(trust.site) != trust.own:
        raise ProtocolError(
            f"{trust.site}: the roster lists another identity for this hospital than identity.pem holds; install the"
            " newest roster, and telephone the coordinator if it says the same"
        )
    if _pinned_file(hospital) != trust.pinned():
        raise ConfigError(
            f"{hospital.roster}: is not what was confirmed here; run `fl-liver site roster`, which writes it anew and"
            " says what was different"
        )
    wanted = set(trust.signed.identity if among is None else among) - {trust.site}
    confirmed = wanted & trust.others()
    if len(confirmed) < min_sites - 1:
        missing = sorted(wanted - confirmed)
        raise PrivacyError(
            f"{trust.site}: {len(confirmed)} other hospitals confirmed by telephone, wanted {min_sites - 1} at least;"
            f" missing: {', '.join(missing) or 'nobody, the roster is too short'}; telephone, then"
            f" `fl-liver site confirm {missing[0] if missing else 'NAME'}`"
        )
    return tuple(sorted(confirmed))


def _pinned_file(hospital: HospitalFolder) -> dict[str, str]:
    return dict(read_roster(hospital.roster).identity) if hospital.roster.exists() else {}
