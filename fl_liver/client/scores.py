"""Scores stay where they are: one file a model in the site's study folder, float64 log-odds, never a softmax.

A network's scores are (n, K): K = 1 is the log-odds of disease; otherwise the log-odds of each class against the
rest. Rows that were not scored are NaN. Beside them lie its logits of each image, (m, K), which no statistic of a study
reads: they are for the hospital's own table of images (`client.export`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fl_liver.errors import DataError, ProtocolError
from fl_liver.score_origin import followed_by, origin
from fl_liver.whole_file import instead_of

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,40}")
_FLOAT32_ROUNDING = 2.0**-22
"""A class: a softmax in float32 sums to 1 within this."""
_SUM_OF_ONE = 1e-3
"""Probabilities of stored log-odds sum to 1 to the last digits; of a softmax taken for log-odds to 1.23 or more."""
BEYOND = 2.0**128
"""In the place of an infinite score: above every float32."""
_WHY_NOT = (
    "a probability in float32 is exactly 1 above 1 - 6e-8, so that sure patients tie, and the ROC of tied scores is not"
    " the ROC of the network"
)


@dataclass(frozen=True, slots=True)
class ImageLogits:
    """Of some of a cohort's `count` images: which, (k,), and a network's logits, (k, K) float64."""

    images: NDArray[np.int64]
    logits: NDArray[np.float64]
    count: int

    def beside(self, before: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """(count, K): these, and for the other images what was there before, if it is of the same cohort."""
        found = np.full((self.count, self.logits.shape[1]), np.nan)
        if before is not None and before.shape == found.shape:
            found = before.copy()
        found[self.images] = self.logits
        return found


class ScoreStore:
    """The scores of one study at one site; `patients` is the length of every array."""

    def __init__(self, study_folder: Path, patients: int) -> None:
        self._folder = study_folder / "scores"
        self._patients = patients

    def keep(
        self,
        name: str,
        rows: NDArray[np.int64],
        scores: NDArray[np.float64],
        made_by: Mapping[str, str] | None = None,
        endpoint: str = "",
        images: ImageLogits | None = None,
    ) -> None:
        """Write the scores (len(rows), K) of some patients; the others keep what they had.

        Args:
            endpoint: the question of the study that they answer, "" for its own.
            images: of the same patients; without it no image keeps any.
            made_by: part of the rows → digest of the question that scored it (`score_origin`).
        Raises:
            DataError: K > 1 columns that are not the log-odds of each class against the rest.
        """
        path = self._path(name)
        _require_one_against_rest(name, scores)
        every, parts = np.full((self._patients, scores.shape[1]), np.nan), dict(made_by or {})
        if path.is_file() and (before := self.load(name)).shape == every.shape:
            every, parts = before.copy(), _parts(path)
            for scored, made in (made_by or {}).items():
                parts = followed_by(parts, scored, made)
        every[rows] = scores
        found = {"logit": every}
        if images is not None:
            found["image"] = images.beside(self.images(name) if path.is_file() else None)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with instead_of(path) as part:
            save_file(found, part, {"made_by": json.dumps(parts), "endpoint": endpoint})

    def origins(self, names: Iterable[str]) -> dict[str, str]:
        """Score → what made it (`score_origin`), of those that a question of the server made."""
        found = {name: _parts(self._path(name)) for name in names if self._path(name).is_file()}
        return {name: origin(parts) for name, parts in found.items() if parts}

    def endpoint(self, name: str) -> str:
        """The question of the study that a score answers."""
        return _meta(self._path(name)).get("endpoint", "")

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

    def load_alike(self, names: Sequence[str]) -> list[NDArray[np.float64]]:
        """Scores that can be averaged, (n, K) each.

        Raises:
            ProtocolError: they answer different questions or have different shapes, or see `load`.
        """
        found = [self.load(name) for name in names]
        kinds = [(self.endpoint(name), scores.shape) for name, scores in zip(names, found, strict=True)]
        if len(set(kinds)) > 1:
            raise ProtocolError(
                "scores of different kinds make no average: "
                + ", ".join(
                    f"'{name}' is {shape} of " + (f"endpoint '{of}'" if of else "the study's own question")
                    for name, (of, shape) in zip(names, kinds, strict=True)
                )
                + "; wanted one shape and one question; name scores of models that answer the same"
            )
        return found

    def images(self, name: str) -> NDArray[np.float64] | None:
        """(m, K) logits of the cohort's images, NaN where not scored; None where the score is of patients alone.

        Raises:
            ProtocolError: nothing was scored under that name here.
        """
        path = self._path(name)
        if not path.is_file():
            raise ProtocolError(f"no scores '{name}' at this site; a Score must come before a table of its images")
        return load_file(path).get("image")

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.safetensors")) if self._folder.is_dir() else []

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ProtocolError(f"score name '{name[:50]}' is not a plain word")
        return self._folder / f"{name}.safetensors"


def _parts(path: Path) -> dict[str, str]:
    parts: dict[str, str] = json.loads(_meta(path).get("made_by", "{}"))
    return parts


def _meta(path: Path) -> dict[str, str]:
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


def require_logits(logits: NDArray[np.float64], last_operation: str, network: str) -> None:
    """Refuse a network that returns its softmax or sigmoid in the place of logits.

    Two rules, neither of which an honest network meets. What made the outputs last is a softmax or a sigmoid: said by
    the network itself, and the only rule for K = 1, where a barely trained network's logits may well lie in [0, 1].
    For K > 1 also by the numbers: every row lies in [0, 1] and sums to 1.

    Args:
        logits: (m, K) of m inputs, which must not be patients: a server that chooses the model could make this refusal
            depend on them.
        last_operation: in lower case, "" where it is not known.
        network: its name, for the error.
    Raises:
        DataError: gives the reason.
    """
    classes = logits.shape[1]
    if last_operation in ("sigmoid", "softmax"):
        why = f"its last step is a {last_operation}"
    elif classes > 1 and len(logits) and _are_shares(logits, classes * _FLOAT32_ROUNDING):
        why = f"each of its {len(logits)} rows of {classes} outputs lies in [0, 1] and sums to 1: a softmax"
    else:
        return
    raise DataError(
        f"{network} returns probabilities, wanted logits ({why}); {_WHY_NOT}; have it return what stands before the"
        f" {last_operation or 'softmax'}, of which the log-odds are stored"
    )


def _are_shares(rows: NDArray[np.float64], tolerance: float) -> bool:
    inside = (rows >= 0) & (rows <= 1 + tolerance)
    return bool(inside.all() and (np.abs(rows.sum(axis=1) - 1) <= tolerance).all())


def _require_one_against_rest(name: str, scores: NDArray[np.float64]) -> None:
    """Where there are several columns, their probabilities sum to 1 in every row."""
    if scores.shape[1] == 1:
        return
    with np.errstate(over="ignore"):
        total = (1 / (1 + np.exp(-scores))).sum(axis=1)
    wrong = ~(np.abs(total - 1) <= _SUM_OF_ONE)
    if wrong.any():
        raise DataError(
            f"score '{name}': {int(wrong.sum())} of {len(scores)} rows are not log-odds of each class against the rest"
            f" (the {scores.shape[1]} probabilities sum to {total[wrong][0]:.3g}, wanted 1); a softmax must not be"
            f" stored: {_WHY_NOT}; store log-odds"
        )


def mean_probability(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Log-odds of the mean probability of several scores (n, K) each: an ensemble; NaN where one is missing.

    >>> mean_probability([np.array([[0.0]]), np.array([[np.log(3.0)]])]).round(12).tolist()  # (.5 + .75) / 2
    [[0.510825623766]]
    """
    stack = np.stack(scores)
    with np.errstate(invalid="ignore"):  # rows that were not scored are NaN, and stay NaN
        top: NDArray[np.float64] = np.logaddexp.reduce(-np.logaddexp(0, -stack))
        bottom: NDArray[np.float64] = np.logaddexp.reduce(-np.logaddexp(0, stack))
    return top - bottom


def weighted_sum(intercept: float, parts: Sequence[tuple[float, ArrayLike]]) -> NDArray[np.float64]:
    """intercept + Σ β · x (n,) of (β, x) pairs: finite wherever every x is; a patient who lacks one stays NaN.

    Coefficients can be chosen so that one patient's sum overflows, and what follows must not depend on that.

    >>> weighted_sum(1.0, [(2.0, np.array([0.5, np.nan])), (1e308, np.array([90.0, 90.0]))]).tolist()
    [3.402823669209385e+38, nan]
    """
    values = [np.asarray(x, np.float64) for _, x in parts]
    with np.errstate(over="ignore", invalid="ignore"):
        total = intercept + np.sum([beta * x for (beta, _), x in zip(parts, values, strict=True)], axis=0)
    known = np.isfinite(values).all(axis=0)
    return np.where(known, np.nan_to_num(total, nan=0.0, posinf=BEYOND, neginf=-BEYOND), np.nan)


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
