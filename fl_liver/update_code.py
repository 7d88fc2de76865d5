"""How the updates of a study are encoded: what the coordinator and every hospital derive from the study alone."""

from __future__ import annotations

from fl_liver.parameters import Layout
from fl_liver.securesum.encoding import UpdateCode
from fl_liver.study import Study

_RUNNING = (".running_mean", ".running_var")


def update_code(study: Study, layout: Layout) -> UpdateCode:
    """The code for updates of this layout.

    Raises:
        ConfigError: so many hospitals, so large a weight or clip that sums modulo 2^32 leave no precision.
    """
    stretches: list[tuple[int, int]] = []
    start = 0
    for entry in layout.entries:
        end = start + entry.size
        if entry.name.endswith(_RUNNING):
            if stretches and stretches[-1][1] == start:
                stretches[-1] = stretches[-1][0], end
            else:
                stretches.append((start, end))
        start = end
    return UpdateCode(
        tuple(stretches), layout.size, len(study.sites.train), study.training.max_weight, study.training.update_norm
    )
