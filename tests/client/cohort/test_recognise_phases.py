"""Several volumes under one SeriesInstanceUID: taken apart where something parts them into whole volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from fl_liver.client.cohort.read.header import Header, header_from
from fl_liver.client.cohort.series.phases import split_phases, told_apart_by

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TILTED = (1.0, 0.0, 0.0, 0.0, 0.9848, 0.1736)
"""10° about the first axis."""
BLANK = header_from(Dataset(), "")


def one(place: int, axes: tuple[float, ...] = AXIAL, image_type: tuple[str, ...] = (), **made: Any) -> Header:
    normal = (axes[1] * axes[5] - axes[2] * axes[4], axes[2] * axes[3] - axes[0] * axes[5], axes[0] * axes[4])
    position = tuple(5.0 * place * n for n in normal)
    acquisition = replace(BLANK.acquisition, **made)
    return replace(BLANK, position_mm=position, orientation=axes, image_type=image_type, acquisition=acquisition)


ATTRIBUTES: list[tuple[str, Any, str]] = [
    ("temporal_position", (1, 2), "TemporalPositionIdentifier"),
    ("acquisition_number", (3, 4), "AcquisitionNumber"),
    ("trigger_ms", (0.0, 40_000.0), "TriggerTime"),
    ("acquired_s", (36_000.0, 36_040.0), "AcquisitionTime"),
    ("echo_ms", (1.2, 2.5), "EchoTime"),
]


@pytest.mark.parametrize(("name", "values", "keyword"), ATTRIBUTES)
@pytest.mark.parametrize("axes", [AXIAL, TILTED])
def test_phases_are_parted_by_what_is_allowed_only(
    name: str, values: Any, keyword: str, axes: tuple[float, ...]
) -> None:
    """Slices of two phases lie interleaved: 0, 2, 4 are the later phase."""
    headers = [one(place, axes, **{name: value}) for place in range(3) for value in reversed(values)]
    assert split_phases(headers, (name,)) == [[1, 3, 5], [0, 2, 4]]
    assert split_phases(headers, ()) is None
    assert told_apart_by(headers) == keyword


def test_water_and_fat_under_one_series_are_parted_by_image_type() -> None:
    headers = [one(place, image_type=("DERIVED", kind)) for place in range(3) for kind in ("W", "F")]
    assert split_phases(headers, ("image_type",)) == [[1, 3, 5], [0, 2, 4]]
    assert told_apart_by(headers) == "ImageType"


def test_b_values_are_parted_without_asking_in_ascending_order() -> None:
    headers = [one(place, b_value=b) for b in (800.0, 0.0, 50.0) for place in range(4)]
    assert split_phases(headers, ()) == [[4, 5, 6, 7], [8, 9, 10, 11], [0, 1, 2, 3]]
    assert told_apart_by(headers) == "DiffusionBValue"


def test_b_zero_may_be_stored_without_a_b_value() -> None:
    assert split_phases([one(0, b_value=800.0), one(0), one(1, b_value=800.0), one(1)], ()) == [[1, 3], [0, 2]]


def test_three_directions_of_one_b_value_are_not_parted() -> None:
    """They would each hold a place three times: what to do with them is for people to say."""
    headers = [one(place, b_value=b) for place in range(4) for b in (0.0, 800.0, 800.0, 800.0)]
    assert split_phases(headers, ("acquisition_number",)) is None
    assert told_apart_by(headers) is None


def test_the_first_allowed_attribute_that_parts_into_whole_volumes_is_taken() -> None:
    """AcquisitionNumber parts half the stack from the other here, not phase from phase."""
    headers = [
        one(place, acquisition_number=place // 2, temporal_position=phase) for phase in (2, 1) for place in range(4)
    ]
    assert split_phases(headers, ("acquisition_number", "temporal_position")) == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert told_apart_by(headers) == "TemporalPositionIdentifier"


def test_a_slice_missing_from_one_phase_keeps_the_series_whole() -> None:
    headers = [one(place, temporal_position=phase) for phase in (1, 2) for place in range(4)]
    assert split_phases(headers[:-1], ("temporal_position",)) is None
    assert told_apart_by(headers[:-1]) is None


def test_one_volume_is_not_parted_even_where_every_slice_has_its_own_time() -> None:
    headers = [one(place, acquired_s=36_000.0 + place, b_value=float(place)) for place in range(5)]
    assert split_phases(headers, ("acquired_s",)) is None
    assert told_apart_by(headers) is None


def test_slices_without_place_or_of_two_orientations_are_not_parted() -> None:
    two = [one(place, b_value=b) for b in (0.0, 800.0) for place in range(3)]
    assert split_phases([*two[:-1], replace(two[-1], position_mm=None)], ()) is None
    assert split_phases([*two[:-1], replace(two[-1], orientation=None)], ()) is None
    assert split_phases([*two[:3], *(replace(slice, orientation=TILTED) for slice in two[3:])], ()) is None
    assert split_phases([], ()) is None


@given(st.integers(2, 4), st.integers(2, 6), st.data())
def test_parts_are_whole_volumes_whatever_the_order_of_files(phases: int, places: int, data: st.DataObject) -> None:
    """Each slice falls into one part, and each part holds each place once."""
    stack = [(phase, place) for phase in range(phases) for place in range(places)]
    order = data.draw(st.permutations(stack))
    parts = split_phases([one(place, temporal_position=phase) for phase, place in order], ("temporal_position",))
    assert parts is not None
    assert [[order[i][0] for i in part] for part in parts] == [[phase] * places for phase in range(phases)]
    assert [sorted(order[i][1] for i in part) for part in parts] == [list(range(places))] * phases
    assert all(part == sorted(part) for part in parts)
