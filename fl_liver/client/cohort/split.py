"""Which patient trains, calibrates or validates: decided within each class by a hash of the patient's id and the seed.

Neither the order of a table nor the pseudonym key changes a part. Patients are split, never images, and never the
lesions of one patient.

Where training is private, a patient's hash alone decides: with exact shares, one patient more would move others into or
out of training, and ε would not hold. Parts then have their shares on average only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fl_liver.client.cohort.cohort import PARTS
from fl_liver.errors import DataError
from fl_liver.study import Study

_TRAIN, _CALIBRATION, _INTERNAL, _EXTERNAL = (PARTS.index(part) for part in PARTS)


@dataclass(frozen=True, slots=True)
class Split:
    """part (n,) int8, index into PARTS; fold (n,) int8, −1 where there is none."""

    part: NDArray[np.int8]
    fold: NDArray[np.int8]


def split_rows(ids: Sequence[str], label: ArrayLike, role: Literal["train", "external"], study: Study) -> Split:
    """`split_patients`; where the study's unit is the lesion, `split_lesions`.

    Args:
        ids: the patient of each row.
    """
    split = split_lesions if study.cohort.unit == "lesion" else split_patients
    return split(ids, label, role, study)


def split_patients(ids: Sequence[str], label: ArrayLike, role: Literal["train", "external"], study: Study) -> Split:
    """Part n different patients by `study.cohort`.

    Of n patients, n × internal_validation (rounded) validate; of the rest, × calibration calibrate, none with `folds`.
    Every class gives its share within one patient: whole parts first, then the largest remainders. With private
    training each patient validates with probability internal_validation, and so on, whoever else is there.

    Args:
        ids: the site's own patient ids.
        label: (n,) class indices.
    Raises:
        DataError: an id stands twice, or ids and labels differ in number.
    """
    classes = np.asarray(label, dtype=np.int64)
    if len(set(ids)) != len(ids) or classes.shape != (len(ids),):
        raise DataError(
            f"{len(ids)} patients, {len(set(ids))} different ids, {classes.size} labels; wanted one of each"
        )
    part = np.full(len(ids), _EXTERNAL if role == "external" else _TRAIN, dtype=np.int8)
    fold = np.full(len(ids), -1, dtype=np.int8)
    if role == "external":
        return Split(part, fold)
    if study.privacy.training is not None:
        return _split_alone(ids, study)
    ranked = _ranked_by_class(ids, classes, study.seed)
    rules = study.cohort
    ranked = _take(ranked, rules.internal_validation, part, _INTERNAL)
    if rules.folds:
        training = np.concatenate([*ranked, np.empty(0, dtype=np.int64)])
        fold[training] = np.arange(len(training)) % rules.folds
    else:
        _take(ranked, rules.calibration, part, _CALIBRATION)
    return Split(part, fold)


def split_lesions(patients: Sequence[str], label: ArrayLike, role: Literal["train", "external"], study: Study) -> Split:
    """Part n lesions, all of a patient together; parts and folds balanced by lesions of each class and by patients.

    Patients with the most lesions are placed first, in the order of their hashes where they have as many, each where
    what is then there differs least from what is wanted. With private training a patient's hash alone decides.

    Args:
        patients: the site's own id of each lesion's patient.
        label: (n,) class indices.
    Raises:
        DataError: ids and labels differ in number.
    """
    classes = np.asarray(label, dtype=np.int64)
    if classes.shape != (len(patients),):
        raise DataError(f"{len(patients)} lesions, {classes.size} labels; wanted one of each")
    ids = sorted(set(patients))
    number = {patient: place for place, patient in enumerate(ids)}
    owner = np.array([number[patient] for patient in patients], dtype=np.int64)
    if role == "external" or study.privacy.training is not None:
        whole = split_patients(ids, np.zeros(len(ids), dtype=np.int64), role, study)
        return Split(whole.part[owner], whole.fold[owner])
    rules = study.cohort
    counts = np.zeros((len(ids), int(classes.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(counts, (owner, classes), 1)
    digests = [hashlib.sha256(f"{study.seed}:{patient}".encode()).digest() for patient in ids]
    order = sorted(range(len(ids)), key=lambda i: (-int(counts[i].sum()), digests[i]))
    part = np.full(len(ids), _TRAIN, dtype=np.int8)
    fold = np.full(len(ids), -1, dtype=np.int8)
    bins = _balanced(counts, order, [rules.internal_validation, 1 - rules.internal_validation])
    part[bins == 0] = _INTERNAL
    training = [i for i in order if bins[i] == 1]
    if rules.folds:
        fold[training] = _balanced(counts, training, [1 / rules.folds] * rules.folds)[training]
    else:
        calibrates = _balanced(counts, training, [rules.calibration, 1 - rules.calibration]) == 0
        part[calibrates & (bins == 1)] = _CALIBRATION
    return Split(part[owner], fold[owner])


def _balanced(counts: NDArray[np.int64], order: Sequence[int], wanted: Sequence[float]) -> NDArray[np.int64]:
    """The bin of each patient in `order`, −1 of the others; bins want these shares of each class and of the patients.

    Args:
        counts: (p, q) lesions of each patient in each class.
    """
    found = np.full(len(counts), -1, dtype=np.int64)
    weighed = np.concatenate([counts, np.ones((len(counts), 1), dtype=np.int64)], axis=1).astype(np.float64)
    total = weighed[list(order)].sum(axis=0)
    shares = np.array(wanted, dtype=np.float64)
    missing = np.outer(shares, total)
    scale = np.maximum(np.outer(shares, total), 1e-9)
    for i in order:
        # By how much χ² of what is there against what is wanted would fall.
        gain = ((2 * missing - weighed[i]) * weighed[i] / scale).sum(axis=1)
        found[i] = int(np.where(shares > 0, gain, -np.inf).argmax())
        missing[found[i]] -= weighed[i]
    return found


def _split_alone(ids: Sequence[str], study: Study) -> Split:
    """Three numbers of each patient's own hash, uniform in [0, 1), decide on validation, calibration and fold."""
    digests = b"".join(hashlib.sha256(f"{study.seed}:{patient}".encode()).digest()[:24] for patient in ids)
    validates, calibrates, folds = (np.frombuffer(digests, ">u8").reshape(-1, 3) / 2.0**64).T
    rules = study.cohort
    part = np.full(len(ids), _TRAIN, dtype=np.int8)
    fold = np.full(len(ids), -1, dtype=np.int8)
    internal = validates < rules.internal_validation
    if rules.folds:
        fold[~internal] = np.minimum(folds[~internal] * rules.folds, rules.folds - 1)
    else:
        part[calibrates < rules.calibration] = _CALIBRATION
    part[internal] = _INTERNAL
    return Split(part, fold)


def shares(counts: Sequence[int], share: float) -> list[int]:
    """How many of each class make up round(share × total): rounded down, then one more by largest remainder.

    >>> shares([50, 7, 2], 0.2)                  # 12 of 59: quotas 10.0, 1.4 and 0.4
    [10, 2, 0]
    """
    quotas = [count * share for count in counts]
    taken = [int(quota + 1e-9) for quota in quotas]
    left = round(sum(counts) * share) - sum(taken)
    by_remainder = sorted(range(len(counts)), key=lambda i: (taken[i] - quotas[i], i))
    for i in by_remainder[:left]:
        taken[i] += 1
    return taken


def _ranked_by_class(ids: Sequence[str], classes: NDArray[np.int64], seed: int) -> list[NDArray[np.int64]]:
    """For each class that occurs, the indices of its patients in the order of their hashes."""
    digests = [hashlib.sha256(f"{seed}:{patient}".encode()).digest() for patient in ids]
    order = np.array(sorted(range(len(ids)), key=lambda i: digests[i]), dtype=np.int64)
    return [order[classes[order] == index] for index in np.unique(classes)]


def _take(ranked: list[NDArray[np.int64]], share: float, part: NDArray[np.int8], value: int) -> list[NDArray[np.int64]]:
    """Give the first of each class to a part; returns the others."""
    taken = shares([len(one) for one in ranked], share)
    for one, count in zip(ranked, taken, strict=True):
        part[one[:count]] = value
    return [one[count:] for one, count in zip(ranked, taken, strict=True)]
