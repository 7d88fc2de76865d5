"""A message of every kind, for the tests of what crosses the wall."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.messages import (
    Abandon,
    Abandoned,
    Announced,
    Average,
    Combine,
    Done,
    Endorsed,
    Figures,
    Fit,
    Incoming,
    Keys,
    Look,
    Named,
    Open,
    Outgoing,
    Prepare,
    Ready,
    Refusal,
    Released,
    Score,
    Sealed,
    Shares,
    Sum,
    Survivors,
    Totals,
    Update,
)
from fl_liver.securesum.context import Slot
from fl_liver.stats.conversation import Question
from fl_liver.wire import from_record, to_record

VECTOR = np.array([1.5, -0.0, 3e38], np.float32)
CODED = np.array([0, 1, 2**32 - 1], np.uint32)
WIDTHS: dict[int, Any] = {16: np.uint16, 32: np.uint32, 64: np.uint64}
SLOT = Slot("ab" * 32, "run-1", "training/not-fold-2", 3, 0, 1)
KEYS = {"H01": bytes(range(128)), "H02": b"", "H03": b"\xff" * 3}
QUESTIONS = (
    Question("bins", {"rows": "internal", "low": 0.1}, 4, {"active": np.array([0, 2**64 - 1], np.uint64)}, 60),
    Question("class_counts", {"score": "score:federated"}, 2, {}),
    Question("newton_step", {}, 0, {"beta": np.zeros(0), "shape": np.arange(6, dtype=np.int32).reshape(2, 3)}),
)
ASKED = Sum(
    "ab" * 32,
    "masked",
    3,
    QUESTIONS,
    batch="b1",
    step=2,
    sites=("H01", "H02"),
    previous=np.array([-1, 2**62]),
    scores={"federated": "ef" * 32},
    bits=16,
    run="run-1",
    announced=KEYS,
)
EVERY_KIND: list[Incoming | Outgoing] = [
    Prepare("ab" * 32),
    Keys(SLOT, ("H01", "H02")),
    Shares(SLOT, KEYS),
    Fit(SLOT, VECTOR, KEYS, {"H03": b"word"}),
    Survivors(SLOT, ("H01", "H03"), KEYS),
    Open(SLOT, KEYS, {}),
    Abandon(SLOT),
    Score("ab" * 32, "federated", "all", "train", VECTOR),
    Score("ab" * 32, "federated-type", "all", "train", VECTOR, "type"),
    Look("ab" * 32, "not-fold-1", VECTOR),
    Average("ab" * 32, "ensemble", ("federated_fold0", "federated_fold1")),
    Combine("ab" * 32, "fusion", "federated", 1.25, -0.1, {"age": 0.3, "male": -1e-300}),
    Sum("ab" * 32, "masked", 11, QUESTIONS),
    Sum("ab" * 32, "named", 1, ()),
    ASKED,
    Named("ab" * 32, "external", ("federated", "fusion")),
    Ready("H01", "0.1.0", "train", True, {"patients": 40, "positives": 20}),
    Ready("H01", "0.1.0", "train", False, None),
    Announced(bytes(range(256))),
    Sealed(KEYS),
    Update(3, CODED, b""),
    Endorsed(b"signature", KEYS),
    Released(KEYS),
    Abandoned(b"\x00"),
    Done(0),
    *(Totals(np.array([0, 1, 2**bits - 1], dtype), "cd" * 32, b"keys") for bits, dtype in WIDTHS.items()),
    Figures({"n": 40, "federated": {"auc": 0.91, "ci95": [0.8, None], "roc": {"fpr": [0.0, 1.0]}}}),
    Refusal("BELOW_FLOOR", 14),
]
NUMBERS = st.sampled_from([np.float32, np.float64, np.int64, np.uint64, np.int32, np.uint8, np.bool_])
KINDS = (*get_args(Incoming), *get_args(Outgoing))


def crossed(message: Incoming | Outgoing) -> Any:
    """There and back, through the bytes that Flower would send."""
    sent = to_record(message)
    came = RecordDict({"message": ConfigRecord(dict(sent.config_records["message"]))})
    for name, arrays in sent.array_records.items():
        came[name] = ArrayRecord({key: received(array) for key, array in arrays.items()})
    return from_record(came, (type(message),))


def received(array: Array) -> Array:
    """As Flower would make it of the bytes that it sent."""
    return Array(array.dtype, tuple(array.shape), array.stype, bytes(array.data))


def fit(vector: NDArray[np.float32], number: int = 1) -> Fit:
    return Fit(Slot("s", "run-1", "training/train", number, 0), vector, {}, {})


def assert_same(left: Any, right: Any) -> None:
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.tobytes() == right.tobytes()
    elif dataclasses.is_dataclass(left):
        assert type(left) is type(right)
        for field in dataclasses.fields(left):
            assert_same(getattr(left, field.name), getattr(right, field.name))
    elif isinstance(left, (tuple, list)):
        assert type(left) is type(right)
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    else:
        assert left == right
        assert type(left) is type(right)
