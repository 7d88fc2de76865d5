"""Published ImageNet weights from a local file into a study's first weights; nothing is ever downloaded.

Files as torchvision (ResNet, DenseNet) and timm (Inception-ResNet-v2) publish them: a state dict in .safetensors, or
in .pth, of which torch reads tensors alone and runs no code. The classifier is left out. A first convolution for red,
green and blue becomes one for C channels: for C = 1 their sum, which reads a grey image as the published one reads it
three times; otherwise the three in turn × 3 / C, as timm does, so that the response keeps its size.

Only the coordinator's machine reads such a file (`registry.first_vector`, in `fl-liver study check`).
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fl_liver.errors import ConfigError
from fl_liver.models.trunk import Trunk, trunks_of
from fl_liver.models.trunks import TRUNKS
from fl_liver.study import Study

PUBLISHED_WIDTH = 64
_SHOWN = 3
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""Names in the file that torchvision publishes for DenseNet-121: `norm.1` for what is `norm1` since 2017."""


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What became of a checkpoint.

    file          its name
    sha256        of its bytes
    architecture  of the trunk that it filled
    trunks        how many: each branch begins from the same weights
    taken         tensors that went in, of each trunk
    adapted       the first convolution, where its channels were changed, as "conv1.weight 3 → 1 channels"
    left_out      names in the file that were not used: the published classifier
    """

    file: str
    sha256: str
    architecture: str
    trunks: int
    taken: int
    adapted: str
    left_out: tuple[str, ...]

    def sentence(self) -> str:
        """One line for a person."""
        times = f", {self.trunks} times" if self.trunks > 1 else ""
        return (
            f"{self.file} (SHA-256 {self.sha256[:12]}): {self.taken} tensors of {self.architecture}{times};"
            f" adapted: {self.adapted or 'none'}; left out: {', '.join(self.left_out) or 'none'}"
        )


def load_weights(study: Study, model: nn.Module) -> WeightsReport:
    """Fill every trunk of `model` from the file `study.model.weights`; heads keep what was drawn.

    Raises:
        ConfigError: no such file, not one of tensors, another architecture (with the first names and shapes that
            differ), a trunk that is not of the published width or normalisation, or a model without a published trunk.
    """
    path, where = Path(study.model.weights), f"study {study.name}: model.weights"
    trunks = [trunk for trunk in trunks_of(model).values() if trunk.architecture in TRUNKS]
    _require_published(study, trunks, where)
    state = read_checkpoint(path)
    reports = [_fill(trunk, state, f"{where} {path.name}") for trunk in trunks]
    adapted, left_out = reports[0]
    return WeightsReport(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        architecture=trunks[0].architecture,
        trunks=len(trunks),
        taken=len(_wanted(trunks[0])),
        adapted=adapted,
        left_out=left_out,
    )


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The floating-point tensors of a file by name, float32; a state dict inside a dictionary of more is found.

    Raises:
        ConfigError: no such file, another kind of file, or one that holds more than tensors.
    """
    if not path.is_file():
        raise ConfigError(f"weights '{path}': no such file; give the path of a local copy, nothing is downloaded")
    try:
        if path.suffix == ".safetensors":
            raw: object = load_file(path)
        elif path.suffix in (".pth", ".pt"):
            raw = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise ConfigError(f"weights '{path}': wanted a .safetensors or .pth file")
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ConfigError(
            f"weights '{path}': no file of tensors alone ({type(error).__name__}); save the network's state_dict()"
        ) from error
    inside = raw.get("state_dict", raw) if isinstance(raw, Mapping) else raw
    if not isinstance(inside, Mapping) or not all(isinstance(one, Tensor) for one in inside.values()):
        raise ConfigError(f"weights '{path}': holds no state dict, wanted tensors by name; save the state_dict()")
    return {
        _OLD_DENSENET.sub(r"\1\2", str(name)): tensor.float()
        for name, tensor in inside.items()
        if tensor.is_floating_point()
    }


def _require_published(study: Study, trunks: list[Trunk], where: str) -> None:
    if not trunks:
        raise ConfigError(f"{where}: model '{study.model.name}' has no network with published weights; leave it out")
    if study.model.width != PUBLISHED_WIDTH:
        raise ConfigError(
            f"{where}: published weights are of width {PUBLISHED_WIDTH}, model.width is {study.model.width};"
            " change one of the two keys"
        )
    if study.model.norm != "batch":
        raise ConfigError(
            f"{where}: published weights belong to batch normalisation, model.norm is '{study.model.norm}';"
            " change one of the two keys"
        )


def _wanted(trunk: Trunk) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in trunk.state_dict().items() if tensor.is_floating_point()}


def _fill(trunk: Trunk, state: Mapping[str, Tensor], where: str) -> tuple[str, tuple[str, ...]]:
    """Copies into the trunk; what was adapted, and what was left out."""
    wanted = _wanted(trunk)
    left_out = tuple(sorted(name for name in state if name.startswith(trunk.head)))
    given = {name: tensor for name, tensor in state.items() if name not in left_out}
    first = f"{trunk.first_convolution}.weight"
    adapted = ""
    if first in given and given[first].ndim == 4 and given[first].shape[1] == 3:
        channels = wanted[first].shape[1]
        adapted = f"{first} 3 → {channels} channels" if channels != 3 else ""
        given[first] = adapted_convolution(given[first], channels)
    wrong = _differences(given, wanted)
    if wrong:
        raise ConfigError(
            f"{where}: not the weights of {trunk.architecture}, {len(wrong)} names or shapes differ"
            f" ({'; '.join(wrong[:_SHOWN])}); give a checkpoint of {trunk.architecture}, or another model.trunk"
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(given[name])
    return adapted, left_out


def adapted_convolution(weight: Tensor, channels: int) -> Tensor:
    """(o, 3, h, w) → (o, channels, h, w): the sum for one channel, otherwise the three in turn × 3 / channels."""
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeats = -(-channels // 3)
    return weight.repeat(1, repeats, 1, 1)[:, :channels] * (3 / channels)


def _differences(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Names that only one side has, or whose shapes differ, each with what was found and wanted; wanted order first."""
    found: list[str] = []
    for name in [*wanted, *(name for name in given if name not in wanted)]:
        sides = [tuple(side[name].shape) if name in side else "nothing" for side in (given, wanted)]
        if sides[0] != sides[1]:
            found.append(f"{name}: found {sides[0]}, wanted {sides[1]}")
    return found
