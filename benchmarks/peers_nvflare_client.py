"""The script that NVFlare runs in every client: receive, train the small CNN or nothing, send."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

TIMES, KIND, CNN = "BENCHMARK_TIMES", "BENCHMARK_KIND", "cnn"
FIRST = "site-1"


def main() -> None:
    """Rounds until the server ends the job; the first client writes down when it received each model."""
    import nvflare.client as flare

    flare.init()
    name = flare.get_site_name()
    client = int(name.rpartition("-")[2]) - 1
    number = 0
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        number += 1
        note(name)
        params = train(model.params, client, number) if os.environ[KIND] == CNN else model.params
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": 1}))
    note(name)


def note(name: str) -> None:
    """The first client writes down the time; with few threads NVFlare ends and starts its process between rounds."""
    if name == FIRST:
        with Path(os.environ[TIMES]).open("a", encoding="utf-8") as file:
            file.write(f"{time.time()}\n")


def train(params: dict[str, Any], client: int, number: int) -> dict[str, Any]:
    """One client's round on named torch tensors."""
    import torch

    from benchmarks import small_cnn

    tensors, _ = small_cnn.train([value.cpu().numpy() for value in params.values()], client, number)
    return {name: torch.from_numpy(tensor) for name, tensor in zip(params, tensors, strict=True)}


if __name__ == "__main__":
    main()
