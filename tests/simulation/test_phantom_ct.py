"""CT phantoms: four phases that a hospital's reader finds clean, on the true grid, with the true Hounsfield units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from fl_liver.errors import ConfigError
from simulation.phantom.anatomy import Tissue
from simulation.phantom.body import sections
from simulation.phantom.ct import CT_PHASES
from simulation.phantom.ct_files import write_patient_ct
from simulation.phantom.ct_makes import CT_MAKES
from simulation.phantom.lesion import LESION_KINDS, LesionKind
from simulation.phantom.volumes import Truth
from tests.simulation.phantom_reading import (
    centre_by_intensity,
    checked,
    errors,
    fingerprint,
    parts_of,
    volume_of,
)

MATRIX = 96


def inside(truth: Truth, tissue: Tissue, phase: int) -> np.ndarray:
    """Voxels of one tissue that no other tissue's blur reaches."""
    labels = sections(truth.body, truth.series[phase].grid)
    return np.asarray(ndimage.binary_erosion((labels == tissue).all(axis=1), iterations=2))


@pytest.mark.parametrize("maker", CT_MAKES)
def test_each_makes_four_phases_are_read_clean_and_on_the_true_grid(maker: str, tmp_path: Path) -> None:
    truth = write_patient_ct("H01-0007", 11, maker, tmp_path, matrix=MATRIX)
    report = checked(tmp_path)
    assert errors(report) == []
    assert len(report.series) == 4
    for true, kind in zip(truth.series, CT_PHASES, strict=True):
        assert true.kinds == (kind,)
        (series,) = parts_of(report, true)
        assert series.usable
        assert series.guess is not None
        assert series.guess.kind == kind
        assert series.reordered, "names must say nothing of the order"
        assert series.grid is not None
        assert series.grid.agrees_with(true.grid, 1e-4)
        assert series.header.frame_uid == true.frame_uid == truth.series[0].frame_uid
    assert len({one.header.study_uid for one in report.series}) == 1


@pytest.mark.parametrize("maker", CT_MAKES)
def test_hounsfield_units_of_each_phase_are_those_of_the_table(maker: str, tmp_path: Path) -> None:
    """Whatever the make stores: 12 bits from −1024, signed 16 bits, or Hounsfield units themselves."""
    truth = write_patient_ct("P1", 3, maker, tmp_path, matrix=MATRIX)
    report = checked(tmp_path)
    wanted = {
        Tissue.LIVER: (58, 70, 112, 96), Tissue.AORTA: (42, 318, 162, 118), Tissue.SPLEEN: (48, 118, 124, 102),
        Tissue.AIR: (-1000, -1000, -1000, -1000),
    }  # fmt: skip
    for phase, true in enumerate(truth.series):
        hu = volume_of(report, true).values
        for tissue, by_phase in wanted.items():
            # The outermost pixels lie outside the circle, where a make writes its padding.
            where = inside(truth, tissue, phase) if tissue != Tissue.AIR else np.s_[:, MATRIX // 2, 2:5]
            assert np.median(hu[where]) == pytest.approx(by_phase[phase], abs=4), (tissue, phase)


def test_makes_store_pixels_in_their_own_way(tmp_path: Path) -> None:
    corners = {}
    for maker in CT_MAKES:
        write_patient_ct("P1", 3, maker, tmp_path / maker, matrix=32, missing=frozenset(CT_PHASES[1:]))
        dataset = pydicom.dcmread(next((tmp_path / maker / "dicom/P1").iterdir()))
        corners[maker] = (
            dataset.BitsStored,
            dataset.PixelRepresentation,
            int(dataset.RescaleIntercept),
            dataset.get("PixelPaddingValue"),
            int(dataset.pixel_array[0, 0]),
        )
    assert corners == {
        "siemens": (12, 0, -1024, None, 0),
        "ge": (16, 1, -1024, -2000, -2000),
        "philips": (12, 0, -1024, 0, 0),
        "canon": (16, 1, 0, -2048, -2048),
    }


def test_makes_say_differently_when_the_contrast_was_given(tmp_path: Path) -> None:
    said = {}
    for maker in CT_MAKES:
        truth = write_patient_ct("P1", 3, maker, tmp_path / maker, matrix=32, height_mm=20)
        plain, portal = (pydicom.dcmread(truth.of(kind).files[0]) for kind in ("plain", "portal"))
        assert "ContrastBolusAgent" not in plain
        assert "ContrastBolusStartTime" not in plain
        said[maker] = (portal.ContrastBolusAgent, "ContrastBolusStartTime" in portal, portal.SeriesDescription)
    assert said == {
        "siemens": ("CE", True, "Abdomen portalvenös  5.0  I30f  3"),
        "ge": ("OMNI350", False, "PORTAL VENOUS"),
        "philips": ("CONTRAST", False, ""),
        "canon": ("", True, ""),
    }


def lesion_and_liver(kind: LesionKind, folder: Path) -> tuple[list[float], list[float]]:
    truth = write_patient_ct("P1", 8, "ge", folder, kind=kind, size_mm=40, matrix=MATRIX)
    report = checked(folder)
    lesion, liver = [], []
    for phase, true in enumerate(truth.series):
        hu = volume_of(report, true).values
        lesion.append(float(hu[truth.lesion_mask(true.kinds[0]) == 1].mean()))
        liver.append(float(np.median(hu[inside(truth, Tissue.LIVER, phase)])))
    return lesion, liver


def test_an_hcc_lights_up_early_and_washes_out(tmp_path: Path) -> None:
    lesion, liver = lesion_and_liver("hcc", tmp_path)
    plain, arterial, portal, delayed = np.subtract(lesion, liver)
    assert arterial > 25 > 0 > portal
    assert plain < 0
    assert delayed < -5


def test_a_haemangioma_fills_up(tmp_path: Path) -> None:
    """Brighter from phase to phase, although the liver pales after the portal venous one."""
    lesion, liver = lesion_and_liver("hemangioma", tmp_path)
    assert lesion == sorted(lesion)
    assert lesion[3] > liver[3]
    assert lesion[0] < liver[0]


def test_a_metastasis_stays_darker_than_the_liver_and_a_cyst_is_water(tmp_path: Path) -> None:
    lesion, liver = lesion_and_liver("metastasis", tmp_path / "metastasis")
    assert (np.subtract(lesion, liver)[[0, 2, 3]] < -10).all()
    lesion, _ = lesion_and_liver("cyst", tmp_path / "cyst")
    assert np.allclose(lesion, 6.5, atol=12)


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_every_kind_of_lesion_differs_from_the_liver_in_some_phase(kind: LesionKind, tmp_path: Path) -> None:
    lesion, liver = lesion_and_liver(kind, tmp_path)
    assert np.abs(np.subtract(lesion, liver)).max() > 15


def test_the_lesion_lies_where_the_truth_says(tmp_path: Path) -> None:
    truth = write_patient_ct("P1", 5, "siemens", tmp_path, kind="cyst", size_mm=40, matrix=MATRIX)
    report = checked(tmp_path)
    for true in truth.series[2:]:  # a cyst and a plain liver differ by 50 HU only
        found = centre_by_intensity(volume_of(report, true), truth.lesion)
        off = true.grid.index_of(found) - true.grid.index_of(truth.lesion.centre_mm)
        assert np.abs(off).max() < 0.5


def test_slices_may_overlap(tmp_path: Path) -> None:
    truth = write_patient_ct("P1", 5, "ge", tmp_path, matrix=32, thickness_mm=5, gap_mm=2.5, height_mm=60)
    report = checked(tmp_path)
    assert errors(report) == []
    series = report.series[0]
    assert (series.spacing_mm or ())[2] == 2.5
    assert series.header.thickness_mm == 5
    assert truth.series[0].grid.shape == (24, 32, 32)


def test_a_study_may_lack_a_phase_cover_half_a_lesion_and_hold_a_foreign_frame(tmp_path: Path) -> None:
    truth = write_patient_ct(
        "P1", 5, "philips", tmp_path, matrix=48,
        missing=frozenset({"plain"}), partial="arterial", other_frame="delayed",
    )  # fmt: skip
    assert errors(checked(tmp_path)) == []
    assert [one.kinds for one in truth.series] == [("arterial",), ("portal",), ("delayed",)]
    arterial, portal, delayed = truth.series
    voxel = portal.grid.voxel_mm3
    whole, half = (int((truth.lesion_mask(one.kinds[0]) > 0).sum()) * voxel for one in (portal, arterial))
    assert half / whole == pytest.approx(0.5, abs=0.15)
    assert arterial.frame_uid == portal.frame_uid != delayed.frame_uid
    assert delayed.grid == portal.grid


def test_one_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    for folder, seed in (("a", 9), ("b", 9), ("c", 10)):
        write_patient_ct("P1", seed, "canon", tmp_path / folder, matrix=32, regions=("nifti", "rtstruct"))
    first, again, other = (fingerprint(tmp_path / folder) for folder in "abc")
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_identifying_values_are_there_to_be_looked_for(tmp_path: Path) -> None:
    truth = write_patient_ct("H02-0009", 5, "siemens", tmp_path, matrix=32, height_mm=20, hospital="H02")
    dataset = pydicom.dcmread(truth.series[0].files[0])
    assert (dataset.PatientID, dataset.PatientName) == ("H02-0009", truth.patient.name)
    assert dataset.PatientBirthDate == truth.patient.birth_date
    assert all(dataset.get(one) for one in ("AccessionNumber", "InstitutionName", "OperatorsName", "StationName"))
    assert not any(truth.patient.name.split("^")[0] in path for path in fingerprint(tmp_path))


def test_unknown_makers_kinds_and_impossible_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CT maker 'acme'; wanted one of siemens, ge, philips, canon"):
        write_patient_ct("P1", 1, "acme", tmp_path)
    with pytest.raises(ConfigError, match="lesion kind 'adenoma'; wanted one of cyst, hemangioma"):
        write_patient_ct("P1", 1, "ge", tmp_path, kind="adenoma")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"lesion of 140 mm; wanted 2 to 100"):
        write_patient_ct("P1", 1, "ge", tmp_path, size_mm=140)
    with pytest.raises(ConfigError, match="no room for 2 lesions of this size"):
        write_patient_ct("P1", 1, "ge", tmp_path, size_mm=100, lesions=9)
    assert not list(tmp_path.iterdir())
