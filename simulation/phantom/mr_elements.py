"""What an MR's header says of one volume: as single slices, or as functional groups of an Enhanced MR image."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.dicom import uid
from simulation.phantom.elements import group, merged
from simulation.phantom.mr import DYNAMIC
from simulation.phantom.mr_makes import MrMake
from simulation.phantom.volume_files import time_text

PROTON_MHZ_T = 42.577
_GE_OFFSET = 10**9
BOLUS_ML = 7.5


@dataclass(frozen=True, slots=True, kw_only=True)
class MrVolume:
    """One volume of the study: when and how it was acquired. Times in seconds after midnight.

    position   temporal position from 1 in the dynamic series
    bolus_s    None before contrast
    dynamic_s  when the dynamic series began
    """

    kind: SequenceKind
    started_s: float
    b_value: float | None = None
    position: int | None = None
    bolus_s: float | None = None
    dynamic_s: float = 0.0


def mr_equipment(make: MrMake, hospital: str, volume: MrVolume, *, described: bool) -> Dataset:
    """Of the machine and the series, in either form."""
    protocol = make.protocol(volume.kind)
    return group(
        Manufacturer=make.manufacturer,
        ManufacturerModelName=make.model,
        SoftwareVersions=make.software.split("\\"),
        StationName=make.station,
        DeviceSerialNumber=str(int(uid(hospital, "MR").rsplit(".", 1)[1]) % 10**6),
        SeriesDescription=make.descriptions[volume.kind] if described else "",
        ProtocolName=make.descriptions[volume.kind] if described else protocol.name,
    )


def mr_image_elements(make: MrMake, volume: MrVolume, grid: Grid) -> Dataset:
    """Of the MR image module, equal in all slices of a series."""
    protocol = make.protocol(volume.kind)
    elements = group(
        ImageType=list(protocol.image_type),
        ScanningSequence=list(protocol.scanning_sequence),
        SequenceVariant=list(protocol.sequence_variant),
        ScanOptions=list(protocol.scan_options),
        MRAcquisitionType="3D" if volume.kind in DYNAMIC else "2D",
        SequenceName=protocol.name,
        AngioFlag="N",
        RepetitionTime=protocol.repetition_ms,
        EchoTime=protocol.echo_ms,
        FlipAngle=protocol.flip_deg,
        EchoTrainLength=1 if volume.kind in DYNAMIC else grid.shape[1] // 2,
        NumberOfAverages=1,
        ImagingFrequency=round(make.field_t * PROTON_MHZ_T, 4),
        ImagedNucleus="1H",
        MagneticFieldStrength=make.field_t,
        SpacingBetweenSlices=round(grid.spacing_mm[0], 6),
        PixelBandwidth=490,
        ReceiveCoilName="Body",
        InPlanePhaseEncodingDirection="COL",
    )
    if protocol.inversion_ms is not None:
        elements.InversionTime = protocol.inversion_ms
    if make.slope is not None:
        elements.RescaleIntercept, elements.RescaleSlope, elements.RescaleType = 0, make.slope, "normalized"
    return elements


def mr_volume_elements(make: MrMake, volume: MrVolume) -> Dataset:
    """What tells the volumes of a study apart: b-value, phase and bolus.

    GE writes TriggerTime here against the standard, which keeps it for gated sequences.
    """
    elements = merged(_b_value(make, volume), _bolus(make, volume))
    elements.AcquisitionNumber = volume.position or 1
    if volume.position is not None and make.temporal:
        elements.TemporalPositionIdentifier = volume.position
        elements.NumberOfTemporalPositions = len(DYNAMIC)
    if volume.position is not None and make.trigger:
        elements.TriggerTime = round(1000 * (volume.started_s - volume.dynamic_s), 1)
    return elements


def _b_value(make: MrMake, volume: MrVolume) -> Dataset:
    """Where machines of this make write it: in an element of their own, older than the standard's."""
    elements = Dataset()
    if volume.b_value is None:
        return elements
    if make.b_value == "siemens":
        elements.SequenceName = f"*ep_b{volume.b_value:.0f}t"
        elements.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", int(volume.b_value))
    elif make.b_value == "ge":
        parameters = [int(volume.b_value) + _GE_OFFSET, 8, 0, 0]
        elements.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", parameters)
    elif make.b_value == "philips":
        elements.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", volume.b_value)
    else:
        elements.DiffusionBValue = volume.b_value
    return elements


def _bolus(make: MrMake, volume: MrVolume) -> Dataset:
    elements = Dataset()
    if volume.bolus_s is None or make.agent is None:
        return elements
    elements.ContrastBolusAgent = make.agent
    if make.agent:
        elements.ContrastBolusRoute = "IV"
        elements.ContrastBolusVolume = BOLUS_ML
    if make.bolus_start:
        elements.ContrastBolusStartTime = time_text(volume.bolus_s)
    return elements
