"""Speed and memory of the simulation beside its targets, a plain loop, a plain pool, and other simulators.

    python benchmarks/simulation.py [--json FILE] [--only echo cnn overhead scaling default] [--peers] [--quick]

Every measurement runs in a process of its own. Times are the best of several turns, so that a busy machine slows all
alike; memory is weighed in turns of its own, because weighing slows. The exit status is 1 where a target is missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Run as a file, its folder comes first, and would hide the package `simulation` and Python's own `statistics`.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import scaling
from benchmarks.case import MARK
from benchmarks.table import Row, Table, parser
from benchmarks.workload import DEFAULT_STUDY_FLOATS, later_round_s
from fl_liver.errors import FLLiverError
from simulation.engine import available_cores

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("echo", "cnn", "overhead", "scaling", "default")
TIMES_LOOP, TIMES_POOL, TIMES_MEMORY = 1.3, 1.2, 1.5
OVERHEAD, R_SQUARED = 0.03, 0.98
DEFAULT_S, DEFAULT_TWO_CORES_S, QUICK_S, DEFAULT_MB = 180.0, 360.0, 40.0, 3000.0
PEERS = {"flower": "Flower Ray", "pfl": "pfl", "nvflare": "NVFlare"}
Case = dict[str, Any]


@dataclass(slots=True)
class Runner:
    """Runs cases in processes of their own."""

    turns: int
    workers: int
    peers: bool
    peers_python: str
    notes: list[str] = field(default_factory=list)

    def once(self, case: Case, python: str = sys.executable) -> dict[str, Any]:
        """The case's result with `total_s`, from the start of its Python to the end.

        Raises:
            FLLiverError: it failed; with the last lines that it printed.
        """
        began = time.perf_counter()
        done = subprocess.run(
            [python, "-m", "benchmarks.case", json.dumps(case)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        total_s = time.perf_counter() - began
        lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
        if done.returncode or not lines:
            raise FLLiverError(f"case {case} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        result: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
        return result | {"total_s": total_s}

    def compare(self, cases: dict[str, Case]) -> dict[str, dict[str, float]]:
        """Best seconds of a later round (`round_s`) and in all (`total_s`), and MB of memory (`peak_mb`), by name."""
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
        for _ in range(self.turns):
            for name, case in cases.items():
                found[name].append(self.once(case))
        check_same({name: results[0]["checksum"] for name, results in found.items()})
        return {
            name: {
                "round_s": min(later_round_s(result["rounds_s"]) for result in results),
                "total_s": min(result["total_s"] for result in results),
                "peak_mb": self.once(cases[name] | {"weigh": True})["peak_mb"],
            }
            for name, results in found.items()
        }

    def peer_figures(self, kind: str) -> dict[str, dict[str, float]]:
        """The same three figures of every peer that is installed; one turn, for they are far away."""
        found: dict[str, dict[str, float]] = {}
        for package, name in PEERS.items() if self.peers else ():
            case = {"what": package, "kind": kind, "workers": self.workers}
            try:
                timed = self.once(case, self.peers_python)
                weighed = self.once(case | {"weigh": True}, self.peers_python)
            except FLLiverError as error:
                self.notes.append(f"{name}, {kind}: skipped: {str(error).splitlines()[-1][-160:]}")
                continue
            found[name] = {
                "round_s": later_round_s(timed["rounds_s"]),
                "total_s": timed["total_s"],
                "peak_mb": weighed["peak_mb"],
            }
        return found


def check_same(checksums: dict[str, float]) -> None:
    """All programs must come to the same model but for the order of additions.

    Raises:
        FLLiverError: they do not.
    """
    values = list(checksums.values())
    if max(values) - min(values) > 1e-5 * max(values):
        raise FLLiverError(f"the programs do not come to the same model: {checksums}")


def echo(run: Runner) -> list[Row]:
    """45 MB to 13 clients and back."""
    ours = {name: {"what": "ours", "kind": "echo", "engine_name": name, "workers": run.workers} for name in ENGINES}
    found = run.compare(
        ours
        | {
            "loop": {"what": "loop", "kind": "echo", "workers": 0},
            "pool": {"what": "loop", "kind": "echo", "workers": run.workers},
        }
    )
    peers = {"plain loop": found["loop"], "plain pool": found["pool"]} | run.peer_figures("echo")
    rows = [
        _row(f"echo 45 MB, round, {name}", "round_s", "s", found[name], peers, TIMES_LOOP * found["loop"]["round_s"])
        for name in ENGINES
    ]
    memory = {"serial": "loop", "processes": "pool"}
    rows += [
        _row(f"echo 45 MB, memory, {name}", "peak_mb", "MB", found[name], peers, TIMES_MEMORY * found[like]["peak_mb"])
        for name, like in memory.items()
    ]
    run.notes.append(
        f"echo: a round at most {TIMES_LOOP} × the plain loop's; memory at most {TIMES_MEMORY} × the plain loop's"
        " (serial) and the plain pool's (processes, whose workers hold torch)"
    )
    return [*rows, _row("echo 45 MB, total, processes", "total_s", "s", found["processes"], peers, None)]


def cnn(run: Runner) -> list[Row]:
    """The small CNN, trained by 13 clients."""
    cases = {name: {"what": "ours", "kind": "cnn", "engine_name": name, "workers": run.workers} for name in ENGINES}
    found = run.compare(
        cases
        | {
            "loop": {"what": "loop", "kind": "cnn", "workers": 0},
            "pool": {"what": "loop", "kind": "cnn", "workers": run.workers},
        }
    )
    peers = {"plain loop": found["loop"], "plain pool": found["pool"]} | run.peer_figures("cnn")
    pool, ours = found["pool"], found["processes"]
    run.notes.append(f"CNN: total with start-up and shutdown at most {TIMES_POOL} × the plain pool's")
    return [
        _row("CNN trained, total, processes", "total_s", "s", ours, peers, TIMES_POOL * pool["total_s"]),
        _row("CNN trained, round, processes", "round_s", "s", ours, peers, None),
        _row("CNN trained, memory, processes", "peak_mb", "MB", ours, peers, TIMES_MEMORY * pool["peak_mb"]),
        _row("CNN trained, total, serial", "total_s", "s", found["serial"], peers, None),
    ]


ENGINES = ("serial", "processes")


def _row(
    name: str, key: str, unit: str, ours: dict[str, float], peers: dict[str, dict[str, float]], target: float | None
) -> Row:
    theirs = {peer: figures[key] for peer, figures in peers.items()}
    return Row(name=name, measured=ours[key], unit=unit, target=target, peers=theirs)


def overhead(run: Runner) -> list[Row]:
    """What a round of the default study costs beside local training."""
    found = run.once({"what": "overhead", "workers": run.workers})
    real_s, empty_s = later_round_s(found["real_s"]), later_round_s(found["empty_s"])
    run.notes.append(
        f"overhead: a masked round of 13 sites with {found['floats']} parameters took {real_s:.2f} s with local"
        f" training and {1e3 * empty_s:.0f} ms without, same messages"
    )
    rows = [Row(name="overhead, share of a round", measured=empty_s / real_s, unit="", target=OVERHEAD)]
    return rows + [Row(name=f"one update, {step}", measured=ms, unit="ms") for step, ms in found["steps_ms"].items()]


def scale(run: Runner, figure: Path) -> list[Row]:
    """Echo of the default study's model to 13 … 200 hospitals."""
    seconds: dict[int, float] = {}
    for sites in scaling.SITES if run.turns > 1 else scaling.SITES[:3]:
        case = {"what": "ours", "kind": "echo", "engine_name": "processes", "workers": run.workers}
        case |= {"clients": sites, "floats": DEFAULT_STUDY_FLOATS}
        seconds[sites] = min(later_round_s(run.once(case)["rounds_s"]) for _ in range(run.turns))
    line = scaling.fit_line(seconds)
    run.notes.append(f"scaling: {', '.join(str(file) for file in scaling.draw(seconds, line, figure))}")
    rows = [Row(name=f"round of {sites} sites", measured=value, unit="s") for sites, value in seconds.items()]
    rows.append(Row(name="a site more", measured=1e3 * line.per_site_s, unit="ms"))
    target = Row(name="cost linear in sites, R²", measured=line.r_squared, unit="", target=R_SQUARED, at_least=True)
    return [*rows, target]


def default_run(run: Runner) -> list[Row]:
    """`python -m simulation` from nothing to its report, and `--quick`."""
    rows: list[Row] = []
    full_s = DEFAULT_S if run.workers >= 4 else DEFAULT_TWO_CORES_S
    for name, options, seconds, megabytes in (
        ("--quick run", ["--quick"], QUICK_S, None),
        ("default run", [], full_s, DEFAULT_MB),
    ):
        if run.turns == 1 and not options:
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "simulation", *options, "--workers", str(run.workers), "--out", folder]
            began = time.perf_counter()
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            total_s = time.perf_counter() - began
            summary = Path(folder) / "summary.json"
            peak = json.loads(summary.read_text(encoding="utf-8"))["peak_rss_mb"] if summary.is_file() else None
        if done.returncode:
            run.notes.append(f"{name}: ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        measured = None if done.returncode else total_s
        rows.append(Row(name=f"{name}, total", measured=measured, unit="s", target=seconds))
        rows.append(Row(name=f"{name}, memory", measured=peak, unit="MB", target=megabytes))
    return rows


def main() -> int:
    """Measure what was asked, print, and say whether every target was met."""
    arguments = parser(__doc__, PARTS)
    arguments.add_argument("--peers", action="store_true", help="beside Flower's Ray, pfl and NVFlare, if installed")
    arguments.add_argument("--peers-python", default=sys.executable, metavar="PYTHON", help="where they are installed")
    arguments.add_argument("--quick", action="store_true", help="one turn each, fewer sites, no default run")
    arguments.add_argument("--workers", type=int, default=available_cores(), help="worker processes; one a core")
    given = arguments.parse_args()
    run = Runner(1 if given.quick else 3, given.workers, given.peers, given.peers_python)
    figure = (given.json.parent if given.json else Path(tempfile.mkdtemp(prefix="benchmark-"))) / "simulation_scaling"
    figure.parent.mkdir(parents=True, exist_ok=True)
    parts = {
        "echo": lambda: echo(run),
        "cnn": lambda: cnn(run),
        "overhead": lambda: overhead(run),
        "scaling": lambda: scale(run, figure),
        "default": lambda: default_run(run),
    }
    table = Table("simulation")
    for name in given.only or PARTS:
        table.rows += parts[name]()
    table.notes += run.notes
    return table.finish(given.json)


if __name__ == "__main__":
    sys.exit(main())
