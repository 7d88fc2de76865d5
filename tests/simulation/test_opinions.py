"""What is said of a phantom's patients beside the five readers' calls: by CT or MRI, and which class a reader names."""

from __future__ import annotations

import csv
import functools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulation.phantom import ct_mri_reports, reader_classes
from simulation.phantom.hospitals import Hospital, phantom_hospitals
from simulation.phantom.lesion import LESION_KINDS
from simulation.phantom.mr_lesions import MALIGNANT_KINDS, class_log_density, malignancy_log_odds
from simulation.phantom.mri_clinical import MrHospital, hospitals
from simulation.phantom.readers import READER_COLUMNS, READERS, calls_of, draw_readings
from simulation.phantom.virtual import Unit
from simulation.phantom.write import write_hospitals
from tests.simulation.phantom_reading import fingerprint

MALIGNANT = "hcc"  # a subtype of ultrasound, too


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("kind", "hospital"),
    [(Hospital, phantom_hospitals(7, 2, 0, scale=0.01)[0]), (MrHospital, hospitals(7, 2, 0, scale=0.01)[0])],
    ids=["CT/MRI", "classes"],
)
def test_an_opinion_adds_its_columns_and_changes_nothing_else(
    kind: type[Any], hospital: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images, clinical table, marker, and what the readers say, to the byte; the opinion is the same again."""
    (opinion,) = hospital.opinions
    for folder in ("with", "again"):
        write_hospitals([hospital], tmp_path / folder)
    monkeypatch.setattr(kind, "opinions", ())
    write_hospitals([hospital], tmp_path / "without")
    found, again, without = (fingerprint(tmp_path / folder) for folder in ("with", "again", "without"))
    assert found == again
    assert {path for path in found if found[path] != without.get(path)} == {f"{hospital.name}/readers.csv"}
    assert set(found) == set(without)
    more, fewer = (rows_of(tmp_path / folder / hospital.name / "readers.csv") for folder in ("with", "without"))
    assert tuple(more[0]) == ("patient_id", *READER_COLUMNS, *opinion.columns)
    assert [{name: row[name] for name in fewer[0]} for row in more] == fewer
    shutil.rmtree(tmp_path)


# --- CT or MRI beside ultrasound -------------------------------------------------------------------------------------


def reports(evidence: float, truth: str, n: int = 4000) -> list[str]:
    random = np.random.default_rng([abs(int(evidence)), len(truth)])
    return [ct_mri_reports.CT_MRI.draw(Unit(evidence, truth), [0] * 5, random)[0] for _ in range(n)]


def test_ct_and_mri_are_right_as_often_as_the_paper_says() -> None:
    """CT 84.7 %, MRI 87.9 % (Yang 2020, 3.6); one column holds whichever was made."""
    random, right = np.random.default_rng(1), []
    for patient in (hospital.patient(i) for hospital in phantom_hospitals(3, 40, 0) for i in range(60)):
        (said,) = ct_mri_reports.CT_MRI.draw(Unit(0.0, patient.subtype), [], random)
        if said:
            right.append(int(said) == patient.malignant)
    assert np.mean(right) == pytest.approx((0.847 + 0.879) / 2, abs=0.02)
    for truth, share in ((MALIGNANT, ct_mri_reports.SENSITIVITY), ("fnh", 1 - ct_mri_reports.SPECIFICITY)):
        assert np.mean([one == "1" for one in reports(0.0, truth) if one]) == pytest.approx(share, abs=0.02)


def test_who_looks_malignant_is_sent_more_often_and_some_never_are() -> None:
    assert np.mean([bool(one) for one in reports(2.0, "fnh")]) == pytest.approx(0.80, abs=0.02)
    assert np.mean([bool(one) for one in reports(-2.0, "fnh")]) == pytest.approx(0.60, abs=0.02)


def test_a_report_is_right_whatever_ultrasound_showed() -> None:
    """CT and MRI see other things: else they could not be compared with a model of ultrasound on the same patients."""
    shares = [np.mean([one == "1" for one in reports(evidence, MALIGNANT) if one]) for evidence in (-6.0, 6.0)]
    assert shares[0] == pytest.approx(shares[1], abs=0.03)


# --- the class that a reader names -----------------------------------------------------------------------------------


@functools.cache
def crowd() -> list[tuple[str, list[int], list[str], list[str]]]:
    """(class, calls, the class that each of five names, and which of the malignant ones) of 1500 patients."""
    random = np.random.default_rng(4)
    found: list[tuple[str, list[int], list[str], list[str]]] = []
    for hospital in hospitals(5, 8, 2):
        for index in range(150):
            patient, kind, look = hospital.patient(index)
            classes: dict[str, float] = {one: class_log_density(look, patient, one) for one in LESION_KINDS}
            unit = Unit(malignancy_log_odds(look, patient), kind, classes)
            calls = calls_of(draw_readings("P", 0, unit.evidence, random))
            cells = list(reader_classes.NAMED_CLASSES.draw(unit, calls, random))
            found.append((kind, calls, cells[:5], cells[5:]))
    return found


def test_a_named_class_agrees_with_the_readers_own_call() -> None:
    """A reader who says malignant names no cyst."""
    for kind, calls, named, of_malignant in crowd():
        assert [one in MALIGNANT_KINDS for one in named] == [bool(call) for call in calls]
        asked = kind in MALIGNANT_KINDS
        assert [bool(one) for one in of_malignant] == [asked] * 5
        if asked:
            assert set(of_malignant) <= set(MALIGNANT_KINDS)
            assert all(two == one for one, two in zip(named, of_malignant, strict=True) if one in MALIGNANT_KINDS)


def test_the_experienced_name_the_right_class_more_often() -> None:
    """Of seven, and of the three malignant ones; the paper's consensus found 56 to 95 % of a class."""
    seven = [np.mean([named[place] == kind for kind, _, named, _ in crowd()]) for place in range(len(READERS))]
    three = [np.mean([said[place] == kind for kind, _, _, said in crowd() if said[0]]) for place in range(len(READERS))]
    for shares in (seven, three):
        assert max(shares[:2]) < shares[2] < shares[3] < shares[4]
    assert min(seven) > 2 / 7
    assert min(three) > 1 / 3
    assert 0.65 < seven[4] < 0.9


def test_neighbours_are_confused_more_often_than_strangers() -> None:
    """HCC with the other malignant ones and not with cysts; other benign nodules, the hardest, with FNH and HCC."""
    by_class: dict[str, Counter[str]] = {kind: Counter() for kind in LESION_KINDS}
    for kind, _, named, _ in crowd():
        by_class[kind].update(named[2:])
    for kind, near, far in (
        ("hcc", ("metastasis", "other_malignant"), ("cyst", "hemangioma")),
        ("metastasis", ("hcc", "other_malignant"), ("cyst", "hemangioma")),
        ("other_malignant", ("hcc", "metastasis"), ("cyst", "hemangioma")),
        ("fnh", ("other_benign",), ("cyst", "metastasis")),
    ):
        assert min(by_class[kind][one] for one in near) > 2 * max(by_class[kind][one] for one in far), kind
    right = {kind: counts[kind] / sum(counts.values()) for kind, counts in by_class.items()}
    assert min(right, key=lambda kind: right[kind]) == "other_benign"


def test_readers_take_the_same_lesion_for_the_same_class() -> None:
    """Some images mislead everybody: two who err agree more often than two errors drawn apart."""
    wrong = [(kind, named[3], named[4]) for kind, _, named, _ in crowd() if kind not in (named[3], named[4])]
    together = np.mean([one == two for _, one, two in wrong])
    shuffled = np.random.default_rng(0).permutation(len(wrong))
    apart = np.mean([wrong[i][1] == wrong[j][2] for i, j in enumerate(shuffled) if wrong[i][0] == wrong[j][0]])
    assert together > 1.3 * apart
