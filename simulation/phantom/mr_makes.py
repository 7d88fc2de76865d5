"""The MR scanners of virtual hospitals: how each make writes a liver in six sequences.

Model names, sequence names and element habits are those of real machines, so that readers meet real tag values; noise
and gain are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fl_liver.errors import ConfigError
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.ct_makes import Maker

BValueHabit = Literal["siemens", "ge", "philips", "standard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How one contrast is made; times in ms, angle in degrees."""

    name: str
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    scan_options: tuple[str, ...]
    repetition_ms: float
    echo_ms: float
    flip_deg: float
    inversion_ms: float | None = None
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "OTHER")


@dataclass(frozen=True, slots=True, kw_only=True)
class MrMake:
    """What one manufacturer's machine writes.

    descriptions      SeriesDescription of each sequence; "" where the technologist left it empty
    agent             ContrastBolusAgent of enhanced phases, "" for an empty element, None for none
    bolus_start       whether ContrastBolusStartTime is written
    temporal          whether phases carry TemporalPositionIdentifier
    trigger           whether phases carry TriggerTime
    b_value           where the b-value stands
    b_values          s/mm²
    dwi_together      all b-values under one SeriesInstanceUID
    slope             RescaleSlope; None where the make writes none
    gain              stored units of the liver before contrast
    head_first        instance numbers count from head to feet
    """

    manufacturer: str
    model: str
    software: str
    station: str
    field_t: float
    suffix: str
    descriptions: dict[SequenceKind, str]
    t2: Protocol
    dwi: Protocol
    t1: Protocol
    agent: str | None
    bolus_start: bool
    temporal: bool
    trigger: bool
    b_value: BValueHabit
    b_values: tuple[float, ...]
    dwi_together: bool
    slope: float | None
    gain: float
    noise: float
    shading: float
    head_first: bool

    def protocol(self, kind: SequenceKind) -> Protocol:
        return self.t2 if kind == "t2" else self.dwi if kind == "dwi" else self.t1


_SILENT: dict[SequenceKind, str] = dict.fromkeys(("t2", "dwi", "t1_pre", "arterial", "portal", "equilibrium"), "")
_SIEMENS_TYPE = ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")

MR_MAKES: dict[Maker, MrMake] = {
    "siemens": MrMake(
        manufacturer="SIEMENS", model="Avanto", software="syngo MR B17", station="MRC25306", field_t=1.5,
        suffix=".IMA",
        descriptions={
            "t2": "t2_haste_tra_mbh", "dwi": "ep2d_diff_b50_800_tra_p2", "t1_pre": "t1_vibe_fs_tra_bh_nativ",
            "arterial": "t1_vibe_fs_tra_bh_art", "portal": "t1_vibe_fs_tra_bh_pv",
            "equilibrium": "t1_vibe_fs_tra_bh_sp\xe4t",
        },
        t2=Protocol(
            name="*h2d1_160", scanning_sequence=("SE",), sequence_variant=("SK", "SP", "OSP"),
            scan_options=("PFP",), repetition_ms=1000, echo_ms=92, flip_deg=160, image_type=_SIEMENS_TYPE,
        ),
        dwi=Protocol(
            name="*ep_b800t", scanning_sequence=("EP",), sequence_variant=("SK", "SP"), scan_options=("PFP", "FS"),
            repetition_ms=5400, echo_ms=71, flip_deg=90,
            image_type=("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "NORM"),
        ),
        t1=Protocol(
            name="*fl3d1", scanning_sequence=("GR",), sequence_variant=("SP", "OSP"), scan_options=("PFP", "FS"),
            repetition_ms=4.1, echo_ms=1.9, flip_deg=10, image_type=_SIEMENS_TYPE,
        ),
        agent="Gadovist", bolus_start=False, temporal=False, trigger=False, b_value="siemens", b_values=(50, 800),
        dwi_together=True, slope=None, gain=210, noise=0.05, shading=0.25, head_first=False,
    ),
    "ge": MrMake(
        manufacturer="GE MEDICAL SYSTEMS", model="DISCOVERY MR750w", software="27\\LX\\MR Software release:DV26.0_R03",
        station="MR01OW0", field_t=3.0, suffix="",
        descriptions={
            "t2": "Ax SSFSE T2 BH", "dwi": "Ax DWI b800 RTr", "t1_pre": "Ax LAVA PRE", "arterial": "Ax LAVA ART",
            "portal": "Ax LAVA PORTAL", "equilibrium": "Ax LAVA DELAYED",
        },
        t2=Protocol(
            name="ssfse", scanning_sequence=("SE",), sequence_variant=("SK",), scan_options=("FC_SLICE_AX_GEMS",),
            repetition_ms=1250, echo_ms=88, flip_deg=90,
        ),
        dwi=Protocol(
            name="epi2", scanning_sequence=("EP", "SE"), sequence_variant=("NONE",),
            scan_options=("EPI_GEMS", "PFF", "FS"), repetition_ms=7500, echo_ms=62, flip_deg=90,
        ),
        t1=Protocol(
            name="efgre3d", scanning_sequence=("GR",), sequence_variant=("SS", "SP", "SK"),
            scan_options=("FAST_GEMS", "FS"), repetition_ms=3.7, echo_ms=1.7, flip_deg=12, inversion_ms=7,
        ),
        agent="DOTAREM", bolus_start=True, temporal=True, trigger=True, b_value="ge", b_values=(50, 800),
        dwi_together=False, slope=None, gain=480, noise=0.04, shading=0.35, head_first=True,
    ),
    "philips": MrMake(
        manufacturer="Philips Medical Systems", model="Achieva", software="5.3.1\\5.3.1.0", station="MR1",
        field_t=1.5, suffix=".dcm",
        descriptions={
            "t2": "T2W_SSh_BH", "dwi": "DWI_3b", "t1_pre": "eTHRIVE dyn 1", "arterial": "eTHRIVE dyn 2",
            "portal": "eTHRIVE dyn 3", "equilibrium": "eTHRIVE dyn 4",
        },
        t2=Protocol(
            name="TSE", scanning_sequence=("SE",), sequence_variant=("SK",), scan_options=("PFP",),
            repetition_ms=900, echo_ms=80, flip_deg=90, image_type=("ORIGINAL", "PRIMARY", "M_SE", "M", "SE"),
        ),
        dwi=Protocol(
            name="DwiSE", scanning_sequence=("SE", "EP"), sequence_variant=("SK",), scan_options=("PFP", "FS"),
            repetition_ms=1900, echo_ms=68, flip_deg=90, image_type=("ORIGINAL", "PRIMARY", "M_SE", "M", "SE"),
        ),
        t1=Protocol(
            name="T1TFE", scanning_sequence=("GR",), sequence_variant=("SS", "SP", "MP"), scan_options=("FS",),
            repetition_ms=3.6, echo_ms=1.7, flip_deg=10, image_type=("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
        ),
        agent=None, bolus_start=False, temporal=True, trigger=False, b_value="philips", b_values=(50, 400, 800),
        dwi_together=True, slope=1.7389, gain=330, noise=0.06, shading=0.15, head_first=False,
    ),
    "canon": MrMake(
        manufacturer="TOSHIBA_MEC", model="MRT200SP7", software="V3.51*R520", station="MR_TITAN", field_t=1.5,
        suffix=".dcm", descriptions=_SILENT,
        t2=Protocol(
            name="FASE", scanning_sequence=("SE",), sequence_variant=("SK",), scan_options=("PFP",),
            repetition_ms=1100, echo_ms=80, flip_deg=90,
        ),
        dwi=Protocol(
            name="SE_EPI", scanning_sequence=("SE", "EP"), sequence_variant=("SK",), scan_options=("FS",),
            repetition_ms=6200, echo_ms=75, flip_deg=90,
        ),
        t1=Protocol(
            name="FFE3D_Quick", scanning_sequence=("GR",), sequence_variant=("SP",), scan_options=("FS",),
            repetition_ms=4.4, echo_ms=2.1, flip_deg=13,
        ),
        agent="", bolus_start=True, temporal=False, trigger=False, b_value="standard", b_values=(0, 800),
        dwi_together=False, slope=None, gain=800, noise=0.07, shading=0.2, head_first=False,
    ),
}  # fmt: skip


def mr_make(maker: str) -> MrMake:
    """The make of that name.

    Raises:
        ConfigError: there is none.
    """
    found = next((make for name, make in MR_MAKES.items() if name == maker), None)
    if found is None:
        raise ConfigError(f"phantom: MR maker {maker!r}; wanted one of {', '.join(MR_MAKES)}")
    return found
