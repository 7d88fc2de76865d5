"""The network below a study's head: which one, for how many channels, at which size."""

from __future__ import annotations

from fl_liver.errors import ConfigError
from fl_liver.models.densenet import densenet121
from fl_liver.models.inception_resnet import inception_resnet_v2
from fl_liver.models.resnet import resnet18, resnet34, resnet50
from fl_liver.models.trunk import Trunk
from fl_liver.study import Study

TRUNKS = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "densenet121": densenet121,
    "inception_resnet_v2": inception_resnet_v2,
}


def study_trunk(study: Study, published: str) -> Trunk:
    """The trunk of `study.model.trunk`, or `published` where the study does not say; no classifier.

    Raises:
        ConfigError: images smaller than the network can read, or a width at which it cannot be made.
    """
    name = published if study.model.trunk == "published" else study.model.trunk
    trunk = TRUNKS[name](in_channels=input_channels(study), classes=0, width=study.model.width, norm=study.model.norm)
    if input_px(study) < trunk.smallest_px:
        raise ConfigError(
            f"study {study.name}: {name} reads {trunk.smallest_px} px a side or more, the study gives"
            f" {input_px(study)}; raise model.image_px, or choose another model.trunk"
        )
    return trunk


def input_channels(study: Study) -> int:
    """One for each sequence; one grey channel where the study names none."""
    return len(study.cohort.sequences) or 1


def input_px(study: Study) -> int:
    """Rows of what the network reads: the crop's, where images are cropped."""
    return study.augmentation.crop_px or study.model.image_px
