"""What a CT's header says of one phase: as single slices, or as functional groups of an Enhanced CT image."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.ct_makes import CtMake
from simulation.phantom.dicom import uid
from simulation.phantom.volume_enhanced import coded, group, merged
from simulation.phantom.volume_files import pixel_spacing, time_text

KVP, TUBE_MA, ROTATION_MS, COLLIMATION_MM, PITCH = 120, 210, 500, 38.4, 0.9
SCAN_S, BOLUS_ML = 8.0, 100.0
_PHASES: dict[SequenceKind, str] = {
    "arterial": "ARTERIAL", "portal": "PORTAL_VENOUS", "delayed": "DELAYED", "equilibrium": "DELAYED",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CtPhase:
    """When one phase was scanned, in seconds after midnight. `bolus_s` is None in the plain one."""

    kind: SequenceKind
    number: int
    started_s: float
    bolus_s: float | None
    frame_uid: str


def ct_equipment(make: CtMake, hospital: str, phase: CtPhase, *, described: bool) -> Dataset:
    """Of the machine and the series, in either form."""
    return group(
        Manufacturer=make.manufacturer,
        ManufacturerModelName=make.model,
        SoftwareVersions=make.software,
        StationName=make.station,
        DeviceSerialNumber=str(int(uid(hospital, "CT").rsplit(".", 1)[1]) % 10**6),
        SeriesDescription=make.descriptions[phase.kind] if described else "",
        ProtocolName=make.protocol if described else "",
        AcquisitionNumber=phase.number,
    )


def ct_slice_elements(make: CtMake, phase: CtPhase, grid: Grid) -> Dataset:
    """Of the CT image module and of the bolus."""
    elements = group(
        ImageType=list(make.image_type),
        KVP=KVP,
        DataCollectionDiameter=500,
        ReconstructionDiameter=round(grid.spacing_mm[2] * grid.shape[2], 3),
        GantryDetectorTilt=0,
        TableHeight=150,
        RotationDirection="CW",
        ExposureTime=ROTATION_MS,
        XRayTubeCurrent=TUBE_MA,
        Exposure=TUBE_MA * ROTATION_MS // 1000,
        FilterType="WEDGE",
        ConvolutionKernel=list(make.kernel),
        RescaleIntercept=make.intercept,
        RescaleSlope=1,
        RescaleType="HU",
        WindowCenter=50,
        WindowWidth=350,
    )
    if make.scan_options:
        elements.ScanOptions = make.scan_options
    if make.padding is not None:
        elements.add_new("PixelPaddingValue", "SS" if make.signed else "US", make.padding)
    return merged(elements, _bolus(make, phase))


def _bolus(make: CtMake, phase: CtPhase) -> Dataset:
    if phase.bolus_s is None:
        return Dataset()
    elements = group(ContrastBolusAgent=make.agent)
    if make.agent:
        elements.ContrastBolusRoute = "IV"
        elements.ContrastBolusVolume = BOLUS_ML
    if make.bolus_start:
        elements.ContrastBolusStartTime = time_text(phase.bolus_s)
    return elements


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
        **_acquisition(grid),
    )
    return groups if phase.bolus_s is None else merged(groups, bolus_usage(phase.kind))


def _acquisition(grid: Grid) -> dict[str, Dataset]:
    """How the tube went round; the table moves in a spiral."""
    details = group(
        RotationDirection="CW",
        RevolutionTime=ROTATION_MS / 1000,
        SingleCollimationWidth=0.6,
        TotalCollimationWidth=COLLIMATION_MM,
        TableHeight=150.0,
        GantryDetectorTilt=0.0,
        DataCollectionDiameter=500.0,
    )
    exposure = group(
        ExposureTimeInms=float(ROTATION_MS),
        XRayTubeCurrentInmA=float(TUBE_MA),
        ExposureInmAs=TUBE_MA * ROTATION_MS / 1000,
        ExposureModulationType="NONE",
        CTDIvol=9.5,
        CTDIPhantomTypeCodeSequence=coded("113691", "IEC Body Dosimetry Phantom", "DCM"),
    )
    table = group(TableSpeed=PITCH * COLLIMATION_MM / 0.5, TableFeedPerRotation=PITCH * COLLIMATION_MM)
    table.SpiralPitchFactor = PITCH
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
        "CTXRayDetailsSequence": group(KVP=KVP, FocalSpots=[1.2], FilterType="WEDGE", FilterMaterial="ALUMINUM"),
    }
