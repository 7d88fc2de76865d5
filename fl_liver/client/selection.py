"""On which images of this hospital the first federation saw a lesion: kept here, read by the second one's training.

One file for each federation, (m,) float64 log-odds over all images of the cohort, NaN where nobody looked. It tells
about single images, so that it never leaves, and no statistic reads it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from fl_liver.errors import ProtocolError
from fl_liver.whole_file import instead_of


def keep_visible(
    study_folder: Path, rows: str, images: NDArray[np.int64], log_odds: NDArray[np.float64], count: int
) -> None:
    """Write what was seen of the images (k,) of `rows`; `count` images has the cohort."""
    every = np.full(count, np.nan)
    every[images] = log_odds
    path = _path(study_folder, rows)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with instead_of(path) as part:
        save_file({"visible": every}, part)


def load_visible(study_folder: Path, rows: str) -> NDArray[np.float64]:
    """(m,) log-odds.

    Raises:
        ProtocolError: nobody looked for this federation.
    """
    path = _path(study_folder, rows)
    if not path.is_file():
        raise ProtocolError(f"training on '{rows}' was asked before its images were looked at; a Look comes first")
    found: NDArray[np.float64] = load_file(path)["visible"]
    return found


def _path(study_folder: Path, rows: str) -> Path:
    return study_folder / "visible" / f"{rows}.safetensors"
