"""What an Enhanced MR image says of its volumes: top-level elements and functional groups."""

from __future__ import annotations

from pydicom.dataset import Dataset

from fl_liver.client.cohort.series.grid import Grid
from simulation.phantom.elements import coded, group, merged
from simulation.phantom.mr import DYNAMIC
from simulation.phantom.mr_elements import BOLUS_ML, PROTON_MHZ_T, MrVolume
from simulation.phantom.mr_makes import MrMake
from simulation.phantom.volume_enhanced import bolus_elements, bolus_usage


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
    return merged(elements, bolus_elements(agent, ingredient, BOLUS_ML, volume.bolus_s))


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
