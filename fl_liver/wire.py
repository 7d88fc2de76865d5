"""Messages as Flower carries them, and back; and the digest that binds a masked answer to its question.

Flower stores and fetches every part of a message by itself, so that a message is made of as few as can be: plain
fields travel as JSON (bytes in base64), all arrays together as raw little-endian bytes, beside the JSON where they are
few and as one flat Array otherwise (a model in 122 pieces costs ten times the round).

    RecordDict    "message": ConfigRecord    kind, json; bytes: the arrays, up to 128 KiB
                  "arrays":  ArrayRecord     bytes: one Array of uint8, where they are larger

Where there are arrays, `arrays` in the JSON says how the bytes are cut: [[name, dtype, shape], …].
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from fl_liver.errors import FLLiverError, ProtocolError
from fl_liver.messages import Average, Combine, Fit, Incoming, Outgoing, Score, Sum
from fl_liver.stats.conversation import Question

M = TypeVar("M", bound=Incoming | Outgoing)

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (*get_args(Incoming), *get_args(Outgoing))}
_TYPES = {kind: get_type_hints(kind) for kind in _KINDS.values()}
_RAW = "little-endian"
_INLINE_BYTES = 128 << 10
_CUT = "arrays"
_OUTSIDE_DIGEST = frozenset({"announced", "abandoned"})
"""Keys and statements are signed and bound on their own."""


def to_record(message: Incoming | Outgoing) -> RecordDict:
    """A message as Flower carries it."""
    plain, arrays = _parts(message)
    little = {name: _little(array) for name, array in arrays.items()}
    if little:
        plain[_CUT] = [[name, array.dtype.str, list(array.shape)] for name, array in little.items()]
    head = ConfigRecord({"kind": type(message).__name__, "json": json.dumps(plain, allow_nan=False)})
    record = RecordDict({"message": head})
    if sum(array.nbytes for array in little.values()) > _INLINE_BYTES:
        record["arrays"] = _packed(list(little.values()))
    elif little:
        head["bytes"] = b"".join(array.tobytes() for array in little.values())
    return record


def question_digest(message: Fit | Sum | Score | Combine | Average) -> str:
    """Hex SHA-256 of everything that the server says to all hospitals in one question.

    Hospitals that were told different things (another model, other bins, other coefficients) hold different digests, so
    that their masks do not cancel.
    """
    plain, arrays = _parts(message)
    kept = {name: value for name, value in plain.items() if name not in _OUTSIDE_DIGEST}
    digest = hashlib.sha256(json.dumps([type(message).__name__, kept], sort_keys=True, allow_nan=False).encode())
    for name, array in sorted(arrays.items()):
        little = _little(array)
        # JSON ends where it ends, whatever a name holds: else one array's name could spell out another array.
        digest.update(json.dumps([name, little.dtype.str, list(little.shape)]).encode())
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def from_record(record: RecordDict, expected: tuple[type[M], ...]) -> M:
    """The message in a record.

    Raises:
        ProtocolError: not one of ours, not one of `expected`, or its fields are not the kind's own.
    """
    try:
        head, data = _taken_apart(record)
        kind, plain = _KINDS[str(head["kind"])], json.loads(str(head["json"]))
        arrays = _cut(plain.pop(_CUT), data) if data is not None else {}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
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
    for name, value in fields.items():
        try:
            fields[name] = _typed(value, _TYPES[kind][name])
        except (TypeError, ValueError, KeyError, FLLiverError) as error:
            raise ProtocolError(
                f"{kind.__name__}: field '{name}' is a {type(value).__name__}, which it must not be"
            ) from error
    return kind(**fields)


def _parts(message: Incoming | Outgoing) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The plain fields as JSON values, and the arrays."""
    arrays: dict[str, NDArray[Any]] = {}
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif field.name == "questions":
            plain[field.name] = [question.head() for question in value]
            for index, question in enumerate(value):
                arrays |= {f"questions/{index}/{name}": array for name, array in question.arrays.items()}
        else:
            plain[field.name] = _json(value)
    return plain, arrays


def _json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {name: _json(one) for name, one in value.items()}
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _typed(value: Any, wanted: Any) -> Any:
    """A decoded value as the field's annotation has it: numbers as JSON has them, arrays by dtype.

    Raises:
        TypeError, ValueError, FLLiverError: it is something else.
    """
    origin, inside = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return _one_of(value, inside)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_typed(one, inside[0]) for one in value)
    if origin is dict and isinstance(value, dict):
        return {name: _typed(one, inside[1]) for name, one in value.items()}
    if wanted is bytes and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted) and isinstance(value, dict):
        hints = get_type_hints(wanted)
        return wanted(**{name: _typed(one, hints[name]) for name, one in value.items()})
    if not _fits(value, wanted):
        raise TypeError(type(value).__name__)
    return value


def _one_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    for kind in kinds:
        try:
            return _typed(value, kind)
        except (TypeError, ValueError):
            continue
    raise TypeError(type(value).__name__)


def _fits(value: object, wanted: Any) -> bool:
    origin, inside = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inside)
    if origin is np.ndarray:
        return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == get_args(inside[1])[0]
    if wanted is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return wanted is Any or (isinstance(wanted, type) and isinstance(value, wanted))


def _questions(heads: list[Mapping[str, Any]], arrays: dict[str, NDArray[Any]]) -> tuple[Question, ...]:
    found: list[Question] = []
    try:
        for index, head in enumerate(heads):
            prefix = f"questions/{index}/"
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            bound = head["bound"]
            found.append(
                Question(
                    str(head["kind"]),
                    dict(head["arguments"]),
                    int(head["length"]),
                    own,
                    None if bound is None else int(bound),
                )
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(
            f"a question cannot be read ({type(error).__name__}); wanted kind, arguments, length, bound"
        ) from error
    if sum(len(question.arrays) for question in found) != sum(name.startswith("questions/") for name in arrays):
        raise ProtocolError(f"arrays of other questions than the {len(found)} that are asked came with them")
    return tuple(found)


def _packed(arrays: Sequence[NDArray[Any]]) -> ArrayRecord:
    """One Array of all bytes."""
    flat = [array.reshape(-1).view(np.uint8) for array in arrays]
    whole = flat[0] if len(flat) == 1 else np.concatenate(flat)
    one = Array(dtype=whole.dtype.str, shape=whole.shape, stype=_RAW, data=b"")
    # Array wants bytes when it is made, and reads any buffer: a view, so that 45 MB are not copied.
    one.data = whole.data.toreadonly()  # type: ignore[assignment]
    record = ArrayRecord()
    # The record's constructor would make every Array anew, which wants bytes.
    record["bytes"] = one
    return record


def _taken_apart(record: RecordDict) -> tuple[ConfigRecord, Any]:
    """The head, and the buffer of all arrays; None where there is none. Raises what a foreign record runs into."""
    head, packed = record["message"], record.get("arrays")
    if not isinstance(head, ConfigRecord) or not isinstance(packed, ArrayRecord | None):
        raise TypeError(type(packed))
    data: Any
    if packed is None:
        names, data = {"message"}, head.get("bytes")
    else:
        names, data = {"message", "arrays"}, _bytes_of(packed)
    keys = {"kind", "json", "bytes"} if packed is None and data is not None else {"kind", "json"}
    if set(record) != names or set(head) != keys or not isinstance(data, bytes | memoryview | None):
        raise ValueError(type(data))
    return head, data


def _bytes_of(packed: ArrayRecord) -> memoryview:
    (one,) = packed.values()
    data = memoryview(one.data)
    if set(packed) != {"bytes"} or (one.stype, one.dtype, tuple(one.shape)) != (_RAW, "|u1", (data.nbytes,)):
        raise ValueError(one.dtype)
    return data


def _cut(heads: Any, data: Any) -> dict[str, NDArray[Any]]:
    """The arrays in a buffer, as read-only views of it. Every byte belongs to one; each name stands there once.

    Raises:
        ValueError, TypeError: anything else.
    """
    found: dict[str, NDArray[Any]] = {}
    at, end = 0, len(data)
    for name, kind, shape in heads:
        dtype = np.dtype(kind)
        if dtype.kind not in "biuf" or dtype.str != kind or kind[0] == ">":
            raise ValueError(kind)
        count = math.prod(map(_side, shape))
        if not isinstance(name, str) or name in found or count * dtype.itemsize > end - at:
            raise ValueError(name)
        view = np.frombuffer(data, dtype, count, at) if count else np.zeros(0, dtype)
        at += view.nbytes
        # An array behind one of another width may begin anywhere.
        array = (view if view.flags.aligned else view.copy()).reshape(shape)
        array.flags.writeable = False
        found[name] = array
    if at != end or not found:
        raise ValueError(at)
    return found


def _side(length: Any) -> int:
    if type(length) is not int or length < 0:
        raise ValueError(length)
    return length


def _little(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
