"""A whole small study, masked and in the clear: the same numbers, and what the coordinator can see of a hospital.

Canaries: what each hospital encoded before it was masked, and its patients' names. They are searched for in every byte
that left a hospital, and in everything that the coordinator wrote down. In the clear the search finds them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client import egress
from fl_liver.first_weights import check_study
from fl_liver.messages import Sum, Totals, Update
from fl_liver.parameters import load_vector
from fl_liver.securesum.encoding import UpdateCode, encode_integers
from fl_liver.server.run import run_study
from fl_liver.study import Study
from tests.securesum.wards import PATIENT, Ward

TRAIN = ("H01", "H02", "H03", "H04")
DIFFERENT = {"seconds", "study_sha256", "secure_sum", "batches", "rounds"}


@dataclass
class Run:
    """One study from the first weights to the summary."""

    ward: Ward
    summary: dict[str, Any]
    updates: list[bytes] = field(default_factory=list)
    """Encoded, not yet masked, with weight and loss, without the check words."""
    answers: list[tuple[bool, bytes]] = field(default_factory=list)
    """Whether the sum is masked, and the hospital's own integers as they are added."""

    @property
    def model(self) -> bytes:
        return load_vector(self.folder / "model.safetensors")[0].tobytes()

    @property
    def folder(self) -> Path:
        return self.ward.root / "run"

    def left(self) -> bytes:
        return b"\n".join(content for _, content in self.ward.left)

    def written(self) -> bytes:
        """All files of the coordinator: its run and its copy of the study."""
        files = [*self.folder.rglob("*"), *(self.ward.root / "study").rglob("*")]
        return b"\n".join(path.read_bytes() for path in files if path.is_file())


def run_whole(root: Path, study: Study, grid: Any, **keys: Any) -> Run:
    checked = check_study(study, root / "study")
    ward = Ward.of(root, checked, grid, patients=80, **keys)
    (root / "study" / "roster.toml").write_bytes((root / "roster.toml").read_bytes())
    run = Run(ward, {})
    with pytest.MonkeyPatch.context() as patch:
        encode, integers = UpdateCode.encode, encode_integers

        def encode_noted(code: UpdateCode, *arguments: Any) -> Any:
            coded, factor = encode(code, *arguments)
            run.updates.append(coded[: code.length].tobytes())
            return coded, factor

        def integers_noted(vector: Any, bits: Any) -> Any:
            coded = integers(vector, bits)
            asked = ward.heard[-1][1]
            assert isinstance(asked, Sum)
            run.answers.append((asked.purpose == "masked", coded[: len(vector)].tobytes()))
            return coded

        patch.setattr(UpdateCode, "encode", encode_noted)
        patch.setattr(egress, "encode_integers", integers_noted)
        run.summary = run_study(ward.exchange(), root / "study" / "study.toml", root / "run", ward.journal())
    return run


SECTIONS: dict[str, dict[str, Any]] = {
    "usual": {},
    "cross-fitted and fused": {"analysis": {"fusion": ["age", "hepatitis"]}, "cohort": {"folds": 2}},
}


@pytest.fixture(scope="module", params=["usual", pytest.param("cross-fitted and fused", marks=pytest.mark.slow)])
def runs(request: pytest.FixtureRequest) -> tuple[str, dict[str, Run]]:
    """One masked and one plain run of the same study on the same patients, once they were asked for."""
    return request.param, {}


MakeRun = Callable[[str], Run]


@pytest.fixture
def run_once(runs: tuple[str, dict[str, Run]], tmp_path_factory: Any, table_study: Study, local_grid: Any) -> MakeRun:
    def make(secure_sum: str) -> Run:
        kind, done = runs
        if secure_sum not in done:
            study = table_study.changed(**SECTIONS[kind]).changed(privacy={"secure_sum": secure_sum})
            root = tmp_path_factory.mktemp(secure_sum)
            done[secure_sum] = run_whole(root, study, local_grid, min_cell=3, plain_sums=secure_sum == "plain")
        return done[secure_sum]

    return make


@pytest.fixture
def masked(run_once: MakeRun) -> Run:
    return run_once("masked")


@pytest.fixture
def plain(run_once: MakeRun) -> Run:
    return run_once("plain")


def test_masked_and_plain_runs_agree_exactly(masked: Run, plain: Run) -> None:
    assert masked.model == plain.model
    assert masked.summary.keys() == plain.summary.keys()
    for key in masked.summary.keys() - DIFFERENT:
        assert masked.summary[key] == plain.summary[key], key
    for one, other in zip(masked.summary["rounds"], plain.summary["rounds"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert masked.summary["models"]["federated"]["internal"]["auc"] is not None
    assert (masked.summary["secure_sum"], plain.summary["secure_sum"]) == ("masked", "plain")
    for one, other in zip(masked.summary["batches"], plain.summary["batches"], strict=True):
        assert (one["rows"], one["steps"], one["sites"]) == (other["rows"], other["steps"], other["sites"])
        assert (one["method"], other["method"]) == ("masked" if one["purpose"] == "masked" else "plain", "plain")


def test_every_batch_and_round_of_a_masked_run_was_masked(masked: Run) -> None:
    assert {batch["method"] for batch in masked.summary["batches"] if batch["purpose"] == "masked"} == {"masked"}
    federations = 1 + masked.ward.study.cohort.folds
    assert len(masked.ward.words(Update)) == len(masked.updates) == federations * 2 * len(TRAIN)
    assert all(answer.announced for _, answer in masked.ward.words(Totals))
    assert len(masked.answers) == len(masked.ward.words(Totals)) > 12


def recognisable(run: Run) -> list[bytes]:
    """A hospital's masked answers that are not a handful of zeros and could stand anywhere."""
    return [content for masked, content in run.answers if masked and len(content.strip(b"\0")) >= 4]


def test_in_the_clear_the_canaries_are_found(plain: Run) -> None:
    """A search that finds nothing must be one that finds something."""
    left = plain.left()
    assert all(update in left for update in plain.updates)
    assert len(recognisable(plain)) > 12
    assert all(answer in left for answer in recognisable(plain))


def test_masked_no_canary_leaves_a_hospital_or_stands_in_the_coordinators_folder(masked: Run) -> None:
    for place in (masked.left(), masked.written()):
        assert not [update for update in masked.updates if update in place]
        assert not [update for update in masked.updates if update[:20] in place], "nor its parameters alone"
        assert not [answer for answer in recognisable(masked) if answer in place]


def test_the_coordinator_writes_no_single_hospitals_part_down_even_in_the_clear(plain: Run) -> None:
    written = plain.written()
    assert not [update for update in plain.updates if update in written]
    assert not [answer for answer in recognisable(plain) if answer in written]


def test_no_patient_is_named_anywhere(masked: Run, plain: Run) -> None:
    for run in (masked, plain):
        for place in (run.left(), run.written()):
            assert PATIENT.split("-", maxsplit=1)[0].encode() not in place
        table = (run.ward.sites["H01"].data / "clinical.csv").read_bytes()
        assert PATIENT.format(site="H01", number=0).encode() in table, "the search would find it"


def test_no_secret_of_a_sum_leaves_a_hospital(masked: Run) -> None:
    """What is still on the disks after the run: the mask keys of the last step of the last batch."""
    place = masked.left() + masked.written()
    held = 0
    for site in masked.ward.sites.values():
        key = site.identity.read_bytes().splitlines()[1]
        assert key not in place
        for path in (site.study_folder(masked.ward.study.sha256) / "sums").glob("*.json"):
            for secret in _secrets_in(path.read_text(encoding="utf-8")):
                held += 1
                assert secret.encode() not in place
                assert bytes.fromhex(secret) not in place
    assert held > 0


def _secrets_in(text: str) -> list[str]:
    states = [state["secrets"] for _, state in json.loads(text)["slots"] if state["secrets"]]
    return [secret[name] for secret in states for name in ("mask_key", "seal_key", "own")]


def test_the_masked_updates_and_answers_are_as_long_as_plain_ones(masked: Run, plain: Run) -> None:
    pairs = zip(masked.ward.words(Update), plain.ward.words(Update), strict=True)
    assert all(one.vector.nbytes == other.vector.nbytes for (_, one), (_, other) in pairs)
    same = [
        np.array_equal(one.vector, other.vector)
        for (_, one), (_, other) in zip(masked.ward.words(Totals), plain.ward.words(Totals), strict=True)
        if one.announced
    ]
    assert not any(same)
