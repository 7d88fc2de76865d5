"""Enhanced multi-frame objects: all slices of a series in one file, told apart by functional groups (PS3.3 C.7.6.16).

CT and MR bring their own top-level elements and groups with the plan; what stands here both need: place, measures,
rescale, dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

from fl_liver.study_cohort import SequenceKind
from simulation.phantom.dicom import save, set_pixels, uid
from simulation.phantom.elements import coded, group, merged
from simulation.phantom.volume_files import (
    SeriesPlan,
    Stack,
    orientation,
    pixel_spacing,
    positions,
    series_object,
    slice_order,
    time_text,
)
from simulation.phantom.volumes import Case, TrueSeries

_CONTENT, _DIFFUSION = Tag("FrameContentSequence"), Tag("MRDiffusionSequence")
_STACK_ID = "1"
_PHASES: dict[SequenceKind, str] = {
    "arterial": "ARTERIAL", "portal": "PORTAL_VENOUS", "delayed": "DELAYED", "equilibrium": "DELAYED",
}  # fmt: skip


def write_multi_frame(case: Case, plan: SeriesPlan, sop_class: UID, path: Path) -> TrueSeries:
    """All stacks of a series in one object, stack after stack."""
    dataset = series_object(case, plan, sop_class)
    for keyword in ("AcquisitionTime", "AcquisitionDate"):
        delattr(dataset, keyword)  # AcquisitionDateTime takes their place
    date = str(dataset.StudyDate)
    dataset.AcquisitionDateTime = date + str(dataset.SeriesTime)
    dataset.InstanceNumber = 1
    order = list(slice_order(plan))
    stored = np.concatenate([stack.stored[order] for stack in plan.stacks])
    set_pixels(dataset, stored, "MONOCHROME2", len(stored), plan.bits_stored)
    dataset.BurnedInAnnotation = "NO"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = Sequence([])
    dataset.SharedFunctionalGroupsSequence = Sequence([merged(_shared(plan), plan.shared)])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(_frames(plan, order, date))
    _describe_dimensions(dataset, plan)
    save(dataset, path)
    return plan.truth(str(dataset.SeriesInstanceUID), [path])


def _shared(plan: SeriesPlan) -> Dataset:
    measures = group(PixelSpacing=pixel_spacing(plan.grid), SliceThickness=plan.thickness_mm)
    measures.SpacingBetweenSlices = round(plan.grid.spacing_mm[0], 6)
    return group(
        PixelMeasuresSequence=measures,
        PlaneOrientationSequence=group(ImageOrientationPatient=orientation(plan.grid)),
        FrameAnatomySequence=group(FrameLaterality="U", AnatomicRegionSequence=coded("818981001", "Abdomen")),
    )


def _frames(plan: SeriesPlan, order: list[int], date: str) -> Iterable[Dataset]:
    corners = positions(plan.grid)
    for number, stack in enumerate(plan.stacks, start=1):
        for place, index in enumerate(order, start=1):
            yield merged(
                group(
                    PlanePositionSequence=group(ImagePositionPatient=corners[index]),
                    FrameContentSequence=_content(plan, stack, date, [1, place, number]),
                ),
                stack.elements,
            )


def _content(plan: SeriesPlan, stack: Stack, date: str, indices: list[int]) -> Dataset:
    """`indices` count stack, place in it and volume from 1."""
    content = group(
        FrameAcquisitionNumber=indices[2],
        FrameReferenceDateTime=date + time_text(stack.started_s),
        FrameAcquisitionDateTime=date + time_text(stack.started_s),
        FrameAcquisitionDuration=stack.duration_s * 1000.0,
        StackID=_STACK_ID,
        InStackPositionNumber=indices[1],
        DimensionIndexValues=indices if len(plan.stacks) > 1 else indices[:2],
    )
    if stack.position is not None:
        content.TemporalPositionIndex = stack.position
    return content


def _describe_dimensions(dataset: Dataset, plan: SeriesPlan) -> None:
    organisation = uid(dataset.SeriesInstanceUID, "dimensions")
    pointers = [("StackID", _CONTENT), ("InStackPositionNumber", _CONTENT)]
    if len(plan.stacks) > 1:
        diffusion = plan.stacks[0].b_value is not None
        pointers.append(("DiffusionBValue", _DIFFUSION) if diffusion else ("TemporalPositionIndex", _CONTENT))
    dataset.DimensionOrganizationSequence = Sequence([group(DimensionOrganizationUID=organisation)])
    dataset.DimensionIndexSequence = Sequence(
        group(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=Tag(keyword),
            FunctionalGroupPointer=pointer,
            DimensionDescriptionLabel=keyword,
        )
        for keyword, pointer in pointers
    )


def bolus_elements(agent: Dataset, ingredient: Dataset, volume_ml: float, start_s: float) -> Dataset:
    """The Enhanced Contrast/Bolus module with one agent, given into a vein."""
    given = group(
        ContrastBolusVolume=volume_ml,
        ContrastBolusStartTime=time_text(start_s),
        ContrastBolusStopTime=time_text(start_s + 30),
    )
    agent = merged(
        agent,
        group(
            ContrastBolusAgentNumber=1,
            ContrastBolusAdministrationRouteSequence=coded("47625008", "Intravenous route"),
            ContrastBolusIngredientCodeSequence=ingredient,
            ContrastBolusVolume=volume_ml,
            ContrastBolusIngredientConcentration=350.0,
            ContrastAdministrationProfileSequence=given,
        ),
    )
    return group(ContrastBolusAgentSequence=agent)


def bolus_usage(kind: SequenceKind) -> Dataset:
    """The functional group that says that the agent was given, PS3.3 C.7.6.16.2.13; `kind` is an enhanced phase."""
    used = group(
        ContrastBolusAgentNumber=1,
        ContrastBolusAgentAdministered="YES",
        ContrastBolusAgentDetected="YES",
        ContrastBolusAgentPhase=_PHASES[kind],
    )
    return group(ContrastBolusUsageSequence=used)
