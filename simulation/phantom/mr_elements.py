"""What an MR's header says of one volume: as single slices, or as functional groups of an Enhanced MR image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.ct_elements import bolus_elements, bolus_usage
from simulation.phantom.dicom import uid
from simulation.phantom.mr import DYNAMIC
from simulation.phantom.mr_makes import MrMake
from simulation.phantom.volume_enhanced import coded, group, merged
from simulation.phantom.volume_files import time_text

PROTON_MHZ_T = 42.577
_GE_OFFSET = 10**9
_BOLUS_ML = 7.5


@dataclass(frozen=True, slots=True, kw_only=True)
class MrVolume:
    """One volume of the study: when and how it was acquired. Times in seconds after midnight.

    position  temporal position from 1 in the dynamic series
    bolus_s   None before contrast
    """

    kind: SequenceKind
    started_s: float
    b_value: float | None = None
    position: int | None = None
    bolus_s: float | None = None


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


def mr_volume_elements(make: MrMake, volume: MrVolume, number: int, first_s: float) -> Dataset:
    """What tells the volumes of a study apart: b-value, phase and bolus. `first_s` is when the dynamic began."""
    elements = merged(_b_value(make, volume), _bolus(make, volume))
    elements.AcquisitionNumber = number
    if volume.position is not None and make.temporal:
        elements.TemporalPositionIdentifier = volume.position
        elements.NumberOfTemporalPositions = len(DYNAMIC)
    if volume.position is not None and make.trigger:
        elements.TriggerTime = round(1000 * (volume.started_s - first_s), 1)
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
        elements.ContrastBolusVolume = _BOLUS_ML
    if make.bolus_start:
        elements.ContrastBolusStartTime = time_text(volume.bolus_s)
    return elements


def enhanced_mr_elements(make: MrMake, volume: MrVolume, seconds: float) -> Dataset:
    """Top-level elements of an Enhanced MR image; `seconds` is how long the file's volumes took together."""
    dynamic, diffusion = volume.kind in DYNAMIC, volume.kind == "dwi"
    elements = group(
        **_image_type(volume),
        ContentQualification="PRODUCT",
        AcquisitionNumber=1,
        AcquisitionDuration=seconds,
        ResonantNucleus="1H",
        KSpaceFiltering="NONE",
        MagneticFieldStrength=make.field_t,
        ApplicableSafetyStandardAgency="IEC",
        PulseSequenceName=make.protocol(volume.kind).name,
        MRAcquisitionType="3D" if dynamic else "2D",
        EchoPulseSequence="GRADIENT" if dynamic else "SPIN",
        MultiPlanarExcitation="NO",
        PhaseContrast="NO",
        TimeOfFlightContrast="NO",
        SteadyStatePulseSequence="NONE",
        EchoPlanarPulseSequence="YES" if diffusion else "NO",
        SaturationRecovery="NO",
        SpectrallySelectedSuppression="NONE" if volume.kind == "t2" else "FAT",
        OversamplingPhase="NONE",
        GeometryOfKSpaceTraversal="RECTILINEAR",
        RectilinearPhaseEncodeReordering="LINEAR",
        SegmentedKSpaceTraversal="SINGLE" if not dynamic else "PARTIAL",
        NumberOfKSpaceTrajectories=1,
    )
    if dynamic:
        elements.CoverageOfKSpace = "FULL"
    else:
        elements.MultipleSpinEcho = "NO"
    if volume.bolus_s is None:
        return elements
    agent, ingredient = coded("407976008", "Gadobutrol"), coded("58281002", "Gadolinium")
    return merged(elements, bolus_elements(agent, ingredient, _BOLUS_ML, volume.bolus_s))


def _image_type(volume: MrVolume) -> dict[str, object]:
    diffusion = volume.kind == "dwi"
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION" if diffusion else "VOLUME", "NONE"],
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": "DIFFUSION" if diffusion else "T2" if volume.kind == "t2" else "T1",
    }


def enhanced_mr_groups(make: MrMake, volume: MrVolume, grid: Grid) -> Dataset:
    """Functional groups that all frames of a file share."""
    protocol, dynamic = make.protocol(volume.kind), volume.kind in DYNAMIC
    frame_type = _image_type(volume)
    frame_type["FrameType"] = frame_type.pop("ImageType")
    timing = group(
        RepetitionTime=float(protocol.repetition_ms),
        FlipAngle=float(protocol.flip_deg),
        EchoTrainLength=1 if dynamic else grid.shape[1] // 2,
        RFEchoTrainLength=0 if volume.kind != "t2" else grid.shape[1] // 2,
        GradientEchoTrainLength=0 if volume.kind != "dwi" else grid.shape[1] // 2,
        SpecificAbsorptionRateSequence=group(
            SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=1.2
        ),
        GradientOutputType="DB_DT",
        GradientOutput=40.0,
        OperatingModeSequence=group(OperatingModeType="RF", OperatingMode="IEC_NORMAL"),
    )
    return group(
        MRImageFrameTypeSequence=group(**frame_type),
        MRTimingAndRelatedParametersSequence=timing,
        MREchoSequence=group(EffectiveEchoTime=float(protocol.echo_ms)),
        MRAveragesSequence=group(NumberOfAverages=1.0),
        PixelValueTransformationSequence=group(
            RescaleIntercept=0, RescaleSlope=1 if make.slope is None else make.slope, RescaleType="US"
        ),
        **_field_of_view(grid),
        **_modifiers(make, volume),
    )


def _field_of_view(grid: Grid) -> dict[str, Dataset]:
    return {
        "MRFOVGeometrySequence": group(
            InPlanePhaseEncodingDirection="COLUMN",
            MRAcquisitionFrequencyEncodingSteps=grid.shape[2],
            MRAcquisitionPhaseEncodingStepsInPlane=grid.shape[1],
            MRAcquisitionPhaseEncodingStepsOutOfPlane=grid.shape[0],
            PercentSampling=100.0,
            PercentPhaseFieldOfView=100.0,
        )
    }


def _modifiers(make: MrMake, volume: MrVolume) -> dict[str, Dataset]:
    protocol = make.protocol(volume.kind)
    modifier = group(
        InversionRecovery="NO" if protocol.inversion_ms is None else "YES",
        FlowCompensation="NONE",
        Spoiling="RF" if volume.kind in DYNAMIC else "NONE",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="NONE",
        PartialFourier="NO",
        ParallelAcquisition="NO",
    )
    if protocol.inversion_ms is not None:
        modifier.InversionTimes = [float(protocol.inversion_ms)]
    coil = group(
        ReceiveCoilName="BODY 16", ReceiveCoilManufacturerName=make.manufacturer, ReceiveCoilType="SURFACE",
        QuadratureReceiveCoil="NO",
    )  # fmt: skip
    imaging = group(
        MagnetizationTransfer="NONE", BloodSignalNulling="NO", Tagging="NONE",
        TransmitterFrequency=make.field_t * PROTON_MHZ_T, PixelBandwidth=490.0,
    )  # fmt: skip
    return {
        "MRModifierSequence": modifier,
        "MRImagingModifierSequence": imaging,
        "MRReceiveCoilSequence": coil,
        "MRTransmitCoilSequence": group(
            TransmitCoilName="BODY", TransmitCoilManufacturerName=make.manufacturer, TransmitCoilType="BODY"
        ),
    }


def enhanced_volume_groups(volume: MrVolume) -> Dataset:
    """Functional groups of the frames of one volume."""
    groups = Dataset()
    if volume.b_value is not None:
        diffusion = group(DiffusionBValue=float(volume.b_value), DiffusionDirectionality="NONE")
        if volume.b_value > 0:
            diffusion.DiffusionDirectionality = "ISOTROPIC"
        groups.MRDiffusionSequence = [diffusion]
    return groups if volume.bolus_s is None else merged(groups, bolus_usage(volume.kind))


def stored_signal(signal: NDArray[np.float32], make: MrMake) -> NDArray[np.uint16]:
    """Signal → 12-bit stored values."""
    factor = make.gain / (1.0 if make.slope is None else make.slope)
    return np.rint(signal * np.float32(factor)).clip(0, 4095).astype(np.uint16)
