"""Enhanced multi-frame CT and MR: one file holds a series, and each of its frames is told of like a slice's file.

Each frame's place, spacing, rescale and acquisition stand in functional groups, its own or shared by all (PS3.3
C.7.6.16). Behind this file nobody needs to know how many files a series came in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from pydicom.dataset import Dataset

from fl_liver.client.cohort.read.acquisition import Acquisition
from fl_liver.client.cohort.read.elements import code, number, seconds_of, text, values, vector, whole
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.words import image_type_words

_T = TypeVar("_T")
ENHANCED = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
        "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
        "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
    }
)


def frames_of(dataset: Dataset, header: Header) -> tuple[Header, ...]:
    """One header for each frame of an enhanced image, in the order of the file; () for any other object.

    A frame without a functional group of its own keeps what the file says of all.
    """
    if header.sop_class not in ENHANCED:
        return ()
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or ()), Dataset())
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    groups = [_Groups(one, shared) for one in own[: header.frames]]
    return tuple(_frame(header, index, one) for index, one in enumerate(groups))


class _Groups:
    """The functional groups that hold for one frame."""

    def __init__(self, own: Dataset, shared: Dataset) -> None:
        self._own, self._shared = own, shared

    def __call__(self, name: str) -> Dataset:
        for level in (self._own, self._shared):
            first: Dataset | None = next(iter(level.get(f"{name}Sequence") or ()), None)
            if first is not None:
                return first
        return Dataset()


def _frame(header: Header, index: int, group: _Groups) -> Header:
    measures, rescale = group("PixelMeasures"), group("PixelValueTransformation")
    slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
    kinds = values(group("MRImageFrameType"), "FrameType", str) or values(group("CTImageFrameType"), "FrameType", str)
    return replace(
        header,
        frame=index,
        instance_number=index + 1,
        image_type=image_type_words(kinds) or header.image_type,
        position_mm=vector(group("PlanePosition"), "ImagePositionPatient", 3) or header.position_mm,
        orientation=vector(group("PlaneOrientation"), "ImageOrientationPatient", 6) or header.orientation,
        spacing_mm=vector(measures, "PixelSpacing", 2) or header.spacing_mm,
        thickness_mm=number(measures, "SliceThickness") or header.thickness_mm,
        slope=header.slope if slope is None else slope,
        intercept=header.intercept if intercept is None else intercept,
        acquisition=_acquisition(header.acquisition, group),
    )


def _acquisition(stated: Acquisition, group: _Groups) -> Acquisition:
    content, timing, echo = group("FrameContent"), group("MRTimingAndRelatedParameters"), group("MREcho")
    given = code(group("ContrastBolusUsage"), "ContrastBolusAgentAdministered")
    acquired = seconds_of(text(content, "FrameAcquisitionDateTime")[8:])
    return replace(
        stated,
        acquired_s=stated.acquired_s if acquired is None else acquired,
        acquisition_number=_or(whole(content, "FrameAcquisitionNumber"), stated.acquisition_number),
        temporal_position=_or(whole(content, "TemporalPositionIndex"), stated.temporal_position),
        repetition_ms=_or(number(timing, "RepetitionTime"), stated.repetition_ms),
        flip_deg=_or(number(timing, "FlipAngle"), stated.flip_deg),
        echo_ms=_or(number(echo, "EffectiveEchoTime"), stated.echo_ms),
        contrast=stated.contrast if given not in ("YES", "NO") else given == "YES",
        b_value=_or(number(group("MRDiffusion"), "DiffusionBValue"), stated.b_value),
    )


def _or(found: _T | None, otherwise: _T | None) -> _T | None:
    return otherwise if found is None else found
