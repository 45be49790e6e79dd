"""Makes a small JPEG of a picture, upright."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps

from fxengine.collect.memory import require
from fxengine.collect.stored import read_place
from fxengine.decode.limits import TAKEN_IN
from fxengine.decode.picture import choose_decoder, load_decoder, read_header
from fxengine.decode.picture.crop import pixels_of
from fxengine.decode.picture.formats import Picture

_EXIF_ORIENTATION = 0x0112


def thumbnail(path: str | Path, edge: int = 192) -> bytes:
    """Return a JPEG of at most `edge` pixels on its longer edge.

    Raises:
        DecodeError: it is not there, or cannot be decoded.
    """
    data, _ = read_place(path, TAKEN_IN.max_bytes)
    decoded = _decoded(data, edge) if isinstance(data, bytes) else Picture(pixels_of(data, TAKEN_IN), 1)
    small = Image.fromarray(decoded.pixels)
    small.thumbnail((edge, edge))
    small.getexif()[_EXIF_ORIENTATION] = decoded.orientation
    out = io.BytesIO()
    ImageOps.exif_transpose(small).save(out, "JPEG", quality=80)
    return out.getvalue()


def _decoded(data: bytes, edge: int) -> Picture:
    header = read_header(data, TAKEN_IN)
    shrink = next((f for f in (8, 4, 2) if max(header.width, header.height) >= 2 * f * edge), 1)
    require(header.memory_at(shrink), "Decoding it")
    return load_decoder(choose_decoder(header, on_gpu=False)).decode(data, header, shrink)
