"""One study from the first weights to `summary.json`: gather, train, fuse, evaluate."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fl_liver.accountant import require_affordable, training_privacy
from fl_liver.errors import ConfigError
from fl_liver.messages import Vector
from fl_liver.parameters import Layout, load_vector, save_vector, vector_sha256
from fl_liver.server.enrolment import Participants, gather
from fl_liver.server.evaluation import Evaluation
from fl_liver.server.exchange import Exchange
from fl_liver.server.fusion import FUSION, fuse
from fl_liver.server.journal import Journal
from fl_liver.server.noised import without_exact
from fl_liver.server.software import versions
from fl_liver.server.sums import Sums
from fl_liver.server.training import ENSEMBLE, StudyTraining
from fl_liver.study import Study
from fl_liver.toml_file import read_toml
from fl_liver.whole_file import READABLE, write_whole

FEDERATED = "federated"


class Seconds:
    """How long each phase took, s."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str, journal: Journal) -> Iterator[None]:
        journal.write("phase", name=name)
        began = time.monotonic()
        yield
        self.phases[name] = round(time.monotonic() - began, 3)


def run_study(
    exchange: Exchange, study_file: Path, folder: Path, journal: Journal, wait_s: float = 0.0
) -> dict[str, Any]:
    """Run a checked study, or go on with it where its folder holds checkpoints; writes and returns the summary.

    `wait_s`: how long hospitals that are not ready are waited for (`enrolment.gather`).

    Raises:
        ConfigError: the study or its first weights are not those that were checked.
        IncompleteError: too few hospitals.
    """
    study, initial = load_checked(study_file)
    sums = Sums.of_run(exchange, study, folder, study_file.parent / "roster.toml")
    seconds = Seconds()
    with seconds.phase("gather", journal):
        participants = gather(exchange, study, journal, wait_s)
    evaluation = Evaluation(sums, participants, journal)
    training = StudyTraining(sums, participants, evaluation, folder, journal, initial)
    with seconds.phase("train", journal):
        vector, rounds = training.federate(FEDERATED)
    save_vector(folder / "model.safetensors", vector, initial[1], {"study_sha256": study.sha256})
    scores = {FEDERATED: FEDERATED}
    fusion = None
    if study.analysis.fusion:
        with seconds.phase("fuse", journal):
            fusion = fuse(sums, participants, evaluation, FEDERATED)
        if "not_released" not in fusion:
            scores[FUSION] = FUSION
    with seconds.phase("evaluate", journal):
        pairs = [(FUSION, FEDERATED)] if FUSION in scores else []
        figured = evaluation.whole(scores, pairs, between_centres=True, kept=folder / "noised.json")
        if study.cohort.folds:
            figured.models[ENSEMBLE] = evaluation.of_models({ENSEMBLE: ENSEMBLE}, cutoffs=False)[ENSEMBLE]
    summary = {
        "study": study.name,
        "title": study.title,
        "source": study.source,
        "study_sha256": study.sha256,
        "seed": study.seed,
        "task": question_in_words(study),
        "main_title": " or ".join(question_in_words(study)["positive"]) if study.endpoint else "",
        "endpoints": [{"name": one.name, "title": one.title} for one in study.endpoint],
        "unit": study.cohort.unit,
        "secure_sum": study.privacy.secure_sum,
        "privacy": _privacy(study, journal.path),
        "software": versions(),
        "incomplete": participants.incomplete(study) or _missed(training.missing) or evaluation.incomplete(),
        "sites": _sites(study, participants),
        "rounds": rounds,
        "models": figured.models,
        "cross_validation": evaluation.cross_validated(FEDERATED) if study.cohort.folds else None,
        "snapshots": {name or "main": {"round": at, "auc": auc} for name, (at, auc) in training.snapshots.best.items()},
        "fusion": fusion,
        "comparisons": figured.comparisons,
        "analysis": figured.between_centres,
        "batches": evaluation.batches(),
        "seconds": seconds.phases,
    }
    summary = without_exact(summary, study)
    write_summary(folder, summary)
    journal.write("done", incomplete=summary["incomplete"])
    return summary


def load_checked(study_file: Path) -> tuple[Study, tuple[Vector, Layout]]:
    """The study and its first weights, loaded with numpy.

    Raises:
        ConfigError: the study was not checked, or `initial.safetensors` is not what it says.
    """
    study = read_toml(study_file, Study)
    if study.initial is None:
        raise ConfigError(f"{study_file}: has no [initial]; run `fl-liver study check` first")
    vector, layout = load_vector(study_file.parent / "initial.safetensors")
    found = {"sha256": vector_sha256(vector), "layout": layout.fingerprint}
    for key, wanted in study.initial.model_dump().items():
        if found[key] != wanted:
            raise ConfigError(
                f"{study_file.parent / 'initial.safetensors'}: {key} is {found[key][:12]}, the study says"
                f" {wanted[:12]}; run `fl-liver study check` again and have the study approved again"
            )
    require_affordable(study)
    return study, (vector, layout)


def _privacy(study: Study, journal: Path) -> dict[str, Any] | None:
    """What training spent; rounds of an interrupted run count again, because each of them drew noise anew."""
    if study.privacy.training is None:
        return None
    text = journal.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return training_privacy(study, Counter(line["rows"] for line in lines if line["event"] == "round_started"))


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """`summary.json`, whole or not at all."""
    text = json.dumps(summary, indent=1, allow_nan=False) + "\n"
    write_whole(folder / "summary.json", text, mode=READABLE)


def _missed(sites: set[str]) -> str | None:
    return f"rounds were missed by {', '.join(sorted(sites))}" if sites else None


def question_in_words(study: Study) -> dict[str, list[str]]:
    """What the two-class ROC separates, in words: the classes of either side, or lesions from livers without any."""
    task = study.task
    negative = [name for name in task.classes if name not in task.positive]
    if len(task.positive) > 1 and set(negative) == set(task.lesion_free):
        return {"positive": ["lesion"], "negative": ["lesion-free"]}
    return {"positive": list(task.positive), "negative": negative}


def _sites(study: Study, participants: Participants) -> list[dict[str, Any]]:
    """One line a hospital; counts only where it consents to their release."""
    lines: list[dict[str, Any]] = []
    for site in study.every_site:
        card = participants.ready.get(site)
        figures = card.figures if card is not None and card.figures is not None else {}
        lines.append(
            {"name": site, "role": study.role_of(site), "out": participants.out.get(site)}
            | {key: figures.get(key) for key in ("patients", "lesions", "positives", "excluded", "images")}
        )
    return lines
