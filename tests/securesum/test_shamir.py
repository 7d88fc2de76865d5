"""Secret sharing: any t of n give the secret back, fewer say nothing, and the field's order is prime as it must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_liver.errors import ProtocolError
from fl_liver.securesum import shamir
from fl_liver.securesum.shamir import PRIME, SHARE_BYTES, rebuild, split, weights


def rebuilt(shares: dict[int, bytes]) -> bytes:
    numbers = list(shares)
    return rebuild(shares, dict(zip(numbers, weights(numbers), strict=True)))


def passes_miller_rabin(number: int, base: int) -> bool:
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    value = pow(base, odd, number)
    return value in (1, number - 1) or any(pow(value, 2**power, number) == number - 1 for power in range(1, twos))


def test_the_field_has_the_smallest_prime_order_above_256_bits() -> None:
    """PRIME passes Miller–Rabin to 64 bases (wrong with probability < 2^-128); everything between fails it to base 3,
    which proves it composite (2^256 + 1 is a Fermat number, which would pass to base 2). Every 32-byte secret is below
    2^256 < PRIME < 2^264, which 33 bytes of a share hold.
    """
    bases = [base for base in range(2, 400) if all(base % divisor for divisor in range(2, base))][:64]
    assert all(passes_miller_rabin(PRIME, base) for base in bases)
    assert not any(passes_miller_rabin(number, 3) for number in range(2**256 + 1, PRIME, 2))
    assert 2**256 < PRIME < 2 ** (8 * SHARE_BYTES)


@pytest.mark.parametrize(("count", "needed"), [(3, 3), (4, 3), (5, 4), (7, 5)])
def test_any_t_of_n_shares_give_the_secret_back_and_t_minus_1_do_not(count: int, needed: int) -> None:
    secret = bytes(range(100, 132))
    shares = dict(enumerate(split(secret, count, needed), start=1))
    assert all(len(share) == SHARE_BYTES for share in shares.values())
    for size in range(needed, count + 1):
        for holders in combinations(shares, size):
            assert rebuilt({holder: shares[holder] for holder in reversed(holders)}) == secret
    for holders in combinations(shares, needed - 1):
        with suppress(ProtocolError):  # a value between 2^256 and PRIME
            assert rebuilt({holder: shares[holder] for holder in holders}) != secret


@given(st.binary(min_size=32, max_size=32), st.integers(3, 13), st.data())
def test_every_secret_comes_back(secret: bytes, count: int, data: st.DataObject) -> None:
    needed = 2 * count // 3 + 1
    shares = dict(enumerate(split(secret, count, needed), start=1))
    holders = data.draw(st.permutations(list(shares)))[:needed]
    assert rebuilt({holder: shares[holder] for holder in holders}) == secret


def test_the_ends_of_the_range_come_back() -> None:
    for secret in (bytes(32), b"\xff" * 32):
        assert rebuilt(dict(enumerate(split(secret, 3, 3), start=1))) == secret


@pytest.mark.parametrize("holders", [(1, 2), (2, 4), (3, 4)])
def test_fewer_than_t_shares_are_equally_likely_under_every_secret(
    monkeypatch: pytest.MonkeyPatch, holders: tuple[int, int]
) -> None:
    """In the field of 31 elements all draws can be gone through: for each of three secrets, every pair of two shares
    comes exactly once, so that two shares of three say nothing at all.
    """
    monkeypatch.setattr(shamir, "PRIME", 31)
    seen: list[Counter[tuple[int, ...]]] = []
    for secret in (0, 1, 30):
        pairs: Counter[tuple[int, ...]] = Counter()
        for draws in product(range(31), repeat=2):
            queue: Iterator[int] = iter(draws)
            monkeypatch.setattr("secrets.randbelow", lambda _, queue=queue: next(queue))
            shares = split(secret.to_bytes(32, "big"), 4, 3)
            pairs[tuple(int.from_bytes(shares[holder - 1], "big") for holder in holders)] += 1
        assert len(pairs) == 31 * 31
        assert set(pairs.values()) == {1}
        seen.append(pairs)
    assert seen[0] == seen[1] == seen[2]


def test_the_coefficients_are_drawn_below_the_prime_and_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    below: list[int] = []

    def randbelow(limit: int) -> int:
        below.append(limit)
        return len(below)

    monkeypatch.setattr("secrets.randbelow", randbelow)
    first = split(bytes(32), 5, 4)
    assert below == [PRIME] * 3
    assert [int.from_bytes(share, "big") for share in first] == [1 * x + 2 * x**2 + 3 * x**3 for x in range(1, 6)]
    monkeypatch.undo()
    assert split(bytes(32), 5, 4) != split(bytes(32), 5, 4)


def test_shares_that_cannot_be_of_one_secret_are_refused() -> None:
    shares = dict(enumerate(split(bytes(32), 3, 3), start=1))
    for wrong in (b"", shares[1][:-1], shares[1] + b"\0"):
        with pytest.raises(ProtocolError, match="another length than 33 bytes"):
            rebuilt({**shares, 1: wrong})
    raised = int.from_bytes(shares[1], "big") + pow(weights([1, 2, 3])[0], -1, PRIME) * 2**256
    with pytest.raises(ProtocolError, match="do not belong to one secret"):
        rebuilt({**shares, 1: (raised % PRIME).to_bytes(SHARE_BYTES, "big")})
