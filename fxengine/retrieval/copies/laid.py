"""Two pictures at a glance, laid over each other exactly: most that agree by chance then agree no better, copies do."""

from __future__ import annotations

import numpy as np

from fxengine.retrieval.copies.blur import band
from fxengine.retrieval.copies.look import SQUARE

GRID = 24  # samples of an edge
_BAND = (0.7, 3.0)  # of these
_STEPS = 3  # a fourth changes nothing
_FARTHEST = 2.0  # pixels that a step goes
_SMALLEST, _LARGEST = SQUARE / 4, SQUARE * 0.625  # half edge of a part


def correlation_of(images: np.ndarray, parts: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the best correlation of the detail of pictures laid over each other, float32 [m].

    From where they are said to lie, by steps of Gauss and Newton in place and size, as a proof takes them
    (`proof.prove`), but in few pixels, and of many pairs at once.

    Args:
        images: [m, SQUARE, SQUARE] grey levels.
        parts: the same of what may lie in them, whole.
        boxes: float32 [m, 4], where: centre and half the edge, down and then across, in pixels.
    """
    shrink = shrunk(GRID)
    images, boxes = images.astype(np.float32), boxes.copy()
    wanted = _detail(shrink @ parts.astype(np.float32) @ shrink.T)
    best = np.full(len(images), -1, np.float32)
    for step in range(_STEPS + 1):
        down, across = _weights(boxes[:, 0], boxes[:, 1]), _weights(boxes[:, 2], boxes[:, 3])
        found = _detail(down @ images @ across.transpose(0, 2, 1))
        product, energy, own = (_dot(*both) for both in ((found, wanted), (found, found), (wanted, wanted)))
        best = np.maximum(best, product / np.sqrt(np.maximum(energy * own, 1.0)))
        if step < _STEPS:
            gain = np.maximum(0.1, product / np.maximum(energy, 1e-6))[:, None, None]
            boxes += _step(wanted - gain * found, gain * found, boxes)
            boxes[:, 1::2] = boxes[:, 1::2].clip(_SMALLEST, _LARGEST)
    return best


def shrunk(n: int) -> np.ndarray:
    """Return float32 [n, SQUARE], which makes n pixels of a line, each the mean of what it covers."""
    edges = np.linspace(0, SQUARE, n + 1)
    pixels = np.arange(SQUARE)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(covered, 0).astype(np.float32)
    shares: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _step(error: np.ndarray, found: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return how boxes are to be changed, float32 [m, 4], what differs much counting less."""
    m, at = len(error), _places()
    by_y, by_x = np.gradient(found, axis=(1, 2))
    by_y, by_x = (by * (GRID / 2 / boxes[:, half])[:, None, None] for by, half in ((by_y, 1), (by_x, 3)))
    slopes = np.stack([by_y, by_y * at[:, None], by_x, by_x * at], axis=1).reshape(m, 4, GRID * GRID)
    error = error.reshape(m, GRID * GRID, 1)
    noise = 4 * np.median(error**2, axis=1, keepdims=True) + 1e-6
    weighted = slopes.transpose(0, 2, 1) / (1 + error**2 / noise)
    normal = (slopes @ weighted).astype(np.float64)
    ridge = 1e-4 * np.maximum(np.trace(normal, axis1=1, axis2=2), 1e-6) / 4
    normal += ridge[:, None, None] * np.eye(4)
    steps = np.linalg.solve(normal, weighted.transpose(0, 2, 1) @ error)[:, :, 0]
    return steps.clip(-_FARTHEST, _FARTHEST).astype(np.float32)


def _weights(centres: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Return float32 [m, GRID, SQUARE], which takes samples of a part of a line, each blurred by half a sample."""
    places = (centres[:, None] + halves[:, None] * _places()).clip(0, SQUARE) - 0.5
    sigmas = np.maximum(0.5, halves / GRID)[:, None, None]
    weights = np.exp(-0.5 * ((np.arange(SQUARE, dtype=np.float32) - places[:, :, None]) / sigmas) ** 2)
    shares: np.ndarray = weights / weights.sum(axis=2, keepdims=True)
    return shares


def _places() -> np.ndarray:
    return ((np.arange(GRID) + 0.5) / GRID * 2 - 1).astype(np.float32)


def _detail(images: np.ndarray) -> np.ndarray:
    found = band(images, *_BAND)
    centred: np.ndarray = found - found.mean(axis=(1, 2), keepdims=True)
    return centred


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.einsum("ijk,ijk->i", a, b)
    return found
