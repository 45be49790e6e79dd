"""Whether a net's features say anything of a picture: pictures to try, and what is wrong with their vectors."""

from __future__ import annotations

import numpy as np

from fxengine.errors import InputError

# Vectors that differ by less, in parts of their largest number, differ by rounding.
_ROUNDING = 1e-6


def sample_pictures(height: int, width: int) -> np.ndarray:
    """Return uint8 pictures [6, height, width, 3]: noise, smooth colours, a gradient, and one that is almost black."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, height, width, 3))
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    waves = [np.sin(6 * (a * y + b * x + c)) for a, b, c in rng.normal(0, 1, (2, 3, 3))]
    smooth = [127.5 + 127.5 * wave for wave in waves]
    gradient = 255 * (y * [1, 0, 0.5] + x * [0, 1, 0.5])
    dark = rng.integers(0, 3, (height, width, 3))
    return np.stack([*noise, *smooth, gradient, dark]).clip(0, 255).astype(np.uint8)


def sample_photos() -> np.ndarray:
    """Return the two photos that scikit-learn brings along, uint8 [2, 427, 640, 3]."""
    from sklearn.datasets import load_sample_images

    return np.stack(load_sample_images().images)


def check_vectors(vectors: np.ndarray, name: str, instead: str) -> None:
    """Raise InputError where no picture could be told from another by its vector.

    Args:
        vectors: of different pictures, one a row.
        name: whose features they are.
        instead: what to do, as a sentence.
    """
    right = vectors[np.isfinite(vectors).all(axis=1)]
    if len(right) < 2:
        raise InputError(f"The features of {name} are not finite (NaN or infinite) on every picture. {instead}")
    if np.ptp(right, axis=0).max() <= _ROUNDING * np.abs(right).max():
        raise InputError(f"The features of {name} are constant, the same on every picture. {instead}")
