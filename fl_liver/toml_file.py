"""TOML files read once into frozen objects; an unknown key is refused with the nearest known one."""

from __future__ import annotations

import difflib
import json
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fl_liver.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """One table of a TOML file: frozen, no unknown keys, no silent conversion of text to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Section)


def read_toml(path: Path, kind: type[S]) -> S:
    """Read `path` into `kind`.

    Raises:
        ConfigError: no such file, not TOML, an unknown key (with a did-you-mean), a missing or impossible value. All
            problems of a file are named at once, one clause each.
    """
    found: S = _read_text(_text(path), kind, str(path))
    return found


def read_mapping(path: Path) -> dict[str, Any]:
    """What `path` holds, not yet validated; raises ConfigError where it is not there or no TOML."""
    return _mapping(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); give the path of a TOML file") from error


@lru_cache(maxsize=64)
def _read_text(text: str, kind: type[S], where: str) -> S:
    """Files are read anew each time, and parsed when they changed: a hospital looks at five for every message."""
    return parse(_mapping(text, where), kind, where)


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML ({error})") from error


def parse(raw: dict[str, object], kind: type[S], where: str) -> S:
    """Validate a mapping as `kind`; `where` names it in the error."""
    try:
        # JSON mode, strict: "3" is no number and true is no 1, but a list is a tuple and a text a path.
        return kind.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explain(item, kind) for item in error.errors())) from None


def _explain(item: object, kind: type[BaseModel]) -> str:
    detail: dict[str, object] = dict(item)  # type: ignore[call-overload]
    location = detail["loc"]
    path = [str(part) for part in location] if isinstance(location, tuple) else []
    key = ".".join(path) or "file"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(kind, path[:-1]), n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(_known_keys(kind, path[:-1]))}"
        return f"unknown key '{key}', {hint}"
    if detail["type"] == "missing":
        return f"key '{key}' is missing"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not path or isinstance(detail.get("input"), dict):
        return f"'{key}': {message}"
    return f"'{key}': {message} (found {detail.get('input')!r:.60})"


def _known_keys(kind: type[BaseModel], path: list[str]) -> list[str]:
    """The keys of the section at `path`, so that a misspelt nested key gets its own neighbours as hints."""
    current: object = kind
    for part in path:
        if part.isdigit():
            continue
        if not (isinstance(current, type) and issubclass(current, BaseModel)) or part not in current.model_fields:
            return []
        annotation = current.model_fields[part].annotation
        inside = [annotation, *getattr(annotation, "__args__", ())]
        current = next((one for one in inside if isinstance(one, type) and issubclass(one, BaseModel)), None)
    return sorted(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []
