"""A study in plain language, for the person at a hospital who decides on it; and what is different from another one.

Everything said here follows from the study's text and site.toml; nothing that the server says beside it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fl_liver import __version__
from fl_liver.client.site import SiteConfig
from fl_liver.securesum.context import threshold
from fl_liver.study import Study

Line = tuple[str, str]


def describe_study(study: Study, site: SiteConfig, words: Mapping[str, str] | None = None) -> list[Line]:
    """Label and text, in the order in which a person asks.

    Args:
        words: hospital → its identity's fingerprint in words and whether it was confirmed, where that is known.
    """
    return [
        ("study", f"{study.name}: {study.title}" + (f" ({study.source})" if study.source else "")),
        ("hash", study.sha256),
        *_hospitals(study, site, words or {}),
        ("model", _model(study)),
        *_reads(study),
        *_leaves(study, site),
        ("never leaves", "images, table rows, scores of single patients, names, ids, dates"),
        ("training", _training(study)),
        *_privacy(study, site),
        ("first weights", study.initial.sha256 if study.initial else "NOT FIXED: the study was not checked"),
        ("code", f"fl_liver {__version__}, as installed here; no code comes from the server"),
    ]


def differences(before: Study, after: Study) -> list[str]:
    """One line for each setting that is not the same: "training.rounds: 10 → 15"."""
    old, new = dict(_flat(before.model_dump(mode="json"))), dict(_flat(after.model_dump(mode="json")))
    return [
        f"{key}: {_said(old.get(key))} → {_said(new.get(key))}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _hospitals(study: Study, site: SiteConfig, words: Mapping[str, str]) -> Iterator[Line]:
    role = study.role_of(site.site)
    yield (
        "this hospital",
        f"{site.site}: {'trains and tests' if role == 'train' else 'tests only'}"
        + (f"; REFUSED, site.toml says role = '{site.role}'" if role == "train" != site.role else ""),
    )
    for name in study.every_site:
        if name != site.site:
            part = "trains" if name in study.sites.train else "tests only"
            yield "with", f"{name}: {part}" + (f"; {words[name]}" if name in words else "")


def _model(study: Study) -> str:
    model, task = study.model, study.task
    size = f", images of {model.image_px} pixels" if task.modality != "table" else ""
    disease = ", ".join(task.positive)
    return f"{model.name}, {model.size}{size}; tells {' / '.join(task.classes)} apart (disease: {disease})"


def _reads(study: Study) -> Iterator[Line]:
    task = study.task
    columns = [f"{task.outcome} (diagnosis)"]
    columns += [f"{task.background} (liver background)"] if task.background else []
    columns += [f"{task.size_mm} (size)"] if task.size_mm else []
    columns += [f"{factor.column} ({factor.label})" for factor in study.factor]
    yield "reads columns", "patient_id, " + ", ".join(dict.fromkeys(columns))
    if task.modality == "table":
        yield "reads images", "none"
        return
    kinds = {"US": "ultrasound", "CT": "CT", "MR": "MR"}
    yield (
        "reads images",
        (
            f"{kinds[task.modality]}, up to {study.cohort.views} a lesion, cut to {study.cohort.lesion_margin:g} times"
            " the lesion's box"
        ),
    )


def _leaves(study: Study, site: SiteConfig) -> Iterator[Line]:
    privacy, training = study.privacy, study.training
    federations = study.cohort.folds + 1 if study.cohort.folds else 1
    least = max(privacy.min_sites, threshold(len(study.sites.train)))
    how = (
        f"masked: readable only as a sum over at least {least} hospitals"
        if privacy.secure_sum == "masked"
        else "IN THE CLEAR: the server reads this hospital's vectors"
    )
    if study.role_of(site.site) == "train":
        yield (
            "leaves",
            (
                f"{training.rounds * federations} model updates ({federations} × {training.rounds} rounds), each"
                f" clipped to norm {training.update_norm:g}; {how}"
            ),
        )
    yield (
        "leaves",
        (
            f"counts and sums for ROC, calibration, comparisons and regression, every {training_every(study)} and at"
            f" the end; groups of {study.analysis.min_cell} patients at least; {how}"
        ),
    )
    if site.release == "named":
        yield (
            "leaves",
            (
                "this hospital's OWN figures, with its name: patients, positives, AUC with interval, merged ROC"
                " (release = 'named' in site.toml)"
            ),
        )
    elif study.role_of(site.site) == "external" and len(study.sites.external) < privacy.min_sites:
        yield "leaves", "fewer than three hospitals only test: without release = 'named' its test figures are refused"


def training_every(study: Study) -> str:
    """How often the learning curve asks."""
    every = study.analysis.curve_every
    return "round" if every == 1 else f"{every} rounds"


def _training(study: Study) -> str:
    training = study.training
    return (
        f"{training.strategy}, {training.rounds} rounds of {training.local_epochs} passes over this hospital's training"
        f" patients; the server waits {training.round_timeout_s / 60:.0f} minutes for a round"
    )


def _privacy(study: Study, site: SiteConfig) -> Iterator[Line]:
    privacy = study.privacy
    yield (
        "privacy",
        (
            f"sums {privacy.secure_sum} ({privacy.keystream}) over {privacy.min_sites} hospitals or more; at least"
            f" {max(privacy.min_patients, site.min_patients)} patients here, groups of"
            f" {max(study.analysis.min_cell, site.min_cell)} or more"
        ),
    )
    if privacy.training is None:
        yield "privacy", "no differential privacy in training: the finished model may remember single patients"
    else:
        private = privacy.training
        yield (
            "privacy",
            (
                f"differentially private training: ε ≤ {private.max_epsilon:g} at δ = {private.delta:g} for each"
                f" patient, noise {private.noise_multiplier:g}, clip {private.patient_clip_norm:g}"
            ),
        )


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _flat(one, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        for one in value:
            yield from _flat(one, f"{path}[{one.get('name', '')}]")
    else:
        yield path, value


def _said(value: Any) -> str:
    return "—" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
