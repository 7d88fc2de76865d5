"""Figures of a study with `privacy.histogram_epsilon`: what the one noised sum gives, and what is left out and why.

A second noised answer would spend ε again, so hospitals give one a study. It is kept beside the run: a run that is
resumed has it, and asks for it no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fl_liver.stats.compose import Withheld, or_withheld
from fl_liver.stats.conversation import Conversation, Summer, converse, over
from fl_liver.stats.private_roc import PrivateRoc, private_roc
from fl_liver.study import Study
from fl_liver.whole_file import write_whole

ROWS = "internal"
NOT_EXACT = "noised figures only (histogram_epsilon)"
_LEFT_OUT = {"not_released": NOT_EXACT}


def ask_noised(
    study: Study, sites: Sequence[str], scores: Mapping[str, str], summer: Callable[[], Summer]
) -> dict[str, PrivateRoc | Withheld]:
    """model → its noised AUC over the internal patients of `sites`, all models from one question."""
    epsilon, honest = study.histogram_noise or (0.0, 0)
    if len(sites) < honest:
        few = Withheld(f"{len(sites)} of {len(study.sites.train)} hospitals take part, the noise of {honest} is needed")
        return dict.fromkeys(scores, few)
    columns = {name: f"score:{score}" for name, score in scores.items()}
    talk: Conversation[Any] = private_roc(
        list(columns.values()), "label", epsilon=epsilon, honest=honest, sites=len(sites)
    )
    found = converse({"noised": over(ROWS, or_withheld(talk))}, summer())["noised"]
    if isinstance(found, Withheld):
        found = Withheld(f"{found.reason}; a hospital gives one noised answer a study")
    return {name: found if isinstance(found, Withheld) else found[column] for name, column in columns.items()}


def noised_model(found: PrivateRoc | Withheld, per_site: Mapping[str, str]) -> dict[str, Any]:
    """One model in the form of `summary.json`; `per_site` maps each hospital to the part of its patients."""
    internal = found.to_json()
    if isinstance(found, PrivateRoc):
        internal |= {"n": found.n_pos + found.n_neg, "positives": found.n_pos, "roc": _LEFT_OUT}
    return {
        ROWS: internal,
        "external": _LEFT_OUT,
        "calibration": {ROWS: _LEFT_OUT, "external": _LEFT_OUT},
        "cutoff": _LEFT_OUT,
        "per_site": {site: _LEFT_OUT | {"rows": rows} for site, rows in per_site.items()},
    }


def once(path: Path, study: Study, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The models' figures, written to `path`, and read from there when a run is resumed."""
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["study_sha256"] == study.sha256:
            models: dict[str, Any] = kept["models"]
            return models
    models = ask()
    if all("auc" in model[ROWS] for model in models.values()):
        write_whole(path, json.dumps({"study_sha256": study.sha256, "models": models}))
    return models


def without_exact(summary: dict[str, Any], study: Study) -> dict[str, Any]:
    """The summary of a study with noise: its other figures left out, each with the reason, and what the noise is."""
    if study.histogram_noise is None:
        return summary
    epsilon, honest = study.histogram_noise
    hospitals = {
        site for model in summary["models"].values() for site, one in model["per_site"].items() if one["rows"] == ROWS
    }
    counts = dict.fromkeys(("patients", "positives", "excluded", "images"), _LEFT_OUT)
    return summary | {
        "sites": [line | counts for line in summary["sites"]],
        "rounds": [record | {"internal_auc": _LEFT_OUT} for record in summary["rounds"]],
        "fusion": _LEFT_OUT,
        "noised": {"epsilon": epsilon, "honest": honest, "sites": len(hospitals)},
    }
