"""Everything that may cross a hospital's wall, and nothing else.

Frozen dataclasses; `to_record` and `from_record` turn them into Flower's RecordDict and back. A field is a JSON value
or a numpy array; arrays travel as raw little-endian bytes, one flat array per model (a state dict in 122 pieces costs
ten times the round). No field describes fewer patients than the site's floor: `client.egress` sees to that.

server → site   Prepare  Fit  Score  Combine  Sum  Named
site → server   Ready    Update  Done  Done   Totals  Figures      or, to any of them, Refusal
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from fl_liver.errors import ProtocolError
from fl_liver.stats.conversation import Question

Vector = NDArray[np.float32]
Purpose = Literal["masked", "named"]
RefusalCode = Literal[
    "NOT_APPROVED", "CONFIG", "DATA", "BELOW_FLOOR", "ONE_CLASS", "ROLE", "CONSENT", "PROTOCOL", "TRAINING", "BUSY"
]


@dataclass(frozen=True, slots=True)
class Prepare:
    """Read the cohort for this study and say whether you can take part."""

    study_sha256: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The site can take part. `figures` (patients, positives, excluded) only with its consent to named release."""

    site: str
    version: str
    role: str
    named: bool
    figures: dict[str, int] | None


@dataclass(frozen=True, slots=True)
class Fit:
    """Train on your own patients, starting from `vector`. `rows` is "train" or "not-fold-K"."""

    study_sha256: str
    round: int
    rows: str
    vector: Vector


@dataclass(frozen=True, slots=True)
class Update:
    """A site's trained parameters (absolute, float32), its weight min(patients, max_weight), and its mean loss."""

    round: int
    vector: Vector
    weight: int
    loss: float


@dataclass(frozen=True, slots=True)
class Score:
    """Score your patients with `vector` and keep the float64 logits under `name`. `rows`: "all", a part, or "fold-K".

    `layers`: whose own BatchNorm layers to put in where the strategy is FedBN: "train" or "not-fold-K", "" for none.
    """

    study_sha256: str
    name: str
    rows: str
    layers: str
    vector: Vector


@dataclass(frozen=True, slots=True)
class Combine:
    """Make the score `name` = intercept + base_beta · score `base` + Σ beta · factor, and keep it."""

    study_sha256: str
    name: str
    base: str
    base_beta: float
    intercept: float
    factors: dict[str, float]


@dataclass(frozen=True, slots=True)
class Done:
    """The site did what was asked; nothing else to tell."""

    count: int


@dataclass(frozen=True, slots=True)
class Sum:
    """Answer these questions over your rows, as one vector.

    `purpose` "masked": the sum is opened over `contributors` ≥ min_sites hospitals. "named": it is this hospital's own
    figure, or a sum over fewer than min_sites, and needs its consent.

    One analysis plan is one `batch`, asked in steps 0, 1, … over `sites`, the same in each. `previous` holds the opened
    totals of the step before, one behind the other, so that a hospital can follow the plan; empty at step 0.
    """

    study_sha256: str
    purpose: Purpose
    contributors: int
    questions: tuple[Question, ...]
    batch: str = ""
    step: int = 0
    sites: tuple[str, ...] = ()
    previous: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class Totals:
    """The answers to a `Sum`, one behind the other, int64, and the site's commitment to its cohort (64 hex digits)."""

    vector: NDArray[np.int64]
    commitment: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """Publish your own figures for these scores over these rows ("internal" or "external")."""

    study_sha256: str
    rows: str
    scores: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """One hospital's own published figures: score → AUC with interval, counts, ROC merged to ≥ min_cell."""

    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The site does not do it. The reason in words stays in the site's own log; a code and a count leave it."""

    code: RefusalCode
    count: int


Incoming = Prepare | Fit | Score | Combine | Sum | Named
Outgoing = Ready | Update | Done | Totals | Figures | Refusal
M = TypeVar("M", bound=Incoming | Outgoing)

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Prepare, Ready, Fit, Update, Score, Combine, Done, Sum, Totals, Named, Figures, Refusal)
}
_TYPES = {kind: get_type_hints(kind) for kind in _KINDS.values()}
_RAW = "little-endian"


def to_record(message: Incoming | Outgoing) -> RecordDict:
    """A message as Flower carries it."""
    arrays: dict[str, Array] = {}
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = _pack(value)
        elif field.name == "questions":
            plain[field.name] = [
                {"kind": question.kind, "arguments": dict(question.arguments), "length": question.length}
                for question in value
            ]
            for index, question in enumerate(value):
                arrays |= {f"questions/{index}/{name}": _pack(array) for name, array in question.arrays.items()}
        else:
            plain[field.name] = value
    head = ConfigRecord({"kind": type(message).__name__, "json": json.dumps(plain, allow_nan=False)})
    packed = ArrayRecord()
    packed.update(arrays)  # its constructor would make every Array anew, which wants bytes
    return RecordDict({"message": head, "arrays": packed})


def from_record(record: RecordDict, expected: tuple[type[M], ...]) -> M:
    """The message in a record.

    Raises:
        ProtocolError: not one of ours, not one of `expected`, or its fields are not the kind's own.
    """
    try:
        head, packed = record["message"], record["arrays"]
        if not isinstance(head, ConfigRecord) or not isinstance(packed, ArrayRecord):
            raise TypeError(type(packed))
        kind, plain = _KINDS[str(head["kind"])], json.loads(str(head["json"]))
        arrays = {name: _unpack(array) for name, array in packed.items()}
    except (KeyError, ValueError, TypeError) as error:
        raise ProtocolError(
            f"message cannot be read ({type(error).__name__}); the two sides' versions differ"
        ) from error
    if kind not in expected:
        raise ProtocolError(f"message is a {kind.__name__}, wanted {' or '.join(one.__name__ for one in expected)}")
    if not isinstance(plain, dict):
        raise ProtocolError(f"{kind.__name__}: its fields are a {type(plain).__name__}, wanted a table")
    if kind is Sum:
        plain["questions"] = _questions(plain.get("questions", []), arrays)
        arrays = {name: array for name, array in arrays.items() if not name.startswith("questions/")}
    fields = {**plain, **arrays}
    wanted = {field.name for field in dataclasses.fields(kind)}
    if set(fields) != wanted:
        raise ProtocolError(f"{kind.__name__}: fields {sorted(fields)}, wanted {sorted(wanted)}")
    for name in ("scores", "sites"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    for name, value in fields.items():
        if not _fits(value, _TYPES[kind][name]):
            raise ProtocolError(f"{kind.__name__}: field '{name}' is a {type(value).__name__}, which it must not be")
    return kind(**fields)


def _fits(value: object, wanted: Any) -> bool:
    """Whether a decoded value is what the field's annotation says; numbers as JSON has them, arrays by dtype."""
    origin, inside = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inside)
    if origin is Literal:
        return value in inside
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, inside[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(one, inside[1]) for one in value.values())
    if origin is np.ndarray:
        return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == get_args(inside[1])[0]
    if wanted is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return wanted is Any or isinstance(value, wanted)


def _questions(heads: list[Mapping[str, Any]], arrays: dict[str, NDArray[Any]]) -> tuple[Question, ...]:
    found: list[Question] = []
    try:
        for index, head in enumerate(heads):
            prefix = f"questions/{index}/"
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            found.append(Question(str(head["kind"]), dict(head["arguments"]), int(head["length"]), own))
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(
            f"a question cannot be read ({type(error).__name__}); wanted kind, arguments, length"
        ) from error
    return tuple(found)


def _pack(array: NDArray[Any]) -> Array:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    packed = Array(dtype=little.dtype.str, shape=array.shape, stype=_RAW, data=b"")
    # Array wants bytes when it is made, and reads any buffer: a view, so that 45 MB are not copied.
    packed.data = little.reshape(-1).view(np.uint8).data.toreadonly()  # type: ignore[assignment]
    return packed


def _unpack(array: Array) -> NDArray[Any]:
    """A read-only view of the received bytes."""
    if array.stype != _RAW:
        raise ValueError(array.stype)
    dtype = np.dtype(array.dtype)
    if dtype.hasobject:
        raise ValueError(array.dtype)
    view = np.frombuffer(array.data, dtype=dtype)
    if view.shape != tuple(array.shape):
        view = view.reshape(array.shape)
    view.flags.writeable = False
    return view
