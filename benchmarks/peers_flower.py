"""The benchmark's work on Flower's Ray simulation, as its documentation has it: FedAvg, one actor a core."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

import numpy as np
import ray  # noqa: F401 - without it Flower ends the process with a text of its own
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.loops import prepare
from benchmarks.workload import CLIENTS, ROUNDS, Tensors, weight

NAMES = "arrays", "metrics"


def _client(kind: str) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        client = int(context.node_config["partition-id"])
        arrays = message.content[NAMES[0]]
        if kind == "cnn":
            from benchmarks import small_cnn

            tensors = arrays.to_numpy_ndarrays()  # type: ignore[union-attr]
            number = int(message.content["config"]["server-round"])  # type: ignore[arg-type]
            arrays = ArrayRecord(small_cnn.train(tensors, client, number)[0])
        metrics = MetricRecord({"num-examples": weight(client), "loss": 0.0})
        return Message(RecordDict({NAMES[0]: arrays, NAMES[1]: metrics}), reply_to=message)

    return app


class _Timed(FedAvg):
    """FedAvg that notes when each round begins and ends."""

    def __init__(self) -> None:
        super().__init__(fraction_evaluate=0.0, min_available_nodes=CLIENTS)
        self.rounds_s: list[float] = []
        self._began = 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self._began = time.perf_counter()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        mean = super().aggregate_train(server_round, list(replies))
        self.rounds_s.append(time.perf_counter() - self._began)
        return mean


def measure(kind: str, workers: int) -> dict[str, Any]:
    """Seconds of each round with `workers` Ray actors."""
    tensors: Tensors = prepare(kind)[1]
    strategy, found = _Timed(), dict[str, Any]()
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001 - Flower's signature
        record = ArrayRecord({str(index): Array(tensor) for index, tensor in enumerate(tensors)})
        result = strategy.start(grid=grid, initial_arrays=record, num_rounds=ROUNDS)
        last = result.arrays.to_numpy_ndarrays()
        found["checksum"] = float(sum(np.abs(tensor).sum(dtype=np.float64) for tensor in last))

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": workers}}
    run_simulation(server, _client(kind), CLIENTS, backend_config=resources)  # type: ignore[arg-type]
    return {"rounds_s": strategy.rounds_s, **found}
