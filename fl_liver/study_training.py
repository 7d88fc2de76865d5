"""How a study's network is made and taught: which one, with what optimiser, augmentation and privacy.

Parts of the study's TOML (`fl_liver.study`): a hospital approves them.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from fl_liver.toml_file import Count, Fraction, Positive, Section

Norm = Literal["batch", "group"]
Trunk = Literal["published", "resnet18", "resnet34", "resnet50", "densenet121"]
_Share = Annotated[float, Field(gt=0, le=1)]
PatientRule = Literal["mean", "risk", "risk_printed"]


class Model(Section):
    """Which network, at which size."""

    name: str
    trunk: Trunk = "published"
    """The network below the head; another one where the published system was tried with several."""
    width: Count = 64
    """64 is the published size of every network; the others' channels are scaled by width / 64."""
    layers: Literal[2, 3, 4] = 4
    """nodule_ct alone, as the two below: its convolutions (Khalili 2020 tried 2 to 4)."""
    filters: Count = 16
    """At width 64, of the convolutions before the first pooling; those after it have twice as many (16 to 32)."""
    dense: Count = 64
    """At width 64, units before the last layer (32 to 128)."""
    image_px: Count = 224
    """Rows of an image. Columns are the same, but for whole ultrasound scans (`cohort.crops`)."""
    dropout: Fraction = 0.5
    norm: Norm = "batch"
    """Batch normalisation as published, or group normalisation, which sees one image at a time."""
    scales: tuple[Annotated[float, Field(ge=0)], ...] = (1.0,)
    """Supervised attention: λ of each weighted average (Schmauch 2019); 0 is the plain average."""
    weights: str = ""
    """A local checkpoint of ImageNet weights, .safetensors or .pth, that `fl-liver study check` begins from. Hospitals
    never open it: what they approve is the SHA-256 of the first weights."""
    clinical: bool = False
    """The study's factors join the image's features before the last layer (Zhen 2020, models F and G)."""
    patient: PatientRule = "mean"
    """From images to a patient: the mean of the probabilities (the arg max is that of their sum), or the weighted risk
    score of Wang 2021, as corrected ("risk") or as printed ("risk_printed", which falls with the number of images)."""

    @field_validator("scales")
    @classmethod
    def _some_scale(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not scales or not all(math.isfinite(scale) for scale in scales):
            raise ValueError("wanted one λ or more, each 0 or above")
        return scales

    @property
    def reshaped(self) -> str:
        """Which of layers, filters and dense are not as published, such as "layers 2, dense 32"; "" where all are."""
        fields = type(self).model_fields
        asked = {key: getattr(self, key) for key in ("layers", "filters", "dense")}
        return ", ".join(f"{key} {value}" for key, value in asked.items() if value != fields[key].default)

    @property
    def size(self) -> str:
        """For people: "width 64", and what is reshaped."""
        return f"width {self.width}" + (f", {self.reshaped}" if self.reshaped else "")


class Training(Section):
    """Federated averaging and its local optimiser."""

    strategy: Literal["fedavg", "fedprox", "fedbn"] = "fedavg"
    mu: Annotated[float, Field(ge=0)] = 0.0
    """FedProx: weight of ½‖w − w_global‖² in every local step (Li 2020)."""
    rounds: Count = 15
    local_epochs: Count = 2
    batch_size: Annotated[int, Field(ge=2)] = 16
    learning_rate: Positive = 0.03
    final_learning_rate: Positive = 1e-4
    schedule: Literal["cosine", "step"] = "cosine"
    """Over rounds: cosine from `learning_rate` to `final_learning_rate`, or × `step_factor` every `step_rounds`."""
    warmup_rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds over which the rate first rises linearly to `learning_rate`; the schedule then has the others."""
    step_rounds: Count = 20
    step_factor: Fraction = 0.5
    momentum: Fraction = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip_norm: Positive = 5.0
    balance: Literal["weights", "oversample", "none"] = "weights"
    """Classes of a hospital: by weights in the loss, by drawing the rarer ones' images more often, or not at all."""
    oversample: Count = 1
    """With "oversample": how often an epoch shows each image of the largest class; the others as often as it takes to
    show all classes equally (Khalili 2020: benign × 2, malignant × 6)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """ε: targets become (1 − ε)·y + ε / classes."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """α of Beta(α, α), from which the share of each batch's second image is drawn (Zhang 2018); 0 is off."""
    triplet_weight: Annotated[float, Field(ge=0)] = 0.0
    background_weight: Annotated[float, Field(ge=0)] = 0.0
    attention_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the cross-entropy between the attention map and the lesion's mask (Schmauch 2019)."""
    max_weight: Count = 1_000
    """A hospital weighs min(patients, max_weight)."""
    update_norm: Positive = 20.0
    """L2 norm to which a hospital's update (all parameters, one round) is clipped before it leaves."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    round_timeout_s: Positive = 1800.0

    @model_validator(mode="after")
    def _mu_belongs_to_fedprox(self) -> Self:
        if (self.strategy == "fedprox") != (self.mu > 0):
            raise ValueError(f"mu > 0 goes with strategy 'fedprox' and with no other (mu {self.mu}, '{self.strategy}')")
        return self

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Self:
        if self.warmup_rounds >= self.rounds:
            raise ValueError(f"warmup_rounds {self.warmup_rounds} leaves none of {self.rounds} rounds; wanted fewer")
        return self


class Augmentation(Section):
    """How a training image is changed before each step, drawn anew for each image, on the device.

    Order: crop or random resized crop, then one resampling for aspect, rotation, translation and perspective, then
    flips or symmetries, then intensities. Masks go with their images; intensities leave masks alone.
    """

    crop_px: Count | None = None
    """A random square of this side out of the image; scoring takes the central one."""
    shift_px: Annotated[int, Field(ge=0)] = 4
    """Largest shift along either axis; what comes in at the edge is the image's own reflection."""
    symmetries: bool = False
    """One of the 8 of the square: 4 rotations × reflection."""
    flip_horizontal: bool = True
    flip_vertical: bool = False
    """Each with p = ½."""
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Uniform in ± this."""
    area: tuple[_Share, _Share] | None = None
    """Random resized crop: share of the image's area, uniform."""
    aspect: tuple[Positive, Positive] = (1.0, 1.0)
    """Of that crop, columns over rows relative to the image's own, log-uniform."""
    perspective: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest share of half a side by which each corner moves inwards; p = ½."""
    gain_sd: Annotated[float, Field(ge=0)] = 0.1
    offset_sd: Annotated[float, Field(ge=0)] = 0.1
    """Colour jitter of grey images: factor about 1 and summand about 0, normal, one of each for an image."""

    @model_validator(mode="after")
    def _ranges_make_sense(self) -> Self:
        for name, pair in (("area", self.area), ("aspect", self.aspect)):
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{name} {list(pair)}: wanted the lower end first")
        if self.area is None and self.aspect != (1.0, 1.0):
            raise ValueError("aspect belongs to a random resized crop; give area, such as [0.7, 1.0]")
        if self.crop_px is not None and self.area is not None:
            raise ValueError("crop_px and area are two ways to crop; choose one")
        return self


class Selection(Section):
    """A first federation learns on which images a lesion is visible, and chooses what the second one learns from.

    Wang 2021: NoduleNet, then HCCNet. Both have the study's network and first weights. An image's truth in the first is
    whether the drawn lesion lies in it (`cohort.masks`). Then each hospital scores its own training images, and images
    of patients with the disease on which no lesion is seen leave the second federation; of a patient without any, the
    likeliest stays. Which images those are never leaves the hospital.
    """

    rounds: Count = 6
    threshold: Fraction = 0.5
    """Smallest probability at which a lesion counts as seen."""


class PrivateTraining(Section):
    """Patient-level differential privacy of the trained weights (DP-SGD: Abadi et al., CCS 2016).

    In every step each training patient is drawn with probability `sampling_rate`; the gradient of the mean loss of all
    images of a drawn patient is cut to L2 ≤ `patient_clip_norm`; the sum over the drawn patients gets normal noise of
    standard deviation noise_multiplier × patient_clip_norm and is divided by `expected_patients`. An epoch has
    round(1 / sampling_rate) steps. All of it is public and the same at every hospital, so that ε is too: it follows
    from this file alone (`fl_liver.accountant`) and tells nothing of a hospital's size.

    `training.batch_size` and `training.clip_norm` have no meaning then; classes have equal weights, because those of a
    hospital's own prevalence would depend on its patients; arithmetic is float32.
    """

    noise_multiplier: Positive
    patient_clip_norm: Positive
    sampling_rate: Annotated[float, Field(gt=0, le=1)]
    expected_patients: Positive
    """About sampling_rate × the training patients of a usual hospital; a hospital's own number would tell its size."""
    delta: Annotated[float, Field(gt=0, le=1e-4)] = 1e-5
    """Wanted: well below 1 / patients of any hospital."""
    max_epsilon: Positive
    """A study that would spend more is not begun; a hospital that has spent this much trains no more."""
