"""Which versions made a result."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("flwr", "torch", "numpy", "scipy", "pydicom", "scikit-learn", "cryptography", "pandas", "safetensors")


def versions() -> dict[str, str]:
    """Name → version of Python, fl_liver and what it computes with; read from metadata, nothing is imported."""
    found = {"python": platform.python_version(), "fl_liver": metadata.version("fl_liver")}
    return found | {name: metadata.version(name) for name in _PACKAGES}
