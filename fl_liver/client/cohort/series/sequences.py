"""What one series is by itself: ImageType, b-value, TR, TE, TI and flip angle; words only where these are silent.

Which contrast phase a dynamic series or a CT is needs the other series of its study: `recognise`. Ranges are those of
product protocols for the liver at 1.5 and 3 T; the table stands in `recognise`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fl_liver.client.cohort.codes import counted
from fl_liver.client.cohort.series.contrast import WINDOWS_S, Phase, phase_at
from fl_liver.client.cohort.series.facts import SeriesFacts
from fl_liver.client.cohort.series.guess import Guess, not_told
from fl_liver.study_cohort import SequenceKind

KINDS: Mapping[tuple[str, Phase], SequenceKind] = {
    ("MR", "pre"): "t1_pre",
    ("MR", "arterial"): "arterial",
    ("MR", "portal"): "portal",
    ("MR", "late"): "equilibrium",
    ("CT", "pre"): "plain",
    ("CT", "arterial"): "arterial",
    ("CT", "portal"): "portal",
    ("CT", "late"): "delayed",
}
BY_WORDS = "by words of its description"
FEW_PLACES = 5
"""Below it a series is a test bolus or bolus tracking, no phase of the liver."""
_DIFFUSION_B = 10.0
_T2_TE_MS = (60.0, 160.0)
_T2_TR_MS = 800.0
_T2_TI_MS = 300.0
_DYNAMIC_TR_MS = 10.0
_DYNAMIC_TE_MS, _WATER_TE_MS = 3.0, 5.0
_DYNAMIC_FLIP_DEG = (5.0, 25.0)
_DERIVED: Mapping[str, str] = {
    **dict.fromkeys(("LOCALIZER", "SCOUT", "TOPOGRAM"), "localizer"),
    **dict.fromkeys(("ADC", "EADC", "FA", "CALC"), "computed from diffusion"),
    **dict.fromkeys(("MAP", "R2", "STAR", "FF", "FRACTION", "PDFF"), "parameter map"),
    **dict.fromkeys(("SUB", "SUBTRACT", "SUBTRACTION", "SUBTRACTED"), "subtraction"),
    **dict.fromkeys(("MIP", "MINIP", "PROJECTION", "MAX_IP", "MIN_IP"), "projection"),
    **dict.fromkeys(("MPR", "REFORMATTED", "CURVED", "CPR"), "reformatted"),
    **dict.fromkeys(("VRT", "SSD", "VOLREN", "RENDERING"), "rendering"),
    **dict.fromkeys(("FAT", "F"), "fat image"),
    **dict.fromkeys(("SCREEN", "SCREENSHOT", "POSDISP", "DOSE", "REPORT"), "screenshot or report"),
}
_IN_OPPOSED = frozenset({"IN_PHASE", "OPP_PHASE", "OUT_PHASE", "INPHASE", "OUTPHASE", "IP", "OP"})
_DERIVED_WORDS: Mapping[str, str] = {
    "timing": "test bolus or bolus tracking",
    "localizer": "localizer",
    "screenshot": "screenshot or report",
    "subtraction": "subtraction",
    "projection": "projection",
    "reformatted": "reformatted",
    "adc": "computed from diffusion",
    "map": "parameter map",
}
_NO_T1 = frozenset({"t2", "dwi", "mrcp", "in_opposed", "fat", "bssfp", "single_shot"})
_NO_T2 = frozenset({"t1", "dwi", "mrcp", "bssfp", "t1_gre"})
_PHASE_WORDS: Mapping[str, Phase] = {
    "pre": "pre",
    "arterial": "arterial",
    "portal": "portal",
    "delayed": "late",
    "equilibrium": "late",
}


def alone(one: SeriesFacts) -> Guess | None:
    """What the series is; None where it is one phase of a dynamic examination, which its study has to tell."""
    if one.modality not in ("MR", "CT"):
        return not_told("neither CT nor MR")
    return _ignored(one) or (_mr(one) if one.modality == "MR" else _ct(one))


def described_phase(one: SeriesFacts) -> Phase | None:
    """The phase that words and delay of the description agree on."""
    words, delay_s = one.acquisition.words, one.acquisition.described_delay_s
    if words & {"hepatobiliary", "early_arterial"}:
        return None
    told: set[Phase | None] = {phase for word, phase in _PHASE_WORDS.items() if word in words}
    # Shorter delays are counted from a bolus tracker's trigger.
    if delay_s is not None and delay_s >= WINDOWS_S["arterial"][0]:
        told.add(phase_at(delay_s))
    phase = told.pop() if len(told) == 1 else None
    return None if phase == "pre" and (one.contrast or "post" in words) else phase


def is_water(one: SeriesFacts) -> bool:
    """Whether ImageType calls it the water image of a Dixon series."""
    return bool(_image_type(one) & {"WATER", "W"})


def _ignored(one: SeriesFacts) -> Guess | None:
    found = _image_type(one)
    derived = next((what for name, what in _DERIVED.items() if name in found), None)
    if derived is not None:
        return Guess(None, "tags", f"{derived} (ImageType)", ignore=True)
    words = one.acquisition.words
    if "ORIGINAL" in found and _weighted(one):
        words = words - {"adc"}
    said = next((what for word, what in _DERIVED_WORDS.items() if word in words), None)
    return None if said is None else Guess(None, "text", f"{said}, as its description says", ignore=True)


def _ct(one: SeriesFacts) -> Guess | None:
    if one.slices < FEW_PLACES:
        return not_told(f"{counted(one.slices, 'place')}, too few for a phase of the liver")
    if one.acquisition.words & {"bone", "lung"}:
        return not_told("made for bone or lung, as its description says")
    return None


def _mr(one: SeriesFacts) -> Guess | None:
    words = one.acquisition.words
    if _image_type(one) & _IN_OPPOSED or "in_opposed" in words:
        return not_told("in-phase or opposed-phase image")
    found = _diffusion(one) or _t2(one)
    if found is not None:
        return found
    if not _is_dynamic_t1(one):
        return _by_words(one) or not_told(_parameters(one) or "neither TR nor TE stated")
    if words & _NO_T1:
        return not_told("fast T1 gradient echo, but its description says something else")
    if one.slices < FEW_PLACES:
        return not_told(f"{counted(one.slices, 'place')}, too few for a phase of the liver")
    return None


def _diffusion(one: SeriesFacts) -> Guess | None:
    stated = bool(_image_type(one) & {"DIFFUSION", "TRACEW"})
    planar = "EP" in one.acquisition.scanning_sequence and one.b_value is not None
    if not (stated or planar or _weighted(one)):
        return None
    b_value = "b-value not stated" if one.b_value is None else f"b {one.b_value:.0f} s/mm²"
    planar_said = ", echo-planar" if "EP" in one.acquisition.scanning_sequence else ""
    return Guess("dwi", "tags", b_value + planar_said, one.b_value)


def _weighted(one: SeriesFacts) -> bool:
    """Some machines write b = 0 into every series, so only more than that says diffusion by itself."""
    made, repetition_ms = one.acquisition.scanning_sequence, one.acquisition.repetition_ms
    fast = ("GR" in made and "EP" not in made) or (repetition_ms is not None and repetition_ms < _T2_TR_MS / 2)
    return one.b_value is not None and one.b_value >= _DIFFUSION_B and not fast


def _t2(one: SeriesFacts) -> Guess | None:
    made = one.acquisition
    if made.echo_ms is None or made.repetition_ms is None or one.echoes > 1 or "EP" in made.scanning_sequence:
        return None
    spin_echo = "SE" in made.scanning_sequence or bool(_image_type(one) & {"T2", "STIR"})
    inverted = made.inversion_ms is not None and made.inversion_ms > _T2_TI_MS
    if not spin_echo or made.repetition_ms < _T2_TR_MS or inverted:
        return None
    if made.echo_ms > _T2_TE_MS[1] or "mrcp" in made.words:
        return not_told(f"{_parameters(one)}: too heavily T2-weighted, as for MRCP")
    return Guess("t2", "tags", _parameters(one)) if made.echo_ms >= _T2_TE_MS[0] else None


def _is_dynamic_t1(one: SeriesFacts) -> bool:
    made = one.acquisition
    longest_te_ms = _WATER_TE_MS if is_water(one) else _DYNAMIC_TE_MS
    fast = _within(made.repetition_ms, (0.0, _DYNAMIC_TR_MS)) and _within(made.echo_ms, (0.0, longest_te_ms))
    small_flip = made.flip_deg is None or _within(made.flip_deg, _DYNAMIC_FLIP_DEG)
    gradient_echo = "GR" in made.scanning_sequence or not made.scanning_sequence
    return fast and small_flip and gradient_echo and "EP" not in made.scanning_sequence and one.echoes == 1


def _by_words(one: SeriesFacts) -> Guess | None:
    """What words say of a series that is no fast T1, where its tags do not speak against it."""
    words, made = one.acquisition.words, one.acquisition
    silent = made.echo_ms is None or made.repetition_ms is None
    spin_echo_like = not made.scanning_sequence or "SE" in made.scanning_sequence
    planar = "EP" in made.scanning_sequence
    kind: SequenceKind | None = None
    if "dwi" in words:
        kind = "dwi" if planar or (spin_echo_like and silent) else None
    elif words & {"t2", "single_shot", "blade"} and not words & _NO_T2 and spin_echo_like and not planar:
        in_range = _within(made.echo_ms, _T2_TE_MS) and _within(made.repetition_ms, (_T2_TR_MS, math.inf))
        kind = "t2" if silent or in_range else None
    elif not words & _NO_T1 and one.echoes == 1 and (_is_slow_t1(one) or (silent and words & {"t1", "t1_gre"})):
        phase = described_phase(one)
        kind = None if phase is None else KINDS["MR", phase]
    return None if kind is None else Guess(kind, "text", BY_WORDS, one.b_value if kind == "dwi" else None)


def _within(value: float | None, ends: tuple[float, float]) -> bool:
    return value is not None and ends[0] <= value <= ends[1]


def _is_slow_t1(one: SeriesFacts) -> bool:
    made = one.acquisition
    slow = _within(made.repetition_ms, (_DYNAMIC_TR_MS, 300.0)) and _within(made.echo_ms, (0.0, 6.0))
    return slow and "GR" in made.scanning_sequence


def _parameters(one: SeriesFacts) -> str:
    """ "TR 4200 ms, TE 90 ms, spin echo"; only what is stated."""
    made = one.acquisition
    numbers = {"TR": made.repetition_ms, "TE": made.echo_ms, "TI": made.inversion_ms or None}
    said = [f"{name} {value:.4g} ms" for name, value in numbers.items() if value is not None]
    said += [f"{made.flip_deg:.3g}°"] if made.flip_deg is not None and "GR" in made.scanning_sequence else []
    names = {"EP": "echo-planar", "SE": "spin echo", "GR": "gradient echo"}
    return ", ".join(said + [name for code, name in names.items() if code in made.scanning_sequence])


def _image_type(one: SeriesFacts) -> frozenset[str]:
    """The values of ImageType and their single words."""
    values = [value.strip().upper() for value in one.image_type]
    return frozenset(values) | {word for value in values for word in value.replace("_", " ").split()}
