"""The device that a hospital lets fl_liver have: which GPU, how much of its memory, and whether it is free now.

`CUDA_VISIBLE_DEVICES` is set by the daemon before this process starts, so that the GPU of site.toml is the only one.
"""

from __future__ import annotations

import torch

from fl_liver.client.site import SiteConfig
from fl_liver.errors import IncompleteError, TrainingError
from fl_liver.messages import Fit, Incoming, Look, Score

_claimed: set[float] = set()


def claim_device(site: SiteConfig, question: Incoming) -> str:
    """The device's name for `pick_device`; only training and scoring take the GPU.

    Raises:
        TrainingError: the GPU of site.toml is not there.
        IncompleteError: it is, but others hold more of its memory than fl_liver's share leaves.
    """
    if site.gpu == "none" or not isinstance(question, Fit | Score | Look):
        return "cpu"
    if not torch.cuda.is_available():
        if site.gpu == "auto":
            return "cpu"
        raise TrainingError(
            f"site {site.site}: gpu = '{site.gpu}', but torch sees no such GPU here; look at `nvidia-smi -L` and the"
            ' driver, or set gpu = "none"'
        )
    if site.gpu_memory_fraction not in _claimed:
        torch.cuda.set_per_process_memory_fraction(site.gpu_memory_fraction, 0)
        _claimed.add(site.gpu_memory_fraction)
    free, total = torch.cuda.mem_get_info(0)
    own = torch.cuda.memory_reserved(0)
    if free + own < site.gpu_memory_fraction * total * 0.95:
        raise IncompleteError(
            f"site {site.site}: the GPU is in use: {(free + own) / 2**30:.1f} of {total / 2**30:.1f} GiB are free,"
            f" wanted {site.gpu_memory_fraction:.0%}; the round can be asked again"
        )
    return "cuda:0"
