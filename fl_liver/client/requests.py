"""Studies that the server asked about and nobody here has decided on: `work/requests/SHA.toml` and `SHA.json`.

A request is text until a person approves it. Its hash must be the one that it was asked under, it must name this
hospital, and there is room for so many: a server cannot fill the disk.
"""

from __future__ import annotations

import json
import logging
import re
import time
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, FLLiverError
from fl_liver.messages import Prepare
from fl_liver.study import Study
from fl_liver.toml_file import parse, read_toml
from fl_liver.whole_file import write_whole

log = logging.getLogger("fl_liver.site")
FOLDER = "requests"
LONGEST_BYTES = 1 << 18
MOST = 50
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Asked:
    """When a study was first and last asked about, seconds since 1970; denied: a person here said no."""

    first: float
    last: float
    times: int
    denied: bool = False


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """A study to decide on."""

    study: Study
    asked: Asked


def note_request(site: SiteConfig, question: Prepare) -> None:
    """Keep the text of a study that is not approved here, if it is one. Never an error: it is refused either way."""
    if not question.toml:
        return
    try:
        _note(site, question)
    except (FLLiverError, OSError, tomllib.TOMLDecodeError) as error:
        log.warning("site %s: a study that was asked about is not kept: %s", site.site, error)


def requests(site: SiteConfig) -> list[StudyRequest]:
    """Everything that was asked and is not approved, the newest first; denied ones too."""
    asked = [path.stem for path in (site.work / FOLDER).glob("*.toml")]
    found = [read_request(site, sha256) for sha256 in asked if not site.approval_path(sha256).is_file()]
    return sorted(found, key=lambda one: -one.asked.last)


def read_request(site: SiteConfig, start: str) -> StudyRequest:
    """The one request whose hash begins with `start` (8 digits or more). Raises ConfigError where there is not one."""
    folder = site.work / FOLDER
    matches = sorted(path for path in folder.glob("*.toml") if path.stem.startswith(start) and len(start) >= 8)
    if len(matches) != 1:
        raise ConfigError(
            f"'{start[:64]}' is the beginning of {len(matches)} requests, wanted one (8 digits or more);"
            " see `fl-liver site requests`"
        )
    study = read_toml(matches[0], Study)
    if study.sha256 != matches[0].stem:
        raise ConfigError(f"{matches[0]}: hashes to {study.sha256[:12]}; it was changed here; remove it")
    return StudyRequest(study, _asked(matches[0].with_suffix(".json")))


def deny(site: SiteConfig, start: str) -> StudyRequest:
    """Say no: it is no longer shown as open. The server hears NOT_APPROVED as before."""
    request = read_request(site, start)
    denied = replace(request, asked=replace(request.asked, denied=True))
    write_whole(_path(site, request.study.sha256).with_suffix(".json"), json.dumps(asdict(denied.asked)))
    return denied


def _note(site: SiteConfig, question: Prepare) -> None:
    sha256 = question.study_sha256
    if not _HASH.fullmatch(sha256):
        raise ConfigError("its hash is not 64 hex digits")
    if site.approval_path(sha256).is_file():
        return
    path = _path(site, sha256)
    now = time.time()
    if path.is_file():
        before = _asked(path.with_suffix(".json"))
        write_whole(path.with_suffix(".json"), json.dumps(asdict(replace(before, last=now, times=before.times + 1))))
        return
    if len(question.toml.encode()) > LONGEST_BYTES:
        raise ConfigError(f"its text has more than {LONGEST_BYTES} bytes")
    study = parse(tomllib.loads(question.toml), Study, f"study {sha256[:12]}")
    if study.sha256 != sha256:
        raise ConfigError(f"its text hashes to {study.sha256[:12]}, it was asked as {sha256[:12]}")
    study.role_of(site.site)
    for folder in (site.work, path.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if len(list(path.parent.glob("*.toml"))) >= MOST:
        raise ConfigError(f"{MOST} requests are kept already; approve, deny and remove some of {path.parent}")
    write_whole(path.with_suffix(".json"), json.dumps(asdict(Asked(now, now, 1))))
    write_whole(path, study.to_toml())
    log.info("site %s: study %s (%s) asks for approval: `fl-liver site requests`", site.site, sha256[:12], study.name)


def _asked(path: Path) -> Asked:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Asked(float(raw["first"]), float(raw["last"]), int(raw["times"]), bool(raw["denied"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be read; remove it and the .toml beside it") from error


def _path(site: SiteConfig, sha256: str) -> Path:
    return site.work / FOLDER / f"{sha256}.toml"
