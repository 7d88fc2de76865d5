"""One simulation from options to report: hospitals, first weights, federation, baselines, summary."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_liver.server.enrolment import Participants, gather
from fl_liver.server.evaluation import Evaluation
from fl_liver.server.journal import Journal
from fl_liver.server.run import FEDERATED, Seconds, load_checked, write_summary
from fl_liver.server.sums import Sums
from fl_liver.study import Study
from simulation.baseline_figures import BaselineFigures
from simulation.baselines import Baseline, BaselineRunner, steps_of
from simulation.display import Display
from simulation.engine import URGENT, Engine, make_engine
from simulation.explanations import explanations
from simulation.federate import VirtualFederation
from simulation.hospitals import Hospitals, approve_everywhere, introduce, make_hospitals
from simulation.memory import PeakMemory
from simulation.options import Options, resolve_study
from simulation.papers import paper_analysis
from simulation.side_studies import SideStudies
from simulation.tasks import check_study_in_worker

if TYPE_CHECKING:
    from fl_liver.server.report.style import Rendered

POOLED, LOCAL = "pooled", "local_only"
HOSPITALS, DEPLOYMENT = "hospitals", "deployment"
"""Folders of a run: patients, and what a deployment makes beside them."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run leaves: its summary, and figures that explain the model by phantom patients."""

    summary: dict[str, Any]
    explained: Sequence[Rendered]


_Explained = tuple[Sequence["Rendered"], list[str]]


@dataclass(frozen=True, slots=True)
class _Ran:
    """A study that was run: its summary, the hospitals where they now are (a deployment gives each one a folder), and
    the figures that explain its model, which are drawn while other work goes on."""

    summary: dict[str, Any]
    hospitals: Hospitals
    explaining: Future[_Explained] | None


@dataclass(frozen=True, slots=True)
class Simulation:
    """A run in its folder. `begin` may be called on a folder of an interrupted run: what is done is not done again."""

    options: Options
    folder: Path
    display: Display

    def begin(self) -> Finished:
        """Run to the end; the summary also lies in `summary.json` beside the report."""
        memory = PeakMemory()
        journal = Journal(self.folder / "journal.jsonl", self.display.listen)
        engine = make_engine(self.options.engine, self.options.workers, self.options.computes_on)
        seconds = Seconds()
        try:
            with seconds.phase("hospitals", journal):
                hospitals = self._hospitals()
                study = self._checked_study(engine, hospitals)
                if not self.options.deploy:
                    introduce(hospitals.folders, self.folder / "study" / "roster.toml")
                    approve_everywhere(study, hospitals.folders)
            aside = SideStudies(engine, hospitals, self.folder, self.options.device, self.display.bar)
            tried: list[dict[str, Any]] = []
            if self.options.grid:
                with seconds.phase("grid", journal):
                    tried, best = aside.grid(self.options, study)
                    study = self._checked_study(engine, replace(hospitals, study=best.with_top(initial=None)))
                    approve_everywhere(study, hospitals.folders)
            ran = self._study(engine, study, hospitals, journal, seconds)
            summary, hospitals = ran.summary, ran.hospitals
            summary["grid"] = tried
            self._aside(aside, study, summary, journal, seconds)
            with seconds.phase("explanations", journal):
                explained, summary["not_drawn"] = self._explained(ran, journal)
            with seconds.phase("paper's tables", journal):
                summary["paper"] = self._paper(study, hospitals, summary)
        finally:
            engine.close()
            peak_mb = memory.stop()
        summary["seconds"] = seconds.phases | {f"server: {k}": v for k, v in summary["seconds"].items()}
        summary["peak_rss_mb"] = peak_mb
        summary["engine"] = self._engine(engine)
        if self.options.data is not None:
            summary["data_note"] = (
                f"Real patients of a public data set, dealt into virtual hospitals ({self.options.partition});"
                " the hospitals are not real. " + " ".join(hospitals.notes)
            )
        for line in summary["sites"]:
            line["device"] = hospitals.devices.get(line["name"])
        write_summary(self.folder, summary)
        return Finished(summary, explained)

    def _explain(self, engine: Engine, study: Study) -> Future[_Explained] | None:
        """Of the first external hospital; only of phantom patients. Begun as soon as there is a model."""
        if self.options.data is not None:
            return None
        shown = self.folder / HOSPITALS / (study.sites.external or study.sites.train)[0]
        model, study_file = self.folder / "model.safetensors", self.folder / "study" / "study.toml"
        return engine.submit(explanations, str(study_file), str(shown), str(model))

    def _explained(self, ran: _Ran, journal: Journal) -> _Explained:
        """What was begun then; why a figure is missing is said, too."""
        if ran.explaining is None:
            return [], []
        figures, missing = ran.explaining.result()
        for why in missing:
            journal.write("warning", text=f"a figure that explains the model is not drawn: {why}")
        return figures, missing

    def _paper(self, study: Study, hospitals: Hospitals, summary: dict[str, Any]) -> dict[str, Any]:
        """The paper's own tables; none where nothing exact may be said beside noised figures."""
        if study.histogram_noise is not None:
            return {}
        there = [line["name"] for line in summary["sites"] if not line["out"]]
        return paper_analysis(study, self.folder, {name: hospitals.folders[name] for name in there})

    def _aside(
        self, aside: SideStudies, study: Study, summary: dict[str, Any], journal: Journal, seconds: Seconds
    ) -> None:
        """Further studies that were asked for, into the summary."""
        if self.options.leave_one_centre_out:
            with seconds.phase("leave one centre out", journal):
                summary["analysis"]["leave_one_centre_out"] = aside.leave_one_centre_out(study)
        if self.options.all_tasks:
            with seconds.phase("tasks", journal):
                summary["tasks"] = aside.tasks(self.options, study)
                summary |= aside.between_tasks(summary["tasks"])
        if self.options.repeats is not None:
            with seconds.phase("repeats", journal):
                summary["repeats"] = aside.repeats(self.options, study)

    def _hospitals(self) -> Hospitals:
        study = resolve_study(self.options)
        self.display.say(f"study {study.name}, seed {study.seed}: {study.title}")
        hospitals = make_hospitals(
            study,
            self.options,
            self.folder / HOSPITALS,
            lambda done, total: self.display.bar("patients written", done, total),
        )
        for note in hospitals.notes:
            self.display.say(f"note: {note}")
        return hospitals

    def _checked_study(self, engine: Engine, hospitals: Hospitals) -> Study:
        """`fl-liver study check`, in a worker: the coordinator's process never imports torch."""
        folder = self.folder / "study"
        engine.submit(check_study_in_worker, hospitals.study.to_toml(), str(folder)).result()
        study, _ = load_checked(folder / "study.toml")
        self.display.say(f"study hash {study.sha256}")
        return study

    def _study(self, engine: Engine, study: Study, hospitals: Hospitals, journal: Journal, seconds: Seconds) -> _Ran:
        summary: dict[str, Any] | None = None
        if self.options.deploy:
            summary, hospitals = self._deployed(study, hospitals, journal, seconds)
            if not self.options.baselines:
                return _Ran(summary, hospitals, self._explain(engine, study))
        federation = VirtualFederation(engine, hospitals.folders, self.options.computes_on)
        with seconds.phase("cohorts", journal):
            participants = gather(federation.exchange(), study, Journal(self.folder / "journal.jsonl"))
        runner = BaselineRunner(engine, study, self._show_baseline(study, participants))
        study_file = self.folder / "study" / "study.toml"
        baselines = self._baselines(study, participants, hospitals, study_file) if self.options.baselines else []
        for baseline in baselines:
            runner.start(baseline)
        if summary is None:
            with seconds.phase("federation", journal):
                summary = federation.run(study_file, self.folder, self.display.listen)
        explaining = self._explain(engine, study)
        if baselines:
            with seconds.phase("baselines", journal):
                runner.wait()
            with seconds.phase("baseline figures", journal):
                self._judge(federation, study, participants, baselines, journal, summary)
        return _Ran(summary, hospitals, explaining)

    def _deployed(
        self, study: Study, hospitals: Hospitals, journal: Journal, seconds: Seconds
    ) -> tuple[dict[str, Any], Hospitals]:
        """The study over a server and daemons; baselines then go on in the hospitals' folders of that deployment."""
        from simulation.deploy import Deployment

        deployment = Deployment(self.folder / DEPLOYMENT, self.display)
        summary = deployment.run(study, hospitals.folders, self.folder / "study", self.folder, journal, seconds)
        return summary, replace(hospitals, folders=deployment.folders)

    def _engine(self, engine: Engine) -> dict[str, Any]:
        name = "deployment" if self.options.deploy else self.options.engine
        return {"name": name, "workers": engine.workers, "device": self.options.computes_on}

    def _baselines(
        self, study: Study, participants: Participants, hospitals: Hospitals, study_file: Path
    ) -> list[Baseline]:
        """Pooled beside the federation's own rounds: its chain of rounds is the longest, on one core at the end."""
        training = participants.training(study)
        folders = {name: str(hospitals.folders[name]) for name in training}
        place = self.folder / "baselines"
        several = [
            Baseline(
                POOLED, str(study_file), tuple(folders.values()), str(place / POOLED), self.options.computes_on, URGENT
            )
        ]
        return several + [
            Baseline(name, str(study_file), (folders[name],), str(place / name), self.options.computes_on, 1)
            for name in training
        ]

    def _show_baseline(self, study: Study, participants: Participants) -> Any:
        done = {POOLED: 0, LOCAL: 0}
        rounds = steps_of(study)
        totals = {POOLED: rounds, LOCAL: rounds * len(participants.training(study))}

        def show(name: str, _: int) -> None:
            kind = POOLED if name == POOLED else LOCAL
            done[kind] += 1
            self.display.bar(f"baseline {kind.replace('_', ' ')}", min(done[kind], totals[kind]), totals[kind])

        return show

    def _judge(
        self,
        federation: VirtualFederation,
        study: Study,
        participants: Participants,
        baselines: list[Baseline],
        journal: Journal,
        summary: dict[str, Any],
    ) -> None:
        """Have hospitals score the baselines and ask for their figures exactly as for the federated model."""
        sums = Sums.of_run(federation.exchange(), study, self.folder, self.folder / "study" / "roster.toml")
        evaluation = Evaluation(sums, participants, journal)
        figures = BaselineFigures(sums, participants, evaluation)
        for baseline in baselines:
            figures.score(baseline.name, baseline.model(study))
        summary["models"] |= {POOLED: figures.pooled(POOLED), LOCAL: figures.local(study)}
        summary["comparisons"] += evaluation.compare([(FEDERATED, POOLED)])
