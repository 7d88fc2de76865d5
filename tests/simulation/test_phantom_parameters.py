"""The parameters of every phantom's hospitals: those of earlier versions, and nothing but what the bytes depend on."""

from __future__ import annotations

import hashlib
import json
import pickle
from importlib import import_module
from typing import Any

import pytest

from simulation.phantom.places import places
from simulation.phantom.registry import PHANTOMS
from simulation.phantom.virtual import VirtualHospital

HASHES = {
    "lesion_us_fusion": "49463241ad0211fa",
    "lesion_us_attention": "dd12c4f4898def9c",
    "nodule_ct": "ea5db9411524964f",
    "hcc_ct": "4e7094a3fcbc42ba",
    "mri_clinical": "768fe33c8efad497",
}
"""Of eight training and two external hospitals of seed 2020, all parameters; at 38778a1, before they had one base."""


def hospitals_of(model: str) -> tuple[VirtualHospital, ...]:
    module, _, name = PHANTOMS[model].partition(":")
    found: tuple[VirtualHospital, ...] = getattr(import_module(module), name)(2020, 8, 2)
    return found


def rounded(value: Any) -> Any:
    """Floats to nine digits: the last ones differ from processor to processor."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return f"{value:.9g}" if isinstance(value, float) else value


def digest(hospitals: tuple[VirtualHospital, ...]) -> str:
    said = [rounded(json.loads(json.dumps(one.parameters()))) for one in hospitals]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("model", PHANTOMS)
def test_hospitals_are_those_of_earlier_versions(model: str) -> None:
    """Another hash writes every folder anew and draws other readers, whatever the images look like."""
    assert digest(hospitals_of(model)) == HASHES[model]


@pytest.mark.parametrize("model", PHANTOMS)
def test_a_worker_gets_the_same_hospital_and_opinions_are_no_parameter(model: str) -> None:
    hospital = hospitals_of(model)[0]
    again = pickle.loads(pickle.dumps(hospital))  # noqa: S301 - our own bytes
    assert again == hospital
    assert again.opinions == hospital.opinions
    assert {"name", "external", "seed", "scanner"} <= set(hospital.parameters())
    assert "opinions" not in hospital.parameters()


def test_a_round_of_hospitals_owns_every_make_and_signs_alternate() -> None:
    found = places(11, 10, 2, 1.0, ((30, 20), (40,)))
    for start in (0, 5):
        assert {place.make_of("abcde") for place in found[start : start + 5]} == set("abcde")
    assert [place.sign for place in found[:4]] == [1, -1, 1, -1]
    assert [place.name for place in found if place.external] == ["H11", "H12"]
    assert [place.patients for place in found[8:]] == [30, 20, 40, 40]
    assert len({place.patient_seed for place in found}) == 12
