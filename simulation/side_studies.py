"""Further studies over the hospitals of a run: a centre left out, other tasks, other splits, points of a grid.

Each is a study of its own, with its own hash, approval and sums, in a folder below the run's; none has baselines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fl_liver.errors import FLLiverError, IncompleteError
from fl_liver.server.run import FEDERATED, load_checked
from fl_liver.study import Study
from fl_liver.study_files import tasks_of
from simulation.engine import Engine
from simulation.federate import VirtualFederation
from simulation.hospitals import Hospitals, approve_everywhere
from simulation.options import Options, at_point, grid_of, repeats_of, resolve_study, with_folds
from simulation.task_comparisons import task_comparisons
from simulation.task_ensembles import task_ensembles
from simulation.task_rows import TaskRows
from simulation.tasks import check_study_in_worker

OnStudy = Callable[[str, int, int, str], None]
"""(what, done, of how many, the last one's name)"""


@dataclass(frozen=True, slots=True)
class SideStudies:
    """Runs them one after the other."""

    engine: Engine
    hospitals: Hospitals
    folder: Path
    device: str
    on_study: OnStudy

    def run(self, study: Study, name: str) -> dict[str, Any]:
        """The summary of one; `name` is its folder below the run's."""
        return self._run_checked(self._checked(study, name), name)

    def _checked(self, study: Study, name: str) -> Study:
        """With first weights. Raises ConfigError where the study's network cannot be made."""
        folder = self.folder / name
        self.engine.submit(check_study_in_worker, study.with_top(initial=None).to_toml(), str(folder)).result()
        (folder / "roster.toml").write_bytes((self.folder / "study" / "roster.toml").read_bytes())
        return load_checked(folder / "study.toml")[0]

    def _run_checked(self, checked: Study, name: str) -> dict[str, Any]:
        folder = self.folder / name
        folders = {site: self.hospitals.folders[site] for site in checked.every_site}
        approve_everywhere(checked, folders)
        return VirtualFederation(self.engine, folders, self.device).run(folder / "study.toml", folder)

    def leave_one_centre_out(self, study: Study) -> list[dict[str, Any]]:
        """One federation without each training hospital, tested there."""
        found: list[dict[str, Any]] = []
        for number, left_out in enumerate(study.sites.train, start=1):
            rest = [name for name in study.sites.train if name != left_out]
            without = study.changed(sites={"train": rest, "external": [left_out]}, analysis={"fusion": []})
            done = self.run(without, f"leave-one-out/{left_out}")
            figure = done["models"][FEDERATED]["per_site"].get(left_out, {})
            keys = ("auc", "ci95", "n", "positives", "not_released")
            found.append({"left_out": left_out} | {key: figure[key] for key in keys if key in figure})
            self.on_study("leave one centre out", number, len(study.sites.train), left_out)
        return found

    def tasks(self, options: Options, study: Study) -> list[dict[str, Any]]:
        """Every variant of the study: what it asks, and how well the federation answers.

        A task that too few hospitals have patients for says why ("refused"); the others go on.
        """
        base = options.study.partition(":")[0]
        names = tasks_of(base)
        found: list[dict[str, Any]] = []
        for number, name in enumerate(names, start=1):
            variant = resolve_study(replace(options, study=f"{base}:{name}", grid=()))
            variant = variant.changed(sites=study.sites.model_dump(mode="json"))
            line: dict[str, Any] = {"task": name, "title": variant.title, "classes": list(variant.task.classes)}
            try:
                figured = self.run(variant, f"tasks/{name}")["models"][FEDERATED]
                line |= {rows: figured[rows] for rows in ("internal", "external")}
            except IncompleteError as error:
                line |= {"refused": str(error)} | {
                    rows: {"not_released": str(error)} for rows in ("internal", "external")
                }
            found.append(line)
            self.on_study("tasks", number, len(names), name)
        return found

    def between_tasks(self, tasks: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Of the lines of `tasks`, those that ask the same: DeLong's paired test of every two, and the mean of all."""
        names = [line["task"] for line in tasks if "refused" not in line]
        studies = {name: load_checked(self.folder / "tasks" / name / "study.toml")[0] for name in names}
        rows = TaskRows(studies, self.hospitals.folders)
        return {"task_comparisons": task_comparisons(rows), "task_ensembles": task_ensembles(rows, tasks)}

    def repeats(self, options: Options, study: Study) -> dict[str, Any] | None:
        """Cross-validation on several splits: the AUCs of every fold, their means and standard deviations."""
        asked = repeats_of(options)
        if asked is None:
            return None
        splits, folds = asked
        runs: list[dict[str, Any]] = []
        for split in range(splits):
            again = with_folds(study, folds).with_top(seed=(study.seed + split) % 2**31)
            done = self.run(again.changed(analysis={"fusion": []}), f"repeats/{split + 1}")
            runs += done["cross_validation"].get("folds", [])
            self.on_study("repeats", split + 1, splits, f"{folds} folds")
        return {"splits": splits, "folds": folds, "runs": runs} | _spread(runs)

    def grid(self, options: Options, study: Study) -> tuple[list[dict[str, Any]], Study]:
        """Every point, judged by the AUC of calibration patients, and the study at the best one.

        Raises:
            ConfigError: a network cannot be made at one of the points; none is trained then.
        """
        points = grid_of(options)
        checked = [
            self._checked(at_point(study, point).changed(analysis={"fusion": []}), f"grid/{number}")
            for number, point in enumerate(points, start=1)
        ]
        lines: list[dict[str, Any]] = []
        for number, (point, one) in enumerate(zip(points, checked, strict=True), start=1):
            done = self._run_checked(one, f"grid/{number}")
            model = done["models"][FEDERATED]
            keys = {f"{section}.{key}": value for section, keys in point.items() for key, value in keys.items()}
            internal = model["internal"].get("auc")
            lines.append({"point": keys, "calibration_auc": model["cutoff"].get("auc"), "internal_auc": internal})
            self.on_study("grid", number, len(points), ", ".join(f"{key}={value}" for key, value in keys.items()))
        best = best_point(lines)
        lines[best]["best"] = True
        return lines, at_point(study, points[best])


def best_point(lines: Sequence[dict[str, Any]]) -> int:
    """Index of the largest calibration AUC, of equals the first.

    Raises:
        FLLiverError: none was released.
    """
    aucs = [math.nan if line["calibration_auc"] is None else float(line["calibration_auc"]) for line in lines]
    if all(math.isnan(auc) for auc in aucs):
        raise FLLiverError("grid: no point has an AUC of calibration patients; lower analysis.min_cell or add patients")
    return max(range(len(aucs)), key=lambda i: -math.inf if math.isnan(aucs[i]) else aucs[i])


def _spread(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and SD over the runs of each number that more than one has."""
    values = {name: [run[name] for run in runs if run.get(name) is not None] for name in (runs[0] if runs else {})}
    kept = {name: found for name, found in values.items() if len(found) > 1}
    return {
        "mean": {name: fmean(found) for name, found in kept.items()},
        "sd": {name: stdev(found) for name, found in kept.items()},
    }
