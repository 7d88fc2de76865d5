"""What a person sees while a simulation runs: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table


class Display:
    """Shows phases, patients, rounds and baselines. Safe to call from several threads."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._live = self.console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:24s}"),
            BarColumn(30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._told: dict[str, float] = {}

    def __enter__(self) -> Display:
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._progress.stop()

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(text)

    def bar(self, name: str, done: int, total: int, note: str = "") -> None:
        """Set a bar; without a terminal, a line every five seconds and at the end."""
        with self._lock:
            if self._live:
                if name not in self._tasks:
                    self._tasks[name] = self._progress.add_task(name, total=total, note=note)
                self._progress.update(self._tasks[name], completed=done, total=total, note=note)
            elif done == total or time.monotonic() - self._told.get(name, -9.0) > 5:
                self._told[name] = time.monotonic()
                self.console.print(f"{name}: {done}/{total} {note}".rstrip())

    def listen(self, event: str, details: dict[str, Any]) -> None:
        """A journal's events as bars and lines."""
        if event == "round_started":
            self._round_name, self._answered = _training_name(details["rows"]), 0
            self._round = (int(details["round"]), int(details["rounds"]), int(details["sites"]))
        elif event == "site_answered":
            self._answered += 1
            number, rounds, sites = self._round
            if self._live:
                self.bar(self._round_name, number - 1, rounds, f"round {number}: {self._answered} of {sites} sites")
        elif event == "round_done":
            number, rounds, sites = self._round
            auc = f", internal AUC {details['auc']:.3f}" if details["auc"] is not None else ""
            loss = "" if details["loss"] is None else f", loss {details['loss']:.3f}"
            note = f"{details['answered']} of {sites} sites{loss}{auc}"
            self._told.pop(self._round_name, None)
            self.bar(self._round_name, number, rounds, note)
        elif event == "site_out":
            self.say(f"{details['site']} sits out: {details['reason']}")
        elif event == "warning":
            self.say(f"warning: {details['text']}")
        elif event == "resumed":
            self.say(f"going on after round {details['round']} of {_training_name(details['rows'])}")


def _training_name(rows: str) -> str:
    part = rows.removeprefix("selection-")
    what = "federated training" if rows == part else "image selection"
    if part == "train":
        return what
    without = f"without fold {int(part.rpartition('-')[2]) + 1}"
    return f"{what}, {without}" if rows != part else without


def result_table(summary: dict[str, Any]) -> Table:
    """The models side by side: AUC with 95 % interval, internal and external."""
    table = Table(title=f"{summary['title']}  (AUC, 95 % interval)")
    for column in ("model", "internal", "external"):
        table.add_column(column)
    for name, model in summary["models"].items():
        table.add_row(name.replace("_", " "), _cell(model.get("internal")), _cell(model.get("external")))
    return table


def class_table(summary: dict[str, Any]) -> Table | None:
    """Each class against the rest: external, or internal where that is withheld; None for two classes."""
    for part in ("external", "internal"):
        found = {name: model.get(part) or {} for name, model in summary["models"].items()}
        found = {name: figure for name, figure in found.items() if "macro_auc" in figure}
        if found:
            return _class_table(found, part)
    return None


def _class_table(found: dict[str, dict[str, Any]], part: str) -> Table:
    table = Table(title=f"Each class against the rest, {part}")
    table.add_column("class")
    for name in found:
        table.add_column(name.replace("_", " "))
    for each in next(iter(found.values()))["per_class"]:
        table.add_row(each, *(_cell(figure["per_class"][each]) for figure in found.values()))
    table.add_row("mean (macro)", *(f"{figure['macro_auc']:.3f}" for figure in found.values()))
    return table


def _cell(figure: dict[str, Any] | None) -> str:
    if not figure:
        return "—"
    if "not_released" in figure or figure.get("auc") is None:
        return "not released"
    interval = figure.get("ci95")
    shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    count = f"  n = {figure['n']}" if figure.get("n") is not None else ""
    if "of_models" in figure:
        count = f"  mean of {figure['models']} of {figure['of_models']} hospitals"
    return f"{figure['auc']:.3f}{shown}{count}"
