"""What a person sees of a fetch: a bar on a terminal, one line a series elsewhere, and a table at the end."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from fl_liver.client.cohort.codes import counted
from fl_liver.client.cohort.pacs.fetch import Miss, Outcome, Task, Watcher
from fl_liver.client.cohort.pacs.retrieve import Retrieval

MB = 10**6
_GOOD = frozenset({"fetched", "already here"})
_STATES = ("fetched", "already here", "incomplete", "refused", "failed")


class Lines:
    """One line a series; for a log."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put away."""

    def began(self, task: Task) -> None:
        """Nothing is said before a series is done."""

    def arrived(self, size: int) -> None:
        """Nothing is said of one object."""

    def ended(self, task: Task, result: Retrieval) -> None:
        _say(self.console, f"{_named(task)}  {_told(result)}")

    def missed(self, miss: Miss) -> None:
        _say(self.console, f"patient {miss.patient}  {miss.why}")


class Bars(Lines):
    """A bar for the series that comes; above it stays what went wrong."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        amount = TextColumn("{task.fields[mb]:.1f} MB  {task.fields[speed]:.0f} MB/s")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), amount)
        self._progress = Progress(*columns, console=console, transient=True)
        self._bar: TaskID | None = None
        self._bytes, self._since = 0, 0.0

    def __enter__(self) -> Watcher:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def began(self, task: Task) -> None:
        self._bytes, self._since = 0, time.monotonic()
        total = task.listing.announced
        self._bar = self._progress.add_task(_named(task), total=total, completed=task.here, mb=0.0, speed=0.0)

    def arrived(self, size: int) -> None:
        self._bytes += size
        megabytes = self._bytes / MB
        passed = max(time.monotonic() - self._since, 1e-3)
        if self._bar is not None:
            self._progress.update(self._bar, advance=1, mb=megabytes, speed=megabytes / passed)

    def ended(self, task: Task, result: Retrieval) -> None:
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None
        if result.state not in _GOOD:
            super().ended(task, result)


def watching(console: Console) -> AbstractContextManager[Watcher]:
    return Bars(console) if console.is_terminal else Lines(console)


def outcome_table(outcome: Outcome) -> Table:
    """How many series, objects and bytes came to which end."""
    table = Table(title="Fetched from the archive")
    table.add_column("")
    for name in ("series", "objects", "MB"):
        table.add_column(name, justify="right")
    results = [result for _, result in outcome.series]
    objects = {
        "fetched": sum(one.fetched for one in results),
        "already here": sum(one.here for one in results),
        "refused": sum(one.refused for one in results),
        **{state: sum(one.missing for one in results if one.state == state) for state in ("incomplete", "failed")},
    }
    for state in _STATES:
        megabytes = f"{sum(one.bytes for one in results) / MB:.1f}" if state == "fetched" else ""
        table.add_row(state, str(sum(one.state == state for one in results)), str(objects[state]), megabytes)
    if outcome.misses:
        table.add_row("rows not found", str(len(outcome.misses)), "", "")
    return table


def preview_table(tasks: list[Task]) -> Table:
    """What would be fetched, a line a patient and one for all."""
    table = Table(title="Would be fetched (nothing was)")
    table.add_column("patient")
    for name in ("studies", "series", "objects", "already here", "MB, about"):
        table.add_column(name, justify="right")
    for patient in dict.fromkeys(task.patient for task in tasks):
        table.add_row(patient, *_sums([task for task in tasks if task.patient == patient]))
    table.add_section()
    table.add_row("all", *_sums(tasks))
    return table


def _sums(tasks: list[Task]) -> tuple[str, ...]:
    studies = len({task.series.study.uid for task in tasks})
    objects, here = sum(task.missing for task in tasks), sum(task.here for task in tasks)
    megabytes = sum(task.missing_bytes for task in tasks) / MB
    return str(studies), str(len(tasks)), str(objects), str(here), f"{megabytes:.1f}"


def _named(task: Task) -> str:
    return f"patient {task.patient}  series {task.name}  {task.modality}"


def _told(result: Retrieval) -> str:
    objects = counted(result.fetched + result.here, "object")
    if result.state == "already here":
        return f"{objects} already here"
    if result.state == "fetched":
        return f"{objects}, {result.bytes / MB:.1f} MB fetched"
    return f"{result.state}: {result.fetched + result.here} of {counted(result.announced, 'object')}; {result.why}"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
