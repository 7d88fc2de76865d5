"""The MR hospitals of `mri_clinical`: who is there, what a scanner makes of a lesion, and that a site can read it."""

from __future__ import annotations

import functools
import hashlib
import math
import pickle
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.series.sequences import FEW_PLACES
from fl_liver.client.site import load_site
from fl_liver.errors import ConfigError
from fl_liver.study_cohort import SequenceKind
from fl_liver.study_files import load_study
from simulation.phantom.body import lesion_mask
from simulation.phantom.lesion import LESION_KINDS, LesionKind, Zone
from simulation.phantom.mr import DYNAMIC, LESION_MR, MR_SEQUENCES
from simulation.phantom.mr_contrast import scanned_appearance
from simulation.phantom.mr_elements import MrVolume
from simulation.phantom.mr_lesions import MALIGNANT_KINDS, MrLook, draw_look, malignancy_log_odds, signals
from simulation.phantom.mr_people import CLINICAL_COLUMNS, clinical_row
from simulation.phantom.mr_study import ShortStudy
from simulation.phantom.mri_clinical import CLASS_COUNTS, MrHospital, hospitals
from simulation.phantom.patients import Patient
from simulation.phantom.volumes import Case, draw_body
from simulation.phantom.write import write_hospitals

DEFAULT = hospitals(2020, 8, 2)


@functools.cache
def crowd() -> tuple[tuple[Patient, LesionKind, MrLook], ...]:
    """4,000 patients of 100 hospitals, so that no single case mix decides."""
    return tuple(hospital.patient(index) for hospital in hospitals(11, 100, 0) for index in range(40))


@functools.cache
def records() -> dict[LesionKind, list[dict[str, str]]]:
    found: dict[LesionKind, list[dict[str, str]]] = {kind: [] for kind in LESION_KINDS}
    for patient, kind, _ in crowd():
        row = clinical_row(patient, kind, patient.random(99))
        found[kind].append(dict(zip(CLINICAL_COLUMNS, row, strict=True)))
    return found


def share(kind: LesionKind, column: str, cell: str) -> float:
    return float(np.mean([row[column] == cell for row in records()[kind]]))


def measured(kind: LesionKind, column: str) -> list[float]:
    return [float(row[column]) for row in records()[kind] if row[column]]


def test_classes_come_as_the_square_roots_of_the_papers_numbers() -> None:
    """Table 1's intervals: 47 HCC, 37 metastases, 15 others, 9 FNH, 9 nodules of 201; three standard errors of a
    hospital's own mix."""
    wanted = {kind: math.sqrt(count) for kind, count in CLASS_COUNTS.items()}
    assert sum(CLASS_COUNTS.values()) == 201
    found = Counter(kind for _, kind, _ in crowd())
    for kind, root in wanted.items():
        assert found[kind] / len(crowd()) == pytest.approx(root / sum(wanted.values()), abs=0.03)


def test_history_points_at_the_primary() -> None:
    assert share("hcc", "cirrhosis_history", "Y") == pytest.approx(0.88, abs=0.04)
    assert share("metastasis", "other_cancer", "Y") == pytest.approx(0.88, abs=0.04)
    assert max(share(kind, "other_cancer", "Y") for kind in LESION_KINDS if kind != "metastasis") < 0.1


def test_each_marker_is_raised_in_its_own_tumour() -> None:
    """AFP in HCC, CEA in metastases, CA19-9 in the cholangiocarcinomas among the others."""
    for column, limit, kind in (
        ("afp_ng_ml", 20, "hcc"),
        ("cea_ng_ml", 5, "metastasis"),
        ("ca19_9_u_ml", 37, "other_malignant"),
    ):
        raised = {one: np.mean(np.array(measured(one, column)) > limit) for one in MALIGNANT_KINDS}
        assert max(raised, key=lambda one: raised[one]) == kind
        assert raised[kind] > 1.7 * sorted(raised.values())[1]


def test_the_laboratory_is_known_of_malignant_tumours_and_psa_of_men() -> None:
    """The paper collected it for malignant tumours only."""
    for kind in LESION_KINDS:
        known = np.mean([bool(row["cea_ng_ml"]) for row in records()[kind]])
        assert known == pytest.approx(0.97 if kind in MALIGNANT_KINDS else 0.30, abs=0.06)
        assert not any(row["psa_ng_ml"] for row in records()[kind] if row["sex"] == "F")
    assert 0.3 < np.mean([bool(row["psa_ng_ml"]) for row in records()["hcc"] if row["sex"] == "M"]) < 0.7


def test_every_cell_lies_within_the_studys_schema() -> None:
    """So that no value counts as missing because it looks like a wrong unit."""
    columns = load_study("mri_clinical").column
    rows = [row for some in records().values() for row in some]
    for column in columns:
        cells = [row[column.name] for row in rows if row[column.name]]
        assert cells
        if column.codes:
            assert set(cells) <= set(column.codes)
        else:
            values = [float(cell) for cell in cells]
            assert column.at_least is None or min(values) >= column.at_least, column.name
            assert column.at_most is None or max(values) <= column.at_most, column.name


@functools.cache
def evidence() -> tuple[list[float], list[bool]]:
    some = crowd()[::3]
    return [malignancy_log_odds(look, patient) for patient, _, look in some], [
        kind in MALIGNANT_KINDS for _, kind, _ in some
    ]


def test_an_ideal_observer_is_better_than_the_paper_and_not_perfect() -> None:
    """The paper's network: 0.951; a network sees the signals through noise and needs room."""
    odds, malignant = evidence()
    assert 0.975 < roc_auc_score(malignant, odds) < 0.999


def test_the_evidence_is_calibrated() -> None:
    """Bayes' rule: of lesions with odds of 1 to e, between a half and three quarters are malignant, at even priors."""
    odds, malignant = np.array(evidence()[0]), np.array(evidence()[1])
    prior = math.log(malignant.mean() / (1 - malignant.mean()))
    near = np.abs(odds + prior) < 1
    assert malignant[near].mean() == pytest.approx(0.5, abs=0.17)


def quiet(index: int = 0) -> ShortStudy:
    """A study without noise, shading, breath or grain, through a scanner that bends nothing."""
    patient, kind, look = next(
        one for one in (DEFAULT[0].patient(k) for k in range(index, 99)) if one[0].lesion.size_mm > 30
    )
    scanner = replace(
        DEFAULT[0].scanner, noise=0.0, shading=0.0, breathing_mm=0.0, t1_power=1.0, t2_power=1.0, late=0.0
    )
    look = replace(look, texture=0.0, zones=0.0)
    return ShortStudy(Case(patient, "H01", draw_body(patient, kind)), scanner, look)


@pytest.mark.parametrize("kind", MR_SEQUENCES)
def test_the_lesions_signal_in_the_image_is_the_one_that_was_drawn(kind: SequenceKind) -> None:
    """The median voxel of the lesion, of which the margin is a minority; T1 is drawn relative to the phase's liver."""
    study = quiet()
    grid, b_value = study.grid(kind), 800.0 if kind == "dwi" else None
    image = study.signal(MrVolume(kind=kind, started_s=0.0, b_value=b_value), grid)
    inside = np.median(image[lesion_mask(study.body_during(kind), grid) > 0])
    t2, diffusion, *dynamic = np.exp(study.look.log_signal)
    if kind in DYNAMIC:
        wanted = dynamic[DYNAMIC.index(kind)] * (1.0, 1.25, 1.90, 1.70)[DYNAMIC.index(kind)]
    else:
        bulk = LESION_MR[study.look.kind][0]
        wanted = t2 if kind == "t2" else t2 * bulk[1] / bulk[0] * math.exp(-0.8 * diffusion)
    assert inside == pytest.approx(wanted, rel=0.03)


def test_a_scanners_exponent_parts_tissues_further() -> None:
    """(lesion / liver before contrast) ** power: the liver before contrast is 1."""
    study = quiet()
    plain, bent = (
        scanned_appearance(study.look, replace(study.scanner, t2_power=power), "t2", 0.0).lesions[0][Zone.BULK]
        for power in (1.0, 1.5)
    )
    assert bent == pytest.approx(plain**1.5)


def test_breath_moves_what_is_imaged_and_not_the_grid() -> None:
    still = quiet()
    breathing = replace(still, scanner=replace(still.scanner, breathing_mm=4.0))
    volume = MrVolume(kind="portal", started_s=0.0)
    assert still.grid("portal") == breathing.grid("portal")
    apart = still.signal(volume, still.grid("portal")) - breathing.signal(volume, still.grid("portal"))
    assert np.abs(apart).max() > 0.2


def test_diffusion_falls_as_the_drawn_coefficient_says() -> None:
    """S(b) / S(0) = exp(−b·D)."""
    look = quiet().look
    fall = signals(look, "dwi", 800.0)[Zone.BULK] / signals(look, "dwi", 0.0)[Zone.BULK]
    assert fall == pytest.approx(math.exp(-0.8 * math.exp(look.log_signal[1])), rel=1e-6)


def test_a_late_arterial_phase_is_a_mixture_with_the_portal_one() -> None:
    study = quiet()
    asked: tuple[tuple[float, SequenceKind], ...] = ((0.0, "arterial"), (0.25, "arterial"), (0.0, "portal"))
    early, late, portal = (
        scanned_appearance(study.look, replace(study.scanner, late=share), kind, 0.0).lesions[0][Zone.BULK]
        for share, kind in asked
    )
    assert late == pytest.approx(0.75 * early + 0.25 * portal)


def test_lesions_of_a_class_differ() -> None:
    patient = crowd()[0][0]
    drawn = np.array([draw_look(np.random.default_rng(k), "hcc", patient).log_signal for k in range(400)])
    assert (drawn.std(axis=0) > 0.1).all()


def test_breath_holds_differ_by_millimetres_and_t1_phases_share_theirs() -> None:
    study = replace(quiet(), scanner=DEFAULT[0].scanner)
    height = {kind: study.body_during(kind).lesions[0].centre_mm[2] for kind in MR_SEQUENCES}
    assert len({height[kind] for kind in DYNAMIC}) == 1
    assert len(set(height.values())) == 3
    assert 0 < np.ptp(list(height.values())) < 12


def test_a_dynamic_series_of_a_small_lesion_is_no_bolus_tracking() -> None:
    """Readers take series of fewer slices for that."""
    study = quiet()
    flat = replace(study.case.body.lesions[0], radii_mm=(5.5, 5.0, 3.0), lobes=())
    small = replace(study, case=replace(study.case, body=replace(study.case.body, lesions=(flat,))))
    assert all(small.grid(kind).shape[0] >= FEW_PLACES for kind in MR_SEQUENCES)
    assert study.grid("t2").shape[0] > small.grid("t2").shape[0]


def test_the_studys_clinical_vector_is_the_one_that_the_cohort_is_tested_with() -> None:
    path = Path(__file__).parents[1] / "client" / "cohort" / "zhen2020_clinical.toml"
    wanted, study = tomllib.loads(path.read_text(encoding="utf-8")), load_study("mri_clinical:G")
    assert [one.model_dump(exclude_defaults=True) for one in study.factor] == wanted["factor"]
    assert [one.name for one in study.column] == [one["name"] for one in wanted["column"]]
    assert study.model.clinical


def test_external_scanners_lie_outside_every_training_range() -> None:
    *train, soft, hard = (hospital.scanner for hospital in hospitals(5, 60, 2))
    for name, beyond in (("t2_power", min), ("t1_power", min), ("b_value", min), ("noise", max), ("softening", max)):
        worst = beyond(getattr(one, name) for one in train)
        assert beyond(getattr(soft, name), worst) == getattr(soft, name) != worst
    for name in ("t2_power", "t1_power", "b_value", "shading", "late"):
        assert getattr(hard, name) > max(getattr(one, name) for one in train)
    assert soft.confounding == hard.confounding == 0


def test_which_magnet_malignant_patients_go_to_turns_round_from_hospital_to_hospital() -> None:
    signs = []
    for hospital in DEFAULT:
        people = [hospital.patient(index)[:2] for index in range(150)]
        older = np.array([hospital.magnet(*one) is not hospital.scanner for one in people])
        malignant = np.array([kind in MALIGNANT_KINDS for _, kind in people])
        apart = older[malignant].mean() - older[~malignant].mean()
        assert apart == pytest.approx(hospital.scanner.confounding, abs=0.2)
        signs.append(np.sign(hospital.scanner.confounding))
    assert {1, -1} <= set(signs[:8])
    assert signs[8:] == [0, 0]


def test_a_hospital_does_not_depend_on_those_after_it_and_small_ones_keep_twelve_patients() -> None:
    assert hospitals(3, 8, 0) == hospitals(3, 30, 0)[:8]
    assert {one.patients for one in hospitals(3, 8, 2, scale=0.01)} == {12}
    assert sum(one.patients for one in DEFAULT) == 420


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1, 8, 2, 1.0), "seed is -1"), ((0, 0, 2, 1.0), "0 training and 2 external"), ((0, 8, 2, 0.0), "scale is 0.0")],
)
def test_impossible_numbers_are_refused(arguments: tuple[int, int, int, float], message: str) -> None:
    seed, train, external, scale = arguments
    with pytest.raises(ConfigError, match=message):
        hospitals(seed, train, external, scale=scale)


def bytes_of(hospital: MrHospital, index: int, folder: Path) -> str:
    hospital.write_patient(index, folder)
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def test_a_patient_is_the_same_bytes_again_in_another_process(tmp_path: Path) -> None:
    """A worker gets a pickled hospital."""
    again: MrHospital = pickle.loads(pickle.dumps(DEFAULT[0]))  # noqa: S301 - our own bytes
    first = bytes_of(DEFAULT[0], 1, tmp_path / "a")
    assert bytes_of(again, 1, tmp_path / "b") == first
    assert bytes_of(DEFAULT[0], 2, tmp_path / "c") != first


def test_a_site_reads_every_patient_of_every_make_plain_and_enhanced(tmp_path: Path) -> None:
    study = load_study("mri_clinical:A")
    rooms = {(one.scanner.maker, one.scanner.enhanced): one for one in hospitals(4, 40, 0)}
    assert len(rooms) == 8
    some = [replace(room, name=name, patients=1) for name, room in zip(study.sites.train, rooms.values(), strict=True)]
    write_hospitals(some, tmp_path)
    for hospital in some:
        cohort = load_cohort(load_site(tmp_path / hospital.name / "site.toml"), study)
        assert [one for one in cohort.findings if one.severity == "E"] == []
        assert len(cohort.patients) == 1
        assert cohort.images["lesion"].shape[1:] == (6, study.model.image_px, study.model.image_px)
        assert cohort.label[0] == LESION_KINDS.index(hospital.patient(0)[1])
