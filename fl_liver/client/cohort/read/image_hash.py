"""Whether two images have the same pixels, whatever their headers say."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def image_hash(pixels: NDArray[Any]) -> str | None:
    """SHA-256 of shape and values, None for a flat image: empty slices of two patients are alike."""
    if pixels.size == 0 or bool((pixels == pixels.flat[0]).all()):
        return None
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{pixels.shape}{little.dtype.str}".encode())
    digest.update(little.data)
    return digest.hexdigest()


def image_hashes(images: NDArray[Any]) -> frozenset[str]:
    """Of every image along the first axis that is not flat."""
    return frozenset(found for image in images if (found := image_hash(image)) is not None)
