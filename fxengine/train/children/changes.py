"""Random changes of pictures, as numbers, for the training processes only; each framework applies them.

All that is random about them is drawn beforehand, from the seed, the epoch and the picture's number: so the same seed
gives the same pictures, whatever threads come first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

LEVELS = (0.0, 255.0)
LUMA = (0.2989, 0.587, 0.114)
_TURN, _ZOOM, _SHIFT, _SHEAR = 0.06 * 2 * np.pi, (0.85, 1.05), 0.08, 0.1  # radians, scales, shares of an edge, slopes
_BRIGHTER, _CONTRAST, _GREY = 0.15 * 255, (0.8, 1.2), 0.2
_CROP = 0.8  # of each edge
_DRAWN = ("flip", "rotation", "zoom", "shift", "shift_y", "shear", "shear_y", "brightness", "contrast", "grey", "crop",
          "crop_y")  # fmt: skip
NAMES = tuple(name for name in _DRAWN if not name.endswith("_y"))
_MOVES = {"flip", "rotation", "zoom", "shift", "shear", "crop"}


@dataclass(frozen=True)
class Changes:
    """What is done to each of n pictures; None where nothing is.

    Attributes:
        maps: float32 [n, 6], (a, b, c, d, e, f): the pixel at (x, y) comes from (ax + by + c, dx + ey + f), by bilinear
            interpolation; what would come from outside, from the picture mirrored there.
        contrast: float32 [n], the factor of levels about their mean over the picture, each colour apart.
        brightness: float32 [n], levels that are added then.
        grey: bool [n], whether colours become their luma then.
    """

    maps: np.ndarray | None
    contrast: np.ndarray | None
    brightness: np.ndarray | None
    grey: np.ndarray | None


def drawn(pictures: int, seed: int, epoch: int) -> np.ndarray:
    """Return what is random about every picture in an epoch, float32 [pictures, numbers], from 0 to 1."""
    return np.random.default_rng([seed, epoch]).random((pictures, len(_DRAWN)), np.float32)


def changes(names: Collection[str], numbers: np.ndarray, size: tuple[int, int]) -> Changes:
    """Return what is done to pictures of a size, height and width.

    Turn, zoom, shift, shear, crop and flip are one resampling.

    Args:
        names: some of `NAMES`.
        numbers: of every picture, see `drawn`.
        size: of the pictures.
    """
    chance = dict(zip(_DRAWN, numbers.T, strict=True))
    return Changes(
        maps=None if _MOVES.isdisjoint(names) else _maps(names, chance, size),
        contrast=_between(chance["contrast"], *_CONTRAST) if "contrast" in names else None,
        brightness=_between(chance["brightness"], -_BRIGHTER, _BRIGHTER) if "brightness" in names else None,
        grey=chance["grey"] < _GREY if "grey" in names else None,
    )


def _maps(names: Collection[str], chance: dict[str, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Return the affine map of every picture, which says where each pixel comes from."""

    def number(name: str, low: float, high: float, of: str = "") -> np.ndarray:
        return _between(chance[name], low, high) if (of or name) in names else np.zeros_like(chance[name])

    height, width = size
    angle = number("rotation", -_TURN, _TURN)
    shear_x, shear_y = number("shear", -_SHEAR, _SHEAR), number("shear_y", -_SHEAR, _SHEAR, "shear")
    scale = (1 + number("zoom", _ZOOM[0] - 1, _ZOOM[1] - 1)) * (_CROP if "crop" in names else 1.0)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    mirror = np.where(chance["flip"] < 0.5, -1.0, 1.0) if "flip" in names else np.ones_like(angle)
    a, b = (cos - sin * shear_y) * mirror, cos * shear_x - sin
    c, d = (sin + cos * shear_y) * mirror, sin * shear_x + cos
    rest = (1 - _CROP) / 2
    right = (number("shift", -_SHIFT, _SHIFT) + number("crop", -rest, rest)) * width
    down = (number("shift_y", -_SHIFT, _SHIFT, "shift") + number("crop_y", -rest, rest, "crop")) * height
    x, y = (width - 1) / 2, (height - 1) / 2  # the middle stays
    maps = np.stack([a, b, x - a * x - b * y + right, c, d, y - c * x - d * y + down], axis=1)
    return maps.astype(np.float32)


def _between(chance: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(low + chance * (high - low), np.float32)
