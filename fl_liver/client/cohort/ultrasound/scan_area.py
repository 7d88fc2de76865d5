"""Where the scan lies on the screen of an ultrasound machine, from its pixels alone.

What is left of a screen after black, flat panels and thin strokes (text, rulers, curves) are taken away, and of that
the largest connected pieces. Used only where the header describes no region: see `screen`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLACK = 8
"""Grey levels of 0..255 up to here count as black: the noise of a lossy JPEG round a black screen stays below."""
_COARSE_SIDE = 120
"""The search runs on blocks of pixels, about so many along the shorter side."""
_FLAT = 2
"""Tissue never varies by so little over 5 × 5 pixels; panels do, in a lossy image too."""
_SURE, _DIM = 0.5, 0.25
"""Share of a block that is neither black nor flat: of tissue, and in the dim depth of a scan. Text has about 0.35."""
_OPENING = 2
"""Blocks: what is thinner than 2·2 + 1 blocks is no scan (one block is 4 pixels of a 480-row screen)."""
_PIECE = 0.25
"""Pieces with this share of the largest one's area are scan too: shadows and dual views part it."""
_MOVED = 8
_EDGE_SHARE = 0.03
"""A row belongs to the scan where it has this share of the pixels that full rows have; stray ticks have fewer."""

Edges = tuple[int, int, int, int]
Bits = NDArray[np.bool_]
_SQUARE = np.ones((3, 3), dtype=bool)


def scan_edges(grey: NDArray[np.generic]) -> Edges | None:
    """Smallest rectangle round the scan.

    Args:
        grey: (rows, columns), or (frames, rows, columns) of one clip, in grey levels 0..255. Of a clip the brightest
            value of each pixel counts, and only pieces in which something moves.
    Returns:
        First row, row behind the last, first column, column behind the last; None where nothing looks like a scan.
    """
    clip = grey if grey.ndim == 3 else grey[None]
    level = clip.max(axis=0).astype(np.float32)
    textured = (level > BLACK) & ~_flat(level)
    block = max(1, round(min(level.shape) / _COARSE_SIDE))
    share = _share(textured, block)
    moves = level - clip.min(axis=0) > _MOVED
    scan = _pieces(share, _share(moves, block) if moves.any() else None)
    if scan is None:
        return None
    kept = textured & _at_full_size(scan, block, level.shape)
    rows, columns = _span(kept.sum(axis=1)), _span(kept.sum(axis=0))
    return None if rows is None or columns is None else (*rows, *columns)


def _flat(level: NDArray[np.float32]) -> Bits:
    from scipy import ndimage  # not at the top: most of a second, for images that say no region only

    flat: Bits = ndimage.maximum_filter(level, 5) - ndimage.minimum_filter(level, 5) <= _FLAT
    return flat


def _share(mask: Bits, block: int) -> NDArray[np.float32]:
    """Share of set pixels in each block; a strip at the lower and right edge that fills no block is left out."""
    from scipy import ndimage

    if block == 1:  # a small image: the neighbourhood instead, or single strokes would stay
        smooth: NDArray[np.float32] = ndimage.uniform_filter(mask.astype(np.float32), 3)
        return smooth
    rows, columns = (side // block for side in mask.shape)
    whole = mask[: rows * block, : columns * block].reshape(rows, block, columns, block)
    return np.asarray(whole.mean(axis=(1, 3)), dtype=np.float32)


def _pieces(share: NDArray[np.float32], movement: NDArray[np.float32] | None) -> Bits | None:
    """The large pieces of a block image, with their dim parts; None where there are none."""
    from scipy import ndimage

    pieces, count = ndimage.label(_opened(share >= _SURE, _OPENING), _SQUARE)
    if count == 0:
        return None
    area = np.bincount(pieces.ravel(), minlength=count + 1)[1:].astype(np.float64)
    if movement is not None:
        moving = np.bincount(pieces.ravel(), weights=movement.ravel(), minlength=count + 1)[1:]
        stands = moving < 0.1 * area
        area[stands & ~stands.all()] = 0  # a frozen clip, in which a clock runs, is judged like a still
    large = np.isin(pieces, np.flatnonzero(area >= _PIECE * area.max()) + 1)
    # Opening takes the tips of a fan, and the depth of a dim scan is half black: both hang on what is sure.
    tips = ndimage.binary_dilation(large, _SQUARE, iterations=_OPENING + 1, mask=share >= _SURE)
    dim = ndimage.binary_propagation(large, mask=large | _opened(share >= _DIM, 1))
    around: Bits = ndimage.binary_dilation(tips | dim, _SQUARE)
    return around


def _opened(blocks: Bits, times: int) -> Bits:
    """Without what is thin."""
    from scipy import ndimage

    opened: Bits = ndimage.binary_opening(blocks, _SQUARE, iterations=times)
    return opened


def _at_full_size(blocks: Bits, block: int, shape: tuple[int, ...]) -> Bits:
    full = blocks.repeat(block, axis=0).repeat(block, axis=1)
    return np.pad(full, [(0, shape[0] - full.shape[0]), (0, shape[1] - full.shape[1])], mode="edge")


def _span(counts: NDArray[np.integer]) -> tuple[int, int] | None:
    """First and behind-last line that holds more than stray pixels."""
    if not counts.any():
        return None
    full = float(np.percentile(counts[counts > 0], 90))
    lines = np.flatnonzero(counts >= max(2.0, _EDGE_SHARE * full))
    return (int(lines[0]), int(lines[-1]) + 1) if lines.size else None
