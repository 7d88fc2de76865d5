"""Frozen cohorts: which patients a study was approved for, and a hash of what each of them was then.

`work/frozen/NAME.json` is written once, mode 0400, and holds pseudonyms and hashes only. Patients who came since are
counted for the hospital's own eyes and are not read. A frozen patient who changed or is gone stops the study here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fl_liver.client.cohort.layout import (
    BOX_FILE,
    DICOM_FOLDER,
    MASK_FOLDER,
    hospital_folder,
)
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.cohort.series.mapping import NO_MAPPING
from fl_liver.client.cohort.table.exclude import EXCLUDE_FILE, read_excluded
from fl_liver.client.cohort.table.source import TABLE_FILES, read_clinical_table
from fl_liver.client.cohort.table.tables import read_table
from fl_liver.client.frozen_verdict import FOLDER, write_verdict
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError
from fl_liver.whole_file import write_whole

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SHOWN = 5
_TABLE = TABLE_FILES[0]
"""Where a snapshot keeps the clinical table, wherever it came from."""
Stamp = tuple[int, int, str]
"""Size, time of change in ns, SHA-256 of the content: a file with the same size and time is not read again."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A snapshot. `patients`: pseudonym → SHA-256; `columns` of the tables then: those that came later do not count."""

    name: str
    made: str
    columns: dict[str, list[str]]
    patients: dict[str, str]
    files: dict[str, Stamp]

    @property
    def digest(self) -> str:
        """What an approval is bound to."""
        return _sha256(json.dumps([self.name, self.made, self.columns, self.patients], sort_keys=True))


@dataclass(frozen=True, slots=True)
class Difference:
    """Pseudonyms of frozen patients who changed or are gone, and of those who came since."""

    changed: tuple[str, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Empty where the frozen patients are as they were."""
        parts = [
            f"{len(who)} {what} ({', '.join(who[:_SHOWN])}{', …' if len(who) > _SHOWN else ''})"
            for what, who in (("changed", self.changed), ("gone", self.gone))
            if who
        ]
        return " and ".join(parts)


def freeze(site: SiteConfig, name: str) -> Frozen:
    """Make the snapshot `name` of everybody in the clinical table.

    Raises:
        ConfigError: a name of other characters, or one that is taken: a snapshot is never changed.
        DataError: no table.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"cohort '{name:.40}': wanted lower-case letters, digits and hyphens, 40 at most")
    path = _path(site, name)
    if path.exists():
        raise ConfigError(f"cohort '{name}' is frozen already and is never changed; choose another name")
    tables = _tables(site)
    columns = {file: list(rows[0]) if rows else [] for file, rows in tables.items()}
    patients, files = _read(site, tables, columns, {})
    made = datetime.now(UTC).isoformat(timespec="seconds")
    frozen = Frozen(name, made, columns, patients, files)
    path.parent.mkdir(exist_ok=True, mode=0o700)  # `work` is there: the pseudonyms' key lies in it
    body = {"name": name, "made": made, "columns": columns, "patients": patients, "files": files}
    write_whole(path, json.dumps({**body, "digest": frozen.digest}), mode=0o400, durable=True)
    write_verdict(site.work, name, "")
    return frozen


def read_frozen(site: SiteConfig, name: str) -> Frozen:
    """Raises ConfigError where there is no such snapshot, or it was changed."""
    path = _path(site, name)
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {key: (int(one[0]), int(one[1]), str(one[2])) for key, one in raw["files"].items()}
        frozen = Frozen(str(raw["name"]), str(raw["made"]), raw["columns"], raw["patients"], files)
        told = str(raw["digest"])
    except FileNotFoundError as error:
        known = ", ".join(frozen_names(site)) or "none"
        raise ConfigError(
            f"cohort '{name}': not frozen here (frozen: {known}); `fl-liver site cohort freeze`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); freeze a cohort anew") from error
    if frozen.digest != told or frozen.name != name:
        raise ConfigError(f"{path}: was changed after it was frozen; freeze a cohort anew and approve with it")
    return frozen


def frozen_names(site: SiteConfig) -> list[str]:
    return sorted(path.stem for path in (site.work / FOLDER).glob("*.json") if not path.name.startswith("."))


def compare(site: SiteConfig, frozen: Frozen) -> Difference:
    """The folder as it is now against a snapshot; only files with another size or time are read."""
    now, _ = _read(site, _tables(site), frozen.columns, frozen.files)
    gone = tuple(sorted(set(frozen.patients) - set(now)))
    changed = tuple(sorted(one for one, digest in frozen.patients.items() if one in now and now[one] != digest))
    difference = Difference(changed, gone, tuple(sorted(set(now) - set(frozen.patients))))
    write_verdict(site.work, frozen.name, difference.reason)
    return difference


def require_unchanged(site: SiteConfig, frozen: Frozen, approved: str) -> frozenset[str]:
    """The pseudonyms of a snapshot whose patients are as they were.

    Args:
        approved: the digest that the approval is bound to.
    Raises:
        DataError: a frozen patient changed or is gone; says which, by pseudonym. Or it is another snapshot.
    """
    if frozen.digest != approved:
        raise DataError(
            f"site {site.site}: frozen cohort '{frozen.name}' is another one than was approved; approve the study again"
        )
    reason = compare(site, frozen).reason
    if reason:
        raise DataError(
            f"site {site.site}: frozen cohort '{frozen.name}' is not what it was: {reason}; put the data back, or"
            " freeze a new cohort and approve the study again"
        )
    return frozenset(frozen.patients)


def _read(
    site: SiteConfig, tables: dict[str, list[dict[str, str]]], columns: dict[str, list[str]], known: dict[str, Stamp]
) -> tuple[dict[str, str], dict[str, Stamp]]:
    """Pseudonym → digest of the patient's rows, images and drawn lesions; and the stamp of every file."""
    names = site_pseudonyms(site.work)
    rows: dict[str, list[Any]] = defaultdict(list)
    everybody = {row.get("patient_id", "") for row in tables[_TABLE]} - {""}
    for file, content in sorted(tables.items()):
        for row in content:
            rows[row.get("patient_id", "")].append([file, [row.get(name) for name in columns.get(file, [])]])
    files: dict[str, Stamp] = {}
    content_of: dict[str, list[Any]] = defaultdict(list)
    folder = hospital_folder(site.data)
    for patient, one in folder.patients.items():
        for place, listed in ((DICOM_FOLDER, one.files), (MASK_FOLDER, one.masks)):
            for entry in listed:
                key = names.file(f"{place}/{entry.relative}")
                stamp, before = (entry.bytes, entry.mtime_ns), known.get(key)
                same = before is not None and before[:2] == stamp
                files[key] = before if before is not None and same else (*stamp, _content(entry.path))
                content_of[patient.strip()].append([place, entry.relative.partition("/")[2], files[key][2]])
    out = read_excluded(site.data / EXCLUDE_FILE)
    said = _sha256(repr(folder.mapping)) if folder.mapping != NO_MAPPING else ""
    digests = {}
    for patient in everybody:
        case, its_rows = names.patient(patient), sorted(rows[patient], key=json.dumps)
        digests[case] = _sha256(json.dumps([its_rows, content_of[patient.strip()], said, case in out]))
    return dict(sorted(digests.items())), files


def _tables(site: SiteConfig) -> dict[str, list[dict[str, str]]]:
    """The clinical table, wherever it comes from, and the boxes, as text."""
    found = {_TABLE: read_clinical_table(site.data, site.sql)}
    if (site.data / BOX_FILE).is_file():
        found[BOX_FILE] = read_table(site.data / BOX_FILE)
    return {
        file: [dict(zip(map(str, table), map(str, row), strict=True)) for row in table.itertuples(index=False)]
        for file, table in found.items()
    }


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _path(site: SiteConfig, name: str) -> Path:
    return site.work / FOLDER / f"{name}.json"
