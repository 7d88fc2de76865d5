"""The script that NVFlare runs in every client: receive, train the small CNN or nothing, send."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

TIMES, KIND, CNN = "BENCHMARK_TIMES", "BENCHMARK_KIND", "cnn"
FIRST = "site-1"


def main() -> None:
    """Rounds until the server ends the job; the first client writes when it received each model."""
    import nvflare.client as flare

    flare.init()
    name = flare.get_site_name()
    client = int(name.rpartition("-")[2]) - 1
    received: list[float] = []
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        received.append(time.time())
        params = train(model.params, client, len(received)) if os.environ[KIND] == CNN else model.params
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": 1}))
        if name == FIRST:
            Path(os.environ[TIMES]).write_text(json.dumps([*received, time.time()]), encoding="utf-8")


def train(params: dict[str, Any], client: int, number: int) -> dict[str, Any]:
    """One client's round on named torch tensors."""
    import torch

    from benchmarks import small_cnn

    tensors, _ = small_cnn.train([value.cpu().numpy() for value in params.values()], client, number)
    return {name: torch.from_numpy(tensor) for name, tensor in zip(params, tensors, strict=True)}


if __name__ == "__main__":
    main()
