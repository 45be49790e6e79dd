"""What the targets of pictures share: sound pictures of a format, and what decodes them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fxengine.backbones.spec import PictureRecipe
from fxengine.decode import picture
from fxengine.decode.limits import Limits

MEGABYTES = 400  # a picture within these limits takes 9 bytes for each of 4 million pixels, and its copy in the recipe
_LIMITS = Limits(max_pixels=4_000_000, max_bytes=10_000_000)
_RECIPE = PictureRecipe(height=32, width=32, edge="short", size=36, kernel="bilinear")


def encoded(format_name: str, mode: str = "RGB", size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    """Return a smooth picture as a file of a format."""
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)).convert(mode)
    file = io.BytesIO()
    small.resize(size).save(file, format_name, **options)
    return file.getvalue()


def prepare(_: Path) -> Any:
    """Nothing is needed."""
    return np.empty((_RECIPE.height, _RECIPE.width, 3), np.uint8)


def read(data: bytes, made: Any) -> object:
    """Decode a picture as a run does."""
    return picture.decode_into(data, picture.read_header(data, _LIMITS), _RECIPE, made)
