"""Enhanced multi-frame CT and MR: the voxels of single slices in their places, as two other readers see it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.series.grid import from_sitk
from simulation.phantom.ct_files import write_patient_ct
from simulation.phantom.mr import DYNAMIC
from simulation.phantom.mr_files import write_patient_mr
from simulation.phantom.volumes import TrueSeries, Truth
from tests.simulation.phantom_reading import checked, errors, fingerprint, parts_of, volume_of

MATRIX = 48
WRITE: dict[str, Callable[..., Truth]] = {"CT": write_patient_ct, "MR": write_patient_mr}


@dataclass(frozen=True)
class Pair:
    """One patient twice: as single slices and as multi-frame files."""

    slices: Truth
    frames: Truth
    slices_report: CheckReport
    frames_report: CheckReport


@pytest.fixture(scope="module", params=["CT ge", "CT philips", "MR ge", "MR philips"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    modality, maker = request.param.split()
    one, other = tmp_path_factory.mktemp("slices"), tmp_path_factory.mktemp("frames")
    slices = WRITE[modality]("P1", 6, maker, one, matrix=MATRIX)
    frames = WRITE[modality]("P1", 6, maker, other, matrix=MATRIX, enhanced=True)
    return Pair(slices, frames, checked(one), checked(other))


def test_the_reader_finds_the_same_voxels_in_the_same_places(pair: Pair) -> None:
    assert errors(pair.frames_report) == []
    assert [one.kinds for one in pair.frames.series] == [one.kinds for one in pair.slices.series]
    for single, multi in zip(pair.slices.series, pair.frames.series, strict=True):
        assert len(multi.files) == 1
        assert len(single.files) == len(single.kinds) * single.grid.shape[0]
        for number in range(len(single.kinds)):
            ours, theirs = volume_of(pair.frames_report, multi, number), volume_of(pair.slices_report, single, number)
            assert ours.grid.agrees_with(theirs.grid, 1e-6)
            assert ours.grid.agrees_with(multi.grid, 1e-4)
            assert np.array_equal(ours.values, theirs.values)
            told = [parts_of(*one)[number].header for one in
                    ((pair.frames_report, multi), (pair.slices_report, single))]  # fmt: skip
            for name in ("acquired_s", "b_value", "repetition_ms", "echo_ms", "flip_deg"):
                assert getattr(told[0].acquisition, name) == getattr(told[1].acquisition, name), name


def test_highdicom_and_simpleitk_find_the_true_grid(pair: Pair) -> None:
    """Two readers of the field's own; highdicom counts slices from the head."""
    highdicom = pytest.importorskip("highdicom")
    for true in pair.frames.series:
        geometry = highdicom.imread(true.files[0]).get_volume_geometry()
        last = true.grid.shape[0] - 1
        for index in ((0, 0, 0), (last, 3, 5), (1, 7, 0)):
            wanted = true.grid.position_mm((last - index[0], *index[1:]))
            assert geometry.map_indices_to_reference(np.array([index]))[0] == pytest.approx(wanted, abs=1e-4)
        _, grid = from_sitk(SimpleITK.ReadImage(str(true.files[0])))
        first = (0, last)[grid.slice_step_mm[2] < 0]
        assert np.allclose(grid.position_mm([0, 2, 4]), true.grid.position_mm([first, 2, 4]), atol=1e-4)
        assert abs(float(grid.normal @ true.grid.normal)) == pytest.approx(1, abs=1e-9)


def groups(true: TrueSeries) -> tuple[Dataset, list[Dataset]]:
    dataset = pydicom.dcmread(true.files[0])
    assert int(dataset.NumberOfFrames) == len(dataset.PerFrameFunctionalGroupsSequence)
    return dataset, list(dataset.PerFrameFunctionalGroupsSequence)


def test_dimension_indices_tell_every_frame_apart(pair: Pair) -> None:
    for true in pair.frames.series:
        dataset, frames = groups(true)
        indices = [tuple(one.FrameContentSequence[0].DimensionIndexValues) for one in frames]
        assert len(set(indices)) == len(indices)
        assert {len(one) for one in indices} == {len(dataset.DimensionIndexSequence)}
        in_stack = [one.FrameContentSequence[0].InStackPositionNumber for one in frames]
        assert in_stack == list(range(1, true.grid.shape[0] + 1)) * len(true.kinds)
        assert {one.FrameContentSequence[0].StackID for one in frames} == {"1"}


def test_frames_of_a_diffusion_file_carry_their_b_values(tmp_path: Path) -> None:
    truth = write_patient_mr("P1", 6, "philips", tmp_path, matrix=32, enhanced=True, height_mm=60)
    dataset, frames = groups(truth.of("dwi"))
    b_values = [one.MRDiffusionSequence[0].DiffusionBValue for one in frames]
    assert b_values == [50.0] * 8 + [400.0] * 8 + [800.0] * 8
    assert {one.MRDiffusionSequence[0].DiffusionDirectionality for one in frames} == {"ISOTROPIC"}
    assert dataset.AcquisitionContrast == "DIFFUSION"
    assert dataset.DimensionIndexSequence[2].DimensionDescriptionLabel == "DiffusionBValue"
    shared = dataset.SharedFunctionalGroupsSequence[0]
    assert shared.PixelValueTransformationSequence[0].RescaleSlope == 1.7389


def test_a_dynamic_file_holds_four_phases_with_their_times_and_contrast(tmp_path: Path) -> None:
    truth = write_patient_mr(
        "P1", 6, "siemens", tmp_path, matrix=32, enhanced=True, height_mm=30, dynamic_together=True
    )
    dynamic = truth.of("portal")
    assert dynamic.kinds == DYNAMIC
    dataset, frames = groups(dynamic)
    slices = dynamic.grid.shape[0]
    content = [one.FrameContentSequence[0] for one in frames]
    assert [one.TemporalPositionIndex for one in content] == [k for k in (1, 2, 3, 4) for _ in range(slices)]
    times = [float(str(one.FrameAcquisitionDateTime)[8:]) for one in content[::slices]]
    assert times == [81140.0, 81322.0, 81400.0, 81600.0]  # 8:00 and 700, 802, 840 and 960 s
    phases = [
        one.ContrastBolusUsageSequence[0].ContrastBolusAgentPhase if "ContrastBolusUsageSequence" in one else None
        for one in frames[::slices]
    ]
    assert phases == [None, "ARTERIAL", "PORTAL_VENOUS", "DELAYED"]
    bolus = dataset.ContrastBolusAgentSequence[0].ContrastAdministrationProfileSequence[0]
    assert str(bolus.ContrastBolusStartTime) == "081300.000000"


def test_multi_frame_files_are_the_same_bytes_again(tmp_path: Path) -> None:
    for folder in "ab":
        for modality, write in WRITE.items():
            write("P1", 6, "canon", tmp_path / folder / modality, matrix=32, enhanced=True, height_mm=40)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
