"""What a daemon needs, looked at one by one: ok, warn or fail, what was found, and what to do about it.

Nothing is changed and no patient is named. Each check stands alone, so that the first failure hides no second.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from fl_liver import __version__
from fl_liver.client.cohort.pacs.config import PacsConfig
from fl_liver.client.connection import Connection, read_connection
from fl_liver.client.doctor_network import network
from fl_liver.client.finding import Found
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.errors import ConfigError, DataError, FLLiverError

_MIN_FREE = 10 << 30
_WARN_DAYS = 30
_PACKAGES = ("flwr", "torch", "numpy", "pydicom", "cryptography", "grpcio")
_DECODERS = ("pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls")
_SECRETS = ("identity.pem", "node.key", "client.key")
Look = Callable[[], Iterator[Found]]


def examine(site_file: Path) -> list[Found]:
    """Every check that can be made; without a readable site.toml that is one."""
    try:
        site = load_site(site_file)
    except FLLiverError as error:
        return [Found("site.toml", "fail", str(error), "correct the file; sites/template.toml explains every key")]
    found = [Found("site.toml", "ok", f"{site.site}, {site.role}, release {site.release}")]
    connection: Connection | None = None
    try:
        connection = read_connection(site.connection)
        connection.tls()
        found.append(Found("connection", "ok", connection.address))
    except FLLiverError as error:
        found.append(Found("connection", "fail", str(error), "`fl-liver site init` makes what is missing"))
        connection = None
    looks: list[tuple[str, Look]] = [
        ("permissions", lambda: _permissions(site)),
        ("settings", lambda: _settings(site)),
        ("data", lambda: _data(site)),
        ("disk", lambda: _disk(site)),
        ("audit", lambda: _audit(site)),
        ("GPU", lambda: _gpu(site)),
        ("versions", _versions),
    ]
    if site.pacs is not None:
        pacs = site.pacs
        looks.append(("archive", lambda: _archive(pacs)))
    if connection is not None:
        reachable = connection
        looks += [("certificates", lambda: _certificates(reachable)), ("network", lambda: network(reachable))]
    for name, look in looks:
        try:
            found += look()
        except (FLLiverError, OSError) as error:
            found.append(Found(name, "fail", f"{type(error).__name__}: {error}", "see the line"))
    return found


def _permissions(site: SiteConfig) -> Iterator[Found]:
    loose = [
        path.name for name in _SECRETS if (path := site.connection / name).is_file() and path.stat().st_mode & 0o077
    ]
    if site.work.is_dir() and site.work.stat().st_mode & 0o077:
        loose.append(f"{site.work.name}/")
    if loose:
        yield Found(
            "permissions", "fail", f"others can read {', '.join(loose)}", "chmod 600 on files, chmod 700 on the folder"
        )
    else:
        yield Found("permissions", "ok", "keys and work folder are the owner's alone")
    probe = site.work / ".doctor"
    site.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    probe.touch()
    probe.unlink()


def _settings(site: SiteConfig) -> Iterator[Found]:
    if site.plain_sums:
        yield Found("sums", "warn", "plain_sums = true: the server may read vectors", "set plain_sums = false")
    if not site.audit:
        yield Found("audit", "fail", "audit = false: what leaves is not written down", "set audit = true")
    if not site.roster.is_file():
        yield Found("roster", "warn", f"no {site.roster.name}", "`fl-liver site confirm NAME` after telephoning")


def _data(site: SiteConfig) -> Iterator[Found]:
    from fl_liver.client.cohort.table.source import table_place

    try:
        table = table_place(site.data, site.sql)
    except (ConfigError, DataError) as error:
        yield Found("data", "fail", str(error), "correct 'data' in site.toml, or export the clinical table")
        return
    yield Found("data", "ok", f"{table.name} is there; `fl-liver site check` reads everything")


def _archive(pacs: PacsConfig) -> Iterator[Found]:
    """One search for one study; what is found is not looked at."""
    from fl_liver.client.cohort.pacs.archive import Archive

    with Archive(pacs) as archive:
        archive.search("/studies", [("limit", "1")], "the archive")
    yield Found("archive", "ok", "answers a search with this user")


def _disk(site: SiteConfig) -> Iterator[Found]:
    free = shutil.disk_usage(site.work).free
    state: Literal["ok", "warn"] = "ok" if free >= _MIN_FREE else "warn"
    remedy = "" if state == "ok" else "10 GiB are wanted for image cache and logs; a full disk stops every answer"
    yield Found("disk", state, f"{free / 2**30:.0f} GiB free at {site.work}", remedy)


def _audit(site: SiteConfig) -> Iterator[Found]:
    from fl_liver.client.audit import verify

    head = verify(site.work)
    yield Found("audit log", "ok", f"{head.entries} entries, whole")


def _gpu(site: SiteConfig) -> Iterator[Found]:
    if site.gpu == "none":
        yield Found("GPU", "ok", "none wanted: training runs on the processor")
        return
    tool = shutil.which("nvidia-smi")
    if tool is None:
        state: Literal["warn", "fail"] = "warn" if site.gpu == "auto" else "fail"
        yield Found("GPU", state, "no nvidia-smi here", 'install the driver, or set gpu = "none" to say so')
        return
    asked = "--query-gpu=uuid,name,driver_version,memory.total,memory.used"
    done = subprocess.run(
        [tool, asked, "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode:
        yield Found("GPU", "fail", "nvidia-smi fails: " + done.stdout.strip()[:120], "mend the driver")
        return
    there = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    chosen = [line for line in there if site.gpu == "auto" or line.startswith(site.gpu)]
    if chosen:
        yield Found("GPU", "ok", chosen[0])
    else:
        yield Found("GPU", "fail", f"{site.gpu} is not here ({len(there)} others)", "take a UUID of `nvidia-smi -L`")


def _versions() -> Iterator[Found]:
    yield Found("versions", "ok", f"fl_liver {__version__}, Python {sys.version.split()[0]}, " + _installed(_PACKAGES))
    lacking = [name for name in _DECODERS if not _has(name)]
    if lacking:
        yield Found(
            "decoders", "fail", f"missing: {', '.join(lacking)}", "install fl_liver again with its dependencies"
        )
    else:
        yield Found("decoders", "ok", _installed(_DECODERS))


def _certificates(connection: Connection) -> Iterator[Found]:
    for name, days in connection.days_left().items():
        if days <= 0:
            yield Found(name, "fail", "ended", "ask the coordinator for `coordinator renew`")
        elif days < _WARN_DAYS:
            yield Found(name, "warn", f"ends in {days:.0f} days", "ask the coordinator for `coordinator renew`")
        else:
            yield Found(name, "ok", f"valid for {days:.0f} days")
    if not connection.has_certificate:
        yield Found("client.crt", "warn", "not there", "store the admission that the coordinator sent back")


def _has(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _installed(packages: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {version(name)}" for name in packages if _has(name))
