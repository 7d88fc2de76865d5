"""An MR study of the liver in six sequences as a scanner sends it; what is scanned stands in `mr_exam`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from fl_liver.client.cohort.series.grid import Grid
from simulation.phantom.body import sections
from simulation.phantom.elements import merged
from simulation.phantom.mr import MR_SEQUENCES, mr_appearance, mr_volume, stored_signal
from simulation.phantom.mr_elements import MrVolume, mr_equipment, mr_image_elements, mr_volume_elements
from simulation.phantom.mr_enhanced import enhanced_mr_elements, enhanced_mr_groups, enhanced_volume_groups
from simulation.phantom.mr_exam import MrExam, MrOptions, Slab, grid_of, planned_series, slab_of
from simulation.phantom.mr_makes import MrMake, mr_make
from simulation.phantom.volume_enhanced import write_multi_frame
from simulation.phantom.volume_files import SeriesPlan, Stack, frame_of, shuffled_names, write_slices
from simulation.phantom.volume_patient import PatientOptions, of_patient, write_patient
from simulation.phantom.volumes import Case, TrueSeries, Truth

_NAMES, _NOISE = 41, 42  # purposes of the patient's random streams


class MrPatientOptions(PatientOptions, MrOptions, total=False):
    """Who is imaged, and how: the keywords of `write_patient_mr`."""


def write_patient_mr(
    patient_id: str, seed: int, maker: str, folder: Path, **options: Unpack[MrPatientOptions]
) -> Truth:
    """A patient in a hospital's data folder: `dicom/<patient_id>/` and the regions drawn on T2.

    Args:
        seed: ≥ 0; the same arguments give the same bytes.
        maker: "siemens", "ge", "philips" or "canon".
    Raises:
        ConfigError: an unknown maker or kind, or a lesion that does not fit.
    """
    make = mr_make(maker)
    who, how = of_patient(options)
    exam = MrExam(**how)
    return write_patient(
        patient_id, seed, folder, lambda case, images: write_mr(case, make, images, exam), MR_SEQUENCES, **who
    )


def write_mr(case: Case, make: MrMake, folder: Path, exam: MrExam) -> tuple[TrueSeries, ...]:
    """Write the images of one study into an existing folder, in the order of MR_SEQUENCES."""
    study = _Study(case, make, exam)
    plans = [study.plan(number, volumes) for number, volumes in enumerate(planned_series(case, make, exam), start=2)]
    random = case.patient.random(_NAMES)
    names = shuffled_names(random, len(plans) if exam.enhanced else sum(plan.files for plan in plans), make.suffix)
    if exam.enhanced:
        return tuple(write_multi_frame(case, plan, EnhancedMRImageStorage, folder / next(names)) for plan in plans)
    return tuple(
        write_slices(case, plan, MRImageStorage, [folder / next(names) for _ in range(plan.files)]) for plan in plans
    )


@dataclass(frozen=True, slots=True)
class _Study:
    case: Case
    make: MrMake
    exam: MrExam
    _labels: dict[tuple[Grid, float], NDArray[np.uint8]] = field(default_factory=dict)
    """What each grid cuts: the phases of the dynamic share theirs."""

    def plan(self, number: int, volumes: tuple[MrVolume, ...]) -> SeriesPlan:
        first, last, exam, make = volumes[0], volumes[-1], self.exam, self.make
        slab, grid = slab_of(first.kind), grid_of(self.case, exam, first.kind)
        if exam.enhanced:
            form = enhanced_mr_elements(make, last, last.started_s - first.started_s + slab.duration_s)
        else:
            form = mr_image_elements(make, first, grid)
        b_values = [f"b{one.b_value:.0f}" for one in volumes if one.b_value is not None]
        return SeriesPlan(
            name="-".join([first.kind, *b_values]),
            number=number,
            modality="MR",
            grid=grid,
            thickness_mm=slab.thickness_mm,
            frame_uid=frame_of(self.case, "MR", own=first.kind if exam.other_frame == first.kind else ""),
            bits_stored=12,
            elements=merged(mr_equipment(make, self.case.hospital, first, described=exam.described), form),
            stacks=tuple(self._stack(volume, grid, slab) for volume in volumes),
            shared=enhanced_mr_groups(make, first, grid) if exam.enhanced else Dataset(),
            head_first=make.head_first,
        )

    def _stack(self, volume: MrVolume, grid: Grid, slab: Slab) -> Stack:
        b_value, make, body = volume.b_value or 0.0, self.make, self.case.body
        if (grid, slab.thickness_mm) not in self._labels:
            self._labels[grid, slab.thickness_mm] = sections(body, grid, slab.thickness_mm)
        signal = mr_volume(
            self._labels[grid, slab.thickness_mm],
            grid,
            mr_appearance(body, volume.kind, b_value),
            self.case.patient.random(_NOISE, MR_SEQUENCES.index(volume.kind), round(b_value)),
            noise=make.noise,
            shading=make.shading,
        )
        return Stack(
            kind=volume.kind,
            stored=stored_signal(signal, make.gain / (make.slope or 1.0)),
            started_s=volume.started_s,
            duration_s=slab.duration_s,
            b_value=volume.b_value,
            position=volume.position,
            elements=enhanced_volume_groups(volume) if self.exam.enhanced else mr_volume_elements(make, volume),
        )
