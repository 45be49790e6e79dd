"""Points of a picture that are found again in a copy, each with a patch around it to tell it by.

Extrema of differences of Gaussians (Lowe, 2004), described by a blurred patch of mean 0 and length 1 (Brown, Szeliski
and Winder, 2005). Patches are upright: pictures are turned by quarters only, and mirrored, which their patches can be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from fxengine.retrieval.copies.blur import blur

MOST = 96  # points of a picture
SIDE = 8  # samples of either edge of a patch
_SIGMAS = (1.2, 1.7, 2.4, 3.4, 4.8, 6.8)
_SPACING = 1.25  # between the samples of a patch, in sigmas of its point
_WEAK = 1.0  # grey levels of a difference: less is noise
_CELLS = 4  # of either edge of the picture; each has its share of the points, so that they are spread


@dataclass(frozen=True)
class Points:
    """Points of a picture.

    Attributes:
        places: float32 [n, 2], x and y in pixels.
        patches: float32 [n, SIDE * SIDE], each of mean 0 and length 1.
    """

    places: np.ndarray
    patches: np.ndarray

    @classmethod
    def none(cls) -> Points:
        """Return no points."""
        empty = np.zeros((0, SIDE * SIDE), np.float32)
        return cls(empty[:, :2], empty)


def find_points(grey: np.ndarray, share: float) -> Points:
    """Return the points of an image, uint8 [height, width], found at this share of its size, in its own pixels."""
    size = (max(8, round(grey.shape[1] * share)), max(8, round(grey.shape[0] * share)))
    image = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX), np.float32)
    blurred = np.stack([blur(image, sigma) for sigma in _SIGMAS])
    differences = blurred[1:] - blurred[:-1]
    level, y, x, strength = _extrema(differences)
    chosen = _spread(x, y, strength, image.shape)
    level, y, x = level[chosen], y[chosen], x[chosen]
    scales = np.asarray(_SIGMAS, np.float32)[level + 1]
    steps = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) * _SPACING
    rows = y[:, None, None] + steps[None, :, None] * scales[:, None, None]
    columns = x[:, None, None] + steps[None, None, :] * scales[:, None, None]
    rows, columns = np.broadcast_arrays(rows, columns)
    patches = _sampled(blurred, level + 1, rows, columns).reshape(-1, SIDE * SIDE)
    patches -= patches.mean(axis=1, keepdims=True)
    patches /= np.maximum(np.linalg.norm(patches, axis=1, keepdims=True), 1e-6)
    enlarged = np.array([grey.shape[1] / size[0], grey.shape[0] / size[1]])
    places = ((np.stack([x, y], axis=1) + 0.5) * enlarged - 0.5).astype(np.float32)
    return Points(places, patches)


def _sampled(stack: np.ndarray, level: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return float32 [n, SIDE, SIDE]: images [levels, height, width] between their pixels, those of the edge beyond."""
    height, width = stack.shape[1:]
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    top, left = rows.astype(np.int32).clip(max=height - 2), columns.astype(np.int32).clip(max=width - 2)
    down, right = rows - top, columns - left
    at, flat = (level[:, None, None] * height + top) * width + left, stack.ravel()
    upper = flat[at] * (1 - right) + flat[at + 1] * right
    lower = flat[at + width] * (1 - right) + flat[at + width + 1] * right
    sampled: np.ndarray = upper * (1 - down) + lower * down
    return sampled


def _extrema(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return level, y, x and strength of the extrema in place and level, off the border, without the end levels."""
    found = []
    for sign in (1, -1):
        signed = sign * differences
        peaks = signed[1:-1, 3:-3, 3:-3] > _WEAK
        highest = np.maximum(np.maximum(signed[:-2], signed[1:-1]), signed[2:])
        highest = np.maximum(np.maximum(highest[:, 2:-4], highest[:, 3:-3]), highest[:, 4:-2])
        highest = np.maximum(np.maximum(highest[:, :, 2:-4], highest[:, :, 3:-3]), highest[:, :, 4:-2])
        found.append(np.stack(np.nonzero(peaks & (signed[1:-1, 3:-3, 3:-3] >= highest))))
    level, y, x = np.concatenate(found, axis=1) + np.array([[1], [3], [3]])
    return level, y, x, np.abs(differences[level, y, x])


def _spread(x: np.ndarray, y: np.ndarray, strength: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return which points are kept: the strongest of each cell first, at most `MOST`."""
    cell = (y * _CELLS // shape[0]) * _CELLS + x * _CELLS // shape[1]
    order = np.lexsort((-strength, cell))
    sorted_cells = cell[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_cells, sorted_cells)
    chosen: np.ndarray = order[np.lexsort((-strength[order], rank))][:MOST]
    return chosen
