"""A picture in small, upright: what is enough to look at it, or to compare it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fxengine.collect.item import Payload
from fxengine.collect.memory import require
from fxengine.collect.stored import read_place
from fxengine.decode.limits import TAKEN_IN
from fxengine.decode.picture import choose_decoder, load_decoder, read_header
from fxengine.decode.picture.crop import pixels_of
from fxengine.decode.picture.formats import Picture, upright_size
from fxengine.decode.picture.geometry import upright


def read_small(path: str | Path, edge: int) -> tuple[np.ndarray, tuple[int, int], Payload]:
    """Return a picture of about `edge` pixels on its longer edge, fewer where it has fewer.

    Returns:
        uint8 [height, width, 3], upright; its own upright width and height in pixels; what it was read from.

    Raises:
        DecodeError: it is not there, or cannot be decoded.
    """
    data, _ = read_place(path, TAKEN_IN.max_bytes)
    if isinstance(data, bytes):
        decoded, size = _decoded(data, edge)
    else:
        decoded = Picture(pixels_of(data, TAKEN_IN), 1)
        size = decoded.pixels.shape[1], decoded.pixels.shape[0]
    image = Image.fromarray(decoded.pixels)
    factor = edge / max(image.size)
    if factor < 1:
        fitted = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(fitted, Image.Resampling.BOX, reducing_gap=2.0)
    return upright(np.asarray(image), decoded.orientation), size, data


def _decoded(data: bytes, edge: int) -> tuple[Picture, tuple[int, int]]:
    """Return a picture, decoded no larger than it takes, and its upright width and height."""
    header = read_header(data, TAKEN_IN)
    shrink = next((f for f in (8, 4, 2) if max(header.width, header.height) >= f * edge), 1)
    require(header.memory_at(shrink), "Decoding it")
    decoded = load_decoder(choose_decoder(header, on_gpu=False)).decode(data, header, shrink)
    return decoded, upright_size(header.width, header.height, decoded.orientation)
