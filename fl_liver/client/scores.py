"""Scores stay where they are: one file a model in the site's study folder, float64 log-odds, never a softmax.

A network's scores are (n, K): K = 1 is the log-odds of disease; otherwise the log-odds of each class against the
rest. Rows that were not scored are NaN.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from fl_liver.errors import ProtocolError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,40}")


class ScoreStore:
    """The scores of one study at one site; `patients` is the length of every array."""

    def __init__(self, study_folder: Path, patients: int) -> None:
        self._folder = study_folder / "scores"
        self._patients = patients

    def keep(self, name: str, rows: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Write the scores (len(rows), K) of some patients; the others keep what they had."""
        path = self._path(name)
        every = np.full((self._patients, scores.shape[1]), np.nan)
        if path.is_file() and (before := self.load(name)).shape == every.shape:
            every = before.copy()
        every[rows] = scores
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_suffix(f".{os.getpid()}.part")
        save_file({"logit": every}, part)
        part.replace(path)

    def load(self, name: str) -> NDArray[np.float64]:
        """(n, K).

        Raises:
            ProtocolError: nothing was scored under that name here.
        """
        path = self._path(name)
        if not path.is_file():
            raise ProtocolError(f"no scores '{name}' at this site; a Score must come before a Sum over it")
        scores: NDArray[np.float64] = load_file(path)["logit"]
        if len(scores) != self._patients:
            raise ProtocolError(f"scores '{name}' are of {len(scores)} patients, the cohort has {self._patients}")
        return scores

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.safetensors")) if self._folder.is_dir() else []

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ProtocolError(f"score name '{name[:50]}' is not a plain word")
        return self._folder / f"{name}.safetensors"


def disease_log_odds(scores: NDArray[np.float64], positive: list[int]) -> NDArray[np.float64]:
    """Log-odds of disease (n,) from a network's scores (n, K): log Σ p(disease classes) − log Σ p(others).

    >>> three = np.log([[0.2 / 0.8, 0.5 / 0.5, 0.3 / 0.7]])      # log-odds of p = .2, .5, .3
    >>> round(float(disease_log_odds(three, [1, 2])[0]), 6) == round(float(np.log(0.8 / 0.2)), 6)
    True
    """
    if scores.shape[1] == 1:
        return scores[:, 0]
    others = [index for index in range(scores.shape[1]) if index not in positive]
    with np.errstate(invalid="ignore"):  # rows that were not scored are NaN, and stay NaN
        log_p = -np.logaddexp(0.0, -scores)
        top: NDArray[np.float64] = np.logaddexp.reduce(log_p[:, positive], axis=1)
        bottom: NDArray[np.float64] = np.logaddexp.reduce(log_p[:, others], axis=1)
    return top - bottom
