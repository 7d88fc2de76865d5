"""`unit = "lesion"`: rows are lesions, images go to the row of theirs, and a patient stays one patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client.cohort.check.case import look_at
from fl_liver.client.cohort.check.check import CheckOptions, check_folder
from fl_liver.client.cohort.check.sheets import flow_of_report
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.floors import require_enough_patients, require_trainable
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import Pseudonyms, site_pseudonyms
from fl_liver.client.cohort.table.clinical import clinical_from
from fl_liver.client.cohort.table.tables import read_table
from fl_liver.client.site import SiteConfig
from fl_liver.errors import DataError, PrivacyError
from fl_liver.study import Study
from simulation.baselines import pool_cohorts
from tests.client.cohort.tiny_volumes import ball, ct_study, random_hu, write_mask, write_table, write_volume

HEADER = "patient_id,lesion,class"
MIDDLES = ((3, 8, 8), (6, 20, 20), (4, 24, 8))


def lesion_study(**cohort: Any) -> Study:
    return ct_study(unit="lesion", patch_mm=8.0, image_px=8, **cohort)


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    """P1 has lesions 1 to 3, P2 has 1 and 2, P3 has 1."""
    for number, count in ((1, 3), (2, 2), (3, 1)):
        write_volume(tmp_path, f"P{number}", random_hu(number))
        write_mask(tmp_path, f"P{number}", ball(*MIDDLES[:count]))
    # Neither patients nor lesions in order.
    return write_table(tmp_path, ["P2,2,1", "P3,1,0", "P1,3,1", "P1,1,0", "P2,01,1", "P1,2.0,0"], HEADER)


def _told(site: SiteConfig, cohort: Cohort) -> list[tuple[str, str, str]]:
    names = site_pseudonyms(site.work)
    known = {names.patient(f"P{number}"): f"P{number}" for number in range(1, 6)}
    return [(one.code, known[one.case], one.cause) for one in cohort.findings if one.case]


def test_every_row_is_a_lesion_with_its_own_images(site: SiteConfig) -> None:
    """Lesion k of each patient lies at its own place: the images of a row must show that place."""
    study = lesion_study()
    cohort = load_cohort(site, study)
    names = site_pseudonyms(site.work)
    rows = [("P1", 1), ("P1", 2), ("P1", 3), ("P2", 1), ("P2", 2), ("P3", 1)]
    assert cohort.patients == tuple(names.patient(f"{patient}#{lesion}") for patient, lesion in rows)
    assert cohort.label.tolist() == [0, 0, 1, 1, 1, 0]
    assert cohort.group.tolist() == [0, 0, 0, 1, 1, 2]
    assert cohort.owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [one for one in cohort.findings if one.case] == []
    for index, (patient, lesion) in enumerate(rows):
        slice_, row, column = MIDDLES[lesion - 1]
        hu = random_hu(int(patient[1:]))[[slice_ - 1, slice_], row - 3 : row + 4, column - 3 : column + 4]
        images = cohort.images["lesion"][2 * index : 2 * index + 2].astype(float)
        # The patch of 8 mm about the middle of a voxel begins and ends half-way through one.
        inside = (hu[:, :-1, :-1] + hu[:, 1:, :-1] + hu[:, :-1, 1:] + hu[:, 1:, 1:]) / 4
        np.testing.assert_allclose(images[:, 1:-1, 1:-1], (inside + 110) / 300, atol=2e-3)


def test_a_cached_cohort_of_lesions_is_the_same(site: SiteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_cohort(site, lesion_study())
    monkeypatch.setattr("fl_liver.client.cohort.load.read_patient", lambda *_: pytest.fail("a patient was read"))
    again = load_cohort(site, lesion_study())
    np.testing.assert_array_equal(first.owner, again.owner)
    np.testing.assert_array_equal(first.images["lesion"], again.images["lesion"])


def test_the_same_hospital_as_patients_has_one_row_each(site: SiteConfig) -> None:
    write_table(site.data, ["P1,0", "P2,1", "P3,0"])
    cohort = load_cohort(site, ct_study(patch_mm=8.0, image_px=8))
    assert cohort.group.tolist() == [0, 1, 2]
    assert np.bincount(cohort.owner).tolist() == [6, 4, 2]


def test_a_frozen_cohort_names_patients(site: SiteConfig) -> None:
    names = site_pseudonyms(site.work)
    only = frozenset({names.patient("P1"), names.patient("P3")})
    assert load_cohort(site, lesion_study(), only).group.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("rows", "told", "kept"),
    [
        (["P1,4,1"], [("W_LESION_LEFT_OUT", "P1", "lesion 4: it is not drawn")], 6),
        (
            ["P2,3,1", "P2,3,0"],
            [("W_LESION_LEFT_OUT", "P2", "lesion 3: 2 rows for one patient or lesion")],
            6,
        ),
        (["P1,,1"], [("W_LESION_LEFT_OUT", "P1", "'lesion' is empty; wanted a whole number from 1")], 6),
        (["P2,1.5,1"], [("W_LESION_LEFT_OUT", "P2", "'lesion' is '1.5'; wanted a whole number from 1")], 6),
        (
            ["P1,4,7"],
            [("W_LESION_LEFT_OUT", "P1", "lesion 4: 'class' is '7'; wanted '0' (benign), '1' (malignant)")],
            6,
        ),
    ],
)
def test_a_row_that_cannot_be_used_leaves_its_patients_other_lesions_in(
    site: SiteConfig, rows: list[str], told: list[tuple[str, str, str]], kept: int
) -> None:
    with (site.data / "clinical.csv").open("a") as file:
        file.write("\n".join(rows) + "\n")
    cohort = load_cohort(site, lesion_study())
    assert _told(site, cohort) == told
    assert len(cohort.patients) == kept


def test_a_drawn_lesion_without_a_row_is_named_and_left_out(site: SiteConfig) -> None:
    table = site.data / "clinical.csv"
    table.write_text(table.read_text().replace("P1,3,1\n", ""))
    cohort = load_cohort(site, lesion_study())
    cause = "lesion 3 is drawn; the clinical table has no row for it"
    assert _told(site, cohort) == [("W_LESION_NO_ROW", "P1", cause)]
    assert cohort.owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert cohort.group.tolist() == [0, 0, 1, 1, 2]


def test_a_lesion_that_is_not_asked_about_is_no_finding(site: SiteConfig) -> None:
    """It is drawn, and its row says that the study has nothing to do with it."""
    table = site.data / "clinical.csv"
    table.write_text(table.read_text().replace("P1,3,1\n", "P1,3,9\n").replace("P3,1,0\n", "P3,1,9\n"))
    study = ct_study(task={"not_asked": ["9"]}, unit="lesion", patch_mm=8.0, image_px=8)
    cohort = load_cohort(site, study)
    assert _told(site, cohort) == []
    assert cohort.group.tolist() == [0, 0, 1, 1]


def test_a_patient_of_whom_nothing_is_left_is_an_error(site: SiteConfig) -> None:
    table = site.data / "clinical.csv"
    table.write_text(
        table.read_text().replace("P3,1,0", "P3,2,0").replace("P2,2,1", "P2,2,5").replace("P2,01,1", "P2,1,6")
    )
    cohort = load_cohort(site, lesion_study())
    assert [(code, patient) for code, patient, _ in _told(site, cohort)] == [
        ("E_LABEL_UNKNOWN", "P2"),
        ("E_LABEL_UNKNOWN", "P2"),
        ("E_LESION_NOT_DRAWN", "P3"),
        ("W_LESION_NO_ROW", "P3"),
    ]
    assert cohort.group.tolist() == [0, 0, 0]


def test_a_table_without_the_column_is_refused(site: SiteConfig) -> None:
    write_table(site.data, ["P1,0", "P2,1", "P3,0"])
    with pytest.raises(DataError, match="column 'lesion' is missing"):
        load_cohort(site, lesion_study())


def test_floors_count_patients_and_not_lesions(site: SiteConfig) -> None:
    cohort = load_cohort(site, lesion_study(internal_validation=0.0, calibration=0.0))
    own = site.model_copy(update={"min_patients": 3})
    study = lesion_study().changed(privacy={"min_patients": 3})
    require_trainable(cohort, study, own)
    with pytest.raises(PrivacyError, match=r"3 usable patients \(0 excluded\), at least 4 wanted"):
        require_enough_patients(cohort, study, site.model_copy(update={"min_patients": 4}))


def test_pooled_hospitals_keep_patients_apart(site: SiteConfig) -> None:
    cohort = load_cohort(site, lesion_study())
    pooled = pool_cohorts([cohort, cohort])
    assert len(np.unique(pooled.group)) == 6
    np.testing.assert_array_equal(np.bincount(pooled.group)[np.unique(pooled.group)], [3, 2, 1, 3, 2, 1])


def test_the_check_takes_several_lesions_for_no_fault(site: SiteConfig) -> None:
    """With the study's eyes, and without them where the table has the column."""
    for options in (CheckOptions(), CheckOptions(study=lesion_study())):
        report = check_folder(site.data, options=options)
        assert {one.code for one in report.findings} <= {"W_CLASS_COUNT_SMALL", "W_MAPPING_UNUSED", "W_ROI_VOLUME"}
        assert report.rows == 3
        assert [step.count for step in flow_of_report(report)] == [3, 3, 3]


def test_the_check_page_shows_each_lesion_by_its_number(site: SiteConfig) -> None:
    report = check_folder(site.data)
    by_case = {files.case: look_at(replace(files, shown=True)) for files in report.cases}
    names = site_pseudonyms(site.work)
    found = by_case[names.patient("P1")]
    assert [tile.title.split(",")[0] for tile in found.tiles] == [
        "CT portal venous 4/10",
        "lesion 1",
        "lesion 2",
        "lesion 3",
    ]
    assert [note.split(":")[0] for note in found.notes] == ["lesion 1", "lesion 2", "lesion 3"]
    assert found.notes[0] == "lesion 1: 5 mm, 0.1 ml", "√(5² + 1²) mm from corner to corner; 23 voxels of 5 mm³"
    assert by_case[names.patient("P3")].notes[0].startswith("lesion 5 mm")


def test_the_check_leaves_no_patient_out_for_one_lesion(site: SiteConfig) -> None:
    with (site.data / "clinical.csv").open("a") as file:
        file.write("P1,4,1\n")
    report = check_folder(site.data, options=CheckOptions(study=lesion_study()))
    assert "W_LESION_LEFT_OUT" in {one.code for one in report.findings}
    assert report.excluded == frozenset()
    assert report.exit_code == 0


def test_ids_and_numbers_are_sorted_as_such(tmp_path: Path, names: Pseudonyms) -> None:
    """ "P 1#2" sorts before "P#1" and "P#10" before "P#2" as text; a patient's lesions must lie together, in order."""
    path = tmp_path / "clinical.csv"
    rows = ["P 1,2,0", "P,10,0", "P,2,1", "P!,1,0", "P,1,0", "P 1,1,1"]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    found = clinical_from(read_table(path), lesion_study(), names, path)
    assert list(zip(found.ids, found.lesions.tolist(), strict=True)) == [
        ("P", 1),
        ("P", 2),
        ("P", 10),
        ("P 1", 1),
        ("P 1", 2),
        ("P!", 1),
    ]
    assert found.label.tolist() == [0, 1, 0, 1, 0, 0]
