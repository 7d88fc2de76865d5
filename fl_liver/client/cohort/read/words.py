"""Words of a series' description that say what it is. Anything else in the text is dropped where it is read.

Descriptions are free text: they may name a patient, and they differ between machines and languages. So only words of
this list pass, and `series.recognise` trusts them last.
"""

from __future__ import annotations

import re

_PATTERNS: dict[str, str] = {
    "t1": r"t1",
    "t2": r"t2",
    "dwi": r"dwi|diff(usion)?",
    "adc": r"adc",
    "arterial": r"art(erial|eriell|eriel)?",
    "portal": r"portal|pv|pvp|portovenous|portalven(ös|oes)?",
    "delayed": r"delay(ed)?|late|spät|spaet|tardif",
    "equilibrium": r"equilib(rium)?",
    "pre": r"pre|nativ(e)?|plain|non ?contrast|without contrast|unenhanced",
    "post": r"post|contrast|gad|gd|km",
}
_COMPILED = {word: re.compile(rf"(?<![a-zà-ÿ])(?:{pattern})(?![a-zà-ÿ])") for word, pattern in _PATTERNS.items()}


def words_of(*texts: str) -> frozenset[str]:
    """The known words in some texts, in their one spelling.

    >>> sorted(words_of("T2_HASTE Ziegenpeter", "dyn ART"))
    ['arterial', 't2']
    """
    text = " ".join(texts).casefold().replace("_", " ")
    return (
        frozenset(word for word, pattern in _COMPILED.items() if pattern.search(text)) if text.strip() else frozenset()
    )
