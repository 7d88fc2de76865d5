"""Studies that ship with fl_liver, studies in files, and the variants of one.

A paper that trained several models of one kind is one file: `[variant.NAME]` holds what a variant changes, section by
section, key by key. `mri_clinical:G` is the study in mri_clinical.toml with `[variant.G]` laid over it, and
`mri_clinical:published+G` that one at the paper's size.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from fl_liver.errors import ConfigError
from fl_liver.study import Study
from fl_liver.toml_file import parse, read_mapping


def load_study(name_or_path: str | Path) -> Study:
    """A study by the name of one that ships with fl_liver, or by path; ":VARIANT" after either.

    Raises:
        ConfigError: neither, no such variant, or the file is wrong (see `toml_file.read_toml`).
    """
    base, wanted = _parted(str(name_or_path))
    raw, where = _raw(base)
    variants: dict[str, Any] = raw.pop("variant", {})
    for variant in wanted.split("+") if wanted else ():
        if variant not in variants:
            known = f"wanted one of {', '.join(sorted(variants))}" if variants else "it has none"
            raise ConfigError(f"{where}: no variant '{variant}'; {known}")
        raw = laid_over(raw, variants[variant])
        where = f"{where}, variant {variant}"
    return parse(raw, Study, where)


def at_published_size(name_or_path: str | Path) -> str:
    """The name of a study, or of one of its variants, at the size of its paper.

    A variant lies over the size: what it is about, such as another network, stays.
    """
    base, wanted = _parted(str(name_or_path))
    return f"{base}:{PUBLISHED}+{wanted}" if wanted else f"{base}:{PUBLISHED}"


def tasks_of(name_or_path: str | Path) -> tuple[str, ...]:
    """Names of a study's variants but for its published size, sorted; empty where it has none."""
    return tuple(sorted(set(_raw(_parted(str(name_or_path))[0])[0].get("variant", {})) - {PUBLISHED}))


def laid_over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` in it: sections are merged key by key, anything else is replaced.

    A table whose keys are data and not settings is replaced too: the classes of a task.

    >>> laid_over({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}, 'b': 1}
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        whole = key in _DATA or not (isinstance(value, dict) and isinstance(old, dict))
        merged[key] = value if whole else laid_over(old, value)  # type: ignore[arg-type]
    return merged


PUBLISHED = "published"
"""The variant of the paper's width and image size."""
_DATA = frozenset({"classes", "background_classes"})


def _parted(name: str) -> tuple[str, str]:
    """Name or path, and variant; a path may hold a colon before its last part."""
    head, colon, tail = name.rpartition(":")
    return (head, tail) if colon and "/" not in tail and not tail.endswith(".toml") else (name, "")


def _raw(name: str) -> tuple[dict[str, Any], str]:
    path = Path(name)
    if path.suffix == ".toml":
        return read_mapping(path), name
    shipped = resources.files("fl_liver") / "studies" / f"{name}.toml"
    if not shipped.is_file():
        raise ConfigError(
            f"study '{name}': not one of {', '.join(shipped_studies())}, and not a path that ends in .toml"
        )
    with resources.as_file(shipped) as real:
        return read_mapping(real), str(real)


def shipped_plan(study: Study) -> Path | None:
    """The plan of the paper that the study is of, for `fl-liver analyse`; None where none ships.

    It is `studies/plans/MODEL.toml`, or MODEL-K.toml where the study has K classes and there is such a one.
    """
    return _plan(f"{study.model.name}-{len(study.task.classes)}", study.model.name)


def shipped_image_plan(study: Study) -> Path | None:
    """The plan of what the paper says of single images, MODEL-images.toml; None where none ships."""
    return _plan(f"{study.model.name}-images")


def _plan(*names: str) -> Path | None:
    """The first of these plans that there is."""
    plans = resources.files("fl_liver") / "studies" / "plans"
    paths = (Path(str(plans / f"{name}.toml")) for name in names)
    return next((path for path in paths if path.is_file()), None)


def shipped_studies() -> list[str]:
    """Names of the studies in the package, sorted."""
    folder = resources.files("fl_liver") / "studies"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
