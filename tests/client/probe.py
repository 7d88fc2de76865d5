"""A network of one linear layer that keeps what it was given: for tests of what reaches a network."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from fl_liver.errors import ConfigError
from fl_liver.models import registry
from fl_liver.models.lesion_model import Labels, LesionModel, Outputs, classification_loss, output_count
from fl_liver.study import Study
from fl_liver.study_files import load_study
from fl_liver.toml_file import parse

FACTORS = 2
SMALL: dict[str, Any] = {"rounds": 5, "local_epochs": 1, "batch_size": 64, "learning_rate": 0.1, "weight_decay": 0.0}
SMALL["precision"] = "float32"  # the oracles' own, whatever the processor has
STILL: dict[str, Any] = {"shift_px": 0, "flip_horizontal": False, "gain_sd": 0.0, "offset_sd": 0.0}


class Seen(list[tuple[dict[str, Tensor], Labels]]):
    """Inputs and labels of every call of `loss`, in order."""

    @property
    def inputs(self) -> dict[str, Tensor]:
        return self[-1][0]

    @property
    def labels(self) -> Labels:
        return self[-1][1]


class Probe(LesionModel):
    """Logits are linear in the image's mean, its middle pixel and the factors; "other" answers with their negative."""

    needs = ("lesion", "features")

    def __init__(self, study: Study, seen: Seen) -> None:
        super().__init__()
        self.fc = nn.Linear(2 + FACTORS, output_count(study))
        self.attention = nn.Identity()  # by which the registry knows who has a use for masks
        self.seen = seen

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        self.last = inputs
        image = inputs["lesion"]
        known = torch.nan_to_num(inputs["features"][:, :FACTORS])
        middle = image[:, 0, image.shape[2] // 2, image.shape[3] // 2]
        return Outputs(cast(Tensor, self.fc(torch.cat([image.mean((1, 2, 3))[:, None], middle[:, None], known], 1))))

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        self.seen.append((self.last, labels))
        return classification_loss(outputs.logits, labels)

    def readout(self, outputs: Outputs, endpoint: str = "") -> Tensor:
        if endpoint not in ("", "other"):
            raise ConfigError(f"this network has no readout '{endpoint}'")
        return -outputs.logits if endpoint else outputs.logits


def probed(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Put the probe in the place of the ultrasound network."""
    seen = Seen()
    # Layouts are copied deeply, and the list must stay this one.
    monkeypatch.setattr(Seen, "__deepcopy__", lambda self, memory: self, raising=False)
    monkeypatch.setitem(registry.MODELS, "lesion_us_fusion", lambda study: Probe(study, seen))
    monkeypatch.setattr(registry, "_laid_out", {})
    return seen


def probe_study(**sections: dict[str, Any]) -> Study:
    """The ultrasound study with small training and images as they are, and `sections` changed."""
    raw = load_study("lesion_us_fusion").model_dump(mode="json", exclude_none=True)
    raw["training"] |= SMALL
    raw["augmentation"] = dict(STILL)
    for name, keys in sections.items():
        raw[name] = {**raw.get(name, {}), **keys}
    return parse(raw, Study, "probe")
