"""Small jobs for workers that need torch, so that the process of the coordinator does not."""

from __future__ import annotations

from pathlib import Path


def check_study_in_worker(study_toml: str, folder: str) -> str:
    """Make the first weights of a study given as TOML text; returns its SHA-256. See `fl_liver.first_weights`."""
    import tomllib

    from fl_liver.first_weights import check_study
    from fl_liver.study import Study
    from fl_liver.toml_file import parse

    return check_study(parse(tomllib.loads(study_toml), Study, "study"), Path(folder)).sha256
