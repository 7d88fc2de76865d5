"""The CNN of Khalili 2020 as peers were measured with it: 64 images of 24 × 24 a site, 2 epochs, batch 16, one thread.

conv16 – conv16 – pool – conv32 – conv32 – pool – dense64 – sigmoid, 3 × 3 kernels. Images and labels are noise: only
the time is looked at, and that all programs come to the same weights.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.workload import Tensors

IMAGES, SIDE_PX, EPOCHS, BATCH, RATE = 64, 24, 2, 16, 0.01


def make() -> nn.Sequential:
    """Input (B, 1, 24, 24), output (B, 1) log-odds."""
    layers: list[nn.Module] = []
    for inside, outside in ((1, 16), (16, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if inside == outside else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * (SIDE_PX // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, 1))


def initial() -> Tensors:
    """The same first weights everywhere."""
    torch.manual_seed(0)
    return [parameter.detach().numpy().copy() for parameter in make().parameters()]


@cache
def data(client: int) -> tuple[Tensor, Tensor]:
    """(64, 1, 24, 24) images and (64, 1) labels of one client."""
    random = np.random.default_rng(client)
    images = random.standard_normal((IMAGES, 1, SIDE_PX, SIDE_PX), dtype=np.float32)
    labels = random.integers(0, 2, (IMAGES, 1)).astype(np.float32)
    return torch.from_numpy(images), torch.from_numpy(labels)


def train(tensors: Tensors, client: int, round_number: int) -> tuple[Tensors, float]:
    """One client's round: the trained tensors and the mean loss."""
    torch.set_num_threads(1)
    model = make()
    with torch.no_grad():
        for parameter, received in zip(model.parameters(), tensors, strict=True):
            parameter.copy_(torch.tensor(received))
    images, labels = data(client)
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    generator = torch.Generator().manual_seed(1000 * round_number + client)
    losses: list[float] = []
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(IMAGES, generator=generator), BATCH):
            optimiser.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(model(images[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
    return [parameter.detach().numpy() for parameter in model.parameters()], float(np.mean(losses))


def flat(tensors: Tensors) -> NDArray[np.float32]:
    """All tensors behind one another."""
    return np.concatenate([tensor.ravel() for tensor in tensors])


def split(vector: NDArray[np.float32]) -> Tensors:
    """The tensors in a flat vector, as views."""
    shapes = [tuple(parameter.shape) for parameter in make_shapes()]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(vector, ends[:-1]), shapes, strict=True)]


@cache
def make_shapes() -> tuple[Tensor, ...]:
    """One parameter of each shape, in order."""
    return tuple(make().parameters())
