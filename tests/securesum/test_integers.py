"""Statistics as they are added: exact int64, also negative; nothing wraps; masks that did not cancel are noticed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.errors import OutOfRangeError, ProtocolError
from fl_liver.securesum.context import Bits
from fl_liver.securesum.encoding import bits_for, check_words, checked, decode_integers, encode_integers, words

ALL_BITS: tuple[Bits, ...] = (16, 32, 64)
INT64 = st.integers(-(2**63), 2**63 - 1)


def total_of(vectors: list[NDArray[np.int64]], bits: Bits) -> NDArray[np.int64]:
    added = np.zeros(len(vectors[0]) + check_words(bits), words(bits))
    for vector in vectors:
        added += encode_integers(vector, bits)
    return decode_integers(added, bits, len(vectors))


@given(st.integers(0, 6), st.integers(1, 13), st.data())
def test_totals_of_any_int64_are_exact_modulo_2_to_64(length: int, sites: int, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.lists(INT64, min_size=length, max_size=length), min_size=sites, max_size=sites))
    total = total_of([np.array(row, np.int64) for row in rows], 64)
    expected = [(sum(column) + 2**63) % 2**64 - 2**63 for column in zip(*rows, strict=True)] if length else []
    assert total.dtype == np.int64
    assert total.tolist() == expected


def test_negative_totals_and_the_ends_of_int64_come_back() -> None:
    ends = np.array([-(2**63), 2**63 - 1, -1, 0, -5], np.int64)
    assert total_of([ends], 64).tolist() == ends.tolist()
    assert total_of([np.array([-7, 2**62]), np.array([3, 2**62 - 1]), np.array([-1, 0])], 64).tolist() == [
        -5,
        2**63 - 1,
    ]


@pytest.mark.parametrize("bits", [16, 32])
def test_totals_up_to_the_announced_bound_are_exact(bits: Bits) -> None:
    top = 2**bits - 1
    parts = [np.array([top - 5, 1, 0], np.int64), np.array([3, top - 1, 0], np.int64), np.array([2, 0, 0], np.int64)]
    assert total_of(parts, bits).tolist() == [top, top, 0]


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("entry", [-1, "over"])
def test_an_entry_that_the_announced_modulus_cannot_hold_is_refused(bits: Bits, entry: int | str) -> None:
    vector = np.array([0, 2**bits if entry == "over" else -1, 5], np.int64)
    with pytest.raises(OutOfRangeError, match=rf"does not fit sums modulo 2\^{bits}; the question's bound is wrong"):
        encode_integers(vector, bits)
    edge = np.array([0, 2**bits - 1, 5], np.int64)
    assert decode_integers(encode_integers(edge, bits), bits, 1).tolist() == edge.tolist()


@pytest.mark.parametrize("bits", ALL_BITS)
def test_64_bits_of_ones_stand_behind_each_vector(bits: Bits) -> None:
    coded = encode_integers(np.array([4, 5], np.int64), bits)
    assert coded.dtype == np.dtype(f"u{bits // 8}")
    assert coded[2:].tolist() == [1] * (64 // bits)
    assert coded[2:].nbytes * 8 == 64
    assert encode_integers(np.zeros(0, np.int64), bits).tolist() == [1] * (64 // bits)


@pytest.mark.parametrize("bits", ALL_BITS)
def test_one_wrong_check_word_is_noticed_wherever_it_stands(bits: Bits) -> None:
    total = 3 * encode_integers(np.array([4, 5], np.int64), bits)
    assert checked(total, bits, 3).tolist() == [12, 15]
    for place in range(2, len(total)):
        for wrong in (2, 4, 0, 2**bits - 1):
            changed = total.copy()
            changed[place] = wrong
            with pytest.raises(ProtocolError, match="the masks of 3 hospitals did not cancel"):
                decode_integers(changed, bits, 3)
    for sites in (2, 4):
        with pytest.raises(ProtocolError, match=f"the masks of {sites} hospitals did not cancel"):
            checked(total, bits, sites)
    with pytest.raises(ProtocolError, match="did not cancel"):
        checked(total[:0], bits, 3)


def test_the_modulus_is_the_smallest_that_exceeds_every_bound() -> None:
    assert [bits_for([one]) for one in (0, 65535, 65536, 2**32 - 1, 2**32, 2**70)] == [16, 16, 32, 32, 64, 64]
    assert bits_for([3, None]) == bits_for([None]) == 64
    assert bits_for([3, 70_000, 5]) == 32
    assert bits_for([]) == 16


def test_what_the_caller_gave_is_left_as_it_was() -> None:
    vector = np.array([1, -2, 3], np.int64)
    coded = encode_integers(vector, 64)
    coded += np.uint64(9)
    assert vector.tolist() == [1, -2, 3]
    total = encode_integers(vector, 64)
    decoded = decode_integers(total, 64, 1)
    decoded[0] = 77
    assert total[0] == 1
