"""One study from the first weights to `summary.json`: gather, train, fuse, evaluate."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fl_liver.accountant import require_affordable, training_privacy
from fl_liver.errors import ConfigError, IncompleteError
from fl_liver.messages import Score, Vector
from fl_liver.parameters import Layout, load_vector, save_vector, vector_sha256
from fl_liver.server.checkpoint import Checkpoints
from fl_liver.server.enrolment import Participants, gather
from fl_liver.server.evaluation import Evaluation
from fl_liver.server.exchange import Exchange
from fl_liver.server.federation import Federation
from fl_liver.server.figures import out_of_training
from fl_liver.server.fusion import FUSION, fuse
from fl_liver.server.journal import Journal
from fl_liver.server.noised import without_exact
from fl_liver.server.software import versions
from fl_liver.server.sums import Sums
from fl_liver.stats.coarse import coarse_auc
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
    training = StudyTraining(sums, participants, folder, journal)
    with seconds.phase("train", journal):
        vector, rounds = training.federate(initial)
    save_vector(folder / "model.safetensors", vector, initial[1], {"study_sha256": study.sha256})
    scores = {FEDERATED: FEDERATED}
    evaluation = training.evaluation
    fusion = None
    if study.analysis.fusion:
        with seconds.phase("fuse", journal):
            fusion = fuse(sums, participants, evaluation, FEDERATED)
        if "not_released" not in fusion:
            scores[FUSION] = FUSION
    with seconds.phase("evaluate", journal):
        pairs = [(FUSION, FEDERATED)] if FUSION in scores else []
        figured = evaluation.whole(scores, pairs, between_centres=True, kept=folder / "noised.json")
    summary = {
        "study": study.name,
        "title": study.title,
        "source": study.source,
        "study_sha256": study.sha256,
        "seed": study.seed,
        "task": _task(study),
        "secure_sum": study.privacy.secure_sum,
        "privacy": _privacy(study, journal.path),
        "software": versions(),
        "incomplete": participants.incomplete(study) or _missed(training.missing) or evaluation.incomplete(),
        "sites": _sites(study, participants),
        "rounds": rounds,
        "models": figured.models,
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


class StudyTraining:
    """The federations of one study: the model itself and, with folds, those that give unseen scores."""

    def __init__(self, sums: Sums, participants: Participants, folder: Path, journal: Journal) -> None:
        self._sums, self._exchange, self._study = sums, sums.exchange, sums.study
        self._participants, self._folder, self._journal = participants, folder, journal
        self._sites = participants.training(sums.study)
        self.evaluation = Evaluation(sums, participants, journal)
        self.missing: set[str] = set()
        """Hospitals that missed a round of one of the federations."""

    def federate(self, initial: tuple[Vector, Layout]) -> tuple[Vector, list[dict[str, Any]]]:
        """Train, score every hospital's patients with the final model; returns it with the round records."""
        vector, history = self._train("train", initial, self._curve)
        self.missing |= {site for record in history for site in record.missing}
        self.score(vector, FEDERATED, "all", "train", tuple(self._participants.ready))
        for fold in range(self._study.cohort.folds):
            rows = f"not-fold-{fold}"
            without, records = self._train(rows, initial, None)
            self.missing |= {site for record in records for site in record.missing}
            self.score(without, out_of_training(self._study, FEDERATED), f"fold-{fold}", rows, self._sites)
        return vector, [asdict(record) | {"missing": list(record.missing)} for record in history]

    def score(self, vector: Vector, name: str, rows: str, layers: str, sites: tuple[str, ...]) -> None:
        """Have sites score patients and keep the scores.

        Raises:
            IncompleteError: a site did not; its patients would silently be missing from every figure.
        """
        answers = self._sums.make_score(Score(self._study.sha256, name, rows, layers, vector), sites)
        if len(answers.answered) < len(sites):
            raise IncompleteError(f"score '{name}': not every hospital scored its patients: {answers.why_not()}")

    def _train(self, rows: str, initial: tuple[Vector, Layout], curve: Any) -> tuple[Vector, list[Any]]:
        rounds = self._sums.rounds(self._sites, rows, self._journal)
        federation = Federation(self._study, self._sites, rounds, self._journal, rows)
        checkpoints = Checkpoints(self._folder / "checkpoints" / rows, self._study.sha256)
        return federation.train(checkpoints, initial, curve)

    def _curve(self, number: int, vector: Vector) -> float | None:
        """Internal AUC of some rounds, from one histogram of 2¹² bins: for the picture, not for a decision."""
        if self._study.histogram_noise is not None:
            return None
        if number % self._study.analysis.curve_every and number < self._study.training.rounds:
            return None
        self.score(vector, "curve", "internal", "train", self._sites)
        auc = self.evaluation.ask("internal", {"auc": coarse_auc("score:curve", "label", key="logit32")})["auc"]
        return auc if isinstance(auc, float) else None


def _missed(sites: set[str]) -> str | None:
    return f"rounds were missed by {', '.join(sorted(sites))}" if sites else None


def _task(study: Study) -> dict[str, list[str]]:
    """The names of the classes on either side of the two-class ROC."""
    task = study.task
    return {"positive": list(task.positive), "negative": [name for name in task.classes if name not in task.positive]}


def _sites(study: Study, participants: Participants) -> list[dict[str, Any]]:
    """One line a hospital; counts only where it consents to their release."""
    lines: list[dict[str, Any]] = []
    for site in study.every_site:
        card = participants.ready.get(site)
        figures = card.figures if card is not None and card.figures is not None else {}
        lines.append(
            {"name": site, "role": study.role_of(site), "out": participants.out.get(site)}
            | {key: figures.get(key) for key in ("patients", "positives", "excluded", "images")}
        )
    return lines
