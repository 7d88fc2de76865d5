"""A public key as eight English words that two people can compare on the telephone.

The first 88 bits of the key's SHA-256, 11 bits a word, from the 2048 words of BIP-39: any two of them differ in their
first four letters. To find another key with the same eight words takes about 2^88 tries.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from functools import cache

from mnemonic import Mnemonic

from fl_liver.errors import ConfigError, ProtocolError

WORDS = 8
_BITS = 11


@cache
def word_list() -> tuple[str, ...]:
    """The English list of BIP-39, in its order."""
    return tuple(Mnemonic("english").wordlist)


def fingerprint(public_key: bytes) -> str:
    """Eight words.

    >>> fingerprint(bytes(32))
    'grid duck problem valid cloth roof rate wealth'
    """
    number = int.from_bytes(hashlib.sha256(public_key).digest()) >> (256 - WORDS * _BITS)
    places = [(number >> shift) % 2**_BITS for shift in range((WORDS - 1) * _BITS, -1, -_BITS)]
    return " ".join(word_list()[place] for place in places)


def check_words(heard: str, public_key: bytes, whose: str) -> None:
    """Compare what was heard with the key; capitals, commas and hyphens do not matter.

    Raises:
        ConfigError: not eight words, or one that the list does not have.
        ProtocolError: eight words of the list, of another key. Says which places differ, not what stands there.
    """
    said = re.findall(r"[^\W\d_]+", heard.lower())
    if len(said) != WORDS:
        raise ConfigError(f"{whose}: {len(said)} words given, wanted {WORDS}; write them with spaces between")
    strange = [word for word in said if word not in word_list()]
    if strange:
        near = difflib.get_close_matches(strange[0], word_list(), n=2, cutoff=0.6)
        hint = f"did you hear {' or '.join(repr(word) for word in near)}?" if near else "ask for it to be spelt"
        raise ConfigError(f"{whose}: '{strange[0]:.20}' is none of the list's words; {hint}")
    wrong = [
        str(place)
        for place, (ours, theirs) in enumerate(zip(fingerprint(public_key).split(), said, strict=True), start=1)
        if ours != theirs
    ]
    if wrong:
        raise ProtocolError(
            f"{whose}: the words heard are not those of the key here (place {', '.join(wrong)} of {WORDS}); do not go"
            " on: compare again, and if they still differ somebody changed a key on its way"
        )
