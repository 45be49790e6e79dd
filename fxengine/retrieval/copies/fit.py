"""Where one picture lies in another: which way it is turned, how large it is there, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from fxengine.retrieval.copies.look import Look
from fxengine.retrieval.copies.points import SIDE

WAYS = 8  # four quarter turns of the picture, then four of its mirror image
_LOOKS = 0.35  # correlation of two squares from which the pictures are laid over each other whole
_PATCHES = 0.8  # correlation of two patches that may be of one point
_PAIRS_OF = 24  # best matches of which two each say where the picture may lie
_NEAR = 4.0  # pixels that a point may be off
_INLIERS = 6  # points that lie as the others say
_LEAST_SCALE = 0.45  # a crop to half the area is at 0.71 of the edge, and both may be crops


@dataclass(frozen=True)
class Fit:
    """A pixel (x, y) of a picture that was turned by `way` lies at `scale * (x, y) + shift` in the other.

    Attributes:
        way: which way it is turned, as for `turned`.
        scale: in x and y.
        shift: in pixels.
    """

    way: int
    scale: tuple[float, float]
    shift: tuple[float, float]


def turned(image: np.ndarray, way: int) -> np.ndarray:
    """Return an image [height, width], mirrored where `way` is 4 or more, then turned to the left `way` % 4 times."""
    return np.rot90(image[:, ::-1] if way >= 4 else image, way % 4)


def fits(a: Look, b: Look) -> Iterator[Fit]:
    """Yield how `b` may lie in `a`, none where nothing speaks for it: laid over it whole, then by their points."""
    likeness = a.square.ravel() @ b.square.ravel()[pixel_orders(a.square.shape[0])].T
    way = int(likeness.argmax())
    if likeness[way] >= _LOOKS:
        height, width = a.grey.shape
        rows, columns = turned(b.grey, way).shape
        scale = (width / columns, height / rows)
        yield Fit(way, scale, ((scale[0] - 1) / 2, (scale[1] - 1) / 2))
    yield from _by_points(a, b)


def _by_points(a: Look, b: Look) -> Iterator[Fit]:
    if min(len(a.points.places), len(b.points.places)) < _INLIERS:
        return
    turns = b.points.patches[:, pixel_orders(SIDE)]
    likeness = np.einsum("ik,jwk->wij", a.points.patches, turns, optimize=True)
    forth, back = likeness.argmax(axis=2), likeness.argmax(axis=1)
    best = likeness.max(axis=2)
    here = np.arange(len(a.points.places))
    mutual = (np.take_along_axis(back, forth, axis=1) == here) & (best >= _PATCHES)
    counts = mutual.sum(axis=1)
    for way in np.argsort(-counts)[:2]:
        if counts[way] < _INLIERS:
            break
        ours = np.flatnonzero(mutual[way])
        ours = ours[np.argsort(-best[way, ours])]
        places = _turned_places(b.points.places[forth[way, ours]], b.grey.shape, int(way))
        fit = _consensus(a.points.places[ours], places, int(way))
        if fit is not None:
            yield fit


def _consensus(a: np.ndarray, b: np.ndarray, way: int) -> Fit | None:
    """Return how most points of `b` lie at those of `a`, both float32 [n, 2], the surest first; None for few."""
    first, second = np.triu_indices(min(len(a), _PAIRS_OF), 1)
    apart_a, apart_b = a[second] - a[first], b[second] - b[first]
    lengths = (apart_b**2).sum(axis=1)
    scale = (apart_a * apart_b).sum(axis=1) / np.maximum(lengths, 1)
    usable = (lengths > 100) & (scale > _LEAST_SCALE) & (scale < 1 / _LEAST_SCALE)
    scale = scale[usable]
    shift = (a[first] + a[second])[usable] / 2 - scale[:, None] * (b[first] + b[second])[usable] / 2
    if not len(scale):
        return None
    off = a[None] - scale[:, None, None] * b[None] - shift[:, None]
    inliers = (off**2).sum(axis=2) < _NEAR**2
    best = inliers[int(inliers.sum(axis=1).argmax())]
    if best.sum() < _INLIERS:
        return None
    centre_a, centre_b = a[best].mean(axis=0), b[best].mean(axis=0)
    spread = float(((b[best] - centre_b) ** 2).sum())
    fitted = float(((a[best] - centre_a) * (b[best] - centre_b)).sum()) / max(spread, 1e-6)
    x, y = centre_a - fitted * centre_b
    return Fit(way, (fitted, fitted), (float(x), float(y)))


@cache
def pixel_orders(side: int) -> np.ndarray:
    """Return int64 [WAYS, side * side]: which pixel of a square stands where after each turn."""
    numbers = np.arange(side * side).reshape(side, side)
    return np.stack([turned(numbers, way).ravel() for way in range(WAYS)])


def _turned_places(places: np.ndarray, shape: tuple[int, ...], way: int) -> np.ndarray:
    """Return where pixels (x, y) of an image [height, width] lie after it was turned."""
    height, width = shape
    x, y = places.T
    if way >= 4:
        x = width - 1 - x
    for _ in range(way % 4):
        x, y, height, width = y, width - 1 - x, width, height
    return np.stack([x, y], axis=1)
