"""One hospital's training by our `fit` and by a plain PyTorch loop, on the same images with the same draws.

    python -m benchmarks.training_loops '{"loop": "ours", "name": "nodule_ct", ...}'

measures one loop alone in this process, its peak memory included, and prints `result {...}`.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.case import MARK
from benchmarks.process import peak_mb
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.recipe import recipe_of
from fl_liver.client.train import fit
from fl_liver.client.train_hardware import uses_bfloat16
from fl_liver.client.train_material import Material, targets, training_material
from fl_liver.client.train_schedule import batches, class_weights, epoch_order, learning_rate, round_seed
from fl_liver.client.train_steps import mixing
from fl_liver.models.augmentation import MASK, Views
from fl_liver.models.lesion_model import LesionModel
from fl_liver.models.registry import initial_vector, model_from_vector, study_layout
from fl_liver.parameters import Vector
from fl_liver.study import Study
from fl_liver.study_files import at_published_size, load_study

SITE = "H01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is trained: a study, its size, how many images in how many epochs, where."""

    name: str
    images: int
    epochs: int = 1
    published: bool = False
    device: str = "cpu"

    @property
    def study(self) -> Study:
        """The study; on a processor without bfloat16 at float32, as everywhere."""
        return load_study(at_published_size(self.name) if self.published else self.name)

    @property
    def target(self) -> torch.device:
        """The device."""
        return torch.device(self.device)


@dataclass(slots=True)
class Turn:
    """One round of training: seconds of processor (or, on a GPU, of the clock), the mean loss, the images shown."""

    seconds: float
    loss: float
    images: int


@dataclass(frozen=True, slots=True)
class PlainOptions:
    """How the plain loop computes: the same arithmetic as ours, or float32 in torch's own order of memory."""

    bfloat16: bool
    channels_last: bool = True
    tf32: bool = False


def cohort_of(study: Study, images: int) -> Cohort:
    """Patients with the study's images: noise, and a brighter square in every second class, so that losses fall."""
    recipe, draw = recipe_of(study), np.random.default_rng(0)
    count = max(images // study.cohort.views, 2 * len(study.task.classes))
    owner = np.repeat(np.arange(count), study.cohort.views)
    label = (np.arange(count) % len(study.task.classes)).astype(np.int64)
    made: dict[str, Any] = {}
    for name in recipe.names:
        shape = recipe.shape_of(name)
        values = draw.standard_normal((len(owner), *shape), dtype=np.float32)
        half: tuple[Any, ...] = (slice(None), ..., *(slice(side // 4, side // 2) for side in shape[-2:]))
        values[half] += 2.0 * (label[owner] % 2).reshape(-1, *[1] * len(shape))
        if name == MASK:
            values[:] = 0
            values[half] = 1
        made[name] = values.astype(np.float16)
    return Cohort(
        patients=tuple(f"p{index:04d}" for index in range(count)),
        label=label,
        part=np.zeros(count, np.int8),
        fold=np.full(count, -1, np.int8),
        factors=draw.normal(size=(count, len(study.factor))),
        background=draw.integers(0, max(len(study.task.background_classes), 1), count),
        size_mm=np.full(count, np.nan),
        images=made,
        owner=owner,
        findings=(),
    )


class Bench:
    """A study, a cohort and first weights; `ours` and `plain` each train a round from the same weights."""

    def __init__(self, case: Case) -> None:
        self.case, self.study = case, case.study
        self.cohort = cohort_of(self.study, case.images)
        self.rows = np.arange(len(self.cohort.patients))
        self.vector = initial_vector(self.study)[0]

    def ours(
        self, round_number: int = 1, vector: Vector | None = None, study: Study | None = None
    ) -> tuple[Turn, Vector]:
        """`fit` as a hospital calls it: from a vector to a vector, its tensors made anew."""
        began = self.now()
        result = fit(
            study or self.study,
            self.cohort,
            self.vector if vector is None else vector,
            rows=self.rows,
            round_number=round_number,
            seed_key=SITE,
            device=self.case.target,
            epochs=self.case.epochs,
        )
        return Turn(self.now() - began, result.loss, self.shown), result.vector

    @property
    def shown(self) -> int:
        """Images of all epochs of a round, but for a small last batch."""
        torch.manual_seed(0)
        target = targets(self.study, self.cohort.label)[self.cohort.owner]
        parts = batches(epoch_order(self.study, target), self.study.training.batch_size)
        return self.case.epochs * sum(len(part) for part in parts)

    def ready(self) -> tuple[LesionModel, Material]:
        """A model and tensors on the device, for the plain loop: neither is in its time."""
        model = model_from_vector(self.study, self.vector, study_layout(self.study), self.case.target)
        return model, training_material(self.study, self.cohort, self.rows, model.needs, self.case.target)

    def plain(self, model: LesionModel, material: Material, options: PlainOptions, round_number: int = 1) -> Turn:
        """A round of the plain loop on `model`, which it changes."""
        torch.manual_seed(round_seed(self.study, SITE, round_number))
        before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.tf32
        began = self.now()
        losses = plain_loop(self.study, model, material, self.case.epochs, options, round_number)
        total = torch.stack(losses).double().sum().item()
        seconds = self.now() - began
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
        return Turn(seconds, total / self.shown, self.shown)

    def plain_anew(self) -> Turn:
        """The plain loop's first round, as fast as it is usually written: in our arithmetic, channels last."""
        return self.plain(*self.ready(), PlainOptions(uses_bfloat16(self.study, self.case.target), tf32=True))

    def now(self) -> float:
        """Seconds of this process, or of the clock once a GPU has done what it was asked."""
        if self.case.target.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize(self.case.target)
        return time.perf_counter()


def plain_loop(
    study: Study, model: LesionModel, material: Material, epochs: int, options: PlainOptions, round_number: int
) -> list[Tensor]:
    """What one would write down: torch's defaults, the study's recipe, the same views. Sums of each batch's losses."""
    training, views = study.training, Views(study.augmentation)
    device = material.target.device
    memory = torch.channels_last if options.channels_last else torch.contiguous_format
    model = model.train().to(memory_format=memory)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=learning_rate(study, round_number),
        momentum=training.momentum,
        nesterov=training.nesterov and training.momentum > 0,
        weight_decay=training.weight_decay,
    )
    target = material.target.cpu().numpy()
    weight = class_weights(study, target[np.unique(material.owner, return_index=True)[1]]).to(device)
    losses: list[Tensor] = []
    for _ in range(epochs):
        for part in batches(epoch_order(study, target), training.batch_size):
            chosen = part.to(device)
            inputs = views.train(material.inputs, chosen)
            share, partner = mixing(training.mixup, len(part), device) if training.mixup else (0.0, chosen)
            if training.mixup:
                inputs = {name: (1 - share) * one + share * one[partner] for name, one in inputs.items()}
            mask = inputs.pop(MASK, None)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=options.bfloat16):
                outputs = model({name: _laid(one, memory) for name, one in inputs.items()})
            loss = model.loss(outputs, material.labels(chosen, weight, mask, training.label_smoothing))
            if training.mixup:
                other = model.loss(outputs, material.labels(chosen[partner], weight, mask, training.label_smoothing))
                loss = (1 - share) * loss + share * other
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimiser.step()
            losses.append(loss.detach() * len(part))
    return losses


def _laid(values: Tensor, memory: torch.memory_format) -> Tensor:
    return values.to(memory_format=memory) if values.ndim == 4 else values


def compare(case: Case, turns: int) -> dict[str, float]:
    """Images a second of both loops in the best of several turns, how much faster ours is, how far losses lie apart.

    The ratio is the median over pairs, which a machine that changes its speed between them does not move. The first
    pair warms up and is not timed. A small network under a large rate parts two loops that round otherwise
    within a dozen steps, so that the losses are told and the first batch's equality is a test.
    """
    bench = Bench(case)
    pairs: list[tuple[Turn, Turn]] = []
    for number in range(turns + 1):
        if number % 2:
            ours, plain = bench.ours()[0], bench.plain_anew()
        else:
            plain, ours = bench.plain_anew(), bench.ours()[0]
        pairs.append((ours, plain))
    ours_s, plain_s = (min(pair[which].seconds for pair in pairs[1:]) for which in (0, 1))
    first, other = pairs[0]
    return {
        "ours": first.images / ours_s,
        "plain": other.images / plain_s,
        "ratio": float(np.median([plain.seconds / ours.seconds for ours, plain in pairs[1:]])),
        "loss": abs(first.loss - other.loss) / other.loss,
    }


def augmentation_share(case: Case, turns: int) -> float:
    """Seconds of a batch's augmentation over those of its step; medians in turns."""
    bench = Bench(case)
    _, material = bench.ready()
    chosen = torch.arange(min(bench.study.training.batch_size, len(material.target)), device=case.target)
    views = Views(bench.study.augmentation)
    shares: list[float] = []
    for _ in range(turns + 1):
        step = bench.plain_anew()
        began = bench.now()
        for _ in range(10):
            views.train(material.inputs, chosen)
        shares.append((bench.now() - began) / 10 / len(chosen) / (step.seconds / step.images))
    return float(np.median(shares[1:]))


def curves(case: Case, rounds: int) -> dict[str, Any]:
    """Loss of each round and images a second: ours, and a plain float32 loop with and without TF32."""
    bench = Bench(case)
    found: dict[str, Any] = {"ours": [], "seconds": {}}
    vector: Vector = bench.vector
    turns: list[Turn] = []
    for number in range(1, rounds + 1):
        turn, vector = bench.ours(number, vector)
        turns.append(turn)
    found["ours"] = [turn.loss for turn in turns]
    found["seconds"]["ours"] = _per_second(turns)
    for name, tf32 in (("float32", False), ("tf32", True)):
        model, material = bench.ready()
        options = PlainOptions(bfloat16=False, channels_last=False, tf32=tf32)
        turns = [bench.plain(model, material, options, number) for number in range(1, rounds + 1)]
        found[name] = [turn.loss for turn in turns]
        found["seconds"][name] = _per_second(turns)
    return found


def _per_second(turns: list[Turn]) -> float:
    """Of the later rounds: kernels are chosen in the first."""
    later = turns[1:] or turns
    return max(turn.images / turn.seconds for turn in later)


def peak(case: Case, loop: str) -> dict[str, float]:
    """MB at most while one loop trains a round, in all (on a GPU: of its memory), and beyond what was there before."""
    bench = Bench(case)
    if case.target.type == "cuda":
        torch.cuda.reset_peak_memory_stats(case.target)
    gc.collect()
    before = _peak_mb(case)
    if loop == "ours":
        bench.ours()
    else:
        bench.plain_anew()
    return {"peak_mb": _peak_mb(case), "beyond_mb": _peak_mb(case) - before}


def _peak_mb(case: Case) -> float:
    if case.target.type == "cuda":
        return torch.cuda.max_memory_allocated(case.target) / 1e6
    return peak_mb()


def main(text: str) -> None:
    """One loop's peak, or several rounds of ours on a shared GPU (`fraction` of its memory)."""
    given = json.loads(text)
    loop, fraction, rounds = given.pop("loop"), given.pop("fraction", 1.0), given.pop("rounds", 1)
    torch.set_num_threads(1)
    case = Case(**given)
    if case.target.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(fraction, case.target)
    began = time.time()
    result: dict[str, Any] = dict(peak(case, loop))
    if rounds > 1:
        bench = Bench(case)
        bench.ours()
        began = time.time()
        turns = [bench.ours(number)[0] for number in range(1, rounds + 1)]
        result |= {"images": sum(turn.images for turn in turns)}
        if case.target.type == "cuda":
            free, total = torch.cuda.mem_get_info(case.target)
            result |= {
                "reserved_mb": torch.cuda.max_memory_reserved(case.target) / 1e6,
                "used_mb": (total - free) / 1e6,
            }
    result |= {"began": began, "ended": time.time(), "case": asdict(case)}
    print(f"\n{MARK}{json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
