"""Single elements of a dataset as plain values: a number or None, a short code or "", never free text.

Damaged values never stop the reading of a header: what cannot be read counts as absent, and the geometry or the gates
say what that costs.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_OLDEST = 89.0
_BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}
_ASCII = frozenset({"AS", "CS", "DA", "DS", "IS", "TM", "UI"})


def values(dataset: Dataset, keyword: str, kind: type) -> list[Any]:
    """All values of an element; [] where it is absent, empty or none of its kind."""
    found = _plain(dataset, keyword)
    try:
        return [kind(one) for one in found if one != ""]
    except (TypeError, ValueError):
        return []


def text(dataset: Dataset, keyword: str) -> str:
    """The element as one string, several values behind one another with a backslash between."""
    return "\\".join(str(one) for one in _plain(dataset, keyword)).strip()


def _plain(dataset: Dataset, keyword: str) -> list[Any]:
    """The values, from the bytes where they are text in ASCII or plain numbers.

    pydicom's own conversion (hooks, warnings, a class per value) took two thirds of the time of a header.
    """
    tag, usual_vr = _tag(keyword)
    raw_elements: Any = dataset.items()
    found = raw_elements.mapping.get(tag)  # by `get_item` it takes six times as long, fifty times a file
    if found is None:
        return []
    if not isinstance(found, RawDataElement):
        value = found.value
    else:
        vr, raw = found.VR or usual_vr, found.value or b""
        if vr in _ASCII:
            return [one.strip() for one in raw.decode("ascii", "replace").strip(" \0").split("\\")]
        if vr in _BINARY:
            one = ("<" if found.is_little_endian else ">") + _BINARY[vr]
            whole_ones = len(raw) // struct.calcsize(one) * struct.calcsize(one)
            return [value for (value,) in struct.iter_unpack(one, raw[:whole_ones])]
        value = dataset[tag].value
    if value is None or value == "":
        return []
    # Not by `__iter__`: a person's name has one, which gives its letters.
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


@lru_cache(maxsize=256)
def _tag(keyword: str) -> tuple[BaseTag, str]:
    tag = Tag(keyword)
    return tag, dictionary_VR(tag)


def code(dataset: Dataset, keyword: str) -> str:
    """A coded string. Longer than a DICOM code may be, or odd, it is dropped: free text could name a patient."""
    found = text(dataset, keyword)
    return found if len(found) <= 16 and found.replace("_", "").replace(" ", "").isalnum() else ""


def codes(dataset: Dataset, keyword: str, known: frozenset[str]) -> tuple[str, ...]:
    """The values that are among the codes that the standard defines; what else stands there is dropped."""
    return tuple(one for one in values(dataset, keyword, str) if one in known)


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value, where it is finite."""
    many = values(dataset, keyword, float)
    return many[0] if many and math.isfinite(many[0]) else None


def number_or(dataset: Dataset, keyword: str, otherwise: float) -> float:
    found = number(dataset, keyword)
    return otherwise if found is None else found


def whole(dataset: Dataset, keyword: str) -> int | None:
    found = number(dataset, keyword)
    return None if found is None else int(found)


def whole_or(dataset: Dataset, keyword: str, otherwise: int) -> int:
    """Also for a value of 0 where 0 makes no sense: `NumberOfFrames = 0` is one frame."""
    return whole(dataset, keyword) or otherwise


def private_number(dataset: Dataset, tag: BaseTag) -> float | None:
    """The first number of a private element, whose VR implicit syntaxes do not tell: text, bytes or a list."""
    if tag not in dataset:
        return None
    found = dataset[tag].value
    if not isinstance(found, str | bytes) and hasattr(found, "__getitem__"):
        found = found[0] if len(found) else None
    try:
        first = found.decode("ascii").split("\\")[0] if isinstance(found, bytes) else found
        value = float(first)
    except (ValueError, TypeError, UnicodeDecodeError):
        return None
    return value if math.isfinite(value) else None


def vector(dataset: Dataset, keyword: str, length: int) -> tuple[float, ...] | None:
    many = values(dataset, keyword, float)
    return tuple(many) if len(many) == length and all(math.isfinite(one) for one in many) else None


def digits(dataset: Dataset, keyword: str, length: int) -> str:
    """Exactly so many digits, as in a DA; "" for anything else."""
    found = text(dataset, keyword)
    return found if len(found) == length and found.isdigit() else ""


def seconds(dataset: Dataset, keyword: str) -> float | None:
    """A TM value as seconds after midnight."""
    return seconds_of(text(dataset, keyword))


def seconds_of(time: str) -> float | None:
    """HHMM, HHMMSS or HHMMSS.FFFFFF as seconds after midnight; a zone behind it is left out.

    >>> seconds_of("003636.166000"), seconds_of("1201"), seconds_of("about noon")
    (2196.166, 43260.0, None)
    """
    found = re.match(r"(\d\d):?(\d\d):?(\d\d(?:\.\d+)?)?", time)
    return None if found is None else int(found[1]) * 3600.0 + int(found[2]) * 60.0 + float(found[3] or 0)


def age_years(dataset: Dataset) -> float | None:
    """PatientAge in years; else from birth date and study date. 89 and more is 89."""
    stated = text(dataset, "PatientAge").upper()
    years: float | None = None
    if len(stated) == 4 and stated[:3].isdigit() and stated[3] in _YEARS:
        years = int(stated[:3]) * _YEARS[stated[3]]
    born, seen = digits(dataset, "PatientBirthDate", 8), digits(dataset, "StudyDate", 8)
    if years is None and born and seen:
        years = int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:])
    return None if years is None or years < 0 else min(years, _OLDEST)
