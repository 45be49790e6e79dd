"""What of a picture is compared with others: its grey pixels in small, without its border, and its points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from fxengine.retrieval.copies.blur import band, detail_in
from fxengine.retrieval.copies.drawn import is_bare, is_drawn
from fxengine.retrieval.copies.points import Points, find_points

EDGE = 256  # pixels of the longer edge of the grey picture
_POINTS = 0.625  # of that is where points are looked for: they are coarse, and it takes a third of the time
LARGE = 1024  # the same of drawn pictures that are one in small, where print is gone
_COLOURS = 64  # pixels of the longer edge of the colours
SQUARE = 32  # pixels of either edge of the picture squeezed into a square
_EVEN = 3.0  # grey levels, the standard deviation in a line of a border: what JPEG adds to one colour
_LEAST = 0.3  # of an edge that is left between borders: with less, it is the picture that is even
_TINT = 2.0  # root mean square of the colours, from which they are more than noise of JPEG
_DETAIL = 2.0  # grey levels, the root mean square of the detail: less is noise of JPEG
_THIN = 16  # pixels of the shorter edge, in small: below, there is too little to compare


@dataclass(frozen=True)
class Look:
    """A picture in small.

    Attributes:
        grey: uint8 [height, width], the longer edge `EDGE` pixels, upright, without its border.
        size: width and height in pixels of what `grey` shows, in the picture itself.
        square: float32 [SQUARE, SQUARE], the detail of `grey` squeezed into a square, of mean 0 and length 1.
        inside: share of the picture that is left without its border.
        plain: whether there is too little detail to tell it from another: one colour, or a thin line.
        colour: mean of what a pixel's largest colour is above its smallest; 0 is grey.
        hues: float16 [2, height, width], blue and red less the grey (Cb and Cr less 128) of what `grey` shows, its
            longer edge 64 pixels.
        box: top, bottom, left and right of what `grey` shows, as shares of the picture.
    """

    grey: np.ndarray
    size: tuple[int, int]
    square: np.ndarray
    inside: float
    plain: bool
    colour: float
    hues: np.ndarray
    box: tuple[float, float, float, float]

    @cached_property
    def points(self) -> Points:
        """Points that are found again in a copy, in pixels of `grey`, found when they are first asked for."""
        return Points.none() if self.plain else find_points(self.grey, _POINTS)

    @cached_property
    def drawn(self) -> bool:
        """Whether it is a page, a chart, a board or an icon rather than a photo."""
        return is_drawn(self.grey)

    @cached_property
    def bare(self) -> bool:
        """Whether it is a thing before one even grey, as a logo is."""
        return is_bare(self.grey)

    @cached_property
    def tinted(self) -> bool:
        """Whether any of it is in colour, be it thin lines."""
        return float(np.sqrt(np.mean(self.hues.astype(np.float32) ** 2))) > _TINT


def look_at(pixels: np.ndarray, size: tuple[int, int]) -> Look:
    """Return the look of a picture.

    Args:
        pixels: uint8 [height, width, 3], upright, at least `EDGE` pixels in its longer edge where it has as many.
        size: its own width and height in pixels.
    """
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    colour = float(np.ptp(pixels[::4, ::4].astype(np.int16), axis=2).mean())
    top, bottom, left, right = without_border(grey)
    height, width = grey.shape
    inside = (bottom - top) * (right - left) / (height * width)
    image = Image.fromarray(np.ascontiguousarray(grey[top:bottom, left:right]))
    factor = EDGE / max(image.size)
    fitted = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    small = np.asarray(image.resize(fitted, Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BOX))
    squeezed = np.asarray(image.resize((SQUARE, SQUARE), Image.Resampling.BOX), np.float32)
    plain = min(fitted) < _THIN or detail_in(small.astype(np.float32)) < _DETAIL
    shown = (max(1, round(size[0] * (right - left) / width)), max(1, round(size[1] * (bottom - top) / height)))
    box = (top / height, bottom / height, left / width, right / width)
    hues = _hues(pixels[top:bottom, left:right])
    return Look(small, shown, _unit(band(squeezed)), inside, plain, colour, hues, box)


def in_large(look: Look, pixels: np.ndarray) -> np.ndarray:
    """Return what `look.grey` shows of the same picture in more pixels, uint8 [height, width, 3], as grey levels."""
    height, width = pixels.shape[:2]
    top, bottom, left, right = (
        round(share * n) for share, n in zip(look.box, (height, height, width, width), strict=True)
    )
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right])).convert("L"))


def _hues(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    factor = _COLOURS / max(image.size)
    fitted = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    both = np.asarray(image.resize(fitted, Image.Resampling.BOX).convert("YCbCr"))[:, :, 1:]
    return (both.astype(np.float16) - 128).transpose(2, 0, 1)


def _unit(image: np.ndarray) -> np.ndarray:
    image = image - image.mean()
    length = float(np.linalg.norm(image))
    return image / length if length > 1e-3 else np.zeros_like(image)


def without_border(grey: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of what is between even borders; all of it where little would be left."""
    height, width = grey.shape
    top, bottom = _between(grey)
    left, right = _between(grey[top:bottom].T)
    if bottom - top < _LEAST * height or right - left < _LEAST * width:
        return 0, height, 0, width
    return top, bottom, left, right


def _between(lines: np.ndarray) -> tuple[int, int]:
    """Return the first line that is no border, and the one after the last; each side has its own colour."""
    n = len(lines)
    if not (lines[[0, -1]].std(axis=1) < _EVEN).any():
        return 0, n
    means, even = lines.mean(axis=1), lines.std(axis=1) < _EVEN
    first = int(np.argmax(~(even & (np.abs(means - means[0]) < _EVEN)))) if even[0] else 0
    last = int(np.argmax(~(even & (np.abs(means - means[-1]) < _EVEN))[::-1])) if even[-1] else 0
    return (first, n - last) if first < n - last else (0, n)
