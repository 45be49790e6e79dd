"""Which part of a picture, turned as its EXIF says, lands where in the model's input."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fxengine.backbones.spec import PictureRecipe

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Placement:
    """One resize call: source box (left, top, right, bottom) -> a rectangle of the output.

    The box is in the pixels of the picture as stored, the rectangle in those of the upright output; `size` is
    the rectangle's (width, height) before it is turned upright.
    """

    box: Box
    size: tuple[int, int]
    left: int
    top: int
    whole: bool

    def shrunk(self, stored: tuple[int, int], size: tuple[int, int]) -> Placement:
        """Return the same placement of a picture that was made smaller, from its `stored` (width, height) to `size`."""
        left, top, right, bottom = self.box
        (width, height), x, y = size, size[0] / stored[0], size[1] / stored[1]
        # The product of a border may be a rounding over it: resizers refuse that.
        box = (left * x, top * y, min(right * x, float(width)), min(bottom * y, float(height)))
        return replace(self, box=box)


def place(width: int, height: int, orientation: int, recipe: PictureRecipe) -> Placement:
    """Return how a stored picture of `width` x `height` and EXIF `orientation` (1 to 8) fills the recipe's input.

    Resizing only the box gives the same pixels as resizing everything and cutting, at less work.
    """
    turned = orientation >= 5
    upright_width, upright_height = (height, width) if turned else (width, height)
    scaled_width, scaled_height = recipe.resized(upright_width, upright_height)
    x0, x1, left = _span(scaled_width, recipe.width, recipe)
    y0, y1, top = _span(scaled_height, recipe.height, recipe)
    box = (
        x0 * upright_width / scaled_width,
        y0 * upright_height / scaled_height,
        x1 * upright_width / scaled_width,
        y1 * upright_height / scaled_height,
    )
    size = (y1 - y0, x1 - x0) if turned else (x1 - x0, y1 - y0)
    whole = (x1 - x0, y1 - y0) == (recipe.width, recipe.height)
    return Placement(_stored_box(box, width, height, orientation), size, left, top, whole)


def _span(scaled: int, target: int, recipe: PictureRecipe) -> tuple[int, int, int]:
    """Return (start, stop) in the scaled picture and the offset in the output, along one axis."""
    if scaled >= target:
        start = recipe.offset(scaled, target)
        return start, start + target, 0
    return 0, scaled, recipe.offset(target, scaled)


def _stored_box(box: Box, width: int, height: int, orientation: int) -> Box:
    """Return the box in the stored picture whose upright form is `box`."""
    x0, y0, x1, y1 = box
    if orientation >= 5:
        # Upright (x, y) of a turned picture is stored (y, x), mirrored where the turn asks for it.
        x0, y0, x1, y1 = y0, x0, y1, x1
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return a view of [height, width, 3] pixels turned as EXIF `orientation` says."""
    if orientation in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    return pixels.transpose(1, 0, 2) if orientation >= 5 else pixels
