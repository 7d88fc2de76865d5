"""Everything of a hospital's patients that the page shows: heat maps, hits, features and what the network says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.explain.attention import attention_map
from fl_liver.client.explain.grad_cam import grad_cam
from fl_liver.client.explain.hit_rate import DRAWN, TOP, HitRate, hit_rate, hits
from fl_liver.client.explain.saliency import input_gradient
from fl_liver.client.explain.smoe import smoe
from fl_liver.errors import DataError
from fl_liver.models.augmentation import Views
from fl_liver.models.lesion_model import LesionModel, Outputs
from fl_liver.models.registry import model_from_vector
from fl_liver.parameters import Layout, Vector
from fl_liver.study import Study

GRAD_CAM, SALIENCY, SMOE, ATTENTION = "Grad-CAM", "saliency", "SMOE", "attention"
METHODS: dict[str, Callable[[LesionModel, dict[str, Tensor]], dict[str, Tensor]]] = {
    GRAD_CAM: grad_cam,
    SALIENCY: input_gradient,
    SMOE: smoe,
    ATTENTION: attention_map,
}
BATCH = 32
Images = NDArray[np.float32]
OnImages = Callable[[int, int], None]
"""(images explained, of how many)"""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One image with its heat maps. `maps`: method → input's name → (H, W) in 0 … 1; `mask` (H, W) or None.

    images   the network's inputs by name, (H, W), one channel of several
    """

    index: int
    images: dict[str, Images] = field(repr=False)
    mask: Images | None = field(repr=False)
    maps: dict[str, dict[str, Images]] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """m images of n patients (or lesions, where they are the study's unit), in the cohort's order.

    patients     (n,) index into the cohort's patients
    group        (n,) the same number for all lesions of a patient, see `Cohort.group`
    rows         (m,) index into the cohort's images
    owner        (m,) place in `patients` of each image
    chosen       (n,) index of each patient's image with the largest lesion, or the first one
    images       (m, H, W) float16 as the network sees them, one channel
    lesion_share (m,) of the image that the drawn lesion covers; NaN where the study keeps no masks
    hits         method → (m, 2): the maximum and the upper 2 % lie in the lesion, 1 or 0; NaN without a drawn lesion
    features     (m, d) last hidden layer
    probability  (n,) of disease, the mean over the patient's images
    shown        images with their maps
    """

    patients: NDArray[np.int64]
    group: NDArray[np.int64]
    rows: NDArray[np.int64]
    owner: NDArray[np.int64]
    chosen: NDArray[np.int64]
    images: NDArray[np.float16] = field(repr=False)
    lesion_share: NDArray[np.float64] = field(repr=False)
    hits: dict[str, NDArray[np.float64]] = field(repr=False)
    features: NDArray[np.float32] = field(repr=False)
    probability: NDArray[np.float64] = field(repr=False)
    shown: tuple[Shown, ...] = field(repr=False)

    def rate(self, method: str) -> HitRate:
        """Of one image a patient, that with the largest lesion, whatever the study's unit: lesions of one patient are
        not independent, and patients with many would count more.
        """
        places = np.flatnonzero(np.isfinite(self.hits[method][self.chosen, 0]))
        images = self.chosen[places]
        order = np.lexsort((places, -self.lesion_share[images], self.group[places]))
        _, first = np.unique(self.group[places][order], return_index=True)
        images = images[order][first]
        hit = self.hits[method][images] > 0
        return hit_rate(hit[:, 0], hit[:, 1], self.lesion_share[images])


def explain_cohort(
    study: Study,
    cohort: Cohort,
    vector: Vector,
    layout: Layout,
    *,
    patients: NDArray[np.int64],
    methods: tuple[str, ...] = tuple(METHODS),
    shown: int | None = 24,
    device: torch.device | None = None,
    on_images: OnImages = lambda _done, _total: None,
) -> Explained:
    """Explain what the model of `vector` says of some patients, for the class that it holds likeliest.

    Args:
        methods: those that the network does not have (attention) are left out.
        shown: of so many patients, evenly over the classes, one image's maps are kept; None keeps those of all images.
    Raises:
        ConfigError: the vector is not of the study's model, or a table study.
        DataError: nobody, or a patient without images.
    """
    device = torch.device("cpu") if device is None else device
    rows = np.flatnonzero(np.isin(cohort.owner, patients))
    patients = np.unique(patients)
    missing = np.setdiff1d(patients, cohort.owner)
    if len(missing) or not len(patients):
        raise DataError(f"{len(missing)} of {len(patients)} patients have no image; wanted patients with images")
    owner = np.searchsorted(patients, cohort.owner[rows])
    share = _lesion_share(study, cohort, rows)
    chosen = _largest(owner, share, len(patients))
    some = np.arange(len(rows)) if shown is None else chosen[_evenly(cohort.label[patients], shown)]
    model = model_from_vector(study, vector, layout, device).eval()
    with torch.random.fork_rng(devices=[]):
        parts = list(_parts(study, model, cohort, rows, methods, frozenset(some.tolist()), device, on_images))
    disease = np.concatenate([part.disease for part in parts])
    return Explained(
        patients=patients,
        group=cohort.group[patients],
        rows=rows,
        owner=owner,
        chosen=chosen,
        images=np.concatenate([part.images for part in parts]),
        lesion_share=share,
        hits={name: np.concatenate([part.hits[name] for part in parts]) for name in parts[0].hits},
        features=np.concatenate([part.features for part in parts]),
        probability=np.bincount(owner, disease) / np.bincount(owner),
        shown=tuple(one for part in parts for one in part.shown),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One batch."""

    images: NDArray[np.float16]
    hits: dict[str, NDArray[np.float64]]
    features: NDArray[np.float32]
    disease: NDArray[np.float64]
    shown: tuple[Shown, ...]


def _parts(
    study: Study,
    model: LesionModel,
    cohort: Cohort,
    rows: NDArray[np.int64],
    methods: tuple[str, ...],
    kept: frozenset[int],
    device: torch.device,
    on_images: OnImages,
) -> Iterator[_Part]:
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        yield _explained(study, model, network_inputs(study, cohort, batch, model.needs, device), methods, start, kept)
        on_images(start + len(batch), len(rows))


def network_inputs(
    study: Study, cohort: Cohort, rows: NDArray[np.int64], needs: tuple[str, ...], device: torch.device
) -> dict[str, Tensor]:
    """Some images of a cohort as the network reads them, and "mask" (B, 1, h, w) where the study keeps masks.

    Raises:
        DataError: the cohort lacks an input of the model.
    """
    absent = [name for name in needs if name != "features" and name not in cohort.images]
    if absent:
        raise DataError(f"the cohort has no '{absent[0]}' images, which model '{study.model.name}' reads")
    names = [name for name in (*needs, "mask") if name in cohort.images]
    held = {name: torch.from_numpy(cohort.images[name][rows]).to(device) for name in names}
    if "features" in needs:
        held["features"] = torch.from_numpy(cohort.factors[cohort.owner[rows]].astype(np.float32)).to(device)
    return Views(study.augmentation).plain(held, torch.arange(len(rows), device=device))


def _explained(
    study: Study,
    model: LesionModel,
    given: dict[str, Tensor],
    methods: tuple[str, ...],
    start: int,
    kept: frozenset[int],
) -> _Part:
    """One batch; `start` is the number of its first image."""
    inputs = {name: value for name, value in given.items() if name != "mask"}
    mask = given["mask"][:, 0].cpu().numpy() if "mask" in given else None
    with torch.no_grad():
        outputs = model(inputs)
    maps: dict[str, dict[str, Images]] = {}
    for method in methods:
        if method != ATTENTION or outputs.attention is not None:
            made = METHODS[method](model, inputs)
            maps[method] = {name: values.cpu().numpy() for name, values in made.items()}
    channel = shown_channel(study)
    pictures = {name: _picture(value, channel) for name, value in inputs.items() if name != "features"}
    shown = tuple(
        Shown(
            start + i,
            {name: values[i] for name, values in pictures.items()},
            None if mask is None else mask[i],
            {method: {name: values[i] for name, values in made.items()} for method, made in maps.items()},
        )
        for i in range(len(pictures["lesion"]))
        if start + i in kept
    )
    found = {method: _hits(made["lesion"], mask) for method, made in maps.items()}
    images = pictures["lesion"].astype(np.float16)
    return _Part(images, found, _features(study, outputs), disease_probability(study, model, outputs), shown)


def shown_channel(study: Study) -> int:
    """The channel that people are shown: the series that the lesion was drawn on."""
    rules = study.cohort
    return rules.sequences.index(rules.drawn_on) if rules.drawn_on is not None else 0


def _picture(images: Tensor, channel: int) -> Images:
    made: Images = images[:, min(channel, images.shape[1] - 1)].cpu().numpy().astype(np.float32)
    return made


def _hits(maps: Images, masks: Images | None) -> NDArray[np.float64]:
    found = np.full((len(maps), 2), np.nan)
    if masks is not None:
        drawn = (masks >= DRAWN).any((1, 2))
        found[drawn, 0] = hits(maps[drawn], masks[drawn])
        found[drawn, 1] = hits(maps[drawn], masks[drawn], TOP)
    return found


def _features(study: Study, outputs: Outputs) -> NDArray[np.float32]:
    if outputs.features is None:
        raise DataError(f"model '{study.model.name}' does not give its last hidden layer (Outputs.features)")
    made: NDArray[np.float32] = outputs.features.float().cpu().numpy()
    return made


def disease_probability(study: Study, model: LesionModel, outputs: Outputs) -> NDArray[np.float64]:
    """Of each image, (B,): of the classes in `task.positive` together."""
    logits = model.readout(outputs).double()
    if logits.shape[1] == 1:
        return np.asarray(logits[:, 0].sigmoid().cpu().numpy(), dtype=np.float64)
    places = [list(study.task.classes).index(name) for name in study.task.positive]
    return np.asarray(logits.softmax(1)[:, places].sum(1).cpu().numpy(), dtype=np.float64)


def _lesion_share(study: Study, cohort: Cohort, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of what the network sees: the middle, where the study crops."""
    masks = cohort.images.get("mask")
    if masks is None:
        return np.full(len(rows), np.nan)
    side = study.augmentation.crop_px
    top, left = (0, 0) if side is None else ((extent - side) // 2 for extent in masks.shape[1:])
    share: NDArray[np.float64] = (masks[rows, top:, left:][:, :side, :side] >= DRAWN).mean((1, 2))
    return share


def _largest(owner: NDArray[np.int64], share: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The image with the largest lesion of each patient; the first one where none is known."""
    order = np.lexsort((np.arange(len(owner)), -np.nan_to_num(share), owner))
    return order[np.searchsorted(owner[order], np.arange(count))]


def _evenly(label: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Up to `count` places, the classes in turn, so that a rare one is seen too."""
    turn = np.zeros(len(label), dtype=np.int64)
    for one in np.unique(label):
        turn[label == one] = np.arange((label == one).sum())
    return np.sort(np.lexsort((label, turn))[:count])
