"""What masked sums cost: beside the bare keystream, beside Flower's SecAgg+, in bytes, and as part of a round.

    python -m benchmarks.securesum [--json FILE] [--only masking upload whole memory flower statistics] [--rounds]

One thread. Ratios are medians over turns in which both sides ran one after the other, and so are milliseconds; whole
sums, which take seconds, are the best of a few turns. `--rounds` takes minutes and all cores: the hospitals of the
default simulation, one round with masks, one in the clear, in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from threadpoolctl import threadpool_limits

from benchmarks.masked_rounds import RoundTimes, measure
from benchmarks.peers_flower_secagg import FlowerClient
from benchmarks.securesum_sums import (
    CLIP,
    MAX_WEIGHT,
    QUESTION,
    TRAINING,
    Hospitals,
    bare_masking,
    key_agreement,
    models,
    statistics_step,
    whole_training_sum,
)
from benchmarks.statistics import peak_bytes
from benchmarks.table import Row, Table, parser
from benchmarks.workload import ECHO_TENSORS
from fl_liver.messages import Endorsed, Outgoing, Released, Update
from fl_liver.securesum.context import Context, Keystream
from fl_liver.securesum.encoding import UpdateCode, check_words
from fl_liver.wire import to_record
from simulation.engine import available_cores
from simulation.options import Options

PARTS = ("masking", "upload", "whole", "memory", "flower", "statistics")
KEYSTREAMS: tuple[Keystream, ...] = ("chacha20", "aes-256-ctr")
SITES, SIZE = 13, 11_200_000
"""A ResNet-18 at 13 hospitals: 12 pairs and the hospital's own mask."""
OF_BARE_RATE, TIMES_FLOWER, BYTES_OF_FLOWER = 0.70, 10.0, 0.5
BESIDE_VECTOR_KB, VECTORS, BLOCKS = 4.0, 3.0, 0.03
WHOLE_S, MANY_SITES, MANY_SIZE, MANY_S = 4.0, 100, 1_000_000, 60.0
STEP_LENGTH = 12_000
ROUND_SHARE = 0.05
BARE_WORDS = (1 << 15, 1 << 18)
"""Ours, and the prototype's; the faster of the two is the bare rate."""
Work = Callable[[], float | None]


def in_turn(works: Sequence[Work], turns: int) -> list[list[float]]:
    """Seconds of every work in every turn, after one turn to warm up. A work that returns seconds timed itself."""
    found: list[list[float]] = [[] for _ in works]
    for turn in range(turns + 1):
        for place, work in enumerate(works):
            began = time.perf_counter()
            own = work()
            seconds = time.perf_counter() - began if own is None else own
            if turn:
                found[place].append(seconds)
    return found


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over turns of one time as a multiple of another."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


class OneSite:
    """One hospital of `count` that encodes and masks an update, each time with the keys it began with."""

    def __init__(self, count: int, size: int, keystream: Keystream) -> None:
        self.trained, self.start, running = models(size)
        self.code = UpdateCode(running, size, count, MAX_WEIGHT, CLIP)
        self._here = Hospitals.meet(count, TRAINING)
        self._context = Context(TRAINING, self.code.length, 32, QUESTION, keystream)
        self._announced = self._here.server.begin(self._context)

    def encode(self) -> None:
        self.code.encode(self.trained, self.start, 60, 0.5)

    def encode_and_mask(self) -> float:
        """Seconds, with the check of the others' keys and the agreement on the masks."""
        site = self._here.as_before("H01")
        began = time.perf_counter()
        coded, _ = self.code.encode(self.trained, self.start, 60, 0.5)
        site.mask(self._context, self._announced, coded)
        return time.perf_counter() - began


def masking(sites: int = SITES, size: int = SIZE, turns: int = 9) -> list[Row]:
    """Finite check, clip, fixed point, keys and masks, beside keystream and addition alone."""
    rows: list[Row] = []
    for keystream in KEYSTREAMS:
        one = OneSite(sites, size, keystream)
        vector = np.zeros(one.code.length + check_words(32), np.uint32)
        bare = [partial(bare_masking, vector, keystream, sites, words) for words in BARE_WORDS]
        ours_s, encode_s, *bares_s = in_turn([one.encode_and_mask, one.encode, *bare], turns)
        fastest = [min(both) for both in zip(*bares_s, strict=True)]
        rate = 1e-9 * sites * vector.nbytes / statistics.median(fastest)
        rows += [
            Row(
                name=f"encode and mask, {keystream}: share of the bare rate",
                measured=median_ratio(fastest, ours_s),
                unit="",
                target=OF_BARE_RATE,
                at_least=True,
            ),
            Row(
                name=f"  {size} parameters, {sites} keystreams",
                measured=1e3 * statistics.median(ours_s),
                unit="ms",
                peers={"bare loop": 1e3 * statistics.median(fastest), "its GB/s": rate},
            ),
            Row(
                name="  of these, finite check, clip and encoding",
                measured=1e3 * statistics.median(encode_s),
                unit="ms",
            ),
        ]
    return rows


def record_bytes(record: RecordDict) -> int:
    """Bytes of the arrays and of the text of a message."""
    configs = [part for part in record.values() if isinstance(part, ConfigRecord)]
    arrays = [part for part in record.values() if isinstance(part, ArrayRecord)]
    values = [value for part in configs for value in part.values()]
    text = sum(len(value if isinstance(value, bytes) else str(value).encode()) for value in values)
    return text + sum(len(array.data) for part in arrays for array in part.values())


def upload(sites: int = SITES, size: int = SIZE) -> list[Row]:
    """What one hospital sends in a round: masked update, signature with sealed shares of the next round, shares."""
    here = Hospitals.meet(sites, TRAINING)
    code = UpdateCode((), size, sites, MAX_WEIGHT, CLIP)
    here.server.begin(Context(TRAINING, code.length, 32, QUESTION))
    vector = np.random.default_rng(0).integers(0, 1 << 32, code.length + check_words(32), np.uint32)
    for name in here.sites:
        here.sites[name].mask(Context(TRAINING, code.length, 32, QUESTION), here.server.announced, vector)
        here.server.take_masked(name, vector)
    one, names = here.sites["H01"], here.server.survivors()
    for name in names:
        here.server.take_endorsement(name, here.sites[name].endorse(names, here.identities[name]))
    sealed = here.as_before("H01").sealed(here.server.announced)
    sent: list[Outgoing] = [
        Update(1, vector, here.server.announced["H01"]),
        Endorsed(here.server.endorsements()["H01"], sealed),
        Released(one.release(here.server.endorsements(), here.server.sealed_for("H01"))),
    ]
    records = [to_record(message) for message in sent]
    beside = sum(map(record_bytes, records)) - 4 * size
    carried = sum(len(part.deflate()) for record in records for part in get_all_nested_objects(record).values())
    return [
        Row(
            name=f"upload of a round, {sites} sites, beside 4 B a parameter",
            measured=beside / 1e3,
            unit="kB",
            target=BESIDE_VECTOR_KB,
        ),
        Row(name="  the same as Flower carries it, before HTTP", measured=(carried - 4 * size) / 1e3, unit="kB"),
    ]


def whole(
    sites: int = SITES, size: int = SIZE, turns: int = 3, many: tuple[int, int] = (MANY_SITES, MANY_SIZE)
) -> list[Row]:
    """Keys, shares, encoding, masks, additions and opening of one sum, all roles one after the other."""
    rows: list[Row] = []
    for keystream in KEYSTREAMS:
        runs = [whole_training_sum(sites, size, keystream, 1) for _ in range(turns)]
        found = min(runs, key=lambda run: sum(run.values()))
        name = f"sum of {sites} sites × {size}, one lost, {keystream}"
        rows.append(Row(name=name, measured=sum(found.values()), unit="s", target=WHOLE_S, peers=found))
    found = whole_training_sum(*many, "chacha20", 1)
    name = f"sum of {many[0]} sites × {many[1]}, one lost, chacha20"
    return [*rows, Row(name=name, measured=sum(found.values()), unit="s", target=MANY_S, peers=found)]


def memory(sites: int = SITES, size: int = SIZE) -> list[Row]:
    """What Python and numpy hold at most while a hospital encodes and masks, received and trained model included."""
    one = OneSite(sites, size, "chacha20")
    vectors = 2 + peak_bytes(one.encode_and_mask) / (4 * size)
    name = "memory of encode and mask, in vectors of 4 B a parameter"
    return [Row(name=name, measured=vectors, unit="", target=VECTORS + BLOCKS)]


def flower(sites: int = SITES, size: int = SIZE, turns: int = 5) -> list[Row]:
    """One client's quantising and masking, from float arrays in memory to masked integers in memory."""
    peer = FlowerClient(sites, Hospitals.meet(sites, TRAINING).roster.threshold)
    ours = [OneSite(sites, size, keystream) for keystream in KEYSTREAMS]
    tensors = np.array_split(ours[0].trained, ECHO_TENSORS)
    size_b = 0

    def theirs() -> float:
        nonlocal size_b
        seconds, size_b = peer.mask(tensors, 60)
        return seconds

    theirs_s, *ours_s = in_turn([theirs, *(one.encode_and_mask for one in ours)], turns)
    rows = [
        Row(
            name=f"times faster than secaggplus_mod, {keystream}",
            measured=median_ratio(theirs_s, seconds),
            unit="×",
            target=TIMES_FLOWER,
            at_least=True,
            peers={"ours, ms": 1e3 * statistics.median(seconds), "its ms": 1e3 * statistics.median(theirs_s)},
        )
        for keystream, seconds in zip(KEYSTREAMS, ours_s, strict=True)
    ]
    masked_b = 4 * (ours[0].code.length + check_words(32))
    name = "  masked arrays, share of its bytes"
    return [*rows, Row(name=name, measured=masked_b / size_b, unit="", target=BYTES_OF_FLOWER + 1e-4)]


def statistics_rows(sites: int = SITES, length: int = STEP_LENGTH, turns: int = 9) -> list[Row]:
    """A step of a batch that is opened over every hospital; keys for it came with the step before."""
    narrow_s, wide_s, keys_s = in_turn(
        [
            partial(statistics_step, sites, length, 16),
            partial(statistics_step, sites, length, 64),
            partial(key_agreement, sites),
        ],
        turns,
    )
    name = f"statistics, {sites} sites and server, {length} entries of"
    return [
        Row(name=f"{name} 16 bits", measured=1e3 * statistics.median(narrow_s), unit="ms"),
        Row(name=f"{name} 64 bits", measured=1e3 * statistics.median(wide_s), unit="ms"),
        Row(name="  key agreement, a site", measured=1e3 * statistics.median(keys_s), unit="ms"),
    ]


def rounds(times: RoundTimes) -> list[Row]:
    """What masks add to a round of the default simulation, keys, digests and files included."""
    masked_s, plain_s = (statistics.median(seconds) for seconds in zip(*times.trained, strict=True))
    peers = {"with masks, s": masked_s, "in the clear, s": plain_s}
    return [
        Row(
            name="a round of the default simulation: masks add",
            measured=times.share,
            unit="of it",
            target=ROUND_SHARE,
            peers=peers,
        ),
        Row(name="  between rounds without training", measured=1e3 * times.at_most_s, unit="ms"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, print the table; exit status 1 if a target was missed."""
    asked = parser(__doc__, PARTS)
    asked.add_argument("--rounds", action="store_true", help="also rounds of the default simulation")
    chosen = asked.parse_args(arguments)
    parts: dict[str, Callable[[], list[Row]]] = {
        "masking": masking,
        "upload": upload,
        "whole": whole,
        "memory": memory,
        "flower": flower,
        "statistics": statistics_rows,
    }
    table = Table("Masked sums: one process, one thread")
    with threadpool_limits(1):
        for name in chosen.only or PARTS:
            table.rows += parts[name]()
    if chosen.rounds:
        table.rows += rounds(measure(available_cores(), Options()))
    table.notes += [
        "encode and mask: finite check, clip, fixed point, 12 signatures checked, 12 keys agreed, 13 keystreams",
        "memory: tracemalloc's peak (numpy and Python) plus the two models given; blocks may add"
        f" {BLOCKS:g} of a vector",
        "secaggplus_mod: decrypts 12 shares, agrees 12 keys, quantises, 13 masks of a Mersenne Twister; parameters to"
        " and from bytes left out on both sides; its defaults (2^22 levels, modulo 2^32, carried as int64)",
        "what hospitals write to disk and the digest of the question are not in these times, but in --rounds",
    ]
    return table.finish(chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
