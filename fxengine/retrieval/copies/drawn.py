"""Drawn pictures: pages of text, charts, boards, icons. What is small in them is what they are about."""

from __future__ import annotations

import numpy as np

from fxengine.retrieval.copies.blur import band, blur

_ONE_GREY = 0.28  # share of one grey level among the pixels where there is detail; of 243 photos 3 have as much
_LEVELS = 5  # grey levels that count as one: what JPEG makes of it
_BARE = 0.4  # share of one grey level among all pixels: a logo, or a thing that was cut out
_NEAR, _FINE, _WINDOW = 3.0, 1.0, 2.5  # pixels, sigmas


def is_drawn(grey: np.ndarray) -> bool:
    """Tell whether an image, uint8 [height, width], is mostly of one even grey where it has detail, as paper is.

    The sky and the wall behind a thing have none; between the things in a photo, no grey prevails.
    """
    detail = band(grey.astype(np.float32)) ** 2
    detailed = grey[blur(detail, _NEAR) > max(1.0, 0.5 * float(detail.mean()))]
    levels = np.convolve(np.bincount(detailed, minlength=256), np.ones(_LEVELS))
    return bool(levels.max() > _ONE_GREY * max(detailed.size, 1))


def is_bare(grey: np.ndarray) -> bool:
    """Tell whether much of an image, uint8 [height, width], is one even grey, as around a logo or a thing cut out."""
    levels = np.convolve(np.bincount(grey.ravel(), minlength=256), np.ones(_LEVELS))
    return bool(levels.max() > _BARE * grey.size)


def changed(first: np.ndarray, second: np.ndarray) -> float:
    """Return how much the place that changed most did, of two images of one size laid over each other.

    It is the root mean square of what differs within a window, over that of the detail there, and less where that is
    faint in the whole picture; what a shift by part of a pixel makes is no change. About 0 for a copy, up to 0.6 for
    one in small or saved badly, 1.4 where something else stands.

    Args:
        first: float32 [height, width], grey levels.
        second: the same.
    """
    a, b = band(first, _FINE), band(second, _FINE)
    product, ours, others = blur(np.stack([a * b, a * a, b * b]), _WINDOW)
    same = (product > 0.7 * np.sqrt(ours * others)) & (ours > 1)
    gain = float(np.sqrt(ours[same].sum() / max(float(others[same].sum()), 1e-6)))
    error, (by_y, by_x) = a - gain * b, np.gradient((a + gain * b) / 2)
    products = np.stack([by_x**2, by_y**2, by_x * by_y, by_x * error, by_y * error, error**2])
    xx, yy, xy, ex, ey, left = blur(products, _WINDOW)
    ridge = 0.05 * float((xx + yy).mean()) + 1e-6
    xx, yy = xx + ridge, yy + ridge
    shifted = (yy * ex**2 - 2 * xy * ex * ey + xx * ey**2) / (xx * yy - xy**2)
    differs = np.sqrt(np.maximum(left - shifted, 0))
    here = np.sqrt(np.maximum(np.maximum(ours, others * gain**2), 1e-6))
    strong = float(np.sqrt(ours[ours >= ours.mean()].mean()))
    return float(np.minimum(differs / here, 2 * differs / max(strong, 1e-3)).max())
