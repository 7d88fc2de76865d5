"""Studies of the published systems as small as they go, without the shipped files."""

from __future__ import annotations

from typing import Any

from fl_liver.study import Study
from fl_liver.toml_file import parse

TYPES = ("angioma", "hcc", "fnh", "cyst", "metastasis")
SEQUENCES = ("t2", "dwi", "t1_pre", "arterial", "portal", "equilibrium")


def study_of(name: str, *, classes: tuple[str, ...] = ("benign", "malignant"), **sections: Any) -> Study:
    """A study of model `name`; the last class is disease. Keys of `sections` replace these sections' own keys."""
    raw: dict[str, Any] = {
        "name": name,
        "title": name,
        "task": {"modality": "US", "classes": {one: one for one in classes}, "positive": [classes[-1]]},
        "model": {"name": name, "width": 8, "image_px": 32},
        "sites": {"train": ["H01", "H02", "H03"]},
    }
    for section, keys in sections.items():
        raw[section] = {**raw.get(section, {}), **keys} if isinstance(keys, dict) else keys
    return parse(raw, Study, name)


def attention_study(**model: Any) -> Study:
    """Lesion or none of six classes, malignant or benign and which type among those with a lesion."""
    endpoints = [
        {"name": "malignant", "title": "Malignant", "among": TYPES, "positive": ["hcc", "metastasis"]},
        {"name": "type", "title": "Type", "among": TYPES},
    ]
    return study_of(
        "lesion_us_attention",
        classes=("none", *TYPES),
        task={"positive": TYPES, "lesion_free": ["none"]},
        model={"trunk": "resnet18", **model},
        training={"attention_weight": 0.5},
        cohort={"masks": True},
        endpoint=endpoints,
    )


def factors(count: int) -> list[dict[str, str]]:
    return [{"name": f"f{k}", "column": f"f{k}", "label": f"F{k}"} for k in range(count)]
