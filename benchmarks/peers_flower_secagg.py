"""The masking step of Flower's legacy `secaggplus_mod`, as its client runs it, without the carrying of arrays as bytes.

Flower's own functions set up keys and shares for all clients; then one client decrypts its shares, agrees on keys,
quantises and masks. `np.load` and `np.save` of the parameters before and after are left out, as they are on our side.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
from flwr.app import ConfigRecord
from flwr.common.secure_aggregation.secaggplus_constants import Key
from numpy.typing import NDArray

# The package has a function of the module's name.
mod = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")

DEFAULTS: dict[str, int | float] = {
    Key.CLIPPING_RANGE: 8.0,
    Key.TARGET_RANGE: 1 << 22,
    Key.MOD_RANGE: 1 << 32,
    Key.MAX_WEIGHT: 1000.0,
}
"""Of `SecAggPlusWorkflow`."""


class FlowerClient:
    """The first of `clients`, ready to mask."""

    def __init__(self, clients: int, threshold: int) -> None:
        counts: dict[str, int | float] = {
            Key.SAMPLE_NUMBER: clients,
            Key.SHARE_NUMBER: clients,
            Key.THRESHOLD: threshold,
        }
        states = [mod.SecAggPlusState(nid=number) for number in range(1, clients + 1)]
        keys: dict[str, list[bytes]] = {}
        for state in states:
            public = mod._setup(state, ConfigRecord({**counts, **DEFAULTS}))
            keys[str(state.nid)] = [public[Key.PUBLIC_KEY_1], public[Key.PUBLIC_KEY_2]]
        shared = {state.nid: mod._share_keys(state, ConfigRecord(dict(keys))) for state in states}
        self._state = states[0]
        boxes: dict[int, bytes] = {}
        for sender, word in shared.items():
            if sender != self._state.nid:
                boxes[sender] = word[Key.CIPHERTEXT_LIST][word[Key.DESTINATION_LIST].index(self._state.nid)]
        self._boxes = ConfigRecord({Key.CIPHERTEXT_LIST: list(boxes.values()), Key.SOURCE_LIST: list(boxes.keys())})

    def mask(self, tensors: Sequence[NDArray[np.float32]], examples: int) -> tuple[float, int]:
        """Seconds, and bytes of the masked arrays."""
        with (
            patch.object(mod, "parameters_to_ndarrays", list),
            patch.object(mod, "ndarray_to_bytes", lambda array: array),
        ):
            began = time.perf_counter()
            masked = mod._collect_masked_vectors(self._state, self._boxes, examples, tensors)
            seconds = time.perf_counter() - began
        return seconds, sum(array.nbytes for array in masked[Key.MASKED_PARAMETERS])
