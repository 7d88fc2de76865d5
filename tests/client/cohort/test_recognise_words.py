"""Which words of a description get through, in which languages, and that nothing else does."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from fl_liver.client.cohort.read.acquisition import acquisition_from
from fl_liver.client.cohort.read.words import VOCABULARY, delay_s_of, description_digest, words_of

DESCRIPTIONS = [
    # Siemens
    ("t1_vibe_fs_tra_bh_dyn", "t1 t1_gre"),
    ("t1_starvibe_fs_tra_portalvenös", "t1 t1_gre portal"),
    ("t2_haste_tra_mbh", "t2 single_shot"),
    ("t2_blade_fs_tra_rtr", "t2 blade"),
    ("t2_trufi_cor_bh", "t2 bssfp"),
    ("ep2d_diff_b50_400_800_tra_p2_ADC", "dwi adc"),
    ("t1_vibe_dyn_SUB", "t1 t1_gre subtraction"),
    ("t1_vibe_dixon_tra_bh_opp", "t1 t1_gre in_opposed"),
    ("PreMonitoring", "timing"),
    ("Topogramm 0.6 T20f", "localizer"),
    # GE
    ("WATER: Ax LAVA-Flex +C ART", "t1_gre arterial post"),
    ("InPhase: Ax LAVA-Flex", "t1_gre in_opposed"),
    ("Ax FIESTA fs", "bssfp"),
    ("Cor SSFSE BH", "single_shot"),
    ("Ax T2 PROPELLER fs RTr", "t2 blade"),
    ("oAx DWI b=800", "dwi"),
    ("Smart Prep Series", "timing"),
    ("3-pl Loc SSFSE", "localizer single_shot"),
    ("Apparent Diffusion Coefficient (mm2/s)", "adc"),
    ("C+ V 5mm", "portal"),
    ("C- 5mm", "pre"),
    # Philips, Canon, Hitachi
    ("eTHRIVE late arterial", "t1_gre arterial"),
    ("sT2W_SSh_cor", "t2 single_shot"),
    ("mDIXON-W_BH art", "t1_gre arterial"),
    ("dDWI_b0_500_1000", "dwi"),
    ("Surview", "localizer"),
    ("Quick 3Ds pre", "t1_gre pre"),
    ("JET T2 FatSat", "t2 blade"),
    # German, French
    ("Leber nativ", "pre"),
    ("vor KM", "pre"),
    ("nach KM Spätphase", "post delayed"),
    ("spätarteriell", "arterial"),
    ("früharteriell", "early_arterial"),
    ("temps artériel", "arterial"),
    ("temps veineux", "portal"),
    ("phase tardive", "delayed"),
    ("sans injection", "pre"),
    ("phase et opposition de phase", "in_opposed"),
    ("en phase portale", "portal"),
    # Chinese
    ("pingsao", "pre"),
    ("menmaiqi", "portal"),
    ("zengqiang dongmaiqi", "post arterial"),
    ("肝脏 动脉期", "arterial"),
    ("门静脉期", "portal"),
    ("延迟期 增强", "delayed post"),
    # What only looks like a word of the list.
    ("artefact, partial plate, latest", ""),
    ("C-spine T12", ""),
    ("Segment IV post-op", "post"),
    ("pre-TACE", ""),
    ("T1 fatsat fat-sat fat sup", "t1"),
    ("non-contrast", "pre"),
    ("T2* map", "map"),
    ("Kartoffel Nierenbecken", ""),
    ("", ""),
]


@pytest.mark.parametrize(("text", "wanted"), DESCRIPTIONS)
def test_words_that_machines_and_people_write_are_known(text: str, wanted: str) -> None:
    assert words_of(text) == frozenset(wanted.split())


@given(st.text())
@example("Ziegenpeter^Anna MRN-4711-0815 19530217 ART")
@example("t1" * 500_000)
def test_nothing_but_the_vocabulary_gets_through(text: str) -> None:
    """A description may hold a name; its words are not ours to keep."""
    assert words_of(text) <= VOCABULARY


@given(
    st.sampled_from([text for text, _ in DESCRIPTIONS]), st.sampled_from(["Ziegenpeter", "MRN-4711-0815", "19530217"])
)
def test_a_planted_name_changes_no_word_and_appears_in_nothing(text: str, planted: str) -> None:
    dataset = Dataset()
    dataset.SeriesDescription, dataset.ProtocolName = f"{planted} {text}"[:64], planted
    found = acquisition_from(dataset)
    assert planted not in repr(found)
    assert found.words == words_of(text)
    assert found.words <= VOCABULARY


def test_a_protocols_name_speaks_only_where_the_description_is_silent() -> None:
    """It stands on every series of a study: "Abdomen nativ + KM" on the portal venous one too."""
    assert words_of("portalvenös", "Abdomen nativ + KM") == {"portal"}
    assert words_of("t1 tra", "Leber nativ T2 MRCP ADC") == {"t1", "pre"}
    assert words_of("", "t1_vibe_art") == {"t1", "t1_gre", "arterial"}


@pytest.mark.parametrize(
    ("text", "delay_s"),
    [
        ("LAVA ART 25s", 25),
        ("t1_vibe_70s", 70),
        ("70 sec delay", 70),
        ("portal 70 Sek.", 70),
        ("180s", 180),
        ("HBP 20 min", 1200),
        ("spät 5min", 300),
        ("门静脉期 70秒", 70),
        ("dyn 20s 70s 180s", None),
        ("2-5min", None),
        ("TE 90ms", None),
        ("1.5s", None),
        ("BH 20s", None),
        ("B70s", None),
        ("80 slices, 5 mm, s 3", None),
        ("2s", None),
        ("9999min", None),
        ("٣٠s", 30),
        ("", None),
    ],
)
def test_a_delay_is_read_only_where_one_is_named(text: str, delay_s: float | None) -> None:
    assert delay_s_of(text) == delay_s


@given(st.text(alphabet="0123456789 smin.,-–/秒分钟ecbh", max_size=80))
def test_any_text_gives_a_delay_in_range_or_none(text: str) -> None:
    delay_s = delay_s_of(text)
    assert delay_s is None or 5 <= delay_s <= 7200


def test_a_delay_noun_is_no_delayed_phase() -> None:
    """ "70 s delay" and "Delay 35s" name a time, "5 min delayed" names a phase too."""
    assert words_of("70 s delay") == words_of("Delay 35s") == frozenset()
    assert words_of("5 min delayed") == {"delayed"}


def test_the_digest_is_sha256_of_the_text_in_lower_case_with_single_spaces() -> None:
    """The oracle is hashlib on the text written by hand as it should be normalised."""
    wanted = hashlib.sha256(b"lava art 25s").hexdigest()[:16]
    assert description_digest("  LAVA\tART  25s ") == wanted
    assert description_digest("LAVA ART 26s") != wanted
    assert description_digest(" ") == ""
