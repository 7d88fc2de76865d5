"""What every benchmark prints: measured beside target beside peer, as text and JSON; a missed target exits with 1."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MET, MISSED, SHOWN = "met", "MISSED", ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. With a `target` it must be at most that (`at_least`: at least that); without one it is only shown.

    `measured` is None where the measurement failed, which misses any target. `peers` are other programs' figures for
    the same work in the same unit.
    """

    name: str
    measured: float | None
    unit: str
    target: float | None = None
    at_least: bool = False
    peers: dict[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`met`, `MISSED`, or nothing where there is no target. A figure that is not finite misses."""
        if self.target is None:
            return SHOWN
        if self.measured is None or not math.isfinite(self.measured):
            return MISSED
        held = self.measured >= self.target if self.at_least else self.measured <= self.target
        return MET if held else MISSED


@dataclass(slots=True)
class Table:
    """The rows of one benchmark, notes below them, and what the machine was."""

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: describe_machine())

    @property
    def missed(self) -> list[str]:
        """Names of the rows whose target was missed."""
        return [row.name for row in self.rows if row.verdict == MISSED]

    @property
    def exit_status(self) -> int:
        """0 where every target was met, else 1."""
        return 1 if self.missed else 0

    def text(self) -> str:
        """Columns: what, measured, target, verdict, peers."""
        head = ("", "measured", "target", "", "peers")
        lines = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        body = [
            "  ".join(
                cell.rjust(width) if column in (1, 2) else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        machine = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        return "\n".join([self.title, machine, "", *body, *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Title, machine, rows with verdicts, notes, names of missed targets."""
        rows = [
            {
                "name": row.name,
                "measured": row.measured if row.measured is not None and math.isfinite(row.measured) else None,
                "unit": row.unit,
                "target": row.target,
                "at_least": row.at_least,
                "verdict": row.verdict or None,
                "peers": row.peers,
            }
            for row in self.rows
        ]
        return {
            "title": self.title,
            "machine": self.machine,
            "rows": rows,
            "notes": self.notes,
            "missed": self.missed,
        }

    def finish(self, json_file: Path | None) -> int:
        """Print the table, write the JSON where a file is given; returns the exit status."""
        print(self.text())
        if json_file is not None:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            json_file.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if self.missed:
            print(f"missed: {', '.join(self.missed)}")
        return self.exit_status


def parser(description: str | None, names: Sequence[str] = ()) -> argparse.ArgumentParser:
    """`--json FILE`, and `--only NAME …` where the benchmark has several parts."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the table there as JSON too")
    if names:
        made.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    return made


def describe_machine() -> dict[str, Any]:
    """Cores this process may use, processor, Python, and the load before the measurements began."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "processor": _processor(),
        "Python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cells(row: Row) -> tuple[str, ...]:
    target = "" if row.target is None else f"{'≥' if row.at_least else '≤'} {number(row.target)}"
    measured = "failed" if row.measured is None else f"{number(row.measured)} {row.unit}".rstrip()
    peers = ", ".join(f"{name} {number(value)}" for name, value in row.peers.items())
    return row.name, measured, target, row.verdict, peers


def number(value: float) -> str:
    """Three significant digits, never in powers of ten; whole numbers from 100 on.

    >>> number(0.00123), number(0.25), number(1.3), number(45.678), number(1234.5)
    ('0.00123', '0.25', '1.3', '45.7', '1234')
    """
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 100:
        return f"{value:.0f}"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
