"""Local training of the five published systems beside a plain PyTorch loop: images a second, memory, augmentation.

    python -m benchmarks.training                                       # reduced sizes, this processor
    python -m benchmarks.training --only speed --studies nodule_ct      # one part of one study
    python -m benchmarks.training --only speed --published --images 32  # the papers' sizes: minutes
    python -m benchmarks.training --device cuda --only gpu shared       # the papers' sizes on a GPU

Both loops take the same tensors, the same draws and the same losses; the plain one is torch's own optimiser, channels
last, bfloat16 where the hardware has it. Ours is all of `fit`, from a vector to a vector. They take turns in one
process; on a processor its own time is counted and not the clock's, so that a busy machine slows both alike. Peak
memory is that of a process for each loop. The exit status is 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.case import MARK
from benchmarks.table import Row, Table, parser
from fl_liver.errors import FLLiverError
from fl_liver.study_files import shipped_studies

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ("nodule_ct", "mri_clinical", "hcc_ct", "lesion_us_fusion", "lesion_us_attention")
PARTS = ("speed", "memory", "augmentation", "gpu", "shared")
ON_PROCESSOR = PARTS[:3]
LEAST_SPEED, MOST_MEMORY, MOST_AUGMENTATION = 0.97, 1.05, 0.10
LEAST_GPU_SPEED, LOSS_APART = 2.0, 0.05
IMAGES = {"nodule_ct": 1600, "mri_clinical": 256, "hcc_ct": 512, "lesion_us_fusion": 768, "lesion_us_attention": 384}
"""Of a hospital at the reduced size: a few seconds a turn on one core."""
GPU_IMAGES = {"nodule_ct": 16_000, "mri_clinical": 512, "hcc_ct": 1024, "lesion_us_fusion": 1024}
GPU_ROUNDS = 6
LEAST_ROUND_IMAGES = 512


@dataclass(slots=True)
class Run:
    """What was asked for, and the notes below the table."""

    studies: Sequence[str]
    turns: int
    device: str
    published: bool
    images: int | None
    hospitals: int
    notes: list[str] = field(default_factory=list)

    def case(self, name: str, **keys: Any) -> Any:
        """The study at the asked size."""
        from benchmarks.training_loops import Case

        return Case(name=name, images=self.images or IMAGES[name], published=self.published, device=self.device, **keys)


def speed(run: Run) -> list[Row]:
    """`fit` beside the plain loop in the same arithmetic."""
    from benchmarks.training_loops import compare

    rows: list[Row] = []
    for name in run.studies:
        found = compare(run.case(name), run.turns)
        peers = {"plain loop": found["plain"]}
        rows += _speeds(
            f"{name}: times the plain loop's speed", found["ratio"], LEAST_SPEED, rate=found["ours"], peers=peers
        )
        rows.append(Row(name="  losses apart, share", measured=found["loss"], unit="", target=LOSS_APART))
    return rows


def _speeds(name: str, times: float, least: float, *, rate: float, peers: dict[str, float]) -> list[Row]:
    """How many times another loop's speed, and images a second of each."""
    return [
        Row(name=name, measured=times, unit="×", target=least, at_least=True),
        Row(name="  images a second", measured=rate, unit="", peers=peers),
    ]


def memory(run: Run) -> list[Row]:
    """Peak memory of a process that trains one round."""
    rows: list[Row] = []
    for name in run.studies:
        ours, plain = (_alone({"loop": loop, **asdict(run.case(name))}) for loop in ("ours", "plain"))
        rows += [
            Row(
                name=f"{name}: times the plain loop's peak memory",
                measured=ours["peak_mb"] / plain["peak_mb"],
                unit="×",
                target=MOST_MEMORY,
            ),
            Row(
                name="  peak",
                measured=ours["peak_mb"],
                unit="MB",
                peers={"plain loop": plain["peak_mb"]},
            ),
            Row(
                name="  of it, beyond images and first weights",
                measured=ours["beyond_mb"],
                unit="MB",
                peers={"plain loop": plain["beyond_mb"]},
            ),
        ]
    return rows


def augmentation(run: Run) -> list[Row]:
    """Its share of a training step."""
    from benchmarks.training_loops import augmentation_share

    return [
        Row(
            name=f"{name}: augmentation, share of a step",
            measured=augmentation_share(run.case(name), run.turns),
            unit="",
            target=MOST_AUGMENTATION,
        )
        for name in run.studies
    ]


def gpu(run: Run) -> list[Row]:
    """At the papers' sizes, bfloat16 and channels last, beside a plain loop in float32, and the curves of both losses.

    The plain loop's float32 is exact, without the GPU's shortened TF32 products; with those it is shown too.
    """
    from benchmarks.training_loops import curves

    rows: list[Row] = []
    for name in run.studies:
        case = replace(run.case(name), published=True, images=run.images or GPU_IMAGES.get(name, LEAST_ROUND_IMAGES))
        found = curves(case, GPU_ROUNDS)
        seconds, first = found["seconds"], found["float32"][0]
        apart = max(abs(one - other) for one, other in zip(found["ours"], found["float32"], strict=True)) / first
        what = f"{name}, published size: times the plain float32 loop's speed"
        peers = {"float32": seconds["float32"], "TF32": seconds["tf32"]}
        rows += _speeds(what, seconds["ours"] / seconds["float32"], LEAST_GPU_SPEED, rate=seconds["ours"], peers=peers)
        rows.append(
            Row(name="  loss curves apart, share of the first loss", measured=apart, unit="", target=LOSS_APART)
        )
        run.notes.append(f"{name}: losses ours {_curve(found['ours'])}, float32 {_curve(found['float32'])}")
    return rows


def shared(run: Run) -> list[Row]:
    """Several hospitals at once on one GPU, each with its share of the memory, and the same one after the other."""
    import torch

    total_mb = torch.cuda.get_device_properties(0).total_memory / 1e6
    rows: list[Row] = []
    for name in run.studies:
        case = replace(run.case(name), published=True, images=run.images or LEAST_ROUND_IMAGES)
        one: dict[str, Any] = {"loop": "ours", "rounds": run.turns, "fraction": 0.9 / run.hospitals, **asdict(case)}
        together = _at_once([one] * run.hospitals)
        alone = _alone(one)
        clock = max(each["ended"] for each in together) - min(each["began"] for each in together)
        rate = sum(each["images"] for each in together) / clock
        rows += [
            Row(
                name=f"{name}, {run.hospitals} hospitals at once: memory reserved, share of the GPU's",
                measured=sum(each["reserved_mb"] for each in together) / total_mb,
                unit="",
                target=1.0,
            ),
            Row(
                name="  used on the GPU in all, with what drivers hold",
                measured=max(each["used_mb"] for each in together),
                unit="MB",
                peers={"the GPU has": total_mb},
            ),
            Row(
                name="  images a second",
                measured=rate,
                unit="",
                peers={"one hospital": alone["images"] / (alone["ended"] - alone["began"])},
            ),
        ]
    return rows


def _curve(losses: Sequence[float]) -> str:
    return " ".join(f"{loss:.3f}" for loss in losses)


def _alone(case: dict[str, Any]) -> dict[str, Any]:
    """A case in a process of its own.

    Raises:
        FLLiverError: it failed; with the last lines that it printed.
    """
    return _at_once([case])[0]


def _at_once(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.training_loops", json.dumps(case)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for case in cases
    ]
    found: list[dict[str, Any]] = []
    for case, process in zip(cases, started, strict=True):
        printed, errors = process.communicate()
        lines = [line for line in printed.splitlines() if line.startswith(MARK)]
        if process.returncode or not lines:
            raise FLLiverError(f"case {case} ended with {process.returncode}: {errors.strip()[-400:]}")
        found.append(json.loads(lines[-1].removeprefix(MARK)))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked, print, and say whether every target was met."""
    asked = parser(__doc__, PARTS)
    asked.formatter_class = argparse.RawDescriptionHelpFormatter
    there = [name for name in STUDIES if name in shipped_studies()]
    asked.add_argument("--studies", nargs="+", choices=there, default=there, metavar="STUDY", help=", ".join(there))
    asked.add_argument("--turns", type=int, default=9, help="of each loop; default 9")
    asked.add_argument("--device", default="cpu", help="cpu, or cuda for the first GPU")
    asked.add_argument("--published", action="store_true", help="the papers' sizes in the other parts too")
    asked.add_argument("--images", type=int, help="of the hospital; by default as many as take seconds")
    asked.add_argument("--hospitals", type=int, default=4, help="at once on one GPU; default 4")
    given = asked.parse_args(arguments)
    only = given.only or (PARTS if given.device != "cpu" else ON_PROCESSOR)
    if given.device == "cpu" and set(only) - set(ON_PROCESSOR):
        asked.error("gpu and shared want --device cuda")

    import torch

    torch.set_num_threads(1)
    run = Run(given.studies, given.turns, given.device, given.published, given.images, given.hospitals)
    parts: dict[str, Callable[[Run], list[Row]]] = {
        "speed": speed,
        "memory": memory,
        "augmentation": augmentation,
        "gpu": gpu,
        "shared": shared,
    }
    size = "published" if given.published else "reduced"
    table = Table(f"training on {given.device}, one thread, {size} sizes")
    for name in only:
        table.rows += parts[name](run)
    table.notes += run.notes
    return table.finish(given.json)


if __name__ == "__main__":
    sys.exit(main())
