"""Which processor trains and scores, and in which arithmetic."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from fl_liver.errors import ConfigError, TrainingError
from fl_liver.study import Study


def pick_device(name: str) -> torch.device:
    """ "auto" (the first GPU, else the processor), "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigError: another word.
        TrainingError: a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise ConfigError(f"device '{name}': wanted auto, cpu or cuda:N")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= found:
        raise TrainingError(
            f"device '{name}': this machine shows {found} GPUs to torch; wanted auto, cpu or a GPU that is there"
        )
    return torch.device("cuda", int(number or 0))


def uses_bfloat16(study: Study, device: torch.device) -> bool:
    """Whether convolutions run in bfloat16: as the study says, or, on "auto", where the hardware multiplies it.

    Without such hardware it is emulated and slower than float32.
    """
    if study.training.precision != "auto":
        return study.training.precision == "bfloat16"
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else _processor_has_bfloat16()


def autocast(study: Study, device: torch.device) -> torch.autocast:
    """The context in which the network's forward pass runs; losses stay outside, in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=uses_bfloat16(study, device))


@lru_cache(maxsize=1)
def _processor_has_bfloat16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags
