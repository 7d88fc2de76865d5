"""How a run looks to a person: one screen from its journal, live or once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fl_liver.errors import FLLiverError
from fl_liver.parameters import load_vector
from fl_liver.securesum.encoding import check_words
from fl_liver.server.app_process import State
from fl_liver.server.clocks import FAR_S, read_clocks
from fl_liver.server.flower_command import FlowerCommand
from fl_liver.server.registrations import read_registrations
from fl_liver.server.run_folder import Progress, RunFolder, read_progress
from fl_liver.server.server_folder import ServerFolder

_EVERY_S = 1.0
_ASK_FLOWER_EVERY_S = 20.0
INCOMPLETE = 75


class View:
    """A run and what Flower says of it."""

    def __init__(self, consortium: Path, folder: RunFolder) -> None:
        self.folder, self._server = folder, ServerFolder.of(consortium)
        vector, _ = load_vector(folder.path / "initial.safetensors")
        self._update_bytes = 4 * (vector.size + check_words(32))
        self.process: State = "elsewhere"
        self.clocks: dict[str, float] = {}
        self._asked, self.status, self._online = 0.0, "unknown", dict[str, str]()

    def refresh(self) -> Progress:
        """The journal now; Flower every 20 s, because its command line takes a second."""
        if time.monotonic() - self._asked > _ASK_FLOWER_EVERY_S:
            self._ask_flower()
        self.clocks = read_clocks(self._server.folder)
        progress = read_progress(self.folder)
        self.process = progress.process.state if progress.process is not None else "elsewhere"
        # Its last words may have come between the two looks.
        return read_progress(self.folder) if self.process == "gone" else progress

    def as_json(self, progress: Progress) -> dict[str, Any]:
        """For programs; the same as the screen."""
        sites = {
            name: {
                "role": site.role,
                "online": self._online.get(name, "unknown"),
                "state": site.state,
                "patients": site.patients,
                "version": site.version,
                "last_round": site.last_round,
                "clock_ahead_s": self.clocks.get(name),
            }
            for name, site in progress.sites.items()
        }
        return {
            "run": self.folder.path.name,
            "flower": self.status,
            "server_app": self.process,
            "phase": progress.phase,
            "round": progress.round,
            "rounds": progress.rounds,
            "update_bytes": progress.updates * self._update_bytes,
            "done": progress.done,
            "incomplete": progress.incomplete,
            "failed": progress.failed,
            "sites": sites,
        }

    def first_line(self, progress: Progress) -> str:
        """What a person must know before anything else."""
        name = self.folder.path.name
        if progress.done:
            return f"{name}: INCOMPLETE: {progress.incomplete}" if progress.incomplete else f"{name}: done"
        if progress.failed:
            return f"{name}: STOPPED: {progress.failed}"
        if self.process == "gone":
            return f"{name}: DIED: the server app {_where(progress)}; go on with `fl-liver study resume {name}`"
        if self.over(progress):
            return f"{name}: ENDED ({self.status}) in phase '{progress.phase}'; go on with `fl-liver study resume`"
        if self.process == "stopped":
            return (
                f"{name}: STANDS STILL: the server app {_where(progress)} and was stopped by a signal; let it go on"
                " with `kill -CONT`, or begin anew with `fl-liver study stop --now` and `study resume`"
            )
        return f"{name}: {progress.phase}"

    def over(self, progress: Progress) -> bool:
        """Whether nothing more will happen."""
        return progress.over or self.process == "gone" or self.status.startswith("finished")

    def exit_code(self, progress: Progress) -> int:
        if progress.done:
            return INCOMPLETE if progress.incomplete else 0
        return progress.exit_code if progress.failed else INCOMPLETE if self.over(progress) else 0

    def screen(self, progress: Progress) -> Group:
        """Sites, round, bytes, the last warnings."""
        table = Table(box=None, pad_edge=False)
        for column in ("hospital", "role", "server", "state", "patients", "last round", "clock", "fl_liver"):
            table.add_column(column)
        for name, site in progress.sites.items():
            patients = "" if site.patients is None else str(site.patients)
            last = str(site.last_round or "")
            online = self._online.get(name, "?")
            clock = f"{self.clocks[name]:+.1f} s" if name in self.clocks else "?"
            style = "red" if abs(self.clocks.get(name, 0.0)) > FAR_S else ""
            row = (name, site.role, online, site.state, patients, last, Text(clock, style=style), site.version)
            table.add_row(*row)
        lines: list[Text | Table] = [Text(self.first_line(progress), style="bold"), table]
        if progress.rounds:
            filled = round(30 * progress.round / progress.rounds)
            loss = f", loss {progress.losses[-1]:.4f}" if progress.losses else ""
            rows = "" if progress.rows == "train" else f" ({progress.rows})"
            lines.append(
                Text(
                    f"round {progress.round} of {progress.rounds}{rows}  {'█' * filled}{'░' * (30 - filled)}"
                    f"  {progress.answered} answered{loss}"
                )
            )
            lines.append(Text(f"masked bytes of updates: {progress.updates * self._update_bytes:,}"))
        lines += [Text(f"warning: {text}", style="yellow") for text in progress.warnings[-4:]]
        return Group(*lines)

    def _ask_flower(self) -> None:
        self._asked = time.monotonic()
        try:
            self._server.state()
            flower = FlowerCommand(self._server)
            self.status = flower.status(self.folder.last_run)
            nodes = flower.nodes()
            known = read_registrations(self._server)
            self._online = {site: nodes.get(one.node, "unknown") for site, one in known.items()}
        except FLLiverError:
            self.status, self._online = "server not up", {}


def _where(progress: Progress) -> str:
    number = progress.process.process if progress.process is not None else 0
    at = f"round {progress.round} of {progress.rounds}" if progress.rounds else f"phase '{progress.phase}'"
    return f"(process {number}) was in {at}"


def watch(view: View, console: Console, wait: Callable[[float], None] = time.sleep) -> int:
    """Follow a run to its end; returns the exit status. Without a terminal, a line at each change."""
    progress, said = view.refresh(), ""
    if not console.is_terminal:
        while True:
            line = _line(view, progress)
            if line != said:
                console.print(line, highlight=False, markup=False, soft_wrap=True)
                said = line
            if view.over(progress):
                return view.exit_code(progress)
            wait(_EVERY_S)
            progress = view.refresh()
    with Live(view.screen(progress), console=console, auto_refresh=False) as live:
        while not view.over(progress):
            wait(_EVERY_S)
            progress = view.refresh()
            live.update(view.screen(progress), refresh=True)
    return view.exit_code(progress)


def _line(view: View, progress: Progress) -> str:
    line = view.first_line(progress)
    if view.over(progress):
        return line
    if progress.rounds:
        return f"{line}, round {progress.round} of {progress.rounds}"
    waiting = [f"{name} {site.state}" for name, site in progress.sites.items() if site.state.startswith("waiting")]
    return "; ".join([line, *waiting])
