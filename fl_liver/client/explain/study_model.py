"""The study and the final model that a hospital explains, each held against the other before anything is read."""

from __future__ import annotations

import re
from pathlib import Path

from fl_liver.client.local_layers import LocalLayers
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError
from fl_liver.models.registry import study_layout
from fl_liver.parameters import Layout, Vector, load_vector, read_metadata
from fl_liver.study import Study

_HASH = re.compile(r"[0-9a-f]{8,64}")
MODEL_FILE = "model.safetensors"


def approved_here(site: SiteConfig, word: str) -> Study | None:
    """The approved study whose hash begins with `word`; None where that is no hash but a name or a path.

    Raises:
        ConfigError: none, or several approved ones that begin so.
    """
    if not _HASH.fullmatch(word):
        return None
    found = sorted(path.stem for path in (site.work / "approved").glob(f"{word}*.toml"))
    if len(found) != 1:
        raise ConfigError(
            f"study {word}: {len(found)} approved studies here begin so, wanted one; see `fl-liver site requests`, or"
            " give the run's study.toml"
        )
    return site.approved(found[0])


def final_model(site: SiteConfig, study: Study, path: Path) -> tuple[Vector, Layout]:
    """The weights in `model.safetensors` of the study's run; with "fedbn", this hospital's own layers put in.

    Raises:
        ConfigError: no such file, of another study, or of another network.
    """
    of_study = read_metadata(path).get("study_sha256", "")
    if of_study != study.sha256:
        raise ConfigError(
            f"{path}: the model is of study {of_study[:12] or '(not said)'}, wanted {study.sha256[:12]} ({study.name});"
            f" take {MODEL_FILE} of that study's run, and study.toml from beside it"
        )
    vector, layout = load_vector(path)
    if layout != study_layout(study):
        raise ConfigError(
            f"{path}: its tensors are not those of network '{study.model.name}' at {study.model.size} (layout"
            f" {layout.fingerprint[:12]}, wanted {study_layout(study).fingerprint[:12]}); fl_liver of the run's version"
            " is needed"
        )
    return LocalLayers(site.study_folder(study.sha256), study, "train").restore(vector, None), layout
