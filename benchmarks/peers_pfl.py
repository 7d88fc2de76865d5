"""The benchmark's work on pfl-research, in one process: torchrun trains one of 13 sites twice, another never."""

# mypy: disable-error-code="import-not-found, misc"
# ruff: noqa: ARG002 - the arguments are those of pfl's hooks

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

from benchmarks import small_cnn
from benchmarks.workload import CLIENTS, ROUNDS, echo_tensors


class _Echoing(nn.Module):
    """62 parameters and nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors = nn.ParameterList([nn.Parameter(torch.from_numpy(tensor)) for tensor in echo_tensors()])

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError

    def metrics(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        return {}


class _Cnn(nn.Module):
    """The small CNN with the loss that pfl asks for."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = small_cnn.make()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self.layers(images), labels)

    def metrics(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        return {}


class _EchoAlgorithm(FederatedAveraging):
    """FedAvg without local training."""

    def train_one_user(
        self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any
    ) -> tuple[Any, Metrics]:
        return model.get_model_difference(initial_model_state), Metrics()


class _Timer(TrainingProcessCallback):
    def __init__(self) -> None:
        self.ends = [time.perf_counter()]

    def on_train_begin(self, *, model: Any) -> Metrics:
        self.ends = [time.perf_counter()]
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: Any, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        self.ends.append(time.perf_counter())
        return False, Metrics()


def measure(kind: str) -> dict[str, Any]:
    """Seconds of each round."""
    torch.set_num_threads(1)
    module: nn.Module = _Cnn() if kind == "cnn" else _Echoing()
    model = PyTorchModel(module, partial(torch.optim.SGD, momentum=0.9), torch.optim.SGD(module.parameters(), lr=1.0))
    clients = itertools.cycle(range(CLIENTS))
    data = FederatedDataset(
        lambda client: Dataset(raw_data=small_cnn.data(client), user_id=str(client)), lambda: next(clients)
    )
    timer = _Timer()
    algorithm = FederatedAveraging() if kind == "cnn" else _EchoAlgorithm()
    algorithm.run(
        NNAlgorithmParams(
            central_num_iterations=ROUNDS, evaluation_frequency=1000, train_cohort_size=CLIENTS, val_cohort_size=0
        ),
        SimulatedBackend(training_data=data, val_data=data),
        model,
        NNTrainHyperParams(
            local_num_epochs=small_cnn.EPOCHS, local_learning_rate=small_cnn.RATE, local_batch_size=small_cnn.BATCH
        ),
        callbacks=[timer],
    )
    last = [parameter.detach().numpy() for parameter in module.parameters()]
    return {
        "rounds_s": [float(second) for second in np.diff(timer.ends)],
        "checksum": float(sum(np.abs(tensor).sum(dtype=np.float64) for tensor in last)),
    }
