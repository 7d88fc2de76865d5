"""`series.toml`: what a hospital says outweighs tags, and its slips are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fl_liver.client.cohort.read.acquisition import Acquisition
from fl_liver.client.cohort.read.words import description_digest
from fl_liver.client.cohort.series.mapping import NO_MAPPING, Mapping, read_mapping
from fl_liver.client.cohort.series.recognise import Guess, SeriesFacts, recognise
from fl_liver.errors import ConfigError

WRITTEN = """
[[series]]
description = "LAVA ART 25s"
kind = "arterial"

[[series]]
folder = "*/ax t2*"
kind = "t2"

[[series]]
folder = "*/ax*"
description = "Ax  DWI"
kind = "dwi"

[[series]]
folder = "*/old*"
kind = "ignore"

[split]
by = ["acquisition_number", "trigger_ms"]
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    path = tmp_path / "series.toml"
    path.write_text(WRITTEN)
    return read_mapping(path)


@pytest.mark.parametrize(
    ("description", "folder", "kind"),
    [
        ("lava art  25S ", "P1/3", "arterial"),
        ("LAVA ART 25s", "P1/ax t2", "arterial"),
        ("LAVA ART 35s", "P1/3", None),
        ("", "P1/AX T2 fs/deeper", "t2"),
        ("", "P1/2024/ax t2", "t2"),
        ("ax dwi", "P1/ax 7", "dwi"),
        ("ax dwi", "P1/cor 7", None),
        ("", "P1/OLD scans", "ignore"),
        ("", "", None),
    ],
)
def test_a_series_is_known_by_its_description_or_its_folder(
    mapping: Mapping, description: str, folder: str, kind: str | None
) -> None:
    assert mapping.kind_of(description_digest(description), folder) == kind


def test_several_phases_may_be_split_by_what_it_names(mapping: Mapping) -> None:
    assert mapping.split == ("acquisition_number", "trigger_ms")
    assert NO_MAPPING.split == ()


def test_entries_that_fit_no_series_are_told_by_their_place(mapping: Mapping) -> None:
    seen = [(description_digest("LAVA ART 25s"), "P1/1"), ("", "P2/ax t2 fs")]
    assert mapping.unused(seen) == (3, 4)
    assert mapping.unused([]) == (1, 2, 3, 4)
    assert NO_MAPPING.unused(seen) == ()


def test_a_file_that_is_not_there_maps_nothing(tmp_path: Path) -> None:
    assert read_mapping(tmp_path / "series.toml") == NO_MAPPING


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ('[[series]]\ndescripton = "x"\nkind = "t2"', "unknown key 'series.0.descripton', did you mean 'description'"),
        ('[[serie]]\nfolder = "x"\nkind = "t2"', "unknown key 'serie', did you mean 'series'"),
        ('[[series]]\nfolder = "x"\nkind = "t3"', "Input should be 't2', 'dwi'"),
        ('[[series]]\nkind = "t2"', "an entry wants description or folder"),
        ('[[series]]\ndescription = " "\nkind = "t2"', "description is blank"),
        ('[[series]]\nfolder = "x"', "key 'series.0.kind' is missing"),
        ('[split]\nby = ["weather"]', "'split.by.0': Input should be 'temporal_position'"),
        ("[[series", "not TOML"),
    ],
)
def test_a_slip_in_the_file_is_refused_with_its_place(tmp_path: Path, text: str, refusal: str) -> None:
    path = tmp_path / "series.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=refusal):
        read_mapping(path)


T2 = SeriesFacts(
    "MR",
    ("ORIGINAL",),
    Acquisition(
        repetition_ms=3500, echo_ms=90, scanning_sequence=("SE",), description=description_digest("LAVA ART 25s")
    ),
    slices=40,
)


def test_what_the_hospital_says_outweighs_every_tag(mapping: Mapping) -> None:
    derived = replace(T2, image_type=("DERIVED", "SECONDARY", "MPR"))
    assert recognise([T2, derived], mapping) == [Guess("arterial", "mapping", "series.toml says so")] * 2
    assert recognise([T2])[0].kind == "t2"


def test_a_folder_that_is_to_be_ignored_is_and_others_are_told_by_their_tags(mapping: Mapping) -> None:
    unnamed = replace(T2, acquisition=replace(T2.acquisition, description=""))
    ignored, other = recognise([unnamed, unnamed], mapping, ["P1/old", "P1/new"])
    assert ignored == Guess(None, "mapping", "series.toml says so", ignore=True)
    assert (other.kind, other.basis) == ("t2", "tags")


def test_a_kind_of_the_other_modality_is_not_taken(mapping: Mapping) -> None:
    """Folder globs may catch a CT; T2 of a CT does not exist."""
    guess = recognise([SeriesFacts("CT", (), Acquisition(), slices=40)], mapping, ["P1/ax t2"])[0]
    assert (guess.kind, guess.basis, guess.reason) == (None, "mapping", "series.toml says t2, which is no kind of CT")


def test_mapped_diffusion_keeps_its_b_value(mapping: Mapping) -> None:
    made = Acquisition(description=description_digest("Ax DWI"))
    assert recognise([SeriesFacts("MR", (), made, b_value=600.0)], mapping, ["P1/ax"])[0].b_value == 600.0
