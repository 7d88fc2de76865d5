"""Facts of headers, which series of a kind is taken, what holds for any study, and real series."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from fl_liver.client.cohort.read.acquisition import Acquisition
from fl_liver.client.cohort.read.dicom import examine
from fl_liver.client.cohort.read.header import Header, header_from
from fl_liver.client.cohort.read.words import VOCABULARY
from fl_liver.client.cohort.series.mapping import NO_MAPPING
from fl_liver.client.cohort.series.recognise import (
    KIND_NAMES,
    Guess,
    SeriesFacts,
    best_of_kind,
    facts_of,
    guessed_fault,
    passed_over,
    recognise,
)
from fl_liver.errors import DataError
from fl_liver.study_cohort import SequenceKind

VIBE_SLICE = {
    "Modality": "MR",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"],
    "SeriesNumber": 12,
    "SeriesDescription": "t1_vibe Ziegenpeter art",
    "RepetitionTime": 3.97,
    "EchoTime": 1.29,
    "FlipAngle": 9,
    "ScanningSequence": "GR",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [1.2, 1.2],
    "Rows": 256,
    "Columns": 256,
}


def header(number: int, acquired: str = "101500", **said: object) -> Header:
    dataset = Dataset()
    place = {"InstanceNumber": number, "ImagePositionPatient": [0, 0, 3.0 * number], "AcquisitionTime": acquired}
    for keyword, value in (VIBE_SLICE | place | said).items():
        if value is not None:
            setattr(dataset, keyword, value)
    return header_from(dataset, "")


def test_facts_are_those_of_the_slice_acquired_first_in_whatever_order_files_come() -> None:
    slices = [header(n, f"1015{20 - n:02d}", ContrastBolusStartTime="101430") for n in range(1, 9)]
    facts = facts_of(slices)
    assert facts == facts_of(slices[::-1])
    assert (facts.modality, facts.slices, facts.rows, facts.orientation) == ("MR", 8, 256, "axial")
    assert facts.acquired_s == 10 * 3600 + 15 * 60 + 12 == facts.acquisition.acquired_s
    assert facts.contrast_s == 10 * 3600 + 14 * 60 + 30


def test_a_scan_across_midnight_began_before_it() -> None:
    assert facts_of([header(1, "000005"), header(2, "235950")]).acquired_s == 86_390.0


def test_several_phases_at_one_place_are_one_place() -> None:
    assert facts_of([header(1), header(1, "101600"), header(2)]).slices == 2
    assert facts_of([header(n, ImagePositionPatient=None) for n in (1, 2, 3)]).slices == 3


def test_an_agent_named_for_one_slice_and_the_largest_b_value_count() -> None:
    facts = facts_of([header(1, DiffusionBValue=0.0), header(2, DiffusionBValue=800.0, ContrastBolusAgent="Gadovist")])
    assert facts.contrast
    assert facts.b_value == 800.0


def test_facts_of_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="without headers has no facts"):
        facts_of([])


def test_a_header_becomes_a_phase_and_its_text_stays_out_of_the_reason() -> None:
    """From DICOM elements to the guess: 30 s from 10:14:30 to 10:15:00."""
    before = [header(n, "100200") for n in range(8)]
    during = [header(n, ContrastBolusStartTime="101430") for n in range(8)]
    guesses = recognise([facts_of(before), facts_of(during)])
    assert [(one.kind, one.basis) for one in guesses] == [("t1_pre", "tags"), ("arterial", "tags")]
    assert guesses[1].reason == "30 s after contrast"


def facts(kind_of: str = "MR", **changed: Any) -> SeriesFacts:
    return replace(
        SeriesFacts(kind_of, ("ORIGINAL", "PRIMARY"), Acquisition(), slices=40, orientation="axial"), **changed
    )


def numbered(number: int, **changed: Any) -> SeriesFacts:
    return facts(acquisition=Acquisition(series_number=number), **changed)


TAGS = Guess("portal", "tags", "70 s after contrast")


@pytest.mark.parametrize(
    ("taken", "left", "why"),
    [
        ((replace(TAGS, basis="mapping"), facts(slices=9)), (TAGS, facts()), "series.toml names another"),
        ((replace(TAGS, basis="text"), facts()), (TAGS, facts(orientation="coronal")), "another is nearer to axial"),
        ((TAGS, facts(slices=9)), (replace(TAGS, basis="order"), facts()), "another is told by stronger evidence"),
        (
            (replace(TAGS, basis="order"), facts(slices=9)),
            (replace(TAGS, basis="text"), facts()),
            "another is told by stronger evidence",
        ),
        ((TAGS, facts(slices=60)), (TAGS, numbered(9)), "another has more slices"),
        ((TAGS, numbered(9)), (TAGS, numbered(8)), "another has a higher series number"),
        ((TAGS, facts(acquired_s=9.0)), (TAGS, facts(acquired_s=8.0)), "another was acquired later"),
        (
            (Guess("dwi", "tags", "", 700.0), facts(slices=9)),
            (Guess("dwi", "tags", "", 1000.0), facts()),
            "another has a b-value nearer to 800 s/mm²",
        ),
        (
            (Guess("dwi", "tags", "", 1400.0), facts()),
            (Guess("dwi", "tags", "", 50.0), facts()),
            "b 50 s/mm² is below 400",
        ),
        ((TAGS, facts()), (TAGS, facts()), "another series like it is used"),
    ],
)
def test_of_two_series_of_a_kind_the_better_is_taken_and_the_other_is_told_why(
    taken: tuple[Guess, SeriesFacts], left: tuple[Guess, SeriesFacts], why: str
) -> None:
    guesses, study = [taken[0], left[0]], [taken[1], left[1]]
    kind = taken[0].kind
    assert best_of_kind(guesses, study) == {kind: 0}
    assert passed_over(guesses, study) == {1: why}
    if why != "another series like it is used":
        assert best_of_kind(guesses[::-1], study[::-1]) == {kind: 1}


def test_weak_diffusion_untold_and_ignored_series_are_never_taken() -> None:
    """Below b = 400 diffusion looks like T2; an unknown b-value is better than a small one."""
    guesses = [
        Guess("dwi", "tags", "", 50.0),
        Guess("dwi", "text", ""),
        Guess(None, "none", ""),
        Guess(None, "tags", "", ignore=True),
    ]
    assert best_of_kind(guesses, [facts()] * 4) == {"dwi": 1}
    assert best_of_kind(guesses[:1], [facts()]) == {}
    assert passed_over(guesses[:1], [facts()]) == {0: "b 50 s/mm² is below 400"}


def test_bone_and_soft_tissue_of_one_phase_do_not_compete() -> None:
    """The bone kernel is the later and thinner reconstruction; taken, it would replace the liver's own."""
    words = ({"portal"}, {"portal", "bone"})
    made = [Acquisition(series_number=n, words=frozenset(said)) for n, said in enumerate(words)]
    study = [facts("CT", acquisition=one, slices=60 * (n + 1)) for n, one in enumerate(made)]
    assert best_of_kind(recognise(study), study) == {"portal": 0}


def test_only_order_and_words_are_guesses_that_somebody_should_look_at() -> None:
    assert guessed_fault(TAGS) is None
    assert guessed_fault(replace(TAGS, basis="mapping")) is None
    assert guessed_fault(Guess(None, "none", "")) is None
    assert guessed_fault(Guess(None, "text", "", ignore=True)) is None
    assert guessed_fault(replace(TAGS, basis="text", reason="by words of its description")) == (
        "W_PHASE_GUESSED",
        "taken for portal: by words of its description",
    )


def test_every_kind_has_a_name_in_one_modality_at_least() -> None:
    assert {kind for _, kind in KIND_NAMES} == set(get_args(SequenceKind))
    assert len(set(KIND_NAMES.values())) == len(KIND_NAMES) == 10


def test_folders_must_be_as_many_as_series() -> None:
    with pytest.raises(DataError, match="1 folders for 2 series"):
        recognise([facts(), facts()], NO_MAPPING, ["a"])


CODES = ("ORIGINAL", "DERIVED", "LOCALIZER", "ADC", "MPR", "WATER", "IN_PHASE", "T2", "DIFFUSION", "Ziegenpeter")


@st.composite
def any_series(draw: st.DrawFn) -> SeriesFacts:
    """A series with any combination of tags; times lie within some minutes, so that orders and windows occur."""

    def pick(values: list[Any]) -> Any:
        return draw(st.sampled_from(values))

    acquired_s = pick([None, *(36_000.0 + 35.0 * n for n in range(12))])
    acquisition = Acquisition(
        series_number=draw(st.integers(0, 99)),
        acquired_s=acquired_s,
        trigger_ms=pick([None, 0.0, 35_000.0]),
        repetition_ms=pick([None, 4.0, 120.0, 3500.0]),
        echo_ms=pick([None, 1.3, 2.4, 90.0, 700.0]),
        inversion_ms=pick([None, 150.0, 2500.0]),
        flip_deg=pick([None, 9.0, 70.0]),
        b_value=pick([None, 0.0, 50.0, 800.0]),
        scanning_sequence=pick([(), ("GR",), ("SE",), ("EP", "SE")]),
        words=draw(st.frozensets(st.sampled_from(sorted(VOCABULARY)), max_size=3)),
        described_delay_s=pick([None, 30.0, 70.0, 1200.0]),
    )
    return SeriesFacts(
        modality=pick(["MR", "CT", "US"]),
        image_type=tuple(draw(st.lists(st.sampled_from(CODES), max_size=3))),
        acquisition=acquisition,
        acquired_s=acquired_s,
        contrast=draw(st.booleans()),
        contrast_s=pick([None, None, 36_100.0, 36_000.0]),
        b_value=acquisition.b_value,
        echoes=pick([1, 1, 2]),
        rows=256,
        slices=pick([1, 40, 80]),
        orientation=pick(["axial", "coronal", None]),
    )


@given(st.lists(any_series(), min_size=1, max_size=7), st.data())
def test_the_order_in_which_series_are_given_changes_nothing(study: list[SeriesFacts], data: st.DataObject) -> None:
    """Files come in the order of their names, which says nothing."""
    shuffled = data.draw(st.permutations(range(len(study))))
    guesses, again = recognise(study), recognise([study[i] for i in shuffled])
    assert again == [guesses[i] for i in shuffled]
    best = {kind: study[i] for kind, i in best_of_kind(guesses, study).items()}
    assert {k: _rankable(study[shuffled[i]]) for k, i in best_of_kind(again, [study[i] for i in shuffled]).items()} == {
        k: _rankable(one) for k, one in best.items()
    }


def _rankable(one: SeriesFacts) -> tuple[object, ...]:
    """What the choice may depend on; two series equal in all of it are as good as each other."""
    return one.orientation == "coronal", one.slices, one.acquisition.series_number, one.acquired_s or 0.0


@given(st.lists(any_series(), max_size=6))
def test_a_guess_fits_its_modality_says_why_and_quotes_no_text_and_no_clock(study: list[SeriesFacts]) -> None:
    for one, guess in zip(study, recognise(study), strict=True):
        assert guess.kind is None or (one.modality, guess.kind) in KIND_NAMES
        assert (guess.basis == "none") == (guess.kind is None and not guess.ignore)
        assert guess.reason
        assert "Ziegenpeter" not in repr(guess)
        assert not re.search(r"\d\d:\d\d|36[01]\d\d", guess.reason)


def test_the_real_ct_whose_text_names_an_agent_only_is_not_told_and_gets_no_finding(shared_data: Path) -> None:
    """TCGA-BC-A10W: no agent, no time of contrast; "150cc OMNIPAQUE)" does not tell a phase."""
    headers = [examine(path).header for path in sorted((shared_data / "tcga-lihc-ct/TCGA-BC-A10W").glob("*.dcm"))]
    (guess,) = recognise([facts_of([one for one in headers if one is not None])])
    assert guess == Guess(None, "none", "contrast given, phase unknown")
    assert guessed_fault(guess) is None


def test_the_real_marked_mr_slice_is_a_derived_reformat(shared_data: Path) -> None:
    """t1_vibe_fs_tra_bh_dyn with contrast, but stored as "MPR Collection": a reader's copy."""
    found = examine(shared_data / "pydicom-samples/mr_liver_marked_lesion_scrubbed.dcm").header
    assert found is not None
    assert found.acquisition.words >= {"t1", "t1_gre", "reformatted"}
    assert recognise([facts_of([found])]) == [Guess(None, "tags", "reformatted (ImageType)", ignore=True)]
    # Had it been stored as acquired, the dynamic's parameters would be recognised, and its phase would stay open.
    plain = replace(facts_of([found]), image_type=("ORIGINAL", "PRIMARY", "M"), slices=60)
    plain = replace(plain, acquisition=replace(plain.acquisition, words=frozenset({"t1", "t1_gre"})))
    assert recognise([plain]) == [Guess(None, "none", "contrast given, phase unknown")]


def test_the_real_ct_slices_without_contrast_are_not_told(shared_data: Path) -> None:
    for folder in ("dcmqi-liver/ct-3slice", "highdicom-seg"):
        paths = [path for path in sorted((shared_data / folder).glob("*.dcm")) if "seg" not in path.name]
        headers = [one for one in (examine(path).header for path in paths) if one is not None]
        (guess,) = recognise([facts_of(headers)])
        assert (guess.kind, guess.basis, guess.ignore) == (None, "none", False)
