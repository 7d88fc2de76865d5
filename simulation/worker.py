"""What runs inside a worker: one message to one virtual hospital's ClientApp. Imported once by the fork server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, Metadata, RecordDict
from flwr.clientapp import ClientApp

from simulation.carrier import Carrier

SMALL_BYTES = 1 << 16
"""Below this a buffer travels inside the task."""
CRASHED = 13
"""Error code of a ClientApp that raised: a defect, not a refusal."""
HOSPITAL_APP = "fl_liver.client.app:app"
"""What a hospital runs. Imported where messages are answered only: the coordinator's process stays without torch."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message taken apart: metadata, configs, and arrays whose large buffers are handles of a carrier."""

    metadata: Metadata
    configs: dict[str, dict[str, Any]]
    arrays: dict[str, dict[str, tuple[str, tuple[int, ...], str, Any, bool]]]
    error: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class VirtualSite:
    """Where a virtual hospital lives, on which device it trains, and its ClientApp as "module:name"."""

    node_id: int
    folder: str
    device: str
    app: str = HOSPITAL_APP


@cache
def client_app(path: str) -> ClientApp:
    """The ClientApp behind "module:name"."""
    module, _, name = path.partition(":")
    app: ClientApp = getattr(import_module(module), name)
    return app


def pack(record: RecordDict, metadata: Metadata, carrier: Carrier) -> Parcel:
    """Take a record apart; every large buffer is put once.

    `record.array_records` is not used: Flower makes it a cycle of references, and 45 MB would wait for a collection.
    """
    configs = {name: dict(config) for name, config in record.items() if isinstance(config, ConfigRecord)}
    arrays = {
        name: {
            key: (array.dtype, array.shape, array.stype, *_put(array.data, carrier)) for key, array in arrays.items()
        }
        for name, arrays in record.items()
        if isinstance(arrays, ArrayRecord)
    }
    return Parcel(metadata, configs, arrays)


def _put(data: Any, carrier: Carrier) -> tuple[Any, bool]:
    return (carrier.put(data), True) if len(data) >= SMALL_BYTES else (bytes(data), False)


def unpack(parcel: Parcel, carrier: Carrier, *, last: bool) -> RecordDict:
    """Put a record together again; large buffers are views, not copies."""
    record = RecordDict({name: ConfigRecord(config) for name, config in parcel.configs.items()})
    for name, packed in parcel.arrays.items():
        arrays = ArrayRecord()
        for key, (dtype, shape, stype, data, carried) in packed.items():
            arrays[key] = Array(dtype, shape, stype, b"")
            # Array wants bytes when it is made; numpy reads any buffer, and a view of shared memory is no copy.
            arrays[key].data = carrier.get(data, last=last) if carried else data
        record[name] = arrays
    return record


def answer_message(parcel: Parcel, site: VirtualSite, carrier: Carrier) -> Parcel:
    """Run the ClientApp of one virtual hospital on one message. A defect becomes an error reply; its trace stays."""
    # The public constructor cannot keep the sender's metadata, which the reply must name.
    message = Message(metadata=parcel.metadata, content=unpack(parcel, carrier, last=False))  # type: ignore[call-overload]
    config: dict[str, bool | float | int | str] = {
        "site": str(Path(site.folder) / "site.toml"),
        "device": site.device,
    }
    context = Context(run_id=1, node_id=site.node_id, node_config=config, state=RecordDict(), run_config={})
    with _site_log(Path(site.folder)) as log:
        try:
            reply = client_app(site.app)(message, context)
        except Exception as error:
            log.exception("the client app failed")
            return Parcel(parcel.metadata, {}, {}, (CRASHED, type(error).__name__))
    return pack(reply.content, reply.metadata, carrier)


def reply_to(message: Message, parcel: Parcel, carrier: Carrier) -> Message:
    """The reply of a parcel, as the server receives it."""
    if parcel.error is not None:
        return Message(Error(code=parcel.error[0], reason=parcel.error[1]), reply_to=message)
    return Message(unpack(parcel, carrier, last=True), reply_to=message)


@contextmanager
def _site_log(folder: Path) -> Iterator[logging.Logger]:
    """Each virtual hospital keeps its own log, as a real one does."""
    log = logging.getLogger("fl_liver.site")
    (folder / "work").mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.FileHandler(folder / "work" / "site.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield log
    finally:
        log.removeHandler(handler)
        handler.close()
