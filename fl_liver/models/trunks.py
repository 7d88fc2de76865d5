"""The networks that stand below a head, by the name that a study's `model.trunk` gives."""

from __future__ import annotations

from fl_liver.models.densenet import densenet121
from fl_liver.models.inception_resnet import inception_resnet_v2
from fl_liver.models.resnet import resnet18, resnet34, resnet50

TRUNKS = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "densenet121": densenet121,
    "inception_resnet_v2": inception_resnet_v2,
}
