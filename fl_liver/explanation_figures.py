"""From a cohort's explanations to figures: for a hospital's own page, and for the report of phantom patients.

Brings rooms together: `client.explain` computes, `server.report.explanations` draws. Nothing is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.explain.embedding import LEAST, embedded
from fl_liver.client.explain.explained import ATTENTION, GRAD_CAM, METHODS, SALIENCY, SMOE, Explained, Shown
from fl_liver.client.explain.nodules import Nodules, nodules_of
from fl_liver.client.explain.physical import NAMES, TITLES
from fl_liver.errors import ConfigError, DataError
from fl_liver.server.report.explanations import (
    MOST_IMAGES,
    Heat,
    Rate,
    draw_embedding,
    draw_heat_maps,
    draw_hit_rates,
    draw_physical,
)
from fl_liver.server.report.number_text import fraction, p_value
from fl_liver.server.report.sample_images import grey
from fl_liver.server.report.style import Drawing
from fl_liver.study import Study

_SAYS = {
    GRAD_CAM: "Grad-CAM: regions of the last feature map that speak for the class the network holds likeliest",
    SALIENCY: "saliency: pixels whose change would move the answer most (the upper 1 % alike)",
    SMOE: "SMOE: where channels fire unevenly, over all scales, whatever the class",
    ATTENTION: "attention: where the network was taught to look",
}

_OF_P = " p: probability of disease, the mean over the patient's images; before it the truth."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is drawn. `published` is what a study's paper shows."""

    methods: tuple[str, ...] = tuple(METHODS)
    embedding: bool = True
    physical: bool = True


EVERYTHING = Wanted()
_PUBLISHED = {
    "nodule_ct": Wanted((), embedding=True, physical=True),
    "mri_clinical": Wanted((SALIENCY,), embedding=True, physical=False),
    "hcc_ct": Wanted((SMOE,), embedding=False, physical=False),
    "lesion_us_fusion": Wanted((GRAD_CAM,), embedding=False, physical=False),
    "lesion_us_attention": Wanted((ATTENTION,), embedding=False, physical=False),
}


def published(study: Study) -> Wanted:
    """What the paper behind the study's network shows; everything for another network."""
    return _PUBLISHED.get(study.model.name, EVERYTHING)


def explanation_figures(
    study: Study,
    cohort: Cohort,
    explained: Explained,
    wanted: Wanted = EVERYTHING,
    *,
    titled: Callable[[int], str] = lambda _patient: "",
) -> tuple[list[Drawing], list[str]]:
    """The figures, and a sentence for each that could not be made.

    Args:
        titled: index of a patient in the cohort → what stands before its class above its heat maps.
    """
    drawings: list[Drawing] = []
    missing: list[str] = []
    methods = tuple(name for name in wanted.methods if name in explained.hits)
    if methods:
        heat = heat_figures(explained, methods, _titles(study, cohort, explained, titled))
        drawings += [replace(one, caption=one.caption + _OF_P) for one in heat]
        drawings += _hit_figure(explained, methods)
    for asked, make in ((wanted.embedding, embedding_figure), (wanted.physical, physical_figure)):
        try:
            drawings += [make(study, cohort, explained)] if asked else []
        except (ConfigError, DataError) as error:
            missing.append(str(error))
    return drawings, missing


def heat_figures(
    explained: Explained,
    methods: tuple[str, ...] | None = None,
    titled: Callable[[int, int], str] = lambda _place, _number: "",
) -> list[Drawing]:
    """Heat maps over the images that were kept.

    Args:
        methods: by default all that were made.
        titled: place of a patient in `explained.patients`, number of the image among the patient's → what stands above.
    """
    wanted = tuple(explained.hits) if methods is None else methods
    items = [one for shown in explained.shown for one in _heats(explained, shown, wanted, titled)]
    said = "; ".join(_SAYS[name] for name in wanted)
    outline = " Outline: the lesion as it was drawn." if any(one.mask is not None for one in items) else ""
    return [
        draw_heat_maps(f"heat_maps_{1 + start // MOST_IMAGES}", items[start : start + MOST_IMAGES], f"{said}.{outline}")
        for start in range(0, len(items), MOST_IMAGES)
    ]


def _titles(
    study: Study, cohort: Cohort, explained: Explained, titled: Callable[[int], str]
) -> Callable[[int, int], str]:
    """The truth and what the network says, for `heat_figures`."""

    def title(place: int, _number: int) -> str:
        patient = int(explained.patients[place])
        truth = list(study.task.classes)[cohort.label[patient]]
        return f"{titled(patient)}{truth}, p {fraction(float(explained.probability[place]), 2)}"

    return title


def _heats(
    explained: Explained, shown: Shown, methods: tuple[str, ...], titled: Callable[[int, int], str]
) -> list[Heat]:
    """One for each input of the network; the drawn lesion belongs to "lesion"."""
    place = int(explained.owner[shown.index])
    title = titled(place, 1 + shown.index - int(np.searchsorted(explained.owner, place)))
    return [
        Heat(
            title if name == "lesion" else f"{title}: {name}",
            grey(image),
            shown.mask if name == "lesion" else None,
            {method: _visible(method, shown.maps[method][name]) for method in methods if name in shown.maps[method]},
        )
        for name, image in shown.images.items()
    ]


def _visible(method: str, heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Single pixels rule a gradient: of saliency, the upper 1 % is drawn alike."""
    top = float(np.quantile(heat, 0.99))
    return (heat / top).clip(0, 1) if method == SALIENCY and top > 0 else heat


def _hit_figure(explained: Explained, methods: tuple[str, ...]) -> list[Drawing]:
    found = {name: explained.rate(name) for name in methods}
    if not any(one.maximum.n for one in found.values()):
        return []
    rates = [
        Rate(f"{name}, {what}", one.x, one.n, one.ci95)
        for name, rate in found.items()
        for what, one in (("maximum", rate.maximum), ("upper 2 %", rate.top))
    ]
    by_chance = next(iter(found.values())).by_chance
    caption = (
        "Heat maps against the drawn lesion, one image a patient, that with the largest area of the patient's largest"
        " lesion; 95 % Clopper–Pearson intervals. A map hits where its maximum (the pointing game), or half or more of"
        " its highest 2 % of pixels, lies in the lesion. Dotted: the lesion's mean share of the image"
        f" ({fraction(by_chance, 2)}), which a point put anywhere would hit."
    )
    return [draw_hit_rates("hit_rates", rates, by_chance, caption)]


def embedding_figure(study: Study, cohort: Cohort, explained: Explained) -> Drawing:
    """t-SNE of all explained images.

    Raises:
        DataError: too few images.
    """
    if len(explained.rows) < LEAST:
        raise DataError(f"t-SNE wants {LEAST} images or more, there are {len(explained.rows)}")
    places = embedded(explained.features, seed=study.seed)
    thumbnails = np.stack([grey(image) for image in explained.images])
    label = cohort.label[explained.patients[explained.owner]]
    caption = (
        f"t-SNE of the {explained.features.shape[1]} features before the last layer, each image at its place. Images"
        " side by side look alike to the network; distances between groups and sizes of groups mean nothing."
    )
    return draw_embedding("t_sne", places, thumbnails, label, list(study.task.classes), caption)


def physical_figure(study: Study, cohort: Cohort, explained: Explained) -> Drawing:
    """Box plots of the four physical features by truth, by the network's probability, and by K-means.

    Raises:
        ConfigError, DataError: see `nodules_of`.
    """
    nodules = nodules_of(study, cohort, explained)
    names = [name for name in study.task.classes if name not in study.task.positive]
    truth = ("/".join(names), "/".join(study.task.positive))
    groups = [
        ("By truth", nodules.truth, truth),
        ("By the network's probability", nodules.probability, [fraction(level, 2) for level in nodules.levels]),
        ("By K-means of the four", nodules.alike, ("cluster 1", "cluster 2")),
    ]
    values = {title: nodules.values[name] for name, title in zip(NAMES, TITLES, strict=True)}
    caption = (
        f"Physical features of {len(nodules.truth)} nodules. Probability: K-means clusters, named by their mean. Two"
        f" K-means clusters of the four features agree with the truth in {100 * nodules.agreement:.0f} % of nodules"
        " (clusters know no truth: half would by chance, or more where one class is rarer)."
        " p: Kruskal–Wallis, nodules taken as independent; none is given for clusters of the features themselves."
    )
    return draw_physical("physical_features", values, groups, _p_values(nodules), caption)


def _p_values(nodules: Nodules) -> dict[tuple[str, str], str]:
    shown = {}
    for name, title in zip(NAMES, TITLES, strict=True):
        for heading, group in (("By truth", nodules.truth), ("By the network's probability", nodules.probability)):
            p = nodules.p_value(name, group)
            if math.isfinite(p):
                said = p_value(p)
                shown[title, heading] = f"p {said}" if said.startswith("<") else f"p = {said}"
    return shown
