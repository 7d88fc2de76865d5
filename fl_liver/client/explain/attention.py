"""The supervised attention map: where the network itself says that a lesion lies.

Schmauch et al., Diagn Interv Imaging 100 (2019) 227-233: the map that weighs the features, resized over the image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fl_liver.client.explain.stages import image_names, over_image
from fl_liver.errors import ConfigError
from fl_liver.models.lesion_model import LesionModel


def attention_map(model: LesionModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Image name → sigmoid of the attention's log-odds, (B, H, W) float32 in 0 … 1, its maximum 1.

    Raises:
        ConfigError: a network without supervised attention.
    """
    with torch.no_grad():
        outputs = model(inputs)
    if outputs.attention is None:
        raise ConfigError("this network has no supervised attention; ask for another method")
    name = image_names(model)[0]
    return {name: over_image(outputs.attention.sigmoid()[:, 0], inputs[name])}
