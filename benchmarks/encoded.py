"""The benchmark's rounds as our own path has them: its updates' encoding, and a study of that many clients.

Sums are in the clear, as those of the peers are; what masks cost stands in `overhead`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fl_liver.securesum.encoding import UpdateCode

if TYPE_CHECKING:
    from fl_liver.study import Study

MOST_CLIENTS, MAX_WEIGHT, UPDATE_NORM = 200, 640, 20.0
"""As many, and as heavy, as any part of the benchmark has; a study's default."""


def code_of(size: int) -> UpdateCode:
    """How a client encodes `size` parameters, and the server reads the sum."""
    return UpdateCode((), size, MOST_CLIENTS, MAX_WEIGHT, UPDATE_NORM)


def study_of(clients: Sequence[str], rounds: int, timeout_s: float) -> Study:
    """A study in which each of these clients is waited for."""
    from fl_liver.study_files import load_study

    return load_study("clinical").changed(
        sites={"train": list(clients), "external": []},
        training={"rounds": rounds, "round_timeout_s": timeout_s, "max_weight": MAX_WEIGHT},
        privacy={"secure_sum": "plain", "min_sites": len(clients)},
    )
