"""Simulated radiologists: what each of five says of a patient (or lesion), without and with AI. Nobody read anything.

A reader sees the ideal observer's log-odds (limited to ±4: nobody is surer than that of one image) through noise of
which part is shared, as some images mislead everybody. The noise falls with experience, so that AUCs rise from about
.78 to about .93 where the evidence is strong. With AI a reader weighs the own impression and the machine's by their
precision, and trusts the machine less than its precision deserves. The model of the study does not exist when the
phantom is written: the "AI" here is the ideal observer with noise of its own, the same for all readers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulation.phantom.virtual import Opinion

READERS_FILE = "readers.csv"


@dataclass(frozen=True, slots=True)
class Reader:
    """years      experience, in the words of Yang 2020
    noise      standard deviation of the own noise, in log-odds
    bias       added to every impression; above 0 calls more often malignant
    """

    name: str
    years: str
    noise: float
    bias: float


READERS = (
    Reader("reader_1", "1-5", 4.2, 0.7),
    Reader("reader_2", "1-5", 3.8, -0.4),
    Reader("reader_3", "5-10", 2.9, 0.4),
    Reader("reader_4", "10-15", 2.1, 0.0),
    Reader("reader_5", "> 15", 1.4, 0.2),
)
_SAYS = ("diagnosis", "confidence", "ai_diagnosis", "ai_confidence")
READER_COLUMNS = tuple(f"{reader.name}_{what}" for reader in READERS for what in _SAYS)
"""Diagnosis 0/1 and confidence 1 (low) to 5, without AI, then with it, of each reader."""
LIMIT, SHARED_NOISE = 4.0, 1.1
_AI_NOISE, _TRUST = 2.0, 0.6
_TRUTH_SPREAD = 2.0
_SURER = (0.3, 0.7, 1.2, 1.8)
"""Impressions, in standard deviations of what this reader has, from which confidence is 2, 3, 4 and 5."""


def reader_header(opinions: Sequence[Opinion] = (), *, of_lesions: bool) -> tuple[str, ...]:
    """The header of readers.csv."""
    further = (column for opinion in opinions for column in opinion.columns)
    return ("patient_id", *(("lesion",) if of_lesions else ()), *READER_COLUMNS, *further)


def draw_readings(patient_id: str, unit: int, evidence_log_odds: float, random: np.random.Generator) -> list[str]:
    """One row of readers.csv.

    Args:
        unit: label of the lesion, from 1, where rows are lesions; 0 where they are patients, and then no cell.
        evidence_log_odds: what an ideal observer knows; any number.
        random: a stream of this unit's own; always drawn from alike.
    """
    known = LIMIT * math.tanh(evidence_log_odds / LIMIT)
    shared = known + SHARED_NOISE * random.normal()
    machine = known + _AI_NOISE * random.normal()
    cells: list[str] = []
    for reader in READERS:
        spread = math.hypot(reader.noise, SHARED_NOISE)
        impression = shared + reader.noise * random.normal() + reader.bias
        own, other = 1 / spread**2, _TRUST / _AI_NOISE**2
        together = (own * impression + other * machine) / (own + other)
        cells += [*_said(impression, spread), *_said(together, (own + other) ** -0.5)]
    return [patient_id, *([str(unit)] if unit else []), *cells]


def calls_of(row: Sequence[str]) -> list[int]:
    """Each reader's call without AI, of a row that `draw_readings` made."""
    return [int(cell) for cell in row[-len(READER_COLUMNS) :: len(_SAYS)]]


def _said(impression: float, spread: float) -> tuple[str, str]:
    """Call and confidence; `spread` is the noise that the reader knows of."""
    sure = abs(impression) / math.hypot(spread, _TRUTH_SPREAD)
    return str(int(impression > 0)), str(1 + int(np.searchsorted(_SURER, sure)))
