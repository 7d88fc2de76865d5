"""Bad input through `python -m simulation` itself: one line that names it, the exit status of `errors.py`, or a run
that goes on without what cannot be used and says so."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from fl_liver.cli import USAGE
from fl_liver.client import respond as responding
from fl_liver.client.site import SiteConfig
from fl_liver.client.train import fit
from fl_liver.errors import NotFiniteError, TrainingError
from fl_liver.messages import Score
from fl_liver.study import Study
from fl_liver.study_files import load_study
from simulation import session
from simulation.hospitals import approve_everywhere

INCOMPLETE, CONFIG, DATA = 75, 78, 2
Simulate = Callable[..., Any]
HospitalsIn = Callable[[Path], Path]


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is drawn in `test_whole_run`; here it would only take time."""
    monkeypatch.setattr(session, "write_report", lambda summary, folder, *_: folder / "report.html")


def assert_one_line(run: Any, status: int, kind: str, *parts: str) -> None:
    assert run.status == status, run.err + run.out
    assert run.err.startswith(f"{kind}: "), run.err
    assert run.err.count("\n") == 1, run.err
    for part in parts:
        assert part in run.err


def changed(study_file: Path, folder: Path, **sections: dict[str, object]) -> Path:
    path = folder / "changed.toml"
    path.write_text(load_study(study_file).changed(**sections).to_toml(), encoding="utf-8")
    return path


def test_an_unknown_study_lists_the_known_ones(simulate: Simulate, tmp_path: Path) -> None:
    run = simulate(tmp_path / "run", study=Path("lesion_us_fushion"))
    assert_one_line(run, CONFIG, "ConfigError", "study 'lesion_us_fushion'", "lesion_us_fusion", "clinical")
    assert not (tmp_path / "run").exists(), "a run that cannot begin leaves a folder"


def test_an_unknown_key_gets_a_did_you_mean(simulate: Simulate, tiny_study: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(tiny_study.read_text().replace("batch_size", "batchsize"), encoding="utf-8")
    run = simulate(tmp_path / "run", study=study)
    assert_one_line(run, CONFIG, "ConfigError", "unknown key 'training.batchsize', did you mean 'batch_size'?")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--full"], ["--full and --quick exclude each other"]),
        (["--hospitals", "4", "--external", "2"], ["2 would train, wanted at least 3"]),
        (["--rounds", "0"], ["--rounds 0"]),
        (["--seed", "-1"], ["seed", "found -1"]),
        (["--workers", "0"], ["--workers 0"]),
        (["--device", "gpu"], ["gpu"]),
        (["--data", "none"], ["none", "no such folder"]),
        (["--partition", "dirichlet:-1", "--data", "."], []),
        (["--reader", "mct", "--data", "."], ["reader 'mct'"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
def test_wrong_options_are_one_line(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], parts: list[str]
) -> None:
    monkeypatch.setattr("simulation.run.approve_everywhere", lambda *_: pytest.fail("the run began"))
    run = simulate(tmp_path / "run", *arguments)
    assert run.status in {CONFIG, DATA}, run.err
    assert run.err.count("\n") == 1
    assert all(part in run.err for part in parts), run.err


def test_an_engine_that_is_not_there_is_usage(simulate: Simulate, tmp_path: Path) -> None:
    assert simulate(tmp_path / "run", "--engine", "threads").status == USAGE


def test_a_study_without_a_phantom_says_how_to_give_data(simulate: Simulate, tmp_path: Path) -> None:
    run = simulate(tmp_path / "run", study=Path("clinical"))
    assert_one_line(run, CONFIG, "ConfigError", "there is no phantom for model 'clinical'", "--data DIR")


def test_nothing_can_be_resumed_where_nothing_was_begun(simulate: Simulate, tmp_path: Path) -> None:
    run = simulate(tmp_path / "run", "--resume", str(tmp_path))
    assert_one_line(run, CONFIG, "ConfigError", "run.json: no run to resume")


def test_a_folder_that_holds_a_run_is_not_run_over(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    run = simulate(tmp_path / "run")
    assert_one_line(run, CONFIG, "ConfigError", "holds a run already", "--resume")


def test_a_folder_that_is_not_ours_is_not_written_over(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / "run" / "hospitals" / "H02").mkdir(parents=True)
    (tmp_path / "run" / "hospitals" / "H02" / "mine.txt").touch()
    run = simulate(tmp_path / "run")
    assert_one_line(run, CONFIG, "ConfigError", "H02", "phantom.json")
    assert (tmp_path / "run" / "hospitals" / "H02" / "mine.txt").exists()


def rewrite(path: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(change(rows))


def spoil_three_patients(hospital: Path) -> None:
    """A file that was cut, a diagnosis that the study does not know, a patient without images."""
    patients = sorted((hospital / "dicom").iterdir())
    file = sorted(patients[0].glob("*.dcm"))[0]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for other in sorted(patients[0].glob("*.dcm"))[1:]:
        other.unlink()
    wrong = patients[1].name
    rewrite(
        hospital / "clinical.csv",
        lambda rows: [row | {"malignant": "7"} if row["patient_id"] == wrong else row for row in rows],
    )
    shutil.rmtree(patients[2])


@pytest.mark.slow
def test_patients_that_cannot_be_used_are_counted_and_the_run_goes_on(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path
) -> None:
    hospitals = hospitals_in(tmp_path / "run")
    before = len(list((hospitals / "H01" / "dicom").iterdir()))
    spoil_three_patients(hospitals / "H01")
    run = simulate(tmp_path / "run")
    assert run.status == 0, run.err
    assert run.summary["incomplete"] is None
    line = next(one for one in run.summary["sites"] if one["name"] == "H01")
    assert (line["patients"], line["excluded"], line["out"]) == (before - 3, 3, None)
    assert run.summary["rounds"][0]["sites_answered"] == 4


def one_class(hospital: Path) -> None:
    rewrite(hospital / "clinical.csv", lambda rows: [row | {"malignant": "1"} for row in rows])


def empty_folder(hospital: Path) -> None:
    (hospital / "nothing").mkdir()
    site = hospital / "site.toml"
    site.write_text(site.read_text().replace('data = "."', 'data = "nothing"'))


def no_dicom(hospital: Path) -> None:
    for path in hospital.glob("dicom/*/*.dcm"):
        path.write_text("not an image")
        path.rename(path.with_suffix(".txt"))


def few_patients(hospital: Path) -> None:
    rewrite(hospital / "clinical.csv", lambda rows: rows[:9])


def external_by_its_own_word(hospital: Path) -> None:
    site = hospital / "site.toml"
    site.write_text(site.read_text().replace('role = "train"', 'role = "external"'))


@pytest.mark.parametrize(
    ("spoil", "code", "log"),
    [
        (one_class, "ONE_CLASS", "one class in the training part"),
        (empty_folder, "DATA", "is empty"),
        (no_dicom, "DATA", "none of them DICOM"),
        pytest.param(few_patients, "BELOW_FLOOR", "usable patients", marks=pytest.mark.slow),
        pytest.param(external_by_its_own_word, "ROLE", "the study wants it to train", marks=pytest.mark.slow),
    ],
)
def test_a_hospital_that_cannot_take_part_sits_out_with_a_reason_and_the_run_says_incomplete(
    simulate: Simulate,
    hospitals_in: HospitalsIn,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    code: str,
    log: str,
) -> None:
    hospitals = hospitals_in(tmp_path / "run")
    spoil(hospitals / "H02")
    run = simulate(tmp_path / "run")
    assert run.status == INCOMPLETE, run.err
    assert f"H02 sits out: refused, {code}" in run.out
    assert f"INCOMPLETE: 4 of 5 hospitals took part; out: H02 (refused, {code})" in run.out
    assert run.summary["incomplete"].startswith("4 of 5 hospitals took part")
    line = next(one for one in run.summary["sites"] if one["name"] == "H02")
    assert (line["out"], line["patients"]) == (f"refused, {code}", None)
    assert run.summary["rounds"][0]["sites_expected"] == 3
    assert run.summary["models"]["federated"]["internal"]["n"] > 0
    assert log in (hospitals / "H02" / "work" / "site.log").read_text()


def test_too_few_hospitals_end_in_one_line_with_every_reason(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path
) -> None:
    hospitals = hospitals_in(tmp_path / "run")
    one_class(hospitals / "H02")
    no_dicom(hospitals / "H04")
    run = simulate(tmp_path / "run")
    assert_one_line(
        run,
        INCOMPLETE,
        "IncompleteError",
        "2 of 4 training hospitals",
        "H02 (refused, ONE_CLASS)",
        "H04 (refused, DATA)",
    )


@pytest.mark.slow
def test_a_hospital_that_did_not_approve_this_study_sits_out(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another hash is another study, whatever its name."""
    hospitals_in(tmp_path / "run")

    def without_one(study: Study, folders: dict[str, Path]) -> None:
        approve_everywhere(study, {name: folder for name, folder in folders.items() if name != "H03"})
        approve_everywhere(study.with_top(seed=study.seed + 1), {"H03": folders["H03"]})

    monkeypatch.setattr("simulation.run.approve_everywhere", without_one)
    run = simulate(tmp_path / "run")
    assert run.status == INCOMPLETE
    assert "H03 (refused, NOT_APPROVED)" in run.summary["incomplete"]


def test_first_weights_of_another_hash_are_refused(
    simulate: Simulate, hospitals_in: HospitalsIn, tiny_study: Path, tmp_path: Path
) -> None:
    hospitals_in(tmp_path / "run")
    wrong = tmp_path / "wrong.toml"
    initial = {"sha256": "0" * 64, "layout": "0" * 64}
    wrong.write_text(load_study(tiny_study).with_top(initial=initial).to_toml(), encoding="utf-8")
    assert_one_line(
        simulate(tmp_path / "run", study=wrong), CONFIG, "ConfigError", "[initial] says 000000000000", "check again"
    )


def test_a_learning_rate_that_explodes_ends_in_one_line_and_no_model(
    simulate: Simulate, hospitals_in: HospitalsIn, tiny_study: Path, tmp_path: Path
) -> None:
    """Every loss becomes NaN: nobody sends what came of it, and nothing is called a model."""
    hospitals = hospitals_in(tmp_path / "run")
    study = changed(tiny_study, tmp_path, training={"learning_rate": 1e30, "batch_size": 4})
    run = simulate(tmp_path / "run", study=study)
    assert_one_line(run, INCOMPLETE, "IncompleteError", "round 1: no hospital's training was finite", "learning_rate")
    assert "lower the learning rate" in (hospitals / "H01" / "work" / "site.log").read_text()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert not list((tmp_path / "run").glob("checkpoints/**/*.safetensors"))


@pytest.mark.slow
def test_one_hospitals_nan_loss_is_told_without_its_name(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that knew whose training failed could have made the model for that."""
    hospitals = hospitals_in(tmp_path / "run")

    def broken_in_round_one(*arguments: Any, **keys: Any) -> Any:
        if (keys["seed_key"], keys["round_number"]) == ("H02", 1):
            raise NotFiniteError("site H02, round 1, batch 1 of 2: the loss is nan")
        return fit(*arguments, **keys)

    monkeypatch.setattr(responding, "fit", broken_in_round_one)
    run = simulate(tmp_path / "run", "--rounds", "2")
    assert run.status == 0, run.err
    assert "warning: round 1: mean loss " in run.out
    assert "round 2: mean loss" not in run.out
    assert "H02" not in "".join(line for line in run.out.splitlines() if "mean loss" in line)
    assert "the loss is nan" in (hospitals / "H02" / "work" / "site.log").read_text()


@pytest.mark.slow
def test_one_hospital_that_cannot_train_is_missed_in_that_round_only(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospitals_in(tmp_path / "run")

    def broken_in_round_one(*arguments: Any, **keys: Any) -> Any:
        if (keys["seed_key"], keys["round_number"]) == ("H02", 1):
            raise TrainingError("site H02, round 1: 1 images to train on, wanted 2 or more")
        return fit(*arguments, **keys)

    monkeypatch.setattr(responding, "fit", broken_in_round_one)
    run = simulate(tmp_path / "run", "--rounds", "2")
    assert run.status == INCOMPLETE
    assert [one["missing"] for one in run.summary["rounds"]] == [["H02"], []]
    assert "warning: round 1: H02: refused, TRAINING" in run.out
    assert "H02" in run.summary["incomplete"]


@pytest.mark.slow
def test_a_curve_that_cannot_be_drawn_does_not_end_the_run(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The AUC of each round is for the picture; one hospital that is busy then must not cost the training."""
    hospitals_in(tmp_path / "run")
    usual = responding._score

    def busy(site: SiteConfig, question: Score, device: str) -> RecordDict:
        if (site.site, question.name) == ("H02", "curve"):
            raise TrainingError("site H02: no memory for a moment")
        return usual(site, question, device)

    monkeypatch.setattr(responding, "_score", busy)
    run = simulate(tmp_path / "run")
    assert run.status == 0, run.err
    assert [one["internal_auc"] for one in run.summary["rounds"]] == [None]
    assert run.summary["models"]["federated"]["internal"]["n"] > 0


@pytest.mark.slow
def test_a_crash_of_one_hospitals_client_is_a_missed_round_and_its_trace_stays_there(
    simulate: Simulate, hospitals_in: HospitalsIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospitals = hospitals_in(tmp_path / "run")

    def crash(*arguments: Any, **keys: Any) -> Any:
        if keys["seed_key"] == "H04":
            raise MemoryError("at patient Ziegenpeter")
        return fit(*arguments, **keys)

    monkeypatch.setattr(responding, "fit", crash)
    run = simulate(tmp_path / "run")
    assert run.status == INCOMPLETE
    assert "warning: round 1: H04: transport error 13" in run.out
    assert "Ziegenpeter" in (hospitals / "H04" / "work" / "site.log").read_text()
    assert "Ziegenpeter" not in run.out + run.err + json.dumps(run.summary)
    assert "Ziegenpeter" not in (tmp_path / "run" / "journal.jsonl").read_text()
