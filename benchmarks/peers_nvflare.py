"""The benchmark's work on NVFlare's simulator with PyTorch clients, one thread a client as its documentation has it."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe.sim_env import SimEnv

from benchmarks.peers_nvflare_client import KIND, TIMES
from benchmarks.workload import CLIENTS, ECHO_MB, ECHO_TENSORS, ROUNDS


class Echoing(torch.nn.Module):
    """62 parameters of 45 MB together, and nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        size = int(ECHO_MB * 1e6) // 4 // ECHO_TENSORS
        self.tensors = torch.nn.ParameterList([torch.nn.Parameter(torch.rand(size)) for _ in range(ECHO_TENSORS)])


class Cnn(torch.nn.Module):
    """The small CNN; its parameters are `layers.0.weight` and so on."""

    def __init__(self) -> None:
        super().__init__()
        from benchmarks import small_cnn

        torch.manual_seed(0)
        self.layers = small_cnn.make()


def measure(kind: str) -> dict[str, Any]:
    """Seconds of each round, by the clock of the first client: from one model received to the next."""
    model = Cnn() if kind == "cnn" else Echoing()
    script = Path(__file__).with_name("peers_nvflare_client.py")
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times"
        os.environ |= {TIMES: str(times), KIND: kind, "PYTHONPATH": str(script.parents[1])}
        recipe = FedAvgRecipe(
            name=f"benchmark-{kind}", model=model, min_clients=CLIENTS, num_rounds=ROUNDS, train_script=str(script)
        )
        recipe.execute(SimEnv(num_clients=CLIENTS, num_threads=CLIENTS, workspace_root=folder))
        noted = [float(line) for line in times.read_text(encoding="utf-8").splitlines()]
    return {"rounds_s": [float(second) for second in np.diff(noted)]}
