"""What a person here approved: a study, with this version of fl_liver, these identities and this frozen cohort.

`work/approved/SHA.toml` is the study, `SHA.json` beside it what the approval is bound to. Another version, identity of
one of the study's hospitals, or cohort is another approval: the study is refused until somebody looks again.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from fl_liver import __version__
from fl_liver.client.site import SiteConfig
from fl_liver.errors import FLLiverError, NotApprovedError
from fl_liver.identity import read_roster
from fl_liver.study import Study
from fl_liver.whole_file import write_whole

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Approval:
    """`SHA.json`. cohort: name of the frozen cohort, "" for whoever is in the folder."""

    study: str
    version: str
    roster: str
    cohort: str
    cohort_digest: str
    who: str
    when: str


def write_approval(site: SiteConfig, study: Study, cohort: str = "", who: str = "") -> Approval:
    """Approve. An operator's command asks `require_confirmed` and for a frozen cohort before it calls this.

    Raises:
        ConfigError: no such frozen cohort, or the study does not name this site.
    """
    study.role_of(site.site)
    approval = Approval(
        study=study.sha256,
        version=__version__,
        roster=roster_digest(site, study),
        cohort=cohort,
        cohort_digest=_cohort_digest(site, cohort),
        who=who or getpass.getuser(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    path = site.approval_path(study.sha256)
    for folder in (site.work, path.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, study.to_toml())
    write_whole(path.with_suffix(".json"), json.dumps(asdict(approval), indent=1) + "\n")
    return approval


def withdraw(site: SiteConfig, study_sha256: str) -> bool:
    """Take an approval back; nothing is answered on the study from now on. False where there was none."""
    path = site.approval_path(study_sha256)
    there = path.is_file()
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)
    return there


def require_approval(site: SiteConfig, study_sha256: str) -> Approval:
    """The approval, if it still holds; read anew for every message, since a person may withdraw it.

    Raises:
        NotApprovedError: there is none, or version, roster or cohort are no longer what was approved; says which.
        ConfigError, ProtocolError: the approved study cannot be read, or was changed (`SiteConfig.approved`).
    """
    short = study_sha256[:12]
    path = site.approval_path(study_sha256)
    if not _HASH.fullmatch(study_sha256) or not path.is_file():
        raise NotApprovedError(f"study {short} was not approved here; see `fl-liver site requests`")
    approval = _read(path.with_suffix(".json"), short)
    if approval.study != study_sha256:
        raise NotApprovedError(f"study {short}: its approval is of study {approval.study[:12]}; approve it again")
    if approval.version != __version__:
        raise NotApprovedError(
            f"study {short} was approved for fl_liver {approval.version}, this is {__version__}; look at it and approve"
            " it again"
        )
    if approval.roster != roster_digest(site, site.approved(study_sha256)):
        raise NotApprovedError(
            f"study {short}: the identities in {site.roster.name} are no longer those it was approved with; compare"
            " fingerprints, then approve it again"
        )
    return approval


def approvals(site: SiteConfig) -> dict[str, str]:
    """Study hash → why its approval does not hold; empty where it does."""
    found: dict[str, str] = {}
    for path in sorted((site.work / "approved").glob("*.toml")):
        try:
            require_approval(site, path.stem)
            found[path.stem] = ""
        except FLLiverError as error:
            found[path.stem] = str(error)
    return found


def read_approval(site: SiteConfig, study_sha256: str) -> Approval:
    """Raises NotApprovedError where there is none."""
    return _read(site.approval_path(study_sha256).with_suffix(".json"), study_sha256[:12])


def roster_digest(site: SiteConfig, study: Study) -> str:
    """SHA-256 of the identities of the study's hospitals; "" where this hospital has no roster."""
    if not site.roster.is_file():
        return ""
    pinned = read_roster(site.roster).identity
    wanted = {name: pinned.get(name, "") for name in sorted(study.every_site)}
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def _cohort_digest(site: SiteConfig, cohort: str) -> str:
    if not cohort:
        return ""
    from fl_liver.client.frozen import read_frozen

    return read_frozen(site, cohort).digest


def _read(path: Path, short: str) -> Approval:
    try:
        return Approval(**{str(key): str(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise NotApprovedError(f"study {short}: {path.name} is missing or cannot be read; approve it again") from error
