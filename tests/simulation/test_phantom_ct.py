"""CT phantoms: four phases that a hospital's reader finds clean, on the true grid, with the true Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.errors import ConfigError
from simulation.phantom.anatomy import Tissue
from simulation.phantom.body import lesion_mask, paint, sections
from simulation.phantom.ct import CT_PHASES, ct_appearance
from simulation.phantom.ct_files import write_patient_ct
from simulation.phantom.ct_makes import CT_MAKES
from simulation.phantom.lesion import LesionKind
from simulation.phantom.volumes import Truth, body_grid, draw_body, imaged_patient
from tests.simulation.phantom_reading import (
    centre_by_intensity,
    checked,
    errors,
    fingerprint,
    parts_of,
    volume_of,
)

MATRIX = 96


def inside(truth: Truth, tissue: Tissue) -> np.ndarray:
    """Voxels of one tissue and no other, away from its edge."""
    labels = sections(truth.body, truth.series[0].grid)
    return np.asarray(ndimage.binary_erosion((labels == tissue).all(axis=1), iterations=2))


@dataclass(frozen=True)
class Written:
    truth: Truth
    report: CheckReport


@pytest.fixture(scope="module", params=CT_MAKES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A patient of each make."""
    folder = tmp_path_factory.mktemp(request.param)
    return Written(write_patient_ct("H01-0007", 3, request.param, folder, matrix=MATRIX), checked(folder))


def test_each_makes_four_phases_are_read_clean_and_on_the_true_grid(written: Written) -> None:
    truth, report = written.truth, written.report
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


def test_hounsfield_units_of_each_phase_are_those_of_the_table(written: Written) -> None:
    """Whatever the make stores: 12 bits from −1024, signed 16 bits, or Hounsfield units themselves."""
    wanted = {
        Tissue.LIVER: (58, 70, 112, 96), Tissue.AORTA: (42, 318, 162, 118), Tissue.SPLEEN: (48, 118, 124, 102),
        Tissue.AIR: (-1000, -1000, -1000, -1000),
    }  # fmt: skip
    for phase, true in enumerate(written.truth.series):
        hu = volume_of(written.report, true).values
        for tissue, by_phase in wanted.items():
            # In front of the body; beside it a make writes its padding round the circle.
            where = inside(written.truth, tissue) if tissue != Tissue.AIR else np.s_[:, 4:9, MATRIX // 2]
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


def against_the_liver(kind: LesionKind) -> np.ndarray:
    """(4,) mean Hounsfield units of a lesion of 40 mm, minus the liver's, in each phase."""
    body = draw_body(imaged_patient("P1", 8, kind), kind, size_mm=40)
    grid = body_grid(body, pixel_mm=3, columns=128, gap_mm=5, slices=38)
    labels, mask = sections(body, grid), lesion_mask(body, grid) == 1
    looks = [ct_appearance(body, phase) for phase in CT_PHASES]
    return np.array([paint(labels, look)[mask].mean() - look.tissues[Tissue.LIVER] for look in looks])


def test_an_hcc_lights_up_early_and_washes_out() -> None:
    plain, arterial, portal, delayed = against_the_liver("hcc")
    assert arterial > 25 > 0 > portal > delayed
    assert plain < 0
    assert delayed < -10


def test_a_haemangioma_fills_up() -> None:
    """Against the liver, which pales after the portal venous phase."""
    plain, arterial, portal, delayed = against_the_liver("hemangioma")
    assert plain < -10
    assert arterial < 60
    assert delayed > 15 > portal


def test_a_metastasis_stays_darker_than_the_liver_and_a_cyst_is_water() -> None:
    assert (against_the_liver("metastasis")[[0, 2, 3]] < -10).all()
    assert against_the_liver("cyst") == pytest.approx([6 - 58, 6 - 70, 7 - 112, 7 - 96], abs=6)


def test_a_cholangiocarcinoma_lights_up_late() -> None:
    """Other malignant: dark where an HCC is bright, bright where it has washed out."""
    _, arterial, _, delayed = against_the_liver("other_malignant")
    assert arterial < -5 < 0 < delayed


def test_the_lesion_lies_where_the_truth_says(tmp_path: Path) -> None:
    truth = write_patient_ct("P1", 21, "siemens", tmp_path, kind="cyst", size_mm=40, matrix=MATRIX)
    report = checked(tmp_path)
    for true in truth.series:
        found = centre_by_intensity(volume_of(report, true), truth.lesion)
        off = true.grid.index_of(found) - true.grid.index_of(truth.lesion.centre_mm)
        assert np.abs(off).max() < 0.5


def test_slices_may_overlap(tmp_path: Path) -> None:
    truth = write_patient_ct("P1", 5, "ge", tmp_path, matrix=32, thickness_mm=5, gap_mm=2.5, height_mm=60)
    report = checked(tmp_path)
    assert errors(report) == []
    series = report.series[0]
    assert series.spacing_mm is not None
    assert series.spacing_mm[2] == 2.5
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
