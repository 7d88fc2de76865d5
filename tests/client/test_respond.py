"""What one hospital answers to each question, on a table of forty patients: approval, role, floors, consent, rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict

from fl_liver.client import respond as responding
from fl_liver.client.app import app
from fl_liver.client.respond import read_cohort, respond
from fl_liver.client.site import SiteConfig
from fl_liver.client.train import FitResult
from fl_liver.errors import TrainingError
from fl_liver.messages import (
    Average,
    Combine,
    Done,
    Figures,
    Fit,
    Incoming,
    Look,
    Named,
    Outgoing,
    Prepare,
    Purpose,
    Ready,
    Refusal,
    Score,
    Sum,
    Totals,
    Update,
)
from fl_liver.models.registry import initial_vector, study_layout
from fl_liver.parameters import Vector
from fl_liver.securesum.context import Slot
from fl_liver.stats.conversation import Question, over
from fl_liver.stats.logistic import logistic
from fl_liver.study import Study
from fl_liver.update_code import update_code
from fl_liver.wire import from_record, to_record
from tests.message_examples import EVERY_KIND

MakeSite = Callable[..., SiteConfig]
ANSWERS: tuple[type[Outgoing], ...] = get_args(Outgoing)
QUESTIONS: tuple[type[Incoming], ...] = get_args(Incoming)


@pytest.fixture(scope="module")
def table_study(table_study: Study) -> Study:
    """Sums in the clear: what stands in one hospital's answer can be read. `masked_study` is the usual one."""
    return table_study.changed(privacy={"secure_sum": "plain"}, analysis={"fusion": ["age"]})


@pytest.fixture(scope="module")
def masked_study(table_study: Study) -> Study:
    return table_study.changed(privacy={"secure_sum": "masked"})


@pytest.fixture(scope="module")
def vector(table_study: Study) -> Vector:
    return initial_vector(table_study)[0]


def answer(site: SiteConfig, question: Incoming, device: str = "cpu") -> Outgoing:
    word: Outgoing = from_record(respond(site, question, device), ANSWERS)
    return word


def fit_of(study: Study, vector: Vector, rows: str = "train", number: int = 1) -> Fit:
    return Fit(Slot(study.sha256, "run-1", f"training/{rows}", number, 0), vector, {}, {})


def opened(study: Study, start: Vector, update: Update) -> tuple[Vector, float, int]:
    """Parameters, loss and weight of one hospital's update in the clear."""
    code = update_code(study, study_layout(study))
    trained, loss = code.decode(update.vector, start, 1)
    return trained, loss, int(update.vector[code.size])


def sum_of(study: Study, purpose: Purpose, sites: int, asked: tuple[Question, ...]) -> Sum:
    """The first step of a new batch over the first hospitals of the study."""
    return Sum(study.sha256, purpose, sites, asked, f"batch-{purpose}-{sites}", 0, study.every_site[:sites])


def questions(rows: str) -> tuple[Question, ...]:
    return tuple(next(over(rows, logistic("label", ["age"], min_cell=3))))


def test_a_hospital_that_consents_says_how_many_patients_it_has(make_site: MakeSite, table_study: Study) -> None:
    word = answer(make_site(release="named"), Prepare(table_study.sha256))
    assert isinstance(word, Ready)
    assert (word.site, word.role, word.named) == ("H01", "train", True)
    assert word.figures == {"patients": 40, "lesions": 40, "positives": 20, "excluded": 0, "images": 0}


def test_a_hospital_that_does_not_consent_says_only_that_it_is_ready(make_site: MakeSite, table_study: Study) -> None:
    word = answer(make_site(), Prepare(table_study.sha256))
    assert isinstance(word, Ready)
    assert (word.named, word.figures) == (False, None)


@pytest.mark.parametrize(
    "question", [one for one in EVERY_KIND if isinstance(one, QUESTIONS)], ids=lambda one: type(one).__name__
)
def test_nothing_is_answered_on_a_study_that_was_not_approved(make_site: MakeSite, question: Incoming) -> None:
    assert answer(make_site(release="named"), question) == Refusal("NOT_APPROVED", 0)


def test_an_approval_that_is_withdrawn_ends_the_answers_at_once(make_site: MakeSite, table_study: Study) -> None:
    """Also where the cohort is in memory already."""
    site = make_site()
    ask = sum_of(table_study, "masked", 4, questions("train"))
    assert isinstance(answer(site, ask), Totals)
    site.approval_path(table_study.sha256).unlink()
    assert answer(site, ask) == Refusal("NOT_APPROVED", 0)


def test_an_approved_file_that_was_changed_afterwards_is_refused(make_site: MakeSite, table_study: Study) -> None:
    """The hash in its name is no longer the hash of what it says."""
    site = make_site()
    path = site.approval_path(table_study.sha256)
    path.write_text(path.read_text().replace("rounds = 2", "rounds = 200"), encoding="utf-8")
    assert answer(site, Prepare(table_study.sha256)) == Refusal("PROTOCOL", 0)


def test_an_approved_file_that_is_broken_is_a_refusal_and_no_crash(make_site: MakeSite, table_study: Study) -> None:
    site = make_site()
    site.approval_path(table_study.sha256).write_text("name = ", encoding="utf-8")
    assert answer(site, Prepare(table_study.sha256)) == Refusal("CONFIG", 0)


def test_a_study_that_does_not_name_the_hospital_is_a_refusal_and_no_crash(
    make_site: MakeSite, table_study: Study
) -> None:
    stranger = make_site().model_copy(update={"site": "H99"})
    assert answer(stranger, Prepare(table_study.sha256)) == Refusal("CONFIG", 0)


def test_an_unknown_device_is_a_refusal_and_no_crash(make_site: MakeSite, table_study: Study, vector: Vector) -> None:
    assert answer(make_site(), fit_of(table_study, vector), "gpu") == Refusal("CONFIG", 0)


def test_training_moves_the_vector_and_weighs_its_patients(
    make_site: MakeSite, table_study: Study, vector: Vector
) -> None:
    site = make_site()
    _, cohort = read_cohort(site, table_study.sha256)
    word = answer(site, fit_of(table_study, vector))
    assert isinstance(word, Update)
    trained, loss, weight = opened(table_study, vector, word)
    assert weight == len(cohort.rows("train"))
    assert 0 < weight < 40, "calibration and internal validation do not train"
    assert trained.shape == vector.shape
    assert not np.array_equal(trained, vector)
    assert 0 < loss < 2


def test_training_again_gives_the_same_bits_and_another_hospital_others(
    make_site: MakeSite, table_study: Study, vector: Vector
) -> None:
    site = make_site()
    ask = fit_of(table_study, vector)
    first, again, other = answer(site, ask), answer(site, ask), answer(make_site("H02"), ask)
    assert isinstance(first, Update)
    assert isinstance(again, Update)
    assert isinstance(other, Update)
    assert first.vector.tobytes() == again.vector.tobytes()
    assert first.vector.tobytes() != other.vector.tobytes()


def test_a_hospital_weighs_at_most_max_weight(make_site: MakeSite, table_study: Study, vector: Vector) -> None:
    study = table_study.changed(training={"max_weight": 7})
    word = answer(make_site(study=study), fit_of(study, vector))
    assert isinstance(word, Update)
    assert opened(study, vector, word)[2] == 7


@pytest.mark.parametrize(
    ("name", "keys"), [("H05", {}), ("H05", {"role": "train"}), ("H01", {"role": "external"})],
    ids=["both say external", "the study says external", "the hospital says external"],
)  # fmt: skip
def test_an_external_hospital_never_trains(
    make_site: MakeSite, table_study: Study, vector: Vector, monkeypatch: pytest.MonkeyPatch, name: str, keys: Any
) -> None:
    monkeypatch.setattr(responding, "fit", lambda *_, **__: pytest.fail("it trained"))
    site = make_site(name, **keys)
    assert answer(site, fit_of(table_study, vector)) == Refusal("ROLE", 0)


def test_a_hospital_that_calls_itself_external_does_not_enrol_for_training(
    make_site: MakeSite, table_study: Study
) -> None:
    assert answer(make_site(role="external"), Prepare(table_study.sha256)) == Refusal("ROLE", 0)


def test_a_hospital_below_its_floor_does_not_enrol(make_site: MakeSite, table_study: Study) -> None:
    assert answer(make_site(patients=9), Prepare(table_study.sha256)) == Refusal("BELOW_FLOOR", 0)


def test_a_hospital_that_enrols_can_train(make_site: MakeSite, table_study: Study, vector: Vector) -> None:
    """Enough patients in all, but not in its training part: that must come out before the first round, not in each."""
    trained = set()
    for patients in range(9, 22):
        site = make_site(patients=patients, place=str(patients))
        ready = answer(site, Prepare(table_study.sha256))
        update = answer(site, fit_of(table_study, vector))
        assert isinstance(ready, Ready) == isinstance(update, Update), patients
        trained.add(isinstance(update, Update))
    assert trained == {True, False}, "the range covers both sides of the floor"


def test_a_hospital_with_one_class_says_so(make_site: MakeSite, table_study: Study) -> None:
    site = make_site()
    path = site.data / "clinical.csv"
    lines = path.read_text().splitlines()
    benign = [line for line in lines if line.split(",")[1] != "1"]
    path.write_text("\n".join(benign) + "\n")
    assert answer(site, Prepare(table_study.sha256)) == Refusal("ONE_CLASS", 0)


@pytest.mark.parametrize("gone", ["clinical.csv", "everything"])
def test_a_folder_without_a_table_is_refused_as_data(make_site: MakeSite, table_study: Study, gone: str) -> None:
    site = make_site()
    (site.data / "clinical.csv").unlink()
    if gone == "everything":
        empty = site.data / "empty"
        empty.mkdir()
        site = site.model_copy(update={"data": empty})
    assert answer(site, Prepare(table_study.sha256)) == Refusal("DATA", 0)


def test_prepare_reads_the_folder_anew(make_site: MakeSite, table_study: Study) -> None:
    site = make_site(release="named")
    answer(site, Prepare(table_study.sha256))
    path = site.data / "clinical.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-4]) + "\n")
    word = answer(site, Prepare(table_study.sha256))
    assert isinstance(word, Ready)
    assert word.figures is not None
    assert word.figures["patients"] == 36


def test_a_sum_below_min_sites_is_refused(make_site: MakeSite, table_study: Study) -> None:
    site = make_site(release="named")
    assert answer(site, sum_of(table_study, "masked", 2, questions("train"))) == Refusal("BELOW_FLOOR", 0)
    assert isinstance(answer(site, sum_of(table_study, "masked", 3, questions("train"))), Totals)


def test_a_named_sum_or_figure_without_consent_is_refused_as_consent(make_site: MakeSite, table_study: Study) -> None:
    site = make_site()
    assert answer(site, sum_of(table_study, "named", 1, questions("train"))) == Refusal("CONSENT", 0)
    assert answer(site, Named(table_study.sha256, "internal", ("a",))) == Refusal("CONSENT", 0)


@pytest.mark.parametrize("rows", ["everybody", "", "P003"])
def test_unknown_rows_are_refused(make_site: MakeSite, table_study: Study, vector: Vector, rows: str) -> None:
    site = make_site(release="named")
    asked: list[Incoming] = [
        *([fit_of(table_study, vector, rows)] if rows else []),  # a slot without rows cannot be said
        Score(table_study.sha256, "a", rows, "", vector),
        sum_of(table_study, "masked", 3, questions(rows)),
        Named(table_study.sha256, rows, ("a",)),
    ]
    assert [answer(site, one) for one in asked] == [Refusal("PROTOCOL", 0)] * len(asked)


@pytest.mark.parametrize(
    "question",
    [
        Question("run_python", {"rows": "train", "code": "1"}, 1),
        Question("binary_cells", {}, 4),
        *(replace(one, arguments={**one.arguments, "rows": 7}) for one in questions("train")[:1]),
    ],
    ids=["unknown kind", "no rows", "rows is a number"],
)
def test_a_question_that_is_none_of_ours_is_refused(
    make_site: MakeSite, table_study: Study, question: Question
) -> None:
    assert answer(make_site(), sum_of(table_study, "masked", 3, (question,))) == Refusal("PROTOCOL", 0)


def test_a_vector_of_another_model_is_refused(make_site: MakeSite, table_study: Study, vector: Vector) -> None:
    longer = np.append(vector, np.float32(0))
    site = make_site()
    assert answer(site, fit_of(table_study, longer)) == Refusal("PROTOCOL", 0)
    assert answer(site, Score(table_study.sha256, "a", "all", "", longer)) == Refusal("PROTOCOL", 0)


def test_training_that_fails_is_a_refusal_and_no_vector_leaves(
    make_site: MakeSite, table_study: Study, vector: Vector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nan_loss(*_: object, **__: object) -> FitResult:
        raise TrainingError("site H01, round 1, batch 3 of 4: the loss is nan")

    monkeypatch.setattr(responding, "fit", nan_loss)
    assert answer(make_site(), fit_of(table_study, vector)) == Refusal("TRAINING", 0)
    broken = np.full_like(vector, np.nan)
    monkeypatch.setattr(responding, "fit", lambda *_, **__: FitResult(broken, 0.5, 24, 3))
    assert answer(make_site("H02"), fit_of(table_study, vector)) == Refusal("TRAINING", 0)


def test_scores_stay_and_can_be_combined_and_summed(make_site: MakeSite, table_study: Study, vector: Vector) -> None:
    site = make_site(release="named", min_cell=3)
    moved = vector + np.float32(0.5)
    sha256 = table_study.sha256
    assert answer(site, Score(sha256, "federated", "all", "", moved)) == Done(0)
    assert answer(site, Combine(sha256, "fusion", "federated", 2.0, -1.0, {"hepatitis": 0.25})) == Done(0)
    study, cohort = read_cohort(site, sha256)
    store = responding._store(site, sha256, cohort)
    base, fused = store.load("federated")[:, 0], store.load("fusion")[:, 0]
    np.testing.assert_allclose(fused, -1 + 2 * base + 0.25 * cohort.factors[:, 1], rtol=1e-12)
    word = answer(site, Named(sha256, "internal", ("federated", "fusion")))
    assert isinstance(word, Figures)
    assert word.figures["n"] == len(cohort.rows("internal"))
    assert set(word.figures) == {"n", "positives", "federated", "fusion"}
    assert study == table_study


def test_an_average_is_that_of_probabilities_and_needs_two(
    make_site: MakeSite, table_study: Study, vector: Vector
) -> None:
    site, sha256 = make_site(), table_study.sha256
    for name, shift in (("a", 0.25), ("b", -0.75)):
        assert answer(site, Score(sha256, name, "all", "", vector + np.float32(shift))) == Done(0)
    assert answer(site, Average(sha256, "ensemble", ("a", "b"))) == Done(0)
    store = responding._store(site, sha256, read_cohort(site, sha256)[1])
    a, b, mean = (1 / (1 + np.exp(-store.load(name))) for name in ("a", "b", "ensemble"))
    np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-12)
    assert set(store.origins(["a", "b", "ensemble"])) == {"a", "b", "ensemble"}, "what made it can be asked"
    assert answer(site, Average(sha256, "ensemble", ("a",))) == Refusal("PROTOCOL", 0)
    assert answer(site, Average(sha256, "ensemble", ("a", "unknown"))) == Refusal("PROTOCOL", 0)


def test_a_study_without_selection_looks_at_nothing(make_site: MakeSite, table_study: Study, vector: Vector) -> None:
    site = make_site()
    assert answer(site, Look(table_study.sha256, "train", vector)) == Refusal("PROTOCOL", 0)
    assert not (site.study_folder(table_study.sha256) / "visible").exists()


def test_figures_of_a_class_below_the_cell_floor_are_not_released(
    make_site: MakeSite, table_study: Study, vector: Vector
) -> None:
    site = make_site(release="named", min_cell=30)
    answer(site, Score(table_study.sha256, "federated", "all", "", vector))
    word = answer(site, Named(table_study.sha256, "internal", ("federated",)))
    assert word == Figures({"not_released": "a class has fewer than 30 patients"})


def test_a_sum_over_scores_that_do_not_exist_is_refused(make_site: MakeSite, table_study: Study) -> None:
    talk = over("internal", logistic("label", ["score:federated"], min_cell=3))
    ask = sum_of(table_study, "masked", 3, tuple(next(talk)))
    assert answer(make_site(), ask) == Refusal("PROTOCOL", 0)
    missing = Combine(table_study.sha256, "fusion", "federated", 1.0, 0.0, {})
    assert answer(make_site("H02"), missing) == Refusal("PROTOCOL", 0)


def through_flower(site: SiteConfig, record: RecordDict, kind: str) -> Outgoing:
    """The same question through the ClientApp of a deployment."""
    path = site.data / "site.toml"
    path.write_text(f'site = "{site.site}"\nrole = "{site.role}"\nplain_sums = true\n', encoding="utf-8")
    context = Context(
        run_id=1, node_id=1, node_config={"site": str(path), "device": "cpu"}, state=RecordDict(), run_config={}
    )
    word: Outgoing = from_record(app(Message(record, 1, kind), context).content, ANSWERS)
    return word


def test_the_client_app_answers_and_refuses_what_is_not_ours(
    make_site: MakeSite, table_study: Study, vector: Vector
) -> None:
    site = make_site()
    assert isinstance(through_flower(site, to_record(Prepare(table_study.sha256)), "query"), Ready)
    fit = to_record(fit_of(table_study, vector))
    assert isinstance(through_flower(site, fit, "train"), Update)
    assert through_flower(site, RecordDict(), "query") == Refusal("PROTOCOL", 0)
    assert through_flower(site, to_record(Done(3)), "query") == Refusal("PROTOCOL", 0)


def test_the_reason_of_a_refusal_is_in_the_log_only(
    make_site: MakeSite, table_study: Study, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fl_liver.site"), "propagate", True)
    site = make_site()
    canary = site.data / "Sankt-Nimmerlein"
    record = respond(site.model_copy(update={"data": canary}), Prepare(table_study.sha256))
    assert "Sankt-Nimmerlein" in caplog.text
    assert "Nimmerlein" not in repr(record.config_records)
    assert not record.array_records
