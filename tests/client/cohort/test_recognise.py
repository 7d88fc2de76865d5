"""What series of real protocols are taken for: one row a series, studies as Siemens, GE, Philips and Canon store them.

Timing and parameters are those of product protocols for the liver; expected kinds were written down by hand.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from fl_liver.client.cohort.read.acquisition import Acquisition
from fl_liver.client.cohort.read.words import delay_s_of, words_of
from fl_liver.client.cohort.series.guess import Guess
from fl_liver.client.cohort.series.recognise import SeriesFacts, recognise

NINE = 9 * 3600.0


def mr(text: str = "", image: str = "ORIGINAL PRIMARY M ND", **said: Any) -> SeriesFacts:
    """One MR series; `at` is minutes after nine, `bolus` seconds of the day, `agent` whether one is named."""
    return _facts("MR", text, image.split(), said)


def ct(text: str = "", image: str = "ORIGINAL PRIMARY AXIAL", **said: Any) -> SeriesFacts:
    return _facts("CT", text, image.split(), said)


def _facts(modality: str, text: str, image: list[str], said: dict[str, Any]) -> SeriesFacts:
    at = NINE + 60 * said["at"] if "at" in said else None
    made = Acquisition(
        series_number=said.get("number", 1),
        acquired_s=at,
        trigger_ms=said.get("trigger"),
        repetition_ms=said.get("tr"),
        echo_ms=said.get("te"),
        inversion_ms=said.get("ti"),
        flip_deg=said.get("flip"),
        b_value=said.get("b"),
        scanning_sequence=tuple(said.get("seq", "").split()),
        words=words_of(text),
        described_delay_s=delay_s_of(text),
    )
    return SeriesFacts(
        modality=modality,
        image_type=tuple(image),
        acquisition=made,
        acquired_s=at,
        contrast=said.get("agent", False),
        contrast_s=said.get("bolus"),
        b_value=said.get("b"),
        echoes=said.get("echoes", 1),
        rows=256,
        slices=said.get("slices", 60),
        orientation=said.get("plane", "axial"),
    )


def told(guess: Guess) -> str:
    """The kind, or "ignore", and the basis."""
    return f"{'ignore' if guess.ignore else guess.kind} {guess.basis}"


VIBE: dict[str, Any] = {"seq": "GR", "tr": 3.97, "te": 1.29, "flip": 9.0}
LAVA: dict[str, Any] = {"seq": "GR", "tr": 3.8, "te": 1.7, "flip": 12.0}
THRIVE: dict[str, Any] = {"seq": "GR", "tr": 3.1, "te": 1.5, "flip": 10.0}
QUICK3D: dict[str, Any] = {"seq": "GR", "tr": 4.2, "te": 1.9, "flip": 12.0}
TSE: dict[str, Any] = {"seq": "SE", "tr": 3500.0, "te": 90.0, "flip": 140.0}
EPI: dict[str, Any] = {"seq": "EP SE", "tr": 5600.0, "te": 56.0, "flip": 90.0}
BOLUS = NINE + 600.0

SIEMENS = [  # agent named on the post-contrast series, no time of contrast
    (mr("localizer", "ORIGINAL PRIMARY M ND NORM LOCALIZER", seq="GR", tr=5.2, te=2.4, at=0), "ignore tags"),
    (mr("t2_haste_cor_bh", seq="SE", tr=1400, te=91, flip=160, at=1, plane="coronal"), "t2 tags"),
    (mr("t2_blade_fs_tra_rtr", "ORIGINAL PRIMARY M ND NORM", **TSE, at=2), "t2 tags"),
    (mr("t1_fl2d_opp-in_tra", seq="GR", tr=112, te=2.38, flip=70, echoes=2, at=4), "None none"),
    (mr("t2_haste_thick_slab_MRCP", seq="SE", tr=4500, te=745, flip=180, at=5), "None none"),
    (mr("ep2d_diff_b50_800", "DERIVED PRIMARY DIFFUSION TRACEW ND", **EPI, b=800.0, at=6), "dwi tags"),
    (mr("ep2d_diff_b50_800_ADC", "DERIVED PRIMARY DIFFUSION ADC ND", **EPI, b=0.0, at=6), "ignore tags"),
    (mr("ep2d_diff_CALC_BVAL", "DERIVED PRIMARY DIFFUSION CALC_BVALUE", **EPI, b=1400.0, at=6), "ignore tags"),
    (mr("t1_vibe_dyn_pre", "ORIGINAL PRIMARY M ND NORM", **VIBE, at=8), "t1_pre tags"),
    (mr("TestBolus", seq="GR", tr=3.9, te=1.2, flip=15, slices=1, at=9, agent=True), "ignore text"),
    (mr("t1_vibe_dyn", **VIBE, at=10.5, agent=True), "arterial order"),
    (mr("t1_vibe_dyn", **VIBE, at=11.1, agent=True), "portal order"),
    (mr("t1_vibe_dyn", **VIBE, at=13, agent=True), "equilibrium order"),
    (mr("t1_vibe_dyn_SUB", "DERIVED PRIMARY M SUB ND", **VIBE, at=10.5, agent=True), "ignore tags"),
    (mr("t1_vibe_MIP", "DERIVED SECONDARY MIP CSA", **VIBE, at=10.5, agent=True), "ignore tags"),
    (mr("t1_vibe_fs_cor", **VIBE, at=14, agent=True, plane="coronal"), "None none"),
    (mr("t1_vibe_fs_tra_20min", **VIBE, at=30, agent=True), "None none"),
    (mr("t1_vibe_flip30_HBP", seq="GR", tr=4.0, te=1.3, flip=30, at=31, agent=True), "None none"),
]
GE = [  # the time of contrast stands on one series; GE writes b = 0 into all
    (mr("3-pl Loc SSFSE", seq="SE", tr=800, te=80, b=0.0, at=0), "ignore text"),
    (mr("Cor SSFSE", seq="SE", tr=1100, te=92, b=0.0, at=1, plane="coronal"), "t2 tags"),
    (mr("Ax T2 FRFSE fs RTr", seq="SE", tr=8571, te=84, flip=111, b=0.0, at=2), "t2 tags"),
    (mr("Ax FIESTA fs", seq="GR", tr=3.6, te=1.5, flip=45, b=0.0, at=3), "None none"),
    (mr("Ax DWI 800b", seq="EP RM", tr=8000, te=62, b=800.0, at=4), "dwi tags"),
    (mr("Apparent Diffusion Coefficient", "DERIVED SECONDARY OTHER", **EPI, b=800.0, at=4), "ignore text"),
    (mr("InPhase: Ax LAVA-Flex", "DERIVED PRIMARY DIXON IN_PHASE", **LAVA, b=0.0, at=6), "None none"),
    (mr("FAT: Ax LAVA-Flex", "DERIVED PRIMARY DIXON FAT", **LAVA, b=0.0, at=6), "ignore tags"),
    (mr("WATER: Ax LAVA-Flex", "DERIVED PRIMARY DIXON WATER", **LAVA, b=0.0, at=6), "t1_pre tags"),
    (mr("Ax LAVA", **LAVA, b=0.0, at=10.5, bolus=BOLUS, agent=True), "arterial tags"),
    (mr("Ax LAVA", **LAVA, b=0.0, at=11.1, agent=True), "portal tags"),
    (mr("Ax LAVA", **LAVA, b=0.0, at=11.75, agent=True), "None none"),
    (mr("Ax LAVA", **LAVA, b=0.0, at=13.0, agent=True), "equilibrium tags"),
    (mr("Ax LAVA", **LAVA, b=0.0, at=30.0, agent=True), "None none"),
    (mr("Screen Save", "DERIVED SECONDARY SCREEN_SAVE", at=31), "ignore tags"),
]
PHILIPS = [  # one dynamic series taken apart: all parts state its beginning, TriggerTime counts from there
    (mr("Survey", seq="GR", tr=3.0, te=1.3, flip=20, slices=15, at=0), "ignore text"),
    (mr("T2W_TSE_RT", "ORIGINAL PRIMARY M_SE M SE", seq="SE", tr=1900, te=70, b=0.0, at=1), "t2 tags"),
    (mr("T2W_SPAIR", "ORIGINAL PRIMARY M_SE M SE", seq="SE IR", tr=2200, te=80, ti=100, at=2), "t2 tags"),
    (mr("bFFE_cor", "ORIGINAL PRIMARY M_FFE M FFE", seq="GR", tr=3.2, te=1.6, flip=60, at=3), "None none"),
    (mr("DWI_3b", "ORIGINAL PRIMARY M_SE M SE", seq="SE EP", tr=1800, te=66, b=1000.0, at=4), "dwi tags"),
    (mr("dADC_map", "ORIGINAL PRIMARY ADC UNSPECIFIED", seq="SE EP", tr=1800, te=66, at=4), "ignore tags"),
    (mr("mDIXON", "DERIVED PRIMARY OP OP DERIVED", seq="GR", tr=5.4, te=1.8, flip=15, at=6), "None none"),
    (mr("eTHRIVE dyn", **THRIVE, at=8, trigger=0.0, number=801), "t1_pre order"),
    (mr("eTHRIVE dyn", **THRIVE, at=8, trigger=95_000.0, number=801), "arterial order"),
    (mr("eTHRIVE dyn", **THRIVE, at=8, trigger=135_000.0, number=801), "portal order"),
    (mr("eTHRIVE dyn", **THRIVE, at=8, trigger=245_000.0, number=801), "equilibrium order"),
]
CANON = [  # nothing but words: no agent, no times
    (mr("FASE T2 cor", seq="SE", tr=12000, te=100, plane="coronal"), "t2 tags"),
    (mr("JET T2 FatSat", tr=4600, te=84), "t2 text"),
    (mr("DWI b800"), "dwi text"),
    (mr("Quick 3Ds pre", **QUICK3D), "t1_pre text"),
    (mr("Quick 3Ds 30s", **QUICK3D), "arterial text"),
    (mr("Quick 3Ds PV 70s", **QUICK3D), "portal text"),
    (mr("Quick 3Ds 3min", **QUICK3D), "equilibrium text"),
    (mr("Quick 3Ds 20min", **QUICK3D), "None none"),
    (mr("Quick 3Ds ART 180s", **QUICK3D), "None none"),
    (mr("Quick 3Ds", **QUICK3D), "None none"),
    (mr("GRE T2*", seq="GR", tr=150, te=12, flip=20, echoes=6), "ignore text"),
]
CT_WITH_TIME = [  # Siemens with a coupled injector
    (ct("Topogramm", "ORIGINAL PRIMARY LOCALIZER", slices=1, at=0), "ignore tags"),
    (ct("Leber 5.0 B30f", at=2), "plain tags"),
    (ct("PreMonitoring", slices=1, at=9), "ignore text"),
    (ct("", slices=1, at=10.2), "None none"),
    (ct("Leber 5.0 B30f", at=10.6, bolus=BOLUS, agent=True, number=5), "arterial tags"),
    (ct("Leber 1.0 B30f", at=10.63, bolus=BOLUS, agent=True, slices=250, number=6), "arterial tags"),
    (ct("Knochen 1.0 B70s", at=10.6, bolus=BOLUS, agent=True, slices=250, number=7), "None none"),
    (ct("MPR cor", "DERIVED SECONDARY MPR", at=10.6, agent=True, plane="coronal"), "ignore tags"),
    (ct("Abdomen 5.0 B30f", at=11.2, agent=True), "portal tags"),
    (ct("Abdomen 5.0 B30f", at=13.5, agent=True), "delayed tags"),
    (ct("Urographie", at=18.0, agent=True), "None none"),
]
CT_WITH_ORDER = [  # GE: an agent is named, its time is not
    (ct("Scout", "ORIGINAL SECONDARY SCOUT", slices=2, at=0), "ignore tags"),
    (ct("5mm", at=2), "plain tags"),
    (ct("5mm", at=8.0, agent=True), "arterial order"),
    (ct("1.25mm", at=8.05, agent=True, slices=200), "arterial order"),
    (ct("5mm", at=8.6, agent=True), "portal order"),
    (ct("5mm", at=10.6, agent=True), "delayed order"),
    (ct("Dose Report", "DERIVED SECONDARY SCREEN SAVE", slices=1), "ignore tags"),
]
CT_WITH_WORDS = [
    (ct("pingsao 5mm"), "plain text"),
    (ct("C+ A"), "arterial text"),
    (ct("menmaiqi"), "portal text"),
    (ct("venös 70s"), "portal text"),
    (ct("Spätphase"), "delayed text"),
    (ct("art/ven"), "None none"),
    (ct("early arterial"), "None none"),
    (ct("arterial, 10s after trigger"), "arterial text"),
    (ct("Leber mit KM"), "None none"),
    (ct("native C+"), "None none"),
]
STUDIES = {
    "Siemens MR": SIEMENS,
    "GE MR": GE,
    "Philips MR": PHILIPS,
    "Canon MR": CANON,
    "CT with the time of contrast": CT_WITH_TIME,
    "CT with the agent": CT_WITH_ORDER,
    "CT with words": CT_WITH_WORDS,
}


@pytest.mark.parametrize("study", STUDIES)
def test_every_series_of_a_protocol_is_taken_for_what_it_is(study: str) -> None:
    rows = STUDIES[study]
    guesses = recognise([facts for facts, _ in rows])
    assert [told(guess) for guess in guesses] == [wanted for _, wanted in rows]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (mr(**TSE), "TR 3500 ms, TE 90 ms, spin echo"),
        (mr(**EPI, b=800.0), "b 800 s/mm², echo-planar"),
        (mr(seq="SE", tr=4500, te=745), "TR 4500 ms, TE 745 ms, spin echo: too heavily T2-weighted, as for MRCP"),
        (mr(**VIBE, at=10.6, bolus=BOLUS), "36 s after contrast"),
        (mr(**VIBE, at=9, bolus=BOLUS), "acquired before contrast was given"),
        (mr(**VIBE, at=30, bolus=BOLUS), "20 min after contrast, later than any of the phases"),
        (mr(**VIBE, at=10.875, bolus=BOLUS), "52 s after contrast, between two phases"),
        (mr(**VIBE, slices=1), "1 place, too few for a phase of the liver"),
        (mr(seq="GR", tr=120, te=4.4, flip=70), "TR 120 ms, TE 4.4 ms, 70°, gradient echo"),
        (mr("t1_vibe_opp", **VIBE), "in-phase or opposed-phase image"),
        (mr("portal", **VIBE, at=30, bolus=BOLUS), "20 min after contrast, later than any of the phases"),
        (mr("pre", **VIBE, at=10.875, bolus=BOLUS), "52 s after contrast, between two phases"),
        (mr(**{**VIBE, "flip": 30.0}), "TR 3.97 ms, TE 1.29 ms, 30°, gradient echo"),
        (mr(**VIBE, echoes=2), "TR 3.97 ms, TE 1.29 ms, 9°, gradient echo"),
        (mr("Ax FIESTA", **VIBE), "fast T1 gradient echo, but its description says something else"),
        (mr(image="ORIGINAL PRIMARY IN_PHASE", **VIBE), "in-phase or opposed-phase image"),
        (mr("MRCP thin", **TSE), "TR 3500 ms, TE 90 ms, spin echo: too heavily T2-weighted, as for MRCP"),
        (mr(**TSE, echoes=2), "TR 3500 ms, TE 90 ms, spin echo"),
        (mr(**TSE, ti=2500.0), "TR 3500 ms, TE 90 ms, TI 2500 ms, spin echo"),
        (mr(**TSE, ti=150.0), "TR 3500 ms, TE 90 ms, TI 150 ms, spin echo"),
        (ct(agent=True), "contrast given, phase unknown"),
        (ct(), "neither the time of contrast nor the order in time tells the phase"),
        (mr(), "neither TR nor TE stated"),
        (replace(mr(), modality="US"), "neither CT nor MR"),
        (ct(image="ORIGINAL PRIMARY LOCALIZER"), "localizer (ImageType)"),
    ],
)
def test_each_guess_says_why(facts: SeriesFacts, reason: str) -> None:
    assert recognise([facts])[0].reason == reason


def test_what_is_no_plain_t2_is_none_though_its_reason_reads_like_one() -> None:
    """Several echoes in one series, and fluid suppression."""
    study = [mr(**TSE, echoes=2), mr(**TSE, ti=2500.0), mr(**TSE, ti=150.0)]
    assert [guess.kind for guess in recognise(study)] == [None, None, "t2"]


@pytest.mark.parametrize("text", ["early arterial 25s", "HBP delayed", "portal 180s", "pre post", "art ven"])
def test_descriptions_of_other_phases_or_of_several_tell_none(text: str) -> None:
    assert [guess.kind for guess in recognise([mr(text, **VIBE), ct(text)])] == [None, None]


def test_the_time_since_contrast_runs_across_midnight() -> None:
    """Contrast at 23:59:50, the scan at 00:00:25."""
    late = mr(**VIBE, at=(25 - NINE) / 60, bolus=86_390.0)
    assert recognise([late])[0].reason == "35 s after contrast"


def test_diffusion_carries_its_b_value() -> None:
    assert recognise([mr(**EPI, b=800.0), mr(**TSE)])[0].b_value == 800.0


def test_a_b_value_of_zero_alone_is_no_diffusion() -> None:
    """GE and Philips write b = 0 into series of every kind; only an echo-planar one is the b = 0 of a diffusion."""
    assert [told(one) for one in recognise([mr(**TSE, b=0.0), mr(**EPI, b=0.0)])] == ["t2 tags", "dwi tags"]


def test_a_time_of_contrast_that_the_machine_copied_is_not_believed() -> None:
    """Some write the series' own time: every phase would be 0 s after contrast."""
    starts = (8.0, 10.5, 11.1, 13.0)
    study = [mr(**VIBE, at=at, agent=at > 9, bolus=NINE + 60 * at) for at in starts]
    assert [told(one) for one in recognise(study)] == [
        "t1_pre tags",
        "arterial order",
        "portal order",
        "equilibrium order",
    ]


def test_a_contrast_time_that_the_order_contradicts_tells_nothing() -> None:
    """Typed to the wrong minute, it makes the arterial phase a portal venous one; better no phase than a false one."""
    starts = (8.0, 10.5, 11.1, 13.0)
    study = [mr(**VIBE, at=at, agent=at > 9, bolus=BOLUS - 30.0 if at > 9 else None) for at in starts]
    assert [guess.kind for guess in recognise(study)] == ["t1_pre", None, None, "equilibrium"]
    assert recognise(study)[1].reason == "the time of contrast and the order in time contradict each other"


def test_words_that_contradict_the_order_cancel_it() -> None:
    study = [mr(**VIBE, at=8), *(mr(text, **VIBE, at=at, agent=True) for text, at in (("", 10.5), ("pre", 11.1)))]
    study += [mr("arterial", **VIBE, at=13.0, agent=True)]
    assert [told(one) for one in recognise(study)][2:] == ["portal order", "None none"]


@pytest.mark.parametrize(
    ("starts", "named", "kinds"),
    [
        # Named on all: whether the first is before contrast follows from the gaps, or stays open.
        ((0, 95, 135, 245), "yyyy", ["t1_pre", "arterial", "portal", "equilibrium"]),
        ((0, 40, 150), "yyy", ["arterial", "portal", "equilibrium"]),
        ((0, 45, 80, 200), "yyyy", [None] * 4),
        ((0, 150), "yy", [None] * 2),
        # Named on none: only the full pattern of four tells.
        ((0, 95, 135, 245), "nnnn", ["t1_pre", "arterial", "portal", "equilibrium"]),
        ((0, 60, 95), "nnn", [None] * 3),
        ((0, 95, 135), "nnn", [None] * 3),
        ((0,), "n", [None]),
        # Named from one place on: what lies before is told by that tag, whatever follows.
        ((0, 300), "ny", ["t1_pre", None]),
        ((0, 10, 300, 340), "nnyy", ["t1_pre", "t1_pre", "arterial", "portal"]),
        # Several arterial phases, an agent named on and off, a missing phase: not told.
        ((0, 300, 308, 316, 350), "nyyyy", ["t1_pre", None, None, None, None]),
        ((0, 300, 308, 345), "nyyy", ["t1_pre", None, None, None]),
        ((0, 95, 135, 245), "nyny", [None] * 4),
        ((0, 300, 420), "nyy", ["t1_pre", None, None]),
        # Late arterial, portal, between, late, hepatobiliary.
        ((0, 300, 340, 375, 450, 1500), "nyyyyy", ["t1_pre", "arterial", "portal", None, "equilibrium", None]),
        # Across midnight.
        ((86_400 - NINE - 60, 86_400 - NINE + 5, 86_400 - NINE + 45), "nyy", ["t1_pre", "arterial", "portal"]),
    ],
)
def test_the_order_in_time_tells_phases_only_where_one_pattern_fits(
    starts: tuple[float, ...], named: str, kinds: list[str | None]
) -> None:
    """Expected kinds follow by hand: portal venous 25-60 s and equilibrium 90-270 s after the first with contrast."""
    study = [
        mr(**VIBE, at=((NINE + start) % 86_400 - NINE) / 60, agent=agent == "y")
        for start, agent in zip(starts, named, strict=True)
    ]
    assert [guess.kind for guess in recognise(study)] == kinds


REGULAR = {"t1_pre": -80, "arterial": 22, "portal": 62, "equilibrium": 185, "hepatobiliary": 1200}
IRREGULAR = REGULAR | {"early arterial": 14, "second arterial": 36, "late portal": 105, "late": 330}


def _scans(starts: dict[str, int], named: str, told_s: float | None) -> list[SeriesFacts]:
    """Starts in seconds after contrast; an agent is `named` for "all", those "after" it, or "none"."""
    return [
        mr(**VIBE, at=10 + start / 60, agent=named == "all" or (named == "after" and start > 0), bolus=told_s)
        for start in starts.values()
    ]


def _some(scans: dict[str, int]) -> list[dict[str, int]]:
    """Every choice of scans but the empty one."""
    return [dict(some) for n in range(1, len(scans) + 1) for some in itertools.combinations(scans.items(), n)]


@pytest.mark.parametrize("named", ["all", "after", "none"])
def test_whatever_scans_are_missing_no_phase_of_a_regular_examination_is_taken_for_another(named: str) -> None:
    """All 31 choices: what is left may be too little to tell a phase, but never tells a false one."""
    for starts in _some(REGULAR):
        for kind, guess in zip(starts, recognise(_scans(starts, named, None)), strict=True):
            assert guess.kind in (None, kind), (starts, guess)


@pytest.mark.parametrize("named", ["all", "after", "none"])
def test_with_the_time_of_contrast_no_examination_is_taken_wrongly(named: str) -> None:
    """All 511 choices, with two arterial phases and scans between phases. The order alone confuses some of these."""
    true = {kind: kind for kind in REGULAR} | {"second arterial": "arterial"}
    for starts in _some(IRREGULAR):
        for kind, guess in zip(starts, recognise(_scans(starts, named, BOLUS)), strict=True):
            assert guess.kind in (None, true.get(kind)), (starts, guess)


@pytest.mark.parametrize("other", [{"flip": 15.0}, {"tr": 5.1}, {"te": 2.1}, {"plane": "coronal"}])
def test_series_made_in_another_way_are_no_phases_of_one_dynamic(other: dict[str, Any]) -> None:
    """One without an agent makes the others post-contrast, and itself pre-contrast, only where all are made alike."""
    study = [mr(**(VIBE | other), at=8), mr(**VIBE, at=10.5, agent=True), mr(**VIBE, at=11.1, agent=True)]
    assert [guess.kind for guess in recognise(study)] == [None, "arterial", "portal"]


def test_two_echoes_acquired_at_once_are_in_and_opposed_phase() -> None:
    """At 3 T an opposed-phase echo (1.2 ms) looks like a dynamic; its in-phase twin gives it away."""
    study = [mr(**VIBE, at=8), mr(**{**VIBE, "te": 2.5}, at=8)]
    assert {guess.reason for guess in recognise(study)} == {"one of two echoes: in-phase or opposed-phase image"}


def test_original_diffusion_that_is_named_after_its_map_is_still_diffusion() -> None:
    """Siemens repeats the protocol's name, "…_ADC", on the trace images."""
    assert told(recognise([mr("ep2d_diff_b50_800_ADC", **EPI, b=800.0)])[0]) == "dwi tags"
