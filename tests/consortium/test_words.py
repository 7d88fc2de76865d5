"""Eight words stand for a key: everybody gets the same ones, and a wrong word is found."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnemonic import Mnemonic

from fl_liver.consortium.words import WORDS, check_words, fingerprint, word_list
from fl_liver.errors import ConfigError, ProtocolError

KEY, OTHER = bytes(32), bytes(31) + b"\1"


def test_words_are_the_first_words_of_the_bip39_sentence_of_the_hash() -> None:
    """Oracle: the library's own encoder, on the same 256 bits; only its checksum, at the end, differs."""
    for key in (KEY, OTHER):
        sentence = Mnemonic("english").to_mnemonic(hashlib.sha256(key).digest())
        assert fingerprint(key).split() == sentence.split()[:WORDS]


@given(st.binary(min_size=32, max_size=32))
def test_every_key_has_eight_words_of_the_list_and_passes_its_own_check(key: bytes) -> None:
    words = fingerprint(key).split()
    assert len(words) == WORDS
    assert set(words) <= set(word_list())
    check_words(", ".join(words).upper(), key, "H02")


def test_words_can_be_told_apart_by_four_letters() -> None:
    assert len({word[:4] for word in word_list()}) == 2048


@pytest.mark.parametrize("place", range(WORDS))
def test_one_wrong_word_is_refused_and_its_place_named(place: int) -> None:
    words = fingerprint(KEY).split()
    words[place] = next(word for word in word_list() if word != words[place])
    with pytest.raises(ProtocolError, match=rf"\(place {place + 1} of 8\)"):
        check_words(" ".join(words), KEY, "H02")


def test_a_refusal_does_not_say_what_would_be_right() -> None:
    """Otherwise the operator could copy the answer."""
    with pytest.raises(ProtocolError) as refused:
        check_words(fingerprint(OTHER), KEY, "H02")
    assert not set(fingerprint(KEY).split()) & set(str(refused.value).split())


def test_a_misheard_word_is_a_typing_error_with_a_near_word() -> None:
    words = fingerprint(KEY).replace("grid", "griq")
    with pytest.raises(ConfigError, match=r"'griq' is none of the list's words; did you hear .*'grid'"):
        check_words(words, KEY, "H02")


@pytest.mark.parametrize("heard", ["", "zoo", " ".join(["zoo"] * 9)])
def test_other_than_eight_words_are_asked_again(heard: str) -> None:
    with pytest.raises(ConfigError, match=r"words given, wanted 8"):
        check_words(heard, KEY, "H02")
