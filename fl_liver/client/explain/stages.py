"""One forward pass with the maps that it made: the last one of each scale, for each of the network's images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fl_liver.errors import ConfigError
from fl_liver.models.lesion_model import LesionModel, Outputs
from fl_liver.models.trunk import Trunk, trunks_of

NOT_IMAGES = frozenset({"features"})


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the model said, and the map (B, C, h, w) of each scale, finest first, by image."""

    outputs: Outputs
    scales: dict[str, tuple[Tensor, ...]]


def image_names(model: LesionModel) -> tuple[str, ...]:
    """The inputs that are images, in the order in which the model names them."""
    return tuple(name for name in model.needs if name not in NOT_IMAGES)


def seen(model: LesionModel, inputs: dict[str, Tensor]) -> Seen:
    """Run `model`, which must be in `eval` mode, and keep its maps; they belong to the graph where gradients are on.

    Raises:
        ConfigError: a model that reads no image, or that has not one trunk for each of its images.
    """
    trunks, names = list(trunks_of(model).values()), image_names(model)
    if not names or len(trunks) != len(names):
        raise ConfigError(
            f"this network has {len(trunks)} trunks of convolutions and reads {', '.join(names) or 'no image'}; heat"
            " maps want one trunk for each image"
        )
    with _recorded(trunks) as maps:
        outputs = model(inputs)
    return Seen(outputs, {name: tuple(one.values()) for name, one in zip(names, maps, strict=True)})


@contextmanager
def _recorded(trunks: list[Trunk]) -> Iterator[list[dict[str, Tensor]]]:
    """Scale layer → its map, of each trunk; hooks are gone afterwards."""
    maps: list[dict[str, Tensor]] = [{} for _ in trunks]

    def keep(place: dict[str, Tensor], name: str, _module: nn.Module, _given: Any, made: Tensor) -> None:
        place[name] = made

    hooks = [
        trunk.get_submodule(name).register_forward_hook(partial(keep, place, name))
        for trunk, place in zip(trunks, maps, strict=True)
        for name in trunk.scale_layers
    ]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def likeliest_logit(model: LesionModel, outputs: Outputs) -> Tensor:
    """The number whose reasons are shown, (B,): the logit of the class that the model holds likeliest for each image.

    With one logit, of disease, that of its absence is the negative.
    """
    logits = model.readout(outputs)
    if logits.shape[1] == 1:
        return torch.where(logits[:, 0] > 0, logits[:, 0], -logits[:, 0])
    return logits.gather(1, logits.argmax(1, keepdim=True))[:, 0]


def over_image(maps: Tensor, image: Tensor) -> Tensor:
    """Maps (B, h, w) ≥ 0 resized to their images (B, C, H, W), each divided by its maximum: (B, H, W) in 0 … 1.

    A map of zeros stays one.
    """
    sized = nn.functional.interpolate(maps[:, None].float(), image.shape[2:], mode="bilinear", align_corners=False)
    flat = sized[:, 0].detach()
    top = flat.amax((1, 2), keepdim=True)
    return torch.where(top > 0, flat / top.clamp_min(torch.finfo(torch.float32).tiny), torch.zeros_like(flat))
