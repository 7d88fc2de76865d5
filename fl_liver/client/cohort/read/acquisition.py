"""How an image was made, as far as the header says it: what tells one sequence or contrast phase from another."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from fl_liver.client.cohort.read.elements import code, codes, number, private_number, seconds, text, whole, whole_or
from fl_liver.client.cohort.read.words import delay_s_of, description_digest, words_of

ACQUISITION = (
    *("SeriesNumber", "AcquisitionTime", "ContentTime", "AcquisitionNumber", "TemporalPositionIdentifier"),
    *("TriggerTime", "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "DiffusionBValue"),
    *("ScanningSequence", "SequenceVariant", "EchoPulseSequence", "ContrastBolusAgent", "ContrastBolusStartTime"),
    "ContrastBolusAgentSequence",
)
_SIEMENS_B, _PHILIPS_B, _GE_B = Tag(0x0019, 0x100C), Tag(0x2001, 0x1003), Tag(0x0043, 0x1039)
PRIVATE_B_VALUES = (_SIEMENS_B, _PHILIPS_B, _GE_B)
"""Where machines wrote the b-value before DICOM had a place for it; numbers only are taken."""
_GE_OFFSET = 1e9
_SEQUENCES = frozenset({"SE", "IR", "GR", "EP", "RM"})
_VARIANTS = frozenset({"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"})
_ENHANCED_NAMES = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
"""What enhanced images call the kinds of echo, as classic ones do."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """None where the header is silent.

    acquired_s          seconds after midnight, AcquisitionTime or else ContentTime
    contrast            whether an agent is named; many machines leave it out, so False proves nothing
    contrast_s          seconds after midnight at which the agent was given
    words               of SeriesDescription and ProtocolName, the words that `read.words` knows
    described_delay_s   seconds after contrast that SeriesDescription names
    description         digest of SeriesDescription, by which `series.toml` knows it again
    """

    series_number: int = 0
    acquired_s: float | None = field(default=None, repr=False)
    acquisition_number: int | None = None
    temporal_position: int | None = None
    trigger_ms: float | None = None
    repetition_ms: float | None = None
    echo_ms: float | None = None
    inversion_ms: float | None = None
    flip_deg: float | None = None
    b_value: float | None = None
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    contrast: bool = False
    contrast_s: float | None = field(default=None, repr=False)
    words: frozenset[str] = frozenset()
    described_delay_s: float | None = None
    description: str = field(default="", repr=False)


def acquisition_from(dataset: Dataset) -> Acquisition:
    """Copy what the header says of the acquisition."""
    acquired = seconds(dataset, "AcquisitionTime")
    return Acquisition(
        series_number=whole_or(dataset, "SeriesNumber", 0),
        acquired_s=seconds(dataset, "ContentTime") if acquired is None else acquired,
        acquisition_number=whole(dataset, "AcquisitionNumber"),
        temporal_position=whole(dataset, "TemporalPositionIdentifier"),
        trigger_ms=number(dataset, "TriggerTime"),
        repetition_ms=number(dataset, "RepetitionTime"),
        echo_ms=number(dataset, "EchoTime"),
        inversion_ms=number(dataset, "InversionTime"),
        flip_deg=number(dataset, "FlipAngle"),
        b_value=_b_value(dataset),
        scanning_sequence=codes(dataset, "ScanningSequence", _SEQUENCES)
        or _ENHANCED_NAMES.get(code(dataset, "EchoPulseSequence"), ()),
        sequence_variant=codes(dataset, "SequenceVariant", _VARIANTS),
        contrast=_agent(dataset),
        contrast_s=seconds(dataset, "ContrastBolusStartTime"),
        words=words_of(text(dataset, "SeriesDescription"), text(dataset, "ProtocolName")),
        described_delay_s=delay_s_of(text(dataset, "SeriesDescription")),
        description=description_digest(text(dataset, "SeriesDescription")),
    )


def _agent(dataset: Dataset) -> bool:
    """Enhanced images name agents in a sequence; whether one was given by then, each frame says for itself."""
    named = text(dataset, "ContrastBolusAgent").lower() not in ("", "no", "none")
    return named or len(dataset.get("ContrastBolusAgentSequence") or ()) > 0


def _b_value(dataset: Dataset) -> float | None:
    """In s/mm². Of the standard element, else of the maker's own; GE adds 10⁹ to it."""
    stated = [number(dataset, "DiffusionBValue"), *(private_number(dataset, tag) for tag in PRIVATE_B_VALUES)]
    found = next((value for value in stated if value is not None), None)
    return None if found is None or found < 0 else found % _GE_OFFSET
