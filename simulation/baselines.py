"""What federation is compared with: each hospital alone, and all data in one place. Possible in a simulation only.

A baseline is a federation of one: the same local training, round by round, from its own last model, with the same
learning rates. It is checkpointed like one, so that an interrupted run goes on. The pooled one runs beside the rounds
of the federation, since its chain is the longest; the hospitals' own whenever a worker has nothing urgent to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.errors import FLLiverError
from fl_liver.messages import Vector
from fl_liver.parameters import load_vector
from fl_liver.server.checkpoint import Checkpoints, RoundRecord
from fl_liver.study import Study
from fl_liver.study_files import load_study
from simulation.engine import Engine

Stage = Literal["selection", "train"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """One model trained without federation: `sites` are folders of hospitals whose training patients it sees."""

    name: str
    study_file: str
    sites: tuple[str, ...]
    folder: str
    device: str
    priority: int
    """The longer the chain of rounds, the smaller."""

    def checkpoints(self, study: Study, stage: Stage = "train") -> Checkpoints:
        return Checkpoints(Path(self.folder) / stage, study.sha256)

    def done(self, study: Study) -> int:
        """Steps that were checkpointed: rounds of selection first, where the study has it."""
        return sum(self._rounds(study, stage) for stage in ("selection", "train"))

    def stage(self, study: Study) -> Stage:
        """What the next step belongs to."""
        selection = study.selection
        return "selection" if selection and self._rounds(study, "selection") < selection.rounds else "train"

    def _rounds(self, study: Study, stage: Stage) -> int:
        done = self.checkpoints(study, stage).latest()
        return 0 if done is None else len(done[1])

    def model(self, study: Study) -> Vector:
        """The trained model. Raises FLLiverError where no round was finished."""
        done = self.checkpoints(study).latest()
        if done is None:
            raise FLLiverError(f"baseline {self.name}: no finished round in {self.folder}; resume the run")
        return done[0]


def steps_of(study: Study) -> int:
    """Rounds of a baseline, those of selection included."""
    return study.training.rounds + (study.selection.rounds if study.selection is not None else 0)


def baseline_step(baseline: Baseline) -> int:
    """Train one more round's worth; returns how many steps are done. Runs in a worker."""
    from fl_liver.client.respond import read_cohort
    from fl_liver.client.site import load_site
    from fl_liver.client.train import fit, pick_device

    approved = load_study(baseline.study_file)
    # Nobody receives a baseline's weights: without the noise of private training it shows what that costs.
    study = approved.changed(training={"strategy": "fedavg", "mu": 0.0}, privacy={"training": None})
    stage = baseline.stage(approved)
    checkpoints = baseline.checkpoints(approved, stage)
    initial, layout = load_vector(Path(baseline.study_file).parent / "initial.safetensors")
    vector, history = checkpoints.latest() or (initial, [])
    cohorts = [read_cohort(load_site(Path(site) / "site.toml"), approved.sha256)[1] for site in baseline.sites]
    cohort = cohorts[0] if len(cohorts) == 1 else pool_cohorts(cohorts)
    number = len(history) + 1
    result = fit(
        study,
        cohort,
        vector,
        rows=cohort.rows("train"),
        round_number=number,
        seed_key=baseline.name,
        stage=stage,
        visible=_visible(baseline, approved, cohort) if stage == "train" else None,
        device=pick_device(baseline.device),
    )
    record = RoundRecord(number, 0.0, len(cohorts), len(cohorts), result.loss, None)
    checkpoints.save(result.vector, layout, [*history, record])
    return baseline.done(approved)


def _visible(baseline: Baseline, study: Study, cohort: Cohort) -> NDArray[np.float64] | None:
    """On which images the baseline's own first model sees a lesion, looked at once; None without selection."""
    from fl_liver.client.selection import keep_visible, load_visible
    from fl_liver.client.train import pick_device, score_images

    if study.selection is None:
        return None
    folder = Path(baseline.folder)
    if not (folder / "visible").is_dir():
        seen = baseline.checkpoints(study, "selection").latest()
        if seen is None:
            raise FLLiverError(f"baseline {baseline.name}: no finished round of selection in {folder}; resume the run")
        device = pick_device(baseline.device)
        images, logits = score_images(study, cohort, seen[0], rows=cohort.rows("train"), device=device)
        keep_visible(folder, "train", images, logits[:, 0], len(cohort.owner))
    return load_visible(folder, "train")


def pool_cohorts(cohorts: Sequence[Cohort]) -> Cohort:
    """All patients of several hospitals as one cohort, hospital after hospital."""
    starts = np.cumsum([0, *(len(cohort.patients) for cohort in cohorts)])
    stacked = {
        name: np.concatenate([getattr(cohort, name) for cohort in cohorts])
        for name in ("label", "part", "fold", "factors", "background", "size_mm")
    }
    return Cohort(
        patients=tuple(patient for cohort in cohorts for patient in cohort.patients),
        images={name: np.concatenate([cohort.images[name] for cohort in cohorts]) for name in cohorts[0].images},
        owner=np.concatenate([cohort.owner + start for cohort, start in zip(cohorts, starts, strict=False)]),
        group=np.concatenate([cohort.group + start for cohort, start in zip(cohorts, starts, strict=False)]),
        findings=tuple(finding for cohort in cohorts for finding in cohort.findings),
        **stacked,
    )


class BaselineRunner:
    """Runs baselines side by side in the background, each one round after the other."""

    def __init__(self, engine: Engine, study: Study, on_step: Callable[[str, int], None]) -> None:
        self._engine, self._study, self._on_step = engine, study, on_step
        self._ended: dict[str, Future[None]] = {}
        self._lock = threading.Lock()

    def start(self, baseline: Baseline) -> None:
        """Begin, or go on after the last round that was checkpointed."""
        self._ended[baseline.name] = Future()
        self._advance(baseline, baseline.done(self._study))

    def wait(self) -> None:
        """Until all have ended; raises the first error of one."""
        for name, ended in self._ended.items():
            error = ended.exception()
            if error is not None:
                raise FLLiverError(f"baseline {name} failed: {error}") from error

    def _advance(self, baseline: Baseline, done: int) -> None:
        """Submit the next round; an engine that ran it here and now is followed in a loop, not by recursion."""
        try:
            while done < steps_of(self._study):
                step = self._engine.submit(baseline_step, baseline, priority=baseline.priority)
                if not step.done():
                    step.add_done_callback(lambda ended: self._after(baseline, ended))
                    return
                done = self._finished(baseline, step)
        except Exception as error:  # a callback's error would vanish in the future's machinery, and `wait` hang
            self._ended[baseline.name].set_exception(error)
        else:
            self._ended[baseline.name].set_result(None)

    def _after(self, baseline: Baseline, ended: Future[int]) -> None:
        try:
            done = self._finished(baseline, ended)
        except Exception as error:
            self._ended[baseline.name].set_exception(error)
        else:
            self._advance(baseline, done)

    def _finished(self, baseline: Baseline, ended: Future[int]) -> int:
        done = ended.result()
        with self._lock:
            self._on_step(baseline.name, done)
        return done
