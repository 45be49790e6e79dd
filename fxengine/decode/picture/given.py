"""What a program may give as a picture: a path, encoded bytes, a PIL image, or pixels."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from fxengine.collect.stored import read_place
from fxengine.decode.limits import Limits
from fxengine.decode.picture import pillow
from fxengine.decode.picture.crop import pixels_of
from fxengine.decode.picture.formats import Picture, sniff
from fxengine.errors import DecodeError, InputError


def payload_of(given: object, max_bytes: int) -> bytes | Picture:
    """Return the encoded file, or the decoded picture where only pixels are there.

    A PIL image that was opened and not yet touched gives the file behind it.

    Raises:
        DecodeError: a file cannot be read, or an image not be decoded.
        InputError: it is none of these kinds.
    """
    if isinstance(given, str | os.PathLike):
        read = read_place(given, max_bytes)[0]
        return read if isinstance(read, bytes) else Picture(pixels_of(read, Limits(max_bytes=max_bytes)), 1)
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or not given.size:
            raise InputError(f"An array must be uint8 [height, width, 3]. Got {given.dtype} {list(given.shape)}.")
        return Picture(given, 1)
    if isinstance(given, Image.Image):
        return _file_of(given) or pillow.from_image(given)
    raise InputError(f"embed() takes paths, bytes, PIL images and uint8 arrays. Got {type(given).__name__}.")


def _file_of(image: Image.Image) -> bytes | None:
    """Return the file behind a PIL image whose pixels nobody has read or changed yet, if it is one that is decoded."""
    file = getattr(image, "fp", None)
    if not getattr(image, "tile", None) or file is None or image.tell() != 0:
        return None
    try:
        place = file.tell()
        file.seek(0)
        data: bytes = file.read()
        file.seek(place)
        sniff(data)
    except (OSError, ValueError, DecodeError):
        return None
    return data
