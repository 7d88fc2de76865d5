"""The server and n − t hospitals together learn the sum over the honest survivors, and nothing else.

By simulation: two assignments of vectors with the same honest sum. Where the keystreams are random functions R, the
second course with R' = R + δ gives the adversary the same view to the last byte; δ is written down below, does not
depend on R, and only concerns seeds that the adversary cannot derive from everything that it holds. R ↦ R + δ is a
bijection, so that both assignments give every view equally often.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_liver.securesum import server as server_module
from fl_liver.securesum import shamir
from fl_liver.securesum import site as site_module
from fl_liver.securesum.context import Keystream, Slot, mask_info
from fl_liver.securesum.keys import Announcement, pair_seed, self_seed
from fl_liver.securesum.keystream import add_keystreams
from tests.securesum.hospitals import STATISTICS, TRAINING, Sum, numbers

COUNT = 7
LIARS = ("H02", "H06")
"""n − t of them; the lists of survivors need five honest signatures."""
Shift = Mapping[bytes, NDArray[np.uint32]]


@dataclass
class Course:
    """A sum that was played to its end, and what the server opened."""

    sum: Sum
    opened: NDArray[np.uint32]


def play(patch: pytest.MonkeyPatch, slot: Slot, vectors: dict[str, Any], late: str | None, shift: Shift) -> Course:
    """One whole sum with fixed randomness and keystreams R + shift. `late`: its vector comes, but it is called lost."""
    draw = random.Random(11)

    def shifted(vector: NDArray[Any], seeds: Sequence[tuple[bytes, int]], keystream: Keystream) -> None:
        add_keystreams(vector, seeds, keystream)
        for seed, sign in seeds:
            if seed in shift:
                vector += shift[seed] if sign > 0 else -shift[seed]

    patch.setattr("secrets.token_bytes", draw.randbytes)
    patch.setattr("secrets.randbelow", draw.randrange)
    patch.setattr(site_module, "add_keystreams", shifted)
    patch.setattr(server_module, "add_keystreams", shifted)
    one = Sum(COUNT, slot)
    one.vectors = vectors
    opened = one.opened(mask=(late,) if late else ())
    if late:
        one.masked[late] = one.answer(late)
    return Course(one, opened)


def view(course: Course) -> str:
    """All that the adversary ever sees: every message, everything that the liars keep, the opened total."""
    one, server = course.sum, course.sum.server
    return json.dumps(
        {
            "announced": {name: keys.hex() for name, keys in server.announced.items()},
            "sealed": {a: {b: box.hex() for b, box in boxes.items()} for a, boxes in server._sealed.items()},
            "masked": {name: vector.tobytes().hex() for name, vector in one.masked.items() if name not in LIARS},
            "endorsed": {name: signature.hex() for name, signature in server._endorsed.items()},
            "released": {a: {b: share.hex() for b, share in shares.items()} for a, shares in server._released.items()},
            "liars": {name: one.vectors[name].tolist() for name in LIARS},
            "opened": course.opened.tolist(),
        }
    )


def derivable(one: Sum, secrets_before: dict[str, Any], liars: Sequence[str] = LIARS) -> set[bytes]:
    """Every seed that follows from the released shares, the liars' own keys and the shares sealed for them."""
    roster = one.roster
    info = mask_info(roster, one.context, one.server._participants)
    keys = {name: Announcement.from_bytes(content).mask_key for name, content in one.server._participants.items()}
    known: dict[tuple[str, str], dict[int, bytes]] = {}
    for name, held in secrets_before.items():
        for liar in liars if held["shares"] else ():
            share = bytes.fromhex(held["shares"][roster.number(liar) - 1])
            for kind, part in (("mask_key", share[:33]), ("own", share[33:])):
                known.setdefault((name, kind), {})[roster.number(liar)] = part
    for holder, shares in one.server._released.items():
        for name, share in shares.items():
            kind = "own" if name in one.server._survivors else "mask_key"
            known.setdefault((name, kind), {})[roster.number(holder)] = share
    found: set[bytes] = set()
    for name, kind in product(secrets_before, ("mask_key", "own")):
        secret, by_number = None, known.get((name, kind), {})
        if name in liars:
            secret = bytes.fromhex(secrets_before[name][kind])
        elif len(by_number) >= roster.threshold:
            chosen = list(by_number)[: roster.threshold]
            weight = dict(zip(chosen, shamir.weights(chosen), strict=True))
            secret = shamir.rebuild({number: by_number[number] for number in chosen}, weight)
            assert secret.hex() == secrets_before[name][kind]
        if secret is not None and kind == "own":
            found.add(self_seed(secret, info, name))
        elif secret is not None:
            found |= {pair_seed(secret, key, info, name, each) for each, key in keys.items() if each != name}
    return found


def honest_seeds(one: Sum, secrets_before: dict[str, Any]) -> dict[tuple[str, ...], bytes]:
    """(a, b) → the seed of a pair; (a,) → that of its own mask."""
    info = mask_info(one.roster, one.context, one.server._participants)
    keys = {name: Announcement.from_bytes(content).mask_key for name, content in one.server._participants.items()}
    private = {name: bytes.fromhex(held["mask_key"]) for name, held in secrets_before.items()}
    seeds: dict[tuple[str, ...], bytes] = {
        (a, b): pair_seed(private[a], keys[b], info, a, b) for a, b in combinations(sorted(keys), 2)
    }
    return seeds | {(name,): self_seed(bytes.fromhex(held["own"]), info, name) for name, held in secrets_before.items()}


def secrets_of(patch: pytest.MonkeyPatch, slot: Slot) -> dict[str, Any]:
    """Each hospital's secrets, from the same randomness as `play` uses; `release` erases them."""
    draw = random.Random(11)
    patch.setattr("secrets.token_bytes", draw.randbytes)
    patch.setattr("secrets.randbelow", draw.randrange)
    one = Sum(COUNT, slot).until("announce")
    return {name: site.to_json()["secrets"] for name, site in one.sites.items()}


@pytest.mark.parametrize(
    ("slot", "late"),
    [(TRAINING, None), (TRAINING, "H04"), (STATISTICS, None)],
    ids=["training", "training, one honest vector comes too late", "statistics"],
)
def test_two_assignments_with_one_honest_sum_give_the_same_view(
    monkeypatch: pytest.MonkeyPatch, slot: Slot, late: str | None
) -> None:
    first = {name: vector + 10_000 for name, vector in numbers(COUNT, seed=1).items()}
    honest = [name for name in first if name not in LIARS and name != late]
    draw = np.random.default_rng(2)
    change = {name: draw.integers(-500, 500, 5) for name in honest[:-1]}
    change[honest[-1]] = -np.sum(list(change.values()), axis=0)
    if late:
        change[late] = np.arange(5) + 900
    second = {name: vector + change.get(name, 0) for name, vector in first.items()}

    secrets_before = secrets_of(monkeypatch, slot)
    one = play(monkeypatch, slot, first, late, {})
    seeds = honest_seeds(one.sum, secrets_before)
    delta: dict[bytes, NDArray[np.uint32]] = {}
    carried = np.zeros(7, np.int64)
    for here, there in pairwise(honest):
        carried = carried - np.append(change[here], [0, 0])
        delta[seeds[here, there]] = carried.astype(np.uint64).astype(np.uint32)
    if late:
        delta[seeds[(late,)]] = (-np.append(change[late], [0, 0])).astype(np.uint64).astype(np.uint32)
    two = play(monkeypatch, slot, second, late, delta)

    assert any((first[name] != second[name]).any() for name in honest)
    assert view(one) == view(two)
    known = derivable(one.sum, secrets_before)
    assert known, "the adversary does know some seeds: its own, and those that the opening gives away"
    assert not known & delta.keys(), "and none of those that were changed"
    if slot.recovers:
        assert {seeds[(name,)] for name in honest} <= known
        assert late is None or seeds[(late,)] not in known


def test_one_liar_more_than_n_minus_t_would_see_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation can fail: with t shares of a late hospital's own mask, its seed is derivable."""
    secrets_before = secrets_of(monkeypatch, TRAINING)
    one = play(monkeypatch, TRAINING, numbers(COUNT), "H04", {}).sum
    seed = honest_seeds(one, secrets_before)[("H04",)]
    assert seed not in derivable(one, secrets_before)
    assert seed in derivable(one, secrets_before, ("H01", "H02", "H03", "H05", "H06"))


@pytest.mark.parametrize("slot", [TRAINING, STATISTICS], ids=["training", "statistics"])
def test_a_masked_vector_of_zeros_looks_uniform(monkeypatch: pytest.MonkeyPatch, slot: Slot) -> None:
    """χ² of its bytes over 256 values, expected 255 ± 23: a sanity check with fixed keys, not a proof."""
    draw = random.Random(3)
    monkeypatch.setattr("secrets.token_bytes", draw.randbytes)
    monkeypatch.setattr("secrets.randbelow", draw.randrange)
    one = Sum(4, slot, length=20_000)
    one.vectors = {name: np.zeros(20_000, np.int64) for name in one.vectors}
    one.until("mask")
    for name, masked in one.masked.items():
        counts = np.bincount(masked[:20_000].view(np.uint8), minlength=256)
        expected = 4 * 20_000 / 256
        assert 150 < float(((counts - expected) ** 2 / expected).sum()) < 370, name
    pairs = [np.corrcoef(one.masked[a], one.masked[b])[0, 1] for a, b in combinations(one.masked, 2)]
    if slot.recovers:
        assert max(map(abs, pairs)) < 0.05
