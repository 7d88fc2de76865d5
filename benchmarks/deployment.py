"""Speed and weight of a deployment: real server, gateway and daemons on loopback, beside stock Flower.

    python benchmarks/deployment.py [--json FILE] [--only rounds evaluation stock idle many] [--quick]

45 MB of model go to eleven hospitals and eleven updates of 45 MB come back, with all that belongs to it but training:
TLS, gateway, database, checks, masks, signatures, checkpoints. All hospitals share this machine's processors, which
they do not in life. The exit status is 1 where a target is missed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# Run as a file, its folder comes first, and would hide the package `simulation` and Python's own `statistics`.
if sys.path and sys.path[0] == str(Path(__file__).resolve().parent):
    sys.path.pop(0)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import itertools
from statistics import median

from benchmarks import deployed_stock
from benchmarks.deployed_rounds import PARTS as ROUND_PARTS
from benchmarks.deployed_rounds import growth, medians, take_apart
from benchmarks.deployed_town import DeployedTown, RunSeen, TimedHospital
from benchmarks.process import cpu_s, own_mb, rss_mb, together
from benchmarks.table import Row, Table, parser
from fl_liver.errors import FLLiverError
from fl_liver.parameters import load_vector
from fl_liver.server.run import load_checked
from fl_liver.study import Study
from simulation.engine import make_engine
from simulation.hospitals import make_hospitals
from simulation.options import Options, resolve_study
from simulation.tasks import check_study_in_worker

PARTS = ("rounds", "evaluation", "stock", "idle", "many")
MASKED_S, PLAIN_S, EVALUATION_S = 15.0, 10.0, 90.0
GROWTH, TIMES_FASTER = 1.2, 2.0
IDLE_MB, IDLE_CORE, START_S = 150.0, 0.01, 5.0
LONGEST_S = 3600.0
Sum = Literal["masked", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is measured. `width` 45 of the default study's network has 11.07 million parameters."""

    train: int = 11
    external: int = 2
    scale: float = 1.0
    """Of the default study's patients."""
    width: int = 45
    rounds: int = 20
    stock_rounds: int = 4
    idle_s: float = 60.0
    many: int = 50
    many_s: float = 60.0


QUICK = Sizes(train=3, external=0, scale=0.35, rounds=5, stock_rounds=2, idle_s=20.0, many=5, many_s=20.0)


@dataclass
class Bench:
    """The deployment that several parts share, made when the first needs it."""

    sizes: Sizes
    place: Path
    undo: ExitStack
    notes: list[str] = field(default_factory=list)
    plain_round_s: float | None = None
    _town: DeployedTown | None = None
    _study: Study | None = None

    def town(self) -> tuple[DeployedTown, Study]:
        """With every daemon registered."""
        if self._town is None or self._study is None:
            options = Options(
                hospitals=self.sizes.train + self.sizes.external,
                external=self.sizes.external,
                quick=self.sizes.scale < 1,
            )
            made = make_hospitals(resolve_study(options), options, self.place / "patients", lambda *_: None)
            self._study = made.study
            sites = made.study.sites
            town = DeployedTown(self.place / "town", made.study.every_site, sites.external, made.folders)
            self._town = self.undo.enter_context(town)
        if not any(one.process for one in self._town.hospitals.values()):
            self._town.start_daemons()
        return self._town, self._study

    def checked(self, study: Study) -> tuple[Path, Study]:
        """The study's folder with its first weights, made in a worker: this process loads no torch."""
        folder = self.place / study.name
        engine = make_engine("processes", 1)
        try:
            engine.submit(check_study_in_worker, study.to_toml(), str(folder)).result()
        finally:
            engine.close()
        return folder, load_checked(folder / "study.toml")[0]

    def rounds(self, how: Sum) -> tuple[RunSeen, int]:
        """Training of the large model, and its number of parameters."""
        town, study = self.town()
        # One round more than is run, since after the last one a learning curve is drawn.
        changed = study.with_top(name=f"bench_{how}").changed(
            training={"rounds": self.sizes.rounds + 1},
            model={"width": self.sizes.width},
            analysis={"fusion": [], "curve_every": 1000},
            privacy={"secure_sum": how},
        )
        folder, checked = self.checked(changed)
        floats = len(load_vector(folder / "initial.safetensors")[0])
        return town.run(folder, checked, LONGEST_S, self.sizes.rounds), floats


def rounds(bench: Bench) -> list[Row]:
    """Seconds of a round without training, its parts, whether it grows, and what the server holds."""
    rows: list[Row] = []
    targets: dict[Sum, float] = {"masked": MASKED_S, "plain": PLAIN_S}
    for how, target in targets.items():
        seen, floats = bench.rounds(how)
        town, study = bench.town()
        hospitals = [town.hospitals[name] for name in study.sites.train]
        parts = take_apart(seen, [one.steps() for one in hospitals if isinstance(one, TimedHospital)])
        totals = [one.total for one in parts]
        middle = median(totals)
        if how == "plain":
            bench.plain_round_s = middle
        name = f"{how}, {len(hospitals)} sites, {4e-6 * floats:.0f} MB"
        rows.append(Row(name=f"round, {name}", measured=middle, unit="s", target=target))
        rows += [Row(name=f"  {part}", measured=value, unit="s") for part, value in medians(parts).items()]
        rows.append(Row(name="  slowest", measured=max(totals), unit="s"))
        rows.append(Row(name=f"  growth over {len(parts)} rounds", measured=growth(totals), unit="×", target=GROWTH))
        rows += _held(seen)
        lost = [line["text"] for line in seen.events if line["event"] == "warning"]
        bench.notes += [f"{how}: load {os.getloadavg()[0]:.1f} at the end", *(f"{how}: {text}" for text in lost[:3])]
    bench.notes.append(f"parts of a round: {', '.join(ROUND_PARTS)}; see benchmarks/deployed_rounds.py")
    return rows


def _held(seen: RunSeen) -> list[Row]:
    """What the server's processes and its database hold: the peak of each round, and whether it grows."""
    ends = seen.times("checkpoint")
    rows = []
    for name in ("superlink", "gateway", "database"):
        peaks = [seen.sampler.most(name, since, until) for since, until in itertools.pairwise(ends)]
        rows.append(
            Row(
                name=f"  {name}, peak{'' if name == 'database' else ' of its own memory'}",
                measured=max(peaks),
                unit="MB",
            )
        )
        rows.append(Row(name=f"  {name}, growth", measured=growth(peaks), unit="×", target=GROWTH))
    per_round = {name: seconds / max(seen.rounds, 1) for name, seconds in seen.cpu_s.items()}
    rows += [
        Row(name=f"  {name}, processor time a round", measured=value, unit="s") for name, value in per_round.items()
    ]
    return rows


def evaluation(bench: Bench) -> list[Row]:
    """Fusion and evaluation of the default study, all masked, over all hospitals."""
    town, study = bench.town()
    folder, checked = bench.checked(study.with_top(name="bench_default").changed(training={"rounds": 1}))
    before = {name: len(one.steps()) for name, one in town.hospitals.items() if isinstance(one, TimedHospital)}
    seen = town.run(folder, checked, LONGEST_S)
    seconds = seen.seconds.get("fuse", 0.0) + seen.seconds["evaluate"]
    (fused,) = [line["time"] for line in seen.events if line["event"] == "phase" and line["name"] == "fuse"][:1]
    first = town.hospitals[study.sites.train[0]]
    steps = first.steps()[before[first.folder.name] :] if isinstance(first, TimedHospital) else []
    asked = sum(step["taken"] >= fused for step in steps)
    bench.notes.append(f"evaluation: load {os.getloadavg()[0]:.1f} at the end")
    return [
        Row(name=f"default evaluation, {len(study.every_site)} sites", measured=seconds, unit="s", target=EVALUATION_S),
        Row(name="  questions to a hospital", measured=float(asked), unit=""),
        Row(name="  each", measured=seconds / max(asked, 1), unit="s"),
        Row(name="  SuperLink, processor time in the whole run", measured=seen.cpu_s["superlink"], unit="s"),
    ]


def stock(bench: Bench) -> list[Row]:
    """Stock SuperNodes with FedAvg on the same server, plain with plain."""
    if bench.plain_round_s is None:
        rounds(bench)
    town, study = bench.town()
    floats = len(load_vector(bench.place / "bench_plain" / "initial.safetensors")[0])
    town.stop_daemons()
    seconds = deployed_stock.measure(town, study.sites.train, floats, bench.sizes.stock_rounds, LONGEST_S)
    theirs, ours = median(seconds[1:] or seconds), bench.plain_round_s or float("nan")
    bench.notes.append(
        f"stock: load {os.getloadavg()[0]:.1f} at the end; rounds {[round(one, 1) for one in seconds]} s"
    )
    return [
        Row(name="plain round, stock SuperNode over ours", measured=theirs / ours, unit="×", target=TIMES_FASTER,
            at_least=True, peers={"stock, s": theirs, "ours, s": ours}),
    ]  # fmt: skip


def idle(bench: Bench) -> list[Row]:
    """One daemon as it is installed, with nothing to do."""
    with DeployedTown(bench.place / "alone", ("H01",), timed=False) as town:
        start_s = town.start_daemons()
        process = town.hospitals["H01"].process
        if process is None:
            raise FLLiverError("the daemon was not started")
        time.sleep(bench.sizes.idle_s / 2)  # until it asks as seldom as it does at night
        before, began = cpu_s(process.pid), time.monotonic()
        time.sleep(bench.sizes.idle_s)
        core = (cpu_s(process.pid) - before) / (time.monotonic() - began)
        return [
            Row(name="daemon, start to registered", measured=start_s, unit="s", target=START_S),
            Row(name="daemon, idle, memory", measured=rss_mb(process.pid), unit="MB", target=IDLE_MB),
            Row(name="daemon, idle, of one core", measured=core, unit="", target=IDLE_CORE),
        ]


def many(bench: Bench) -> list[Row]:
    """Many daemons with nothing to do at one gateway."""
    names = tuple(f"H{number:02d}" for number in range(1, bench.sizes.many + 1))
    with DeployedTown(bench.place / "many", names, timed=False) as town:
        town.start_daemons()
        pids = {name: town.pid(name) for name in ("superlink", "gateway")}
        before, began = {name: together(cpu_s, pid) for name, pid in pids.items()}, time.monotonic()
        said = {name: len(one.said()) for name, one in town.hospitals.items()}
        time.sleep(bench.sizes.many_s)
        core = {name: (together(cpu_s, pid) - before[name]) / (time.monotonic() - began) for name, pid in pids.items()}
        later = [line for name, one in town.hospitals.items() for line in one.said()[said[name] :].splitlines()]
        errors = sum(" INFO " not in line for line in later)
        online = sum(one.process is not None and one.process.poll() is None for one in town.hospitals.values())
        rows = [Row(name=f"{len(names)} idle sites, errors in {bench.sizes.many_s:.0f} s", measured=float(errors),
                    unit="", target=0.0)]  # fmt: skip
        rows.append(Row(name="  daemons that run", measured=float(online), unit="", target=len(names), at_least=True))
        rows += [Row(name=f"  {name}, of one core", measured=core[name], unit="") for name in pids]
        return rows + [
            Row(name=f"  {name}, own memory", measured=together(own_mb, pid), unit="MB") for name, pid in pids.items()
        ]


MEASURES: dict[str, Callable[[Bench], list[Row]]] = {
    "rounds": rounds,
    "evaluation": evaluation,
    "stock": stock,
    "idle": idle,
    "many": many,
}


def measure(names: tuple[str, ...], sizes: Sizes) -> Table:
    """The table of these parts. No process is left."""
    table = Table("deployment")
    with tempfile.TemporaryDirectory(prefix="deployment-") as place, ExitStack() as undo:
        bench = Bench(sizes, Path(place), undo)
        for name in names:
            try:
                rows = MEASURES[name](bench)
            except FLLiverError as error:
                bench.notes.append(f"{name}: failed: {str(error)[-300:]}")
                print(bench.notes[-1], file=sys.stderr)
                rows = [Row(name=name, measured=None, unit="", target=0.0)]
            table.rows += rows
            # It takes half an hour: what was measured is not lost with what comes after it.
            print(*(f"{row.name} {row.measured} {row.unit} {row.verdict}" for row in rows), sep="\n", file=sys.stderr)
        table.notes += bench.notes
    return table


def main() -> int:
    """Measure what was asked, print, and say whether every target was met."""
    arguments = parser(__doc__, PARTS)
    arguments.add_argument("--quick", action="store_true", help="few hospitals and rounds: whether it works")
    given = arguments.parse_args()
    # Alone on the machine first: idle figures before the heavy parts.
    chosen = tuple(name for name in ("idle", "rounds", "evaluation", "stock", "many") if name in (given.only or PARTS))
    return measure(chosen, QUICK if given.quick else Sizes()).finish(given.json)


if __name__ == "__main__":
    sys.exit(main())
