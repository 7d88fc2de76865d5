"""Crops decoded once and kept as safetensors in the hospital's work folder, mode 0700.

The key is a SHA-256 over what the crops were made from: path, size and time of every file, the bytes of lesions.csv,
the pseudonym key's fingerprint and the recipe. Labels, parts and factors are never kept: they cost nothing to make.
The cache holds image data; `purge_cache` removes it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.read.folder import Listed
from fl_liver.client.cohort.ultrasound.stills import Recipe

CACHE_FOLDER = "cache"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageStack:
    """The images of every patient of a hospital that has usable ones.

    patients   pseudonyms, in the order of the site's own ids
    images     name → (m, H, W) float16
    owner      (m,) int64, ascending index into `patients`
    findings   of the patients left out, and warnings
    """

    patients: tuple[str, ...]
    images: dict[str, NDArray[np.float16]] = field(repr=False)
    owner: NDArray[np.int64] = field(repr=False)
    findings: tuple[Finding, ...]


def cache_key(files: Iterable[Listed], boxes: bytes, recipe: Recipe, names_fingerprint: str) -> str:
    """Hex SHA-256 of everything that the crops depend on."""
    digest = hashlib.sha256()
    about = {"version": Recipe.VERSION, **asdict(recipe), "names": names_fingerprint}
    digest.update(json.dumps(about, sort_keys=True).encode())
    digest.update(hashlib.sha256(boxes).digest())
    for one in files:
        entry = json.dumps([one.relative, one.bytes, one.mtime_ns])
        digest.update(entry.encode())
    return digest.hexdigest()


def load_stack(work: Path, key: str) -> ImageStack | None:
    """The stack that was stored under `key`; None where there is none. A damaged file is removed, with a log line."""
    path = _path(work, key)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            meta = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        findings = tuple(Finding(**one) for one in json.loads(meta["findings"]))
        owner = arrays.pop("owner")
        return ImageStack(tuple(json.loads(meta["patients"])), arrays, owner, findings)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        _log.warning("cache file %s is damaged (%s); it is made anew", path.name[:12], type(error).__name__)
        path.unlink(missing_ok=True)
        return None


def store_stack(work: Path, key: str, stack: ImageStack) -> None:
    """Write beside and rename, so that a reader sees a whole file or none."""
    folder = work / CACHE_FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    meta = {
        "patients": json.dumps(stack.patients),
        "findings": json.dumps([asdict(one) for one in stack.findings]),
    }
    beside = folder / f".{key[:16]}.{secrets.token_hex(8)}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(save({**stack.images, "owner": stack.owner}, meta))
        beside.replace(_path(work, key))
    finally:
        beside.unlink(missing_ok=True)


def purge_cache(work: Path) -> int:
    """Remove every cached stack; returns how many there were."""
    found = list((work / CACHE_FOLDER).glob("*.safetensors"))
    for path in found:
        path.unlink()
    return len(found)


def _path(work: Path, key: str) -> Path:
    return work / CACHE_FOLDER / f"{key}.safetensors"
