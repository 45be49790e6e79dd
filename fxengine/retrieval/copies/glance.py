"""A picture at a glance: a grey square of few pixels, by which most pairs are told to show nothing in common."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fxengine.retrieval.copies.blur import band
from fxengine.retrieval.copies.look import SQUARE, without_border

GLANCE = 64  # pixels of the longer edge of what is decoded for it where there are many; borders are less exact
_FAINT = 1.0  # grey levels, the root mean square of the detail: less says nothing


def glance_at(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a picture squeezed into a square, uint8 [SQUARE, SQUARE], without its border, and its share without it.

    Args:
        pixels: uint8 [height, width, 3], upright, `GLANCE` pixels or more in its longer edge.
    """
    image = Image.fromarray(pixels).convert("L")
    height, width = pixels.shape[:2]
    top, bottom, left, right = without_border(np.asarray(image))
    square = image.resize((SQUARE, SQUARE), Image.Resampling.BOX, (left, top, right, bottom))
    return np.asarray(square), (bottom - top) * (right - left) / (height * width)


def details(squares: np.ndarray) -> np.ndarray:
    """Return the detail of squares, uint8 [n, SQUARE, SQUARE], float32: of mean 0 and length 1 each; 0 where faint."""
    found = band(squares.astype(np.float32))
    found -= found.mean(axis=(1, 2), keepdims=True)
    lengths = np.linalg.norm(found, axis=(1, 2), keepdims=True)
    unit: np.ndarray = np.where(lengths > _FAINT * SQUARE, found / np.maximum(lengths, 1e-3), 0)
    return unit
