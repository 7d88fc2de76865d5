"""Words of a series' description that say what it is. Anything else in the text is dropped where it is read.

Descriptions are free text: they may name a patient, and they differ between machines and languages. So only words of
`VOCABULARY` pass, in their one spelling, and `series.recognise` trusts them last. Known are English, German and French,
pinyin and Chinese, and the names that Siemens, GE, Philips, Canon and Hitachi give to their sequences. A description as
a whole is kept as a digest only, so that `series.toml` can name it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_LONGEST = 256
"""DICOM allows 64 characters; a damaged header may hold megabytes."""
_AGENTS = (
    r"omnipaque|ultravist|iopam\w*|visipaque|isovue|i?meron|iomeron|xenetix|optiray|omniscan|magnevist|dotarem|clariscan"
    r"|gadovist|primovist|eovist|multihance|prohance"
)
_AGENT = r"(?:contrast\w*|kontrast\w*|km|gd|gado\w*|inj\w*|pdc|ce)"

# In this order: what a pattern found is taken out, so that "non-contrast" is no contrast, "late arterial" not late.
_PATTERNS: dict[str, str] = {
    # What is no image of its own, and what only prepares one.
    "timing": r"(?:test|care) ?bolus|bolus ?(?:track\w*|timing)|timing|smart ?prep|sure ?start|(?:pre ?)?monitoring"
    r"|tracker|locator",
    "localizer": r"loc|lo[ck]ali[sz]er|3[ -]?pl(?:ane)?(?: loc)?|scouts?|topogramm?e?|surview|scano(?:gram)?|survey"
    r"|ubersicht|uebersicht|reperage|ding ?wei",
    "screenshot": r"screen ?(?:save|shot|capture)s?|dose (?:report|record|info\w*|summary)|dosisprotokoll"
    r"|patient protocol|exam protocol",
    "subtraction": r"subs?(?!-)|subtr(?:action|aktion)?s?|soustractions?|minus|jian ?ying",
    "projection": r"mips?|minips?|maxips?|vrt|volume render\w*",
    "reformatted": r"mprs?|reformat\w*|curved|cpr",
    "adc": r"[ed]?adc|apparent diffusion(?: coeff\w*)?",
    "map": r"(?:t[12]|r2) ?(?:maps?|mapping)|mapping|[tr]2 ?(?:star|\*)|pdff|fat ?frac(?:tion)?|ideal ?iq|stiffness|mre"
    r"|elasto\w*|fettfraktion",
    "mrcp": r"mrcp\w*|cholangio\w*",
    # Phases.
    "hepatobiliary": r"hbp|hepato[ -]?bil\w*|hepato[cz]yt\w*|hb phase|gan ?dan ?qi",
    "in_opposed": r"in[ -]?phase|out[ -]?(?:of[ -]?)?phase|opp(?:osed|osition)?(?:[ -]?phase)?|in ?[/-] ?(?:out|opp\w*)"
    r"|dual[ -]?echo|phase et opposition|opposition de phase|en phase(?! (?:art|port|tard|vein))|tong ?fan ?xiang ?wei",
    "pre": rf"pre(?:[ -]?(?:{_AGENT}|dyn\w*))?(?![ -]?(?:op|tace|tx|rfa|ablat|treat|surg|chemo|trans))"
    rf"|(?:non|no|without|w/o|wo|ohne|vor|sans|avant)[ -]?(?:iv|(?:iv )?{_AGENT})|c ?-(?!\w)"
    r"|nativ(?:e|es)?|plain|noncon\w*|un[ -]?enh\w*|nect|ncct|ping ?sao",
    "early_arterial": r"early[ -]?art\w*|fruh(?:e )?[ -]?art\w*|fruehart\w*|art\w* precoce|eap",
    "arterial": r"(?:late[ -]?)?art(?:er(?:ial(?:e|is)?|iell?e?s?)?)?|spat[ -]?art\w*|spaetart\w*|hap|c ?\+ ?a"
    r"|dong ?mai(?: ?qi)?",
    "portal": r"(?:late )?port(?:al(?:e|is)?|o)(?:[ -]?ve[in]\w*)?|pvp?|veno(?:us|e?se?)|veine(?:ux|use)|ven"
    r"|c ?\+ ?[vp]|(?:men ?(?:jing ?)?|jing ?)mai(?: ?qi)?",
    "equilibrium": r"equil(?:ib\w*)?|gleichgewicht\w*|transitional|interstitial|ping ?heng(?: ?qi)?",
    "delayed": r"delay(?:ed)?|late|spat(?:e|phase)?|spaet(?:e|phase)?|tardi(?:f|ve)|verzogert\w*|c ?\+ ?d"
    r"|yan ?chi(?: ?qi)?",
    "post": rf"post|{_AGENT}|c ?\+|\+ ?c|gad|enh(?:anced)?|apres|avec|zeng ?qiang|{_AGENTS}",
    # How it was made.
    "dwi": r"[ders]?dwi(?:bs)?|diff(?:usion\w*|us)?|b ?=? ?\d{2,4}(?!\d)|(?:mi|kuo) ?san",
    "t1": r"[sed]?(?:ax|cor|sag|tra|fs|2d|3d)?t1(?:w|wi|weighted|fs|fse|tse|ffe|gre|fl)?(?!\d)",
    "t2": r"[sed]?(?:ax|cor|sag|tra|fs|2d|3d)?t2(?:w|wi|weighted|fs|fse|tse|frfse)?(?!\d)|stir",
    "t1_gre": r"(?:star)?vibe\w*|lava\w*|e?thrive|m?dixon\w*|quick ?3ds?|fl3d\w*|fame|disco|tigre|3d ?(?:spgr|ffe|gre)",
    "single_shot": r"haste\w*|ss[ -]?(?:fse|tse)|ssh(?:tse)?|single[ -]?shot|fase|ufse",
    "bssfp": r"tru ?fi(?:sp)?|true ?fisp|fiesta\w*|b[ -]?ffe|btfe|bal(?:anced)? ?(?:ffe|tfe)|(?:true ?)?ssfp",
    "blade": r"blade|propeller|multi ?vane|jet|radar",
    "fat": r"fat(?![ -]?(?:sat|sup))|fett(?![ -]?(?:sat|sup|unt))",
    "bone": r"bones?|knochen|osseux",
    "lung": r"lungs?|lungen?|pulmo\w*|poumons?",
}
_CHINESE = {
    "localizer": "定位",
    "subtraction": "减影",
    "hepatobiliary": "肝胆",
    "in_opposed": "反相位|同相位",
    "pre": "平扫",
    "arterial": "动脉",
    "portal": "门静脉|门脉|静脉",
    "equilibrium": "平衡",
    "delayed": "延迟",
    "post": "增强",
    "dwi": "弥散|扩散",
}
VOCABULARY = frozenset(_PATTERNS)
PHASES = frozenset({"hepatobiliary", "pre", "early_arterial", "arterial", "portal", "equilibrium", "delayed", "post"})
WEIGHTINGS = frozenset({"dwi", "t1", "t2", "t1_gre", "single_shot", "bssfp", "blade"})
_LETTER = r"[^\W\d_]"
_COMPILED = {
    word: re.compile(rf"(?<!{_LETTER})(?:{pattern})(?!{_LETTER})" + (f"|{_CHINESE[word]}" if word in _CHINESE else ""))
    for word, pattern in _PATTERNS.items()
}
_UNIT = r"(?:(?P<s>s|secs?|seconds?|sek|sekunden|secondes?|秒)|(?P<min>mins?|minutes?|minuten|mn|分钟?))"
_DELAY = re.compile(rf"(?<![\w.,])(?<!\d[-–/])(?P<number>\d{{1,4}}) ?{_UNIT}(?![\w*])")
_BREATH_HOLD = re.compile(r"(?:bh|breath ?-?hold|atem(?:stopp|anhalt)|apnee)[ :=]*\d+ ?s\w*")
_DELAY_NOUN = re.compile(r"(?<=[smcnk]) delay(?!ed)|(?<![a-z])delay(?=[ :=]*\d)")
_LONGEST_DELAY_S = 7200.0


def words_of(*texts: str) -> frozenset[str]:
    """The known words in some texts, in their one spelling; the first text says most.

    Of later texts (a protocol's name stands on every series of a study) phases count only where none was named before,
    weightings likewise, and nothing else.

    >>> sorted(words_of("T2_HASTE Ziegenpeter", "dyn ART"))
    ['arterial', 'single_shot', 't2']
    >>> sorted(words_of("portalvenös", "Abdomen nativ + KM"))
    ['portal']
    """
    said = [text for text in texts if text.strip()]
    found = _words(said[0]) if said else frozenset()
    for text in said[1:]:
        later = _words(text)
        found |= frozenset().union(*(later & family for family in (PHASES, WEIGHTINGS) if not found & family))
    return found


@lru_cache(maxsize=256)
def delay_s_of(text: str) -> float | None:
    """Seconds after contrast that a text names, 5 to 7200; None where it names none, or several.

    >>> delay_s_of("LAVA ART 25s"), delay_s_of("spät 5min"), delay_s_of("dyn 20s 70s 180s"), delay_s_of("TE 90ms")
    (25.0, 300.0, None, None)
    """
    plain = _BREATH_HOLD.sub(" ", _folded(text))
    found = {int(one["number"]) * (1.0 if one["s"] else 60.0) for one in _DELAY.finditer(plain)}
    only = found.pop() if len(found) == 1 else 0.0
    return only if 5.0 <= only <= _LONGEST_DELAY_S else None


@lru_cache(maxsize=256)
def description_digest(text: str) -> str:
    """First 16 hex digits of the SHA-256 of a description; case and runs of spaces do not count. "" for an empty one.

    >>> description_digest("LAVA  ART 25s ") == description_digest("Lava art 25S")
    True
    """
    normal = " ".join(unicodedata.normalize("NFC", text.casefold()).split())
    return hashlib.sha256(normal.encode()).hexdigest()[:16] if normal else ""


@lru_cache(maxsize=256)
def _words(text: str) -> frozenset[str]:
    """Remembered, because every slice of a series says the same."""
    rest = _DELAY_NOUN.sub(" ", _folded(text))
    found = set()
    for word, pattern in _COMPILED.items():
        rest, times = pattern.subn(" ", rest)
        if times:
            found.add(word)
    return frozenset(found)


def _folded(text: str) -> str:
    """Lower case, without accents, with spaces for underscores."""
    apart = unicodedata.normalize("NFKD", text[:_LONGEST].casefold())
    return " ".join("".join(c for c in apart if not unicodedata.combining(c)).replace("_", " ").split())


_IMAGE_TYPES = frozenset(
    {
        *("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "OTHER", "MIXED", "AXIAL", "LOCALIZER", "NONE", "NORM"),
        *("ND", "DIS2D", "DIS3D", "RESAMPLED", "VOLUME"),
        *("MPR", "REFORMATTED", "CURVED", "CPR", "MIP", "MINIP", "MAX", "MIN", "PROJECTION", "VRT", "SSD", "VOLREN"),
        *("RENDERING",),
        *("SCREEN", "SCREENSHOT", "POSDISP", "DOSE", "REPORT", "SUB", "SUBTRACT", "SUBTRACTION", "SUBTRACTED"),
        *("DIFFUSION", "TRACEW", "TRACE", "ADC", "EADC", "FA", "CALC", "MAP", "R2", "STAR", "FF", "FRACTION"),
        *("PDFF", "T1", "T2", "STIR", "PERFUSION", "DYNAMIC", "CONTRAST"),
        *("WATER", "FAT", "W", "F", "IN", "OPP", "OUT", "PHASE", "INPHASE", "OUTPHASE", "IP", "OP", "M", "R"),
        *("P", "I", "FFE", "SE", "IR", "MAGNITUDE", "REAL", "IMAGINARY"),
    }
)


def image_type_words(values: Iterable[str]) -> tuple[str, ...]:
    """ImageType without the words that no list knows: machines write codes there, and people could write names.

    A value whose parts are all known stays whole; of any other, its known parts.

    >>> image_type_words(["ORIGINAL", "PRIMARY", "OPP_PHASE", "CT_SOM4 SPI", "DIFFUSION/ZIEGENPETER"])
    ('ORIGINAL', 'PRIMARY', 'OPP_PHASE', 'DIFFUSION')
    """
    kept: list[str] = []
    for value in values:
        parts = [part for part in re.split(r"[^A-Z0-9]+", value.strip().upper()) if part]
        known = [part for part in parts if part in _IMAGE_TYPES]
        plain = bool(parts) and len(known) == len(parts) and re.fullmatch(r"[A-Z0-9_ ]+", value.strip())
        kept += [value.strip()] if plain else known
    return tuple(kept)
