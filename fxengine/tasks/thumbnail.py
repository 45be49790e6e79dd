"""Makes a small JPEG of a picture, upright, under the same safety limits as an extraction."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image, ImageOps

from fxengine.collect.read import read_input
from fxengine.decode import Limits, load_decoder, read_header
from fxengine.features.schema import Item

_EXIF_ORIENTATION = 0x0112


def thumbnail(path: str | Path, edge: int = 192) -> bytes:
    """Return a JPEG of at most `edge` pixels on its longer edge.

    Raises:
        DecodeError: the file is not there, or cannot be decoded.
    """
    limits = Limits()
    data, _ = read_input(Item(str(path), os.fspath(path), -1, 0), limits.max_bytes)
    header = read_header(data, limits, "pillow")
    decoded = load_decoder("pillow").decode(data, header)
    small = Image.fromarray(decoded.pixels)
    small.thumbnail((edge, edge))
    small.getexif()[_EXIF_ORIENTATION] = decoded.orientation
    out = io.BytesIO()
    ImageOps.exif_transpose(small).save(out, "JPEG", quality=80)
    return out.getvalue()
