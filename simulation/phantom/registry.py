"""Which phantom shows the patients of which published system: named by the study's model."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from fl_liver.errors import ConfigError
from fl_liver.study import Study
from simulation.phantom.virtual import VirtualHospital

PHANTOMS: dict[str, str] = {
    "lesion_us_fusion": "simulation.phantom.hospitals:phantom_hospitals",
    "lesion_us_attention": "simulation.phantom.lesion_us_attention:hospitals",
    "nodule_ct": "simulation.phantom.nodule_ct:hospitals",
    "hcc_ct": "simulation.phantom.hcc_ct:hospitals",
    "mri_clinical": "simulation.phantom.mri_clinical:hospitals",
}
"""Model → "module:function" with arguments (seed, train, external, *, scale): imported when it is wanted."""


def phantom_of(study: Study, *, scale: float = 1.0, least: int = 0) -> tuple[VirtualHospital, ...]:
    """The virtual hospitals of a study, training ones first.

    Args:
        scale: multiplies every hospital's patients, > 0.
        least: patients of the smallest hospital, about; the scale rises where it would have fewer.
    Raises:
        ConfigError: no phantom shows what the study's model reads.
    """
    path = PHANTOMS.get(study.model.name)
    if path is None:
        raise ConfigError(
            f"study {study.name}: there is no phantom for model '{study.model.name}' (phantoms: {', '.join(PHANTOMS)});"
            " give real data with --data DIR"
        )
    module, _, name = path.partition(":")
    hospitals: Callable[..., tuple[VirtualHospital, ...]] = getattr(import_module(module), name)
    found = hospitals(study.seed, len(study.sites.train), len(study.sites.external), scale=scale)
    smallest = min(hospital.patients for hospital in found)
    if smallest >= least:
        return found
    return hospitals(study.seed, len(study.sites.train), len(study.sites.external), scale=scale * least / smallest)
