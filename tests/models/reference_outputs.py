"""What torchvision and timm compute for weights that anybody can make again: the oracle of `test_published_networks`.

    pip install --no-deps --target REFERENCE torchvision==0.28.0 timm==1.0.31
    python tests/models/reference_outputs.py REFERENCE      # writes data/published_networks.json beside this file

Weights and images follow from the bits of PCG64, which numpy keeps the same for ever (its distributions it may change).
torchvision beside CPU-only torch lacks its compiled operators; networks use none, so two empty ones are declared.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STORED = Path(__file__).parent / "data" / "published_networks.json"
SHAPES = {
    "resnet18": (2, 3, 72, 90),
    "resnet34": (2, 3, 72, 90),
    "resnet50": (2, 3, 72, 90),
    "densenet121": (2, 3, 72, 90),
    "inception_resnet_v2": (2, 3, 117, 99),
}
"""Odd and unequal sides, so that a border on the wrong side, or rows taken for columns, show."""
LOGITS = (0, 1, 500, 999)
"""Of 1000, for each of the two images."""


def uniform(count: int, seed: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) from the raw bits of PCG64."""
    return np.ldexp((np.random.PCG64(seed).random_raw(count) >> np.uint64(11)).astype(np.float64), -53)


def fill(state: Mapping[str, Tensor]) -> None:
    """Weights in place, by name in sorted order, so that every layer matters.

    Convolutions and linear layers ± √(6 / fan-in); scales and variances .2 … 1.2; shifts, means and biases ± .2.
    """
    for number, name in enumerate(sorted(name for name, one in state.items() if one.is_floating_point())):
        tensor = state[name]
        drawn = uniform(tensor.numel(), number)
        if tensor.ndim > 1:
            values = (2 * drawn - 1) * math.sqrt(6 / math.prod(tensor.shape[1:]))
        elif name.endswith((".bias", ".running_mean")):
            values = 0.4 * drawn - 0.2
        else:
            values = drawn + 0.2
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(values.astype(np.float32)).view(tensor.shape))


def images(shape: tuple[int, ...]) -> Tensor:
    """Uniform in ± 2."""
    return torch.from_numpy((4 * uniform(math.prod(shape), 10_000) - 2).astype(np.float32)).view(shape)


def described(model: torch.nn.Module, shape: tuple[int, ...]) -> dict[str, Any]:
    """Digest of names and shapes in the state's own order, number of parameters, and 8 logits of the filled network."""
    state = model.state_dict()
    layout = json.dumps([[name, list(one.shape)] for name, one in state.items()], separators=(",", ":"))
    fill(state)
    with torch.inference_mode():
        logits = model.eval()(images(shape))[:, list(LOGITS)]
    return {
        "layout_sha256": hashlib.sha256(layout.encode()).hexdigest(),
        "tensors": len(state),
        "parameters": sum(one.numel() for one in model.parameters()),
        "logits": [[float(f"{value:.7g}") for value in row] for row in logits.tolist()],
    }


def main(reference: str) -> None:
    sys.path.append(reference)
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")  # type: ignore[no-untyped-call]
    timm, torchvision = import_module("timm"), import_module("torchvision")

    found: dict[str, Any] = {"made_with": f"torchvision {torchvision.__version__}, timm {timm.__version__}"}
    for name, shape in SHAPES.items():
        make = getattr(torchvision.models, name, None) or (lambda: timm.create_model("inception_resnet_v2"))
        found[name] = described(make(), shape)
    STORED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
