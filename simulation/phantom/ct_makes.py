"""The CT scanners of virtual hospitals: how each make writes an abdomen in four phases.

Model names, kernels and element habits are those of real machines, so that readers meet real tag values; doses and
noise are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fl_liver.errors import ConfigError
from fl_liver.study_cohort import SequenceKind

Maker = Literal["siemens", "ge", "philips", "canon"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CtMake:
    """What one manufacturer's machine writes.

    descriptions     SeriesDescription of each phase; "" where the make leaves it to the technologist, who left it
    agent            ContrastBolusAgent of enhanced phases, "" where the machine does not write it
    bolus_start      whether ContrastBolusStartTime is written
    signed           16-bit signed values instead of 12-bit unsigned ones
    intercept        RescaleIntercept
    padding          stored value outside the circle and PixelPaddingValue; None where air is written there
    head_first       instance numbers count from head to feet
    kvp, tube_ma     of the usual protocol
    """

    manufacturer: str
    model: str
    software: str
    station: str
    suffix: str
    image_type: tuple[str, ...]
    descriptions: dict[SequenceKind, str]
    protocol: str
    kernel: tuple[str, ...]
    scan_options: str
    agent: str
    bolus_start: bool
    signed: bool
    intercept: int
    padding: int | None
    head_first: bool
    noise_hu: float
    grain_mm: float
    kvp: int = 120
    tube_ma: int = 210


_SILENT: dict[SequenceKind, str] = {"plain": "", "arterial": "", "portal": "", "delayed": ""}

CT_MAKES: dict[Maker, CtMake] = {
    "siemens": CtMake(
        manufacturer="SIEMENS", model="SOMATOM Definition Flash", software="syngo CT VA48A", station="CTAWP",
        suffix=".IMA", image_type=("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"), protocol="Abdomen_4phasig",
        descriptions={
            "plain": "Abdomen nativ  5.0  I30f  3", "arterial": "Abdomen art.  5.0  I30f  3",
            "portal": "Abdomen portalven\xf6s  5.0  I30f  3", "delayed": "Abdomen sp\xe4t  5.0  I30f  3",
        },
        kernel=("I30f", "3"), scan_options="", agent="CE", bolus_start=True, signed=False, intercept=-1024,
        padding=None, head_first=False, noise_hu=10.0, grain_mm=0.8,
    ),
    "ge": CtMake(
        manufacturer="GE MEDICAL SYSTEMS", model="Discovery CT750 HD", software="gmp_vct.42", station="CT02",
        suffix="", image_type=("ORIGINAL", "PRIMARY", "AXIAL"), protocol="5.3 LIVER 4 PHASE",
        descriptions={
            "plain": "NON CONTRAST", "arterial": "ARTERIAL PHASE", "portal": "PORTAL VENOUS", "delayed": "3 MIN DELAY",
        },
        kernel=("STANDARD",), scan_options="HELICAL MODE", agent="OMNI350", bolus_start=False, signed=True,
        intercept=-1024, padding=-2000, head_first=True, noise_hu=12.0, grain_mm=0.7,
    ),
    "philips": CtMake(
        manufacturer="Philips", model="iCT 256", software="4.1.5.10205", station="HOST-1203",
        suffix=".dcm", image_type=("ORIGINAL", "PRIMARY", "AXIAL", "HELIX"), protocol="Liver 4-Phase /Abdomen",
        descriptions=_SILENT, kernel=("B",), scan_options="HELIX", agent="CONTRAST", bolus_start=False, signed=False,
        intercept=-1024, padding=0, head_first=True, noise_hu=11.0, grain_mm=0.75,
    ),
    "canon": CtMake(
        manufacturer="TOSHIBA", model="Aquilion ONE", software="V8.61ER003", station="ID_STATION",
        suffix=".dcm", image_type=("ORIGINAL", "PRIMARY", "AXIAL"), protocol="Liver Dynamic",
        descriptions=_SILENT, kernel=("FC18",), scan_options="HELICAL_CT", agent="", bolus_start=True, signed=True,
        intercept=0, padding=-2048, head_first=False, noise_hu=13.0, grain_mm=0.7,
    ),
}  # fmt: skip


def ct_make(maker: str) -> CtMake:
    """The make of that name.

    Raises:
        ConfigError: there is none.
    """
    found = next((make for name, make in CT_MAKES.items() if name == maker), None)
    if found is None:
        raise ConfigError(f"phantom: CT maker {maker!r}; wanted one of {', '.join(CT_MAKES)}")
    return found
