"""Resizes RGB pixels by Pillow's own kernels, with SIMD where that library is installed."""

from __future__ import annotations

import math
import threading
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

from fxengine.backbones.spec import PictureRecipe
from fxengine.decode.picture.geometry import Placement, place, upright

try:
    simd: Any = import_module("cykooz_resizer")
except ImportError:  # no wheel for this platform
    simd = None

_PILLOW_KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Pillow's bicubic is the cubic with a = -0.5, which is Catmull-Rom.
_SIMD_KERNELS = {"box": "box", "bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
# The SIMD library copies a picture twice, Pillow once: of a very large one the memory counts, not the milliseconds.
_MOST_SIMD = 32_000_000  # pixels
_local = threading.local()


def resize_into(
    pixels: np.ndarray,
    orientation: int,
    recipe: PictureRecipe,
    out: np.ndarray,
    size: tuple[int, int] | None = None,
) -> None:
    """Write the recipe's view of a picture into `out`.

    Args:
        pixels: uint8 [height, width, 3], RGB, as stored or shrunk while it was decoded.
        orientation: its EXIF orientation, 1 to 8.
        recipe: size, kernel, crop and padding.
        out: uint8 [recipe.height, recipe.width, 3], overwritten whole.
        size: width and height as stored, where `pixels` are fewer.
    """
    height, width = pixels.shape[:2]
    stored_width, stored_height = size or (width, height)
    where = place(stored_width, stored_height, orientation, recipe)
    if (stored_width, stored_height) != (width, height):
        where = where.shrunk((stored_width, stored_height), (width, height))
    quick = _simd_can(where, recipe) and width * height <= _MOST_SIMD
    resized = (_resize_simd if quick else resize_pillow)(pixels, where, recipe)
    resized = upright(resized, orientation)
    if where.whole:
        out[:] = resized
        return
    out[:] = recipe.pad_color
    out[where.top : where.top + resized.shape[0], where.left : where.left + resized.shape[1]] = resized


def _simd_can(where: Placement, recipe: PictureRecipe) -> bool:
    if simd is None or not recipe.antialias or recipe.kernel not in _SIMD_KERNELS:
        return False
    # cykooz-resizer 4.0.1 reads outside its own memory when Catmull-Rom enlarges a cut-out whose border falls on the
    # middle of a source pixel (185 x 183 to short edge 256, cut to 224, for one).
    x0, y0, x1, y1 = where.box
    enlarges = x1 - x0 < where.size[0] or y1 - y0 < where.size[1]
    return not (recipe.kernel == "bicubic" and enlarges)


def resize_pillow(pixels: np.ndarray, where: Placement, recipe: PictureRecipe) -> np.ndarray:
    """Return the placed rectangle, uint8 [rows, columns, 3], by Pillow: the reference."""
    kernel = _PILLOW_KERNELS[recipe.kernel]
    image = Image.fromarray(pixels)
    if recipe.antialias or recipe.kernel in ("nearest", "box"):
        return np.asarray(image.resize(where.size, kernel, box=where.box))
    x0, y0, x1, y1 = where.box
    matrix = ((x1 - x0) / where.size[0], 0.0, x0, 0.0, (y1 - y0) / where.size[1], y0)
    return np.asarray(image.transform(where.size, Image.Transform.AFFINE, matrix, kernel))


def length_within(start: float, stop: float, most: int) -> float:
    """Return stop - start, rounded so that start and length together are not over `most`."""
    length = stop - start
    return length if start + length <= most else math.nextafter(length, 0.0)


def _resize_simd(pixels: np.ndarray, where: Placement, recipe: PictureRecipe) -> np.ndarray:
    if not hasattr(_local, "resizer"):
        _local.resizer = simd.Resizer()
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = where.box
    algorithm = simd.ResizeAlg.convolution(simd.FilterType[_SIMD_KERNELS[recipe.kernel]])
    cut = simd.CropBox(x0, y0, length_within(x0, x1, width), length_within(y0, y1, height))
    options = simd.ResizeOptions(resize_alg=algorithm, crop_box=cut)
    source = simd.ImageData(width, height, simd.PixelType.U8x3, pixels.tobytes())
    target = simd.ImageData(*where.size, simd.PixelType.U8x3)
    _local.resizer.resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(where.size[1], where.size[0], 3)
