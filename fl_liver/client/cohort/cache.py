"""Images made once and kept as safetensors in the hospital's work folder: cache/<recipe>/<case>.safetensors.

An entry holds the SHA-256 of what it was made from: path, size and time of every file, the boxes, the mapping, the
pseudonym key, whether the diagnosis says that there is a lesion, and the recipe. Another one is made anew and takes its
place. Labels, parts and factors are never kept: they cost nothing to make. The cache holds image data and ids: folders
0700, files 0600; `purge_cache` removes it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.recipe import PatientImages, PatientItem, Recipe, Told
from fl_liver.whole_file import instead_of

CACHE_FOLDER = "cache"
_MOST_HEADER_BYTES = 64 << 20
_DTYPES: dict[str, type[np.generic]] = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
    "BOOL": np.bool_,
}
_NAMES = {np.dtype(kind).str: name for name, kind in _DTYPES.items()}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One patient of the cache, without his images: `images` of them there are, none where findings leave him out."""

    images: int
    people: frozenset[str] = frozenset()
    sop_uids: frozenset[str] = field(default=frozenset(), repr=False)
    hashes: frozenset[str] = field(default=frozenset(), repr=False)
    told: tuple[Told, ...] = field(default=(), repr=False)
    findings: tuple[Finding, ...] = ()
    lesions: tuple[int, ...] = ()


def entry_of(found: PatientImages) -> Entry:
    """All but the images."""
    images = len(next(iter(found.images.values()), ()))
    return Entry(images, found.people, found.sop_uids, found.hashes, found.told, found.findings, found.lesions)


def entry_key(item: PatientItem) -> str:
    """Hex SHA-256 of everything that a patient's images depend on."""
    folder = item.folder
    made_from = {
        "version": [Recipe.VERSION, astuple(item.recipe)],
        "names": item.names.fingerprint,
        "files": [[one.relative, one.bytes, one.mtime_ns] for one in (*folder.files, *folder.masks)],
        "boxes": [astuple(box) for box in folder.boxes],
        "unreadable": folder.unreadable_boxes,
        "mapping": repr(item.mapping),
        "lesion_free": item.lesion_free,
    }
    return hashlib.sha256(json.dumps(made_from).encode("utf-8", "surrogateescape")).hexdigest()


def load_entry(work: Path, item: PatientItem) -> Entry | None:
    """A patient's entry; None where there is none that is made from the same files, or a damaged one."""
    path = _path(work, item)
    try:
        header, _ = _header(path)
        meta = header.pop("__metadata__")
        if meta["key"] != entry_key(item):
            return None
        told = json.loads(meta["entry"])
        return Entry(
            header["lesion"]["shape"][0] if header else 0,
            frozenset(told["people"]),
            frozenset(told["sop_uids"]),
            frozenset(told["hashes"]),
            tuple(Told(*one) for one in told["told"]),
            tuple(finding(*one) for one in told["findings"]),
            tuple(told["lesions"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        _log.warning("the cache file of %s is damaged (%s); it is made anew", item.case, type(error).__name__)
        return None


def load_images(work: Path, item: PatientItem) -> dict[str, NDArray[Any]]:
    """The images of an entry, by name, as views of its file; drop them soon, for they hold it open.

    Raises:
        OSError, ValueError: the file went, or is damaged.
    """
    return read_arrays(_path(work, item))[0]


def store_entry(work: Path, item: PatientItem, found: PatientImages) -> None:
    """Whole or not at all; readable by the daemon's own user."""
    told = {
        "people": sorted(found.people),
        "sop_uids": sorted(found.sop_uids),
        "hashes": sorted(found.hashes),
        "told": list(found.told),
        "findings": [[one.code, one.case, one.cause, one.series] for one in found.findings],
        "lesions": list(found.lesions),
    }
    store_arrays(_path(work, item), found.images, {"key": entry_key(item), "entry": json.dumps(told)})


def store_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, str]) -> None:
    """Write a safetensors file, mode 0600, its folder 0700; arrays go to the disk as they lie, without a copy."""
    for folder in (path.parent.parent, path.parent):  # with `parents`, only the last would get the mode
        folder.mkdir(mode=0o700, exist_ok=True)
    header: dict[str, Any] = {"__metadata__": dict(meta)}
    start = 0
    for name, one in arrays.items():
        header[name] = {
            "dtype": _NAMES[one.dtype.str],
            "shape": list(one.shape),
            "data_offsets": [start, start + one.nbytes],
        }
        start += one.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the first array is aligned
    with instead_of(path) as part, part.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for one in arrays.values():
            file.write(np.ascontiguousarray(one).data)


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and metadata of a safetensors file; arrays are read-only views of it, read where they are touched.

    The safetensors library copies every tensor, which takes four times as long as `np.load` for a volume of 100 MiB.

    Raises:
        ValueError: not a safetensors file, or a tensor that lies outside it.
    """
    header, begin = _header(path)
    meta: dict[str, str] = header.pop("__metadata__", {})
    empty = path.stat().st_size == begin
    data = np.empty(0, np.uint8) if empty else np.memmap(path, dtype=np.uint8, mode="r", offset=begin)
    return {name: _view(data, **one) for name, one in header.items()}, meta


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says it holds, and where its arrays begin. Raises ValueError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MOST_HEADER_BYTES, size - 8):
            raise ValueError("no safetensors header")
        header: dict[str, Any] = json.loads(file.read(length))
    ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
    if max(ends, default=0) > size - 8 - length:
        raise ValueError("a tensor lies outside the file")
    return header, 8 + length


def _view(data: NDArray[np.uint8], dtype: str, shape: list[int], data_offsets: list[int]) -> NDArray[Any]:
    start, end = data_offsets
    kind = np.dtype(_DTYPES[dtype])
    if not 0 <= start <= end <= len(data) or end - start != kind.itemsize * int(np.prod(shape, dtype=np.int64)):
        raise ValueError("a tensor lies outside the file")
    return np.asarray(data[start:end]).view(kind).reshape(shape)


def purge_cache(work: Path) -> int:
    """Remove everything that was made of images and headers; returns how many files there were."""
    folder = work / CACHE_FOLDER
    found = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    for path in found:
        path.unlink()
    return len(found)


def _path(work: Path, item: PatientItem) -> Path:
    recipe = hashlib.sha256(json.dumps(astuple(item.recipe)).encode()).hexdigest()[:16]
    return work / CACHE_FOLDER / recipe / f"{item.case}.safetensors"
