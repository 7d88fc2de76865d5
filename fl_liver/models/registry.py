"""From a study to its model, its first weights, and back from a vector to a model."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fl_liver.errors import ConfigError
from fl_liver.models import clinical, hcc_ct, lesion_us_attention, lesion_us_fusion, mri_clinical, nodule_ct
from fl_liver.models.checkpoint import WeightsReport, load_weights
from fl_liver.models.lesion_model import LesionModel
from fl_liver.models.trunk import trunks_of
from fl_liver.models.twin import twin
from fl_liver.parameters import Entry, Layout, Vector, check_vector, flatten
from fl_liver.study import Study

MODELS: dict[str, Callable[[Study], LesionModel]] = {
    "clinical": clinical.build,
    "hcc_ct": hcc_ct.build,
    "lesion_us_attention": lesion_us_attention.build,
    "lesion_us_fusion": lesion_us_fusion.build,
    "mri_clinical": mri_clinical.build,
    "nodule_ct": nodule_ct.build,
}

KEPT_LAYOUTS = 8
"""Laying a model out takes 60 ms, copying it 20: a simulation has a few studies and thousands of rounds."""
_laid_out: dict[str, LesionModel] = {}


def build_model(study: Study) -> LesionModel:
    """The study's model with weights drawn from `study.seed`; torch's own random state is left as it was.

    `model.weights` is not opened: that is `first_vector`'s.

    Raises:
        ConfigError: no model of that name, one that cannot read the study's data, or one without what the study asks.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(study.seed)
        return _built(study)


def initial_vector(study: Study) -> tuple[Vector, Layout]:
    """The first weights of a study: the same on every machine with the same torch and the same `model.weights`."""
    vector, layout, _ = first_vector(study)
    return vector, layout


def first_vector(study: Study) -> tuple[Vector, Layout, WeightsReport | None]:
    """`initial_vector`, and what was taken of the checkpoint that the study names; for the coordinator's machine.

    Raises:
        ConfigError: also a checkpoint that cannot be read or is another network's (`checkpoint.load_weights`).
    """
    model = build_model(study)
    report = load_weights(study, model) if study.model.weights else None
    return *model_vector(model), report


def model_vector(model: nn.Module) -> tuple[Vector, Layout]:
    """A model's floating-point state as one vector, in the order of its state dict."""
    return flatten({name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()})


def empty_model(study: Study) -> LesionModel:
    """The study's model laid out on torch's meta device: names and shapes, no numbers, nothing drawn."""
    return copy.deepcopy(_layout_model(study))


def _layout_model(study: Study) -> LesionModel:
    """The kept one, to look at: a copy costs 50 ms."""
    key = study.sha256
    if key not in _laid_out:
        with torch.device("meta"):
            model = _built(study)
        while len(_laid_out) >= KEPT_LAYOUTS:
            _laid_out.pop(next(iter(_laid_out)))
        _laid_out[key] = model
    return _laid_out[key]


def study_layout(study: Study) -> Layout:
    """The layout of the study's vectors, without making one."""
    return Layout(tuple(Entry(name, tuple(one.shape)) for name, one in _travelling(_layout_model(study)).items()))


def model_from_vector(study: Study, vector: Vector, layout: Layout, device: torch.device) -> LesionModel:
    """The study's model on `device` with the weights of `vector`, convolutions in channels-last order.

    Nothing is drawn: the model is laid out without storage and filled.

    Raises:
        ProtocolError: the vector does not fit the layout.
        ConfigError: the layout is not that of the study's model.
    """
    check_vector(vector, layout)
    _check_layout(_layout_model(study), layout, study)
    model = twin(_layout_model(study), device)
    # One copy: the received array may be read-only, and the model must not write into it.
    source = torch.from_numpy(np.array(vector)).to(device)
    with torch.no_grad():
        for tensor, values in zip(
            _travelling(model).values(), torch.split(source, [e.size for e in layout.entries]), strict=True
        ):
            tensor.copy_(values.view(tensor.shape))
        for buffer in model.buffers():
            if not buffer.is_floating_point():
                buffer.zero_()
    for parameter in model.parameters():
        if parameter.ndim == 4:
            # `to`, not `contiguous`: with one input channel both orders hold, and only `to` sets the strides by which
            # torch keeps the whole trunk channels-last (max pooling after the stem is then 7 times as fast).
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return model


def _travelling(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def _check_layout(model: nn.Module, layout: Layout, study: Study) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in _travelling(model).items()}
    found = {entry.name: entry.shape for entry in layout.entries}
    if list(wanted.items()) != list(found.items()):
        wrong = next((n for n in [*wanted, *found] if wanted.get(n) != found.get(n)), "the order")
        raise ConfigError(
            f"study {study.name}: the layout is not that of model '{study.model.name}' at {study.model.size}"
            f" (first difference: {wrong}, found {found.get(wrong)}, wanted {wanted.get(wrong)}); make them again"
        )


def _built(study: Study) -> LesionModel:
    builder = MODELS.get(study.model.name)
    if builder is None:
        raise ConfigError(f"study {study.name}: no model '{study.model.name}' (models: {', '.join(sorted(MODELS))})")
    if (study.model.name == "clinical") != (study.task.modality == "table"):
        raise ConfigError(
            f"study {study.name}: model '{study.model.name}' does not read modality '{study.task.modality}';"
            " 'clinical' reads tables, the others read images"
        )
    model = builder(study)
    if unused := _unused(study, model):
        raise ConfigError(f"study {study.name}: model '{study.model.name}' has no use for {'; '.join(unused)}")
    return model


def _unused(study: Study, model: LesionModel) -> list[str]:
    """What a study asks of its model that this one does not do, so that nobody believes it was done."""
    asked = study.model
    trunks = {trunk.architecture for trunk in trunks_of(model).values()}
    reasons = {
        f"model.trunk '{asked.trunk}', it has one network": asked.trunk not in {"published", *trunks},
        f"model.{asked.reshaped}, which shape nodule_ct alone": bool(asked.reshaped) and "nodule_ct" not in trunks,
        "model.clinical, mri_clinical reads factors": asked.clinical and "features" not in model.needs,
        "training.attention_weight, lesion_us_attention has attention": (
            study.training.attention_weight > 0 and not hasattr(model, "attention")
        ),
        f"{len(study.endpoint)} [[endpoint]] sections, lesion_us_attention answers them": (
            bool(study.endpoint) and type(model).readout is LesionModel.readout
        ),
    }
    return [reason for reason, applies in reasons.items() if applies]
