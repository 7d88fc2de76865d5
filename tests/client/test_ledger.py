"""What a hospital answered before decides on what it answers next: equal or clearly other patients, nothing between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.commitment import commit
from fl_liver.client.ledger import Entry, Ledger, cohort_hash
from fl_liver.errors import PrivacyError, ProtocolError
from fl_liver.messages import Purpose

EVERY = tuple(f"H{number:02d}" for number in range(1, 9))
PATIENTS = [f"p{number:03d}" for number in range(30)]
NAMES = st.sets(st.sampled_from(EVERY), min_size=3)


def entry(
    batch: str, sites: tuple[str, ...] = EVERY, patients: list[str] = PATIENTS, purpose: Purpose = "masked"
) -> Entry:
    return Entry(batch, purpose, sites, ("internal",), len(patients), cohort_hash(patients), "plan", "promise")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "study", min_cell=5)
    ledger.begin(entry("b1"), PATIENTS)
    return ledger


def test_entries_come_back_as_they_were_noted(ledger: Ledger) -> None:
    ledger.note_counts("b1", {"q": 120})
    ledger.begin(entry("b2", EVERY[:4]), PATIENTS)
    first, second = ledger.entries()
    assert (first.batch, first.counts, second.sites) == ("b1", {"q": 120}, EVERY[:4])


@settings(max_examples=60)
@given(NAMES, NAMES)
def test_sets_whose_difference_or_overlap_is_one_or_two_hospitals_are_refused_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, before: set[str], now: set[str]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("study"), min_cell=5)
    ledger.begin(entry("b1", tuple(sorted(before))), PATIENTS)
    told_apart = [
        ", ".join(sorted(group)) for group in (before & now, before - now, now - before) if 0 < len(group) < 3
    ]
    if told_apart:
        with pytest.raises(PrivacyError, match=f"would tell apart ({'|'.join(told_apart)}); groups of at least 3"):
            ledger.require_apart("masked", tuple(now), PATIENTS)
    else:
        ledger.require_apart("masked", tuple(now), PATIENTS)


def test_a_hospital_that_only_several_batches_together_give_away_is_counted_too(ledger: Ledger) -> None:
    """All eight, less the first four, less the last three: the fifth."""
    ledger.require_apart("masked", EVERY[:4], PATIENTS)
    ledger.begin(entry("b2", EVERY[:4]), PATIENTS)
    ledger.require_apart("masked", EVERY[:4], PATIENTS)
    with pytest.raises(PrivacyError, match=r"with the 2 batches .* one over these 3 hospitals .* tell apart H05"):
        ledger.require_apart("masked", EVERY[5:], PATIENTS)


@pytest.mark.parametrize("changed", range(7))
def test_a_cohort_that_changed_by_a_few_patients_is_refused(ledger: Ledger, changed: int) -> None:
    """One patient more, and the difference of two sums is that patient."""
    patients = [*PATIENTS[: 30 - changed // 2], *(f"new{number}" for number in range(changed - changed // 2))]
    if 0 < changed < 5:
        with pytest.raises(PrivacyError, match=f"differs by {changed} patients from that of batch b1, fewer than 5"):
            ledger.require_apart("masked", EVERY, patients)
    else:
        ledger.require_apart("masked", EVERY, patients)


@pytest.mark.parametrize(("sites", "shift", "near"), [(8, 0, False), (8, 1, True), (8, 4, True), (8, 5, False)])
def test_pooled_counts_are_equal_or_clearly_other(ledger: Ledger, sites: int, shift: int, near: bool) -> None:
    ledger.note_counts("b1", {"q": 120, "other": 50})
    ledger.begin(entry("b2", EVERY[:sites]), PATIENTS)
    if near:
        with pytest.raises(PrivacyError, match="this batch and batch b1 count patients that differ by fewer than 5"):
            ledger.note_counts("b2", {"q": 120 - shift})
    else:
        ledger.note_counts("b2", {"q": 120 - shift})


def test_two_fewer_hospitals_with_too_few_patients_between_them_are_refused(ledger: Ledger) -> None:
    ledger.note_counts("b1", {"q": 120})
    ledger.begin(entry("b2", EVERY[:6]), PATIENTS)
    with pytest.raises(PrivacyError, match="count patients that differ by fewer than 5 over all hospitals"):
        ledger.note_counts("b2", {"q": 120})


def test_a_named_release_is_not_compared(ledger: Ledger) -> None:
    ledger.require_apart("named", EVERY[:7], PATIENTS)
    ledger.begin(entry("b2", ("H01",), purpose="named"), PATIENTS)
    ledger.require_apart("masked", EVERY, PATIENTS)


def test_leaving_one_centre_out_needs_a_study_of_its_own(ledger: Ledger, tmp_path: Path) -> None:
    """Another study has another folder, and so another ledger: its approval is the exception."""
    with pytest.raises(PrivacyError, match="one over these 7 hospitals would tell apart H08"):
        ledger.require_apart("masked", EVERY[:7], PATIENTS)
    Ledger(tmp_path / "without_H08", min_cell=5).require_apart("masked", EVERY[:7], PATIENTS)


def test_the_name_of_a_batch_is_used_once(ledger: Ledger) -> None:
    ledger.require_new("b2")
    with pytest.raises(ProtocolError, match="batch b1 was answered before and is over"):
        ledger.require_new("b1")


def test_a_line_that_a_crash_cut_short_is_dropped(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "study" / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + b'{"batch": "b2", "si')
    assert [one.batch for one in ledger.entries()] == ["b1"]
    ledger.begin(entry("b3"), PATIENTS)
    assert [one.batch for one in ledger.entries()] == ["b1", "b3"]


def cohort(**changed: object) -> Cohort:
    count = 6
    fields: dict[str, object] = {
        "patients": tuple(PATIENTS[:count]),
        "label": np.arange(count) % 2,
        "part": np.zeros(count, np.int8),
        "fold": np.zeros(count, np.int8),
        "factors": np.zeros((count, 0)),
        "background": np.zeros(count, np.int64),
        "size_mm": np.zeros(count),
        "images": {},
        "owner": np.zeros(0, np.int64),
        "findings": (),
    }
    return Cohort(**{**fields, **changed})  # type: ignore[arg-type]


def test_the_commitment_changes_with_any_patient_label_or_score_and_with_nothing_else(tmp_path: Path) -> None:
    columns = {
        "label": np.arange(6) % 2 * 1.0,
        "score:a": np.linspace(-1, 1, 6),
        "class_name": np.array(list("abcdef"), object),
    }
    promise = commit(tmp_path, cohort(), columns)
    assert commit(tmp_path, cohort(), dict(reversed(columns.items()))) == promise
    turned = {name: column[::-1] for name, column in columns.items()}
    assert commit(tmp_path, cohort(patients=tuple(PATIENTS[5::-1])), turned) == promise, "sorted by patient"
    near = np.linspace(-1, 1, 6)
    near[3] = np.nextafter(near[3], 2)
    others = [
        commit(tmp_path, cohort(), {**columns, "score:a": near}),
        commit(tmp_path, cohort(), {**columns, "label": 1 - columns["label"]}),
        commit(tmp_path, cohort(patients=(*PATIENTS[:5], "p099")), columns),
        commit(tmp_path, cohort(part=np.ones(6, np.int8)), columns),
        commit(tmp_path / "another key", cohort(), columns),
    ]
    assert len({promise, *others}) == 6
