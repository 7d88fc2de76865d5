"""What a CT's header says of one phase: as single slices, or as functional groups of an Enhanced CT image."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.ct_makes import CtMake
from simulation.phantom.dicom import uid
from simulation.phantom.elements import group, merged
from simulation.phantom.volume_files import time_text

ROTATION_MS = 500
SCAN_S, BOLUS_ML = 8.0, 100.0


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
        KVP=make.kvp,
        DataCollectionDiameter=500,
        ReconstructionDiameter=round(grid.spacing_mm[2] * grid.shape[2], 3),
        GantryDetectorTilt=0,
        TableHeight=150,
        RotationDirection="CW",
        ExposureTime=ROTATION_MS,
        XRayTubeCurrent=make.tube_ma,
        Exposure=make.tube_ma * ROTATION_MS // 1000,
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
