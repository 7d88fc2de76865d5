"""Which class each simulated reader names, of the seven of Zhen 2020; and of a malignant tumour, which of the three.

A reader whose call (`readers`) is malignant names one of the malignant classes, else a benign one: that for which most
speaks. What speaks for a class is the ideal observer's log density of the lesion in it (against the likeliest, limited
as in `readers`) through noise of which part is shared, and which falls with experience. So classes that look alike on
MR are taken for one another, and readers err together. Of malignant tumours each reader is asked a second question, as
the paper's were: which of the three it is, and names that which looks likeliest of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from simulation.phantom.lesion import LESION_KINDS
from simulation.phantom.mr_lesions import MALIGNANT_KINDS
from simulation.phantom.readers import LIMIT, READERS, SHARED_NOISE
from simulation.phantom.virtual import Opinion, Unit

_BENIGN_KINDS = tuple(kind for kind in LESION_KINDS if kind not in MALIGNANT_KINDS)
_PER_CLASS = math.sqrt(0.5)
"""Two classes differ by the noise of both."""


def _names(unit: Unit, calls: Sequence[int], random: np.random.Generator) -> list[str]:
    best = max(unit.classes.values())
    shared: dict[str, float] = {
        kind: LIMIT * math.tanh((unit.classes[kind] - best) / LIMIT) + _PER_CLASS * SHARED_NOISE * random.normal()
        for kind in LESION_KINDS
    }
    named, of_malignant = [], []
    for reader, call in zip(READERS, calls, strict=True):
        seems: dict[str, float] = {
            kind: value + _PER_CLASS * reader.noise * random.normal() for kind, value in shared.items()
        }
        named.append(_likeliest(seems, MALIGNANT_KINDS if call else _BENIGN_KINDS))
        of_malignant.append(_likeliest(seems, MALIGNANT_KINDS) if unit.truth in MALIGNANT_KINDS else "")
    return [*named, *of_malignant]


def _likeliest(seems: Mapping[str, float], kinds: Iterable[str]) -> str:
    return max(kinds, key=lambda kind: seems[kind])


NAMED_CLASSES = Opinion(
    (*(f"{reader.name}_class" for reader in READERS), *(f"{reader.name}_malignant_class" for reader in READERS)),
    _names,
)
