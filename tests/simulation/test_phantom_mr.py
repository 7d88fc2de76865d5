"""MR phantoms: six sequences on three grids that a hospital's reader finds clean, the lesion at one place in all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.series.grid import Grid, Volume
from fl_liver.errors import ConfigError
from simulation.phantom.lesion import LESION_KINDS, LesionKind, Zone
from simulation.phantom.mr import DYNAMIC, MR_SEQUENCES, mr_appearance
from simulation.phantom.mr_exam import MrExam, grid_of
from simulation.phantom.mr_files import write_patient_mr
from simulation.phantom.mr_makes import MR_MAKES, mr_make
from simulation.phantom.volumes import Case, Truth, draw_body, imaged_patient
from tests.simulation.phantom_reading import (
    centre_by_intensity,
    checked,
    errors,
    fingerprint,
    parts_of,
    volume_of,
)

MATRIX = 96
SEED = 21
"""Places a lesion of 40 mm clear of vessels and of the liver's edge, so that its centre can be told by intensity."""


@dataclass(frozen=True)
class Written:
    truth: Truth
    report: CheckReport


@pytest.fixture(scope="module", params=MR_MAKES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A patient of each make with a cyst of 40 mm, which differs from the liver in all sequences."""
    folder = tmp_path_factory.mktemp(request.param)
    truth = write_patient_mr("H01-0007", SEED, request.param, folder, kind="cyst", size_mm=40, matrix=MATRIX)
    return Written(truth, checked(folder))


def maker_of(written: Written) -> str:
    stated = written.report.series[0].header.manufacturer
    return stated.lower()


def test_each_makes_six_sequences_are_read_clean_and_on_the_true_grid(written: Written) -> None:
    assert errors(written.report) == []
    assert {kind for true in written.truth.series for kind in true.kinds} == set(MR_SEQUENCES)
    for true in written.truth.series:
        parts = parts_of(written.report, true)
        assert len(parts) == len(true.kinds)
        for series, kind in zip(parts, true.kinds, strict=True):
            assert series.usable
            assert series.guess is not None
            assert series.guess.kind == kind
            assert series.reordered, "names must say nothing of the order"
            assert series.grid is not None
            assert series.grid.agrees_with(true.grid, 1e-4)
            assert series.header.frame_uid == written.truth.series[0].frame_uid
    assert len({one.header.study_uid for one in written.report.series}) == 1


def test_the_lesion_lies_within_a_third_of_a_voxel_of_the_truth_in_every_sequence(written: Written) -> None:
    """On oblique and shifted grids alike: this holds the direction cosines to what was drawn."""
    for true in written.truth.series:
        for number in range(len(true.kinds)):
            volume = volume_of(written.report, true, number)
            assert volume.grid.agrees_with(true.grid, 1e-4)
            off = index_error(volume, written.truth)
            assert np.abs(off).max() < 0.3, (true.kinds[number], off)


def test_without_direction_cosines_the_lesion_would_be_missed(written: Written) -> None:
    """So the test before this one would see them dropped."""
    true = written.truth.of("dwi")
    volume = volume_of(written.report, true)
    slices, rows, columns = true.grid.spacing_mm
    straight = replace(
        true.grid, slice_step_mm=(0.0, 0.0, slices), row_step_mm=(0.0, rows, 0.0), column_step_mm=(columns, 0.0, 0.0)
    )
    moved = Volume(volume.values, straight, volume.frame_uid)
    centre = np.array(straight.position_mm(true.grid.index_of(written.truth.lesion.centre_mm)))
    shown = replace(written.truth.lesion, centre_mm=(float(centre[0]), float(centre[1]), float(centre[2])))
    found = centre_by_intensity(moved, shown)
    off = straight.index_of(found) - straight.index_of(written.truth.lesion.centre_mm)
    assert np.abs(off).max() > 0.9


def index_error(volume: Volume, truth: Truth) -> np.ndarray:
    found = centre_by_intensity(volume, truth.lesion)
    return np.asarray(volume.grid.index_of(found) - volume.grid.index_of(truth.lesion.centre_mm))


def grids(oblique_deg: float = 8.0) -> dict[str, Grid]:
    patient = imaged_patient("P1", 2, "hcc")
    case = Case(patient, "H01", draw_body(patient, "hcc"))
    exam = MrExam(matrix=320, oblique_deg=oblique_deg)
    return {kind: grid_of(case, exam, kind) for kind in MR_SEQUENCES}


def test_at_full_matrix_the_grids_are_those_of_a_liver_protocol() -> None:
    found = grids()
    assert found["t2"].spacing_mm == pytest.approx((7.7, 1.2, 1.2))
    assert found["dwi"].spacing_mm == pytest.approx((7.5, 2.0, 2.0))
    for kind in DYNAMIC:
        assert found[kind].spacing_mm == pytest.approx((2.75, 1.1, 1.1))
    angle = np.degrees(np.arccos(found["dwi"].normal @ found["t2"].normal))
    assert angle == pytest.approx(8.0, abs=1e-6)
    assert np.allclose(found["t1_pre"].normal, found["t2"].normal)
    shift = found["t1_pre"].index_of(found["t2"].origin_mm)
    assert not np.allclose(shift, np.rint(shift), atol=0.05), "voxels of T1 and T2 must not coincide"


def test_the_angle_of_the_diffusion_series_is_the_callers() -> None:
    for wanted in (0.0, -12.0, 25.0):
        found = grids(wanted)
        assert np.degrees(np.arcsin(found["dwi"].normal[1])) == pytest.approx(-wanted, abs=1e-6)


def test_b_values_stand_where_each_make_writes_them(written: Written) -> None:
    wanted = mr_make(maker_of(written)).b_values
    trues = [one for one in written.truth.series if one.kinds[0] == "dwi"]
    assert [value for one in trues for value in one.b_values] == list(wanted)
    told = [part.header.acquisition.b_value for one in trues for part in parts_of(written.report, one)]
    assert told == list(wanted)
    dataset = pydicom.dcmread(trues[0].files[0])
    place = {
        "siemens": (0x0019, 0x100C),
        "ge": (0x0043, 0x1039),
        "philips": (0x2001, 0x1003),
        "canon": (0x0018, 0x9087),
    }
    others = [tag for maker, tag in place.items() if maker != maker_of(written)]
    assert place[maker_of(written)] in dataset
    assert not any(tag in dataset for tag in others)
    assert (len(trues) == 1) == (maker_of(written) in ("siemens", "philips"))


def test_diffusion_takes_a_cyst_faster_than_the_liver() -> None:
    """S = S₀ exp(−b·D): 3.2 · exp(−50 · 0.0029) against exp(−50 · 0.0011) is 2.92; at b = 800 it is 0.76."""
    body = draw_body(imaged_patient("P1", 8, "cyst"), "cyst")
    appearances = [mr_appearance(body, "dwi", b_value) for b_value in (50.0, 800.0)]
    ratios = [look.lesions[0][Zone.BULK] / look.tissues[7] for look in appearances]  # type: ignore[index]
    assert ratios == pytest.approx([2.925, 0.758], abs=1e-3)


def test_the_dynamic_is_told_by_its_times_and_its_contrast(written: Written) -> None:
    make = mr_make(maker_of(written))
    acquired, given = [], []
    for kind in DYNAMIC:
        (part,) = parts_of(written.report, written.truth.of(kind))
        acquisition = part.header.acquisition
        acquired.append(acquisition.acquired_s or 0.0)
        given.append(acquisition.contrast)
        assert (acquisition.contrast_s is not None) == (make.bolus_start and kind != "t1_pre")
        assert (acquisition.temporal_position is not None) == make.temporal
        assert (acquisition.trigger_ms is not None) == make.trigger
        assert acquisition.flip_deg == make.t1.flip_deg
    assert acquired == sorted(acquired)
    assert np.diff(acquired).tolist() == [102, 38, 120]
    assert given == [False] + 3 * [bool(make.agent)]


def test_noise_in_air_is_that_of_a_magnitude_image(written: Written) -> None:
    """Rayleigh: the mean is the standard deviation of one channel times √(π/2)."""
    make = mr_make(maker_of(written))
    air = volume_of(written.report, written.truth.of("t2")).values[:, 2:8, 20:-20]
    assert air.mean() == pytest.approx(np.sqrt(np.pi / 2) * make.noise * make.gain, rel=0.1)


def test_a_patient_with_all_phases_in_one_series_is_told_of_as_such(tmp_path: Path) -> None:
    truth = write_patient_mr(
        "P1", 4, "ge", tmp_path, matrix=48, height_mm=110, dynamic_together=True, missing=frozenset({"t2"})
    )
    assert truth.drawn_on == "dwi"
    dynamic = truth.of("portal")
    assert dynamic is truth.series[-1]
    assert dynamic.kinds == DYNAMIC
    assert len(dynamic.files) == 4 * dynamic.grid.shape[0]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in dynamic.files]
    assert {one.SeriesInstanceUID for one in headers} == {dynamic.uid}
    assert len({(one.TemporalPositionIdentifier, tuple(one.ImagePositionPatient)) for one in headers}) == len(headers)
    assert len({one.SOPInstanceUID for one in headers}) == len(headers)
    assert [one.InstanceNumber for one in headers] == list(range(1, len(headers) + 1))


def test_a_series_may_miss_half_the_lesion_or_have_a_frame_of_its_own(tmp_path: Path) -> None:
    truth = write_patient_mr(
        "P1", 4, "canon", tmp_path, matrix=64, size_mm=50, partial="dwi", other_frame="portal", described=False
    )
    assert errors(checked(tmp_path)) == []
    whole, half = (int((truth.lesion_mask(kind) > 0).sum()) * truth.of(kind).grid.voxel_mm3 for kind in ("t2", "dwi"))
    assert half / whole == pytest.approx(0.5, abs=0.15)
    frames = {one.kinds[0]: one.frame_uid for one in truth.series}
    assert frames.pop("portal") not in frames.values()
    assert len(set(frames.values())) == 1


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_every_kind_of_lesion_differs_from_the_liver_in_some_sequence(kind: LesionKind) -> None:
    body = draw_body(imaged_patient("P1", 8, kind), kind)
    contrast = []
    for sequence in MR_SEQUENCES:
        look = mr_appearance(body, sequence, 800.0)
        contrast.append(look.lesions[0][Zone.BULK] / look.tissues[7])  # type: ignore[index]
    assert np.abs(np.log(contrast)).max() > 0.25


def test_only_the_classes_that_do_light_up_early() -> None:
    """HCC and FNH; and only the HCC washes out, only the haemangioma ends bright."""
    late = {}
    for kind in LESION_KINDS:
        body = draw_body(imaged_patient("P1", 8, kind), kind)
        looks = [mr_appearance(body, one) for one in DYNAMIC]
        late[kind] = [float(look.lesions[0][Zone.BULK] / look.tissues[7]) for look in looks]  # type: ignore[index]
    assert {kind for kind, curve in late.items() if curve[1] > 1.3} == {"hcc", "fnh"}
    assert {kind for kind, curve in late.items() if curve[1] > 1.3 > 1 > 0.9 > curve[3]} == {"hcc"}
    assert {kind for kind, curve in late.items() if curve[3] > 1.2} == {"hemangioma"}


def test_one_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    for folder, seed in (("a", 9), ("b", 9), ("c", 10)):
        write_patient_mr("P1", seed, "siemens", tmp_path / folder, matrix=32, height_mm=80)
    first, again, other = (fingerprint(tmp_path / folder) for folder in "abc")
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_an_unknown_maker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MR maker 'acme'; wanted one of siemens, ge, philips, canon"):
        write_patient_mr("P1", 1, "acme", tmp_path)
