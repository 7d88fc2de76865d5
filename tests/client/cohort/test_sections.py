"""CT and MR patients of a hospital end as tensors, or are left out with one code; the lesion is where it was drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client.cohort.check.check import CheckOptions, check_folder
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.site import SiteConfig
from fl_liver.study import Study
from fl_liver.study_files import load_study
from fl_liver.toml_file import parse
from simulation.phantom.ct_files import write_patient_ct
from simulation.phantom.mr_files import write_patient_mr

MR = ("t2", "dwi", "t1_pre", "arterial", "portal", "equilibrium")
CT = ("plain", "arterial", "portal", "delayed")
MakeVolumes = Callable[..., SiteConfig]


def _study(modality: str, **cohort: Any) -> Study:
    raw = load_study("lesion_us_fusion").model_dump(mode="json", exclude_none=True)
    raw["task"] = {
        "modality": modality,
        "outcome": "class",
        "classes": {"benign": "0", "malignant": "1"},
        "positive": ["malignant"],
    }
    raw["factor"], raw["analysis"] = [], {}
    raw["model"] = {"name": "lesion_us_fusion", "image_px": 48}
    raw["cohort"] = {"views": 3} | cohort
    return parse(raw, Study, "test")


MR_STUDY = _study("MR", sequences=list(MR), spacing_mm=[7.0, 0.7, 0.7])
CT_STUDY = _study("CT", sequences=list(CT), drawn_on="portal", window_hu=[-110.0, 190.0])


@pytest.fixture
def volumes(tmp_path: Path) -> MakeVolumes:
    """A hospital of one written patient for each set of options."""

    def make(write: Callable[..., object], *patients: dict[str, Any], site: str = "H01") -> SiteConfig:
        root = tmp_path / site
        root.mkdir()
        rows = ["patient_id,class"]
        for number, options in enumerate(patients):
            maker, seed = options.pop("maker", "siemens"), options.pop("seed", number)
            write(f"V{number}", seed, maker, root, matrix=64, **options)
            rows.append(f"V{number},{number % 2}")
        (root / "clinical.csv").write_text("\n".join(rows) + "\n")
        return SiteConfig(site="H01", data=root, work=root / "work", decoders=0)

    return make


def _left_out(cohort: Cohort) -> list[str]:
    return [one.code for one in cohort.findings if one.severity == "E"]


def test_six_sequences_of_every_maker_become_six_channels(volumes: MakeVolumes) -> None:
    """Also where each series is one enhanced file, and where all b-values share one SeriesInstanceUID."""
    site = volumes(
        write_patient_mr,
        *({"maker": maker} for maker in ("siemens", "ge", "philips", "canon")),
        {"maker": "siemens", "enhanced": True},
    )
    cohort = load_cohort(site, MR_STUDY)
    assert _left_out(cohort) == []
    assert cohort.images["lesion"].shape == (15, 6, 48, 48)
    np.testing.assert_array_equal(cohort.owner, np.repeat(np.arange(5), 3))
    assert np.isfinite(cohort.images["lesion"].astype(np.float64)).all()


def test_a_lesion_drawn_in_any_form_gives_the_same_sections(volumes: MakeVolumes) -> None:
    """The four phases of one CT share a lattice: what was drawn on one of them fits all, and the study says which."""
    pytest.importorskip("highdicom")
    forms = [{"regions": (form,), "seed": 0, "kind": "hcc"} for form in ("nifti", "rtstruct", "seg")]
    images = []
    for number, form in enumerate(forms):
        cohort = load_cohort(volumes(write_patient_ct, form, site=f"H0{number}"), CT_STUDY)
        assert _left_out(cohort) == []
        images.append(cohort.images["lesion"])
    assert images[0].shape == (3, 4, 48, 48)
    assert 0 <= images[0].min() <= images[0].max() <= 1
    np.testing.assert_array_equal(images[0], images[2])
    np.testing.assert_array_equal(images[0], images[1])
    arterial = images[0][1, 1].astype(np.float64)
    assert arterial[14:34, 14:34].mean() > arterial[:6].mean() + 0.05, "an HCC is brighter than the liver round it"


@pytest.mark.parametrize(
    ("options", "code", "cause"),
    [
        ({"missing": frozenset({"portal"})}, "E_MISSING_SEQUENCE", "no MR portal venous series; there are: MR T1"),
        ({"other_frame": "dwi"}, "E_ROI_FRAME", "frame of reference"),
        ({"partial": "arterial"}, "E_ROI_OUT_OF_FOV", "arterial"),
        ({"oblique_deg": 50.0}, "E_ROI_ANGLE", "50"),
        ({"regions": ()}, "E_ROI_MISSING", "the lesion is drawn nowhere; wanted on MR T2"),
    ],
)
def test_a_patient_whose_lesion_cannot_be_carried_is_left_out(
    volumes: MakeVolumes, options: dict[str, Any], code: str, cause: str
) -> None:
    cohort = load_cohort(volumes(write_patient_mr, options, {}), MR_STUDY)
    (finding,) = (one for one in cohort.findings if one.severity == "E")
    assert finding.code == code
    assert cause in finding.cause
    assert len(cohort.patients) == 1


def test_an_oblique_series_is_used_with_a_word(volumes: MakeVolumes) -> None:
    cohort = load_cohort(volumes(write_patient_mr, {"oblique_deg": 25.0}), MR_STUDY)
    assert _left_out(cohort) == []
    assert "W_ROI_ANGLE" in [one.code for one in cohort.findings]


def test_series_toml_outweighs_the_tags(volumes: MakeVolumes) -> None:
    site = volumes(write_patient_mr, {})
    (site.data / "series.toml").write_text('[[series]]\nfolder = "*"\nkind = "ignore"\n')
    (finding,) = (one for one in load_cohort(site, MR_STUDY).findings if one.severity == "E")
    assert finding.code == "E_MISSING_SEQUENCE"


def test_another_frame_is_used_where_the_study_allows_it(volumes: MakeVolumes) -> None:
    study = _study("MR", sequences=list(MR), spacing_mm=[7.0, 0.7, 0.7], other_frames=True)
    assert _left_out(load_cohort(volumes(write_patient_mr, {"other_frame": "dwi"}), study)) == []


def test_the_second_load_decodes_nothing(volumes: MakeVolumes, monkeypatch: pytest.MonkeyPatch) -> None:
    site = volumes(write_patient_mr, {}, {"missing": frozenset({"t2"})})
    first = load_cohort(site, MR_STUDY)
    monkeypatch.setattr("fl_liver.client.cohort.load.read_patient", lambda *_: pytest.fail("a patient was read"))
    again = load_cohort(site, MR_STUDY)
    np.testing.assert_array_equal(first.images["lesion"], again.images["lesion"])
    assert first.findings == again.findings


def test_a_mask_that_changed_is_read_again(volumes: MakeVolumes) -> None:
    site = volumes(write_patient_mr, {})
    assert _left_out(load_cohort(site, MR_STUDY)) == []
    (path,) = (site.data / "masks").iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    assert _left_out(load_cohort(site, MR_STUDY)) == ["E_TRUNCATED"]


def test_guarded_processes_give_the_same_arrays(volumes: MakeVolumes) -> None:
    site = volumes(write_patient_ct, {}, {"maker": "ge"})
    here = load_cohort(site, CT_STUDY).images["lesion"]
    elsewhere = load_cohort(site.model_copy(update={"decoders": 2, "work": site.data / "other"}), CT_STUDY).images[
        "lesion"
    ]
    np.testing.assert_array_equal(here, elsewhere)


def test_another_series_of_a_kind_is_passed_over_with_a_word(volumes: MakeVolumes) -> None:
    """Two b-values are two diffusion series; the study takes the one nearest 800."""
    cohort = load_cohort(volumes(write_patient_mr, {}), MR_STUDY)
    passed = [one.cause for one in cohort.findings if one.code == "W_SERIES_PASSED_OVER"]
    assert passed == ["another MR diffusion is used: b 50 s/mm² is below 400"]


def test_an_entry_of_series_toml_that_fits_nothing_is_told(volumes: MakeVolumes) -> None:
    site = volumes(write_patient_mr, {})
    (site.data / "series.toml").write_text(
        '[[series]]\nfolder = "V0"\nkind = "ignore"\n[[series]]\ndescription = "LAVA ARTT"\nkind = "arterial"\n'
    )
    told = [one.cause for one in check_folder(site.data).findings if one.code == "W_MAPPING_UNUSED"]
    assert told == ["entry 2 of series.toml fits no series"]


def test_the_sections_taken_are_those_where_the_lesion_is_largest(volumes: MakeVolumes) -> None:
    """A cyst is far brighter than the liver on T2; a section beside it would have no bright middle."""
    study = _study("MR", sequences=["t2"], spacing_mm=[7.0, 0.7, 0.7], views=1)
    images = load_cohort(volumes(write_patient_mr, {"kind": "cyst", "size_mm": 40.0}), study).images["lesion"]
    assert images.shape == (1, 48, 48)
    assert images[0, 18:30, 18:30].mean() > images[0, :4].mean() + 1


@pytest.mark.parametrize(("maker", "guessed"), [("siemens", 3), ("ge", 0)])
def test_a_phase_told_by_order_alone_is_flagged_with_its_reason(volumes: MakeVolumes, maker: str, guessed: int) -> None:
    """GE writes when the bolus began; Siemens does not, and the phases are known by following each other."""
    report = check_folder(volumes(write_patient_mr, {"maker": maker}).data, options=CheckOptions(pixels=False))
    causes = [one.cause for one in report.findings if one.code == "W_PHASE_GUESSED"]
    assert len(causes) == guessed
    assert all("by its order in time" in cause for cause in causes)
