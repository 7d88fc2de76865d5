"""What an Enhanced CT image says of one phase: top-level elements and functional groups."""

from __future__ import annotations

from pydicom.dataset import Dataset

from fl_liver.client.cohort.series.grid import Grid
from simulation.phantom.ct_elements import BOLUS_ML, ROTATION_MS, SCAN_S, CtPhase
from simulation.phantom.ct_makes import CtMake
from simulation.phantom.dicom import uid
from simulation.phantom.elements import coded, group, merged
from simulation.phantom.volume_enhanced import bolus_elements, bolus_usage
from simulation.phantom.volume_files import pixel_spacing

_COLLIMATION_MM, _PITCH = 38.4, 0.9


def enhanced_ct_elements(make: CtMake, phase: CtPhase) -> Dataset:
    """Top-level elements of an Enhanced CT image."""
    elements = group(
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ContentQualification="PRODUCT",
        AcquisitionDuration=SCAN_S,
    )
    if make.padding is not None:
        elements.add_new("PixelPaddingValue", "SS" if make.signed else "US", make.padding)
    if phase.bolus_s is not None:
        agent = coded("109218004", "Iohexol")
        elements = merged(elements, bolus_elements(agent, coded("44588005", "Iodine"), BOLUS_ML, phase.bolus_s))
    return elements


def enhanced_ct_groups(make: CtMake, phase: CtPhase, grid: Grid) -> Dataset:
    """Functional groups that all frames of a phase share."""
    diameter = grid.spacing_mm[2] * grid.shape[2]
    reconstruction = group(
        ReconstructionAlgorithm="FILTER_BACK_PROJ",
        ConvolutionKernel=make.kernel[0],
        ConvolutionKernelGroup="SOFT_TISSUE",
        ReconstructionDiameter=diameter,
        ReconstructionPixelSpacing=pixel_spacing(grid),
        ReconstructionAngle=360.0,
        ImageFilter="NONE",
    )
    groups = group(
        CTImageFrameTypeSequence=group(
            FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
            PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
        ),
        PixelValueTransformationSequence=group(RescaleIntercept=make.intercept, RescaleSlope=1, RescaleType="HU"),
        FrameVOILUTSequence=group(WindowCenter=50, WindowWidth=350),
        IrradiationEventIdentificationSequence=group(IrradiationEventUID=uid(phase.frame_uid, "dose", phase.number)),
        CTReconstructionSequence=reconstruction,
        **_acquisition(make, grid),
    )
    return groups if phase.bolus_s is None else merged(groups, bolus_usage(phase.kind))


def _acquisition(make: CtMake, grid: Grid) -> dict[str, Dataset]:
    """How the tube went round; the table moves in a spiral."""
    details = group(
        RotationDirection="CW",
        RevolutionTime=ROTATION_MS / 1000,
        SingleCollimationWidth=0.6,
        TotalCollimationWidth=_COLLIMATION_MM,
        TableHeight=150.0,
        GantryDetectorTilt=0.0,
        DataCollectionDiameter=500.0,
    )
    exposure = group(
        ExposureTimeInms=float(ROTATION_MS),
        XRayTubeCurrentInmA=float(make.tube_ma),
        ExposureInmAs=make.tube_ma * ROTATION_MS / 1000,
        ExposureModulationType="NONE",
        CTDIvol=9.5,
        CTDIPhantomTypeCodeSequence=coded("113691", "IEC Body Dosimetry Phantom", "DCM"),
    )
    table = group(TableSpeed=_PITCH * _COLLIMATION_MM / 0.5, TableFeedPerRotation=_PITCH * _COLLIMATION_MM)
    table.SpiralPitchFactor = _PITCH
    middle = grid.position_mm([(n - 1) / 2 for n in grid.shape]).tolist()
    return {
        "CTAcquisitionTypeSequence": group(AcquisitionType="SPIRAL", ConstantVolumeFlag="NO", FluoroscopyFlag="NO"),
        "CTAcquisitionDetailsSequence": details,
        "CTTableDynamicsSequence": table,
        "CTPositionSequence": group(
            TablePosition=0.0, DataCollectionCenterPatient=middle, ReconstructionTargetCenterPatient=middle
        ),
        "CTGeometrySequence": group(DistanceSourceToDetector=1085.0, DistanceSourceToDataCollectionCenter=595.0),
        "CTExposureSequence": exposure,
        "CTXRayDetailsSequence": group(KVP=make.kvp, FocalSpots=[1.2], FilterType="WEDGE", FilterMaterial="ALUMINUM"),
    }
