"""The device of site.toml: a GPU that is not there is told, one that others hold is busy, and sums never take it."""

from __future__ import annotations

import pytest
import torch

from fl_liver.client import train_device
from fl_liver.client.site import SiteConfig
from fl_liver.client.train_device import claim_device
from fl_liver.errors import IncompleteError, TrainingError
from fl_liver.messages import Fit, Prepare
from fl_liver.models.registry import initial_vector
from fl_liver.securesum.context import Slot
from fl_liver.study import Study

UUID = "GPU-12345678-1234-1234-1234-123456789abc"


@pytest.fixture
def fit(table_study: Study) -> Fit:
    return Fit(Slot(table_study.sha256, "run", "training/train", 1, 0), initial_vector(table_study)[0], {}, {})


def with_gpu(monkeypatch: pytest.MonkeyPatch, *, free_gib: int, total_gib: int = 40) -> list[float]:
    """As torch sees a machine with one GPU; returns the memory caps that were set."""
    caps: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_gib << 30, total_gib << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: caps.append(share))
    monkeypatch.setattr(train_device, "_claimed", set())
    return caps


def test_a_named_gpu_that_torch_does_not_see_is_told(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match=f"gpu = '{UUID}', but torch sees no such GPU here"):
        claim_device(SiteConfig(site="H01", gpu=UUID), fit)
    assert claim_device(SiteConfig(site="H01"), fit) == "cpu"


def test_a_free_gpu_is_taken_up_to_the_cap(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    caps = with_gpu(monkeypatch, free_gib=39)
    site = SiteConfig(site="H01", gpu=UUID, gpu_memory_fraction=0.5)
    assert claim_device(site, fit) == "cuda:0"
    assert claim_device(site, fit) == "cuda:0"
    assert caps == [0.5]


def test_a_gpu_that_others_hold_is_busy(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, free_gib=10)
    with pytest.raises(IncompleteError, match=r"10.0 of 40.0 GiB are free, wanted 90%; the round can be asked again"):
        claim_device(SiteConfig(site="H01", gpu=UUID), fit)


def test_sums_and_readiness_leave_the_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    caps = with_gpu(monkeypatch, free_gib=0)
    assert claim_device(SiteConfig(site="H01", gpu=UUID), Prepare("ab" * 32)) == "cpu"
    assert caps == []


def test_none_means_the_processor(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, free_gib=39)
    assert claim_device(SiteConfig(site="H01", gpu="none"), fit) == "cpu"
