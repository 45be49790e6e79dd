"""Decodes every allowed format by Pillow: the reference, and the fallback of the fast paths."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import numpy as np
import pillow_heif
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from fxengine.decode import formats
from fxengine.decode.formats import Header, Picture
from fxengine.errors import DecodeError

pillow_heif.register_heif_opener()

_ORIENTATION = 0x0112
_NEW_SUBFILE_TYPE = 254
_SUB_IFDS = 330
_PHOTOMETRIC = 262
_CFA = 32803  # photometric interpretation of a colour-filter mosaic
# Pillow's plugins let through whatever their own arithmetic runs into on a damaged file.
_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    AttributeError,
    AssertionError,
    RuntimeError,
    ZeroDivisionError,
    struct.error,
)
_bomb_check = threading.Lock()
_lifted_by = 0
_pillow_limit = Image.MAX_IMAGE_PIXELS


def read_header(data: bytes, format_name: str) -> Header:
    """Return the size without decoding pixels; raises DecodeError."""
    image = _open(data, format_name)
    # 4 bytes a pixel in Pillow, as much again for a conversion, 3 for the array, 3 for the resizer's copy
    return Header(format_name, image.width, image.height, 14 * image.width * image.height)


def decode(data: bytes, header: Header, shrink: int = 1) -> Picture:
    """Return the first frame as RGB, whole, whatever `shrink` allows; raises DecodeError.

    Transparency is laid over white; of 16-bit grey the high byte counts; CMYK is converted without its profile.
    """
    return from_image(_open(data, header.format))


def from_image(image: Image.Image) -> Picture:
    """Return a Pillow image's first frame as RGB; raises DecodeError."""
    try:
        with _without_pillow_limit():
            image.load()
        return Picture(_to_rgb(image), _orientation(image))
    except Image.DecompressionBombError as error:
        raise DecodeError("too_large", "A frame is larger than the header says.") from error
    except MemoryError as error:
        raise DecodeError("out_of_memory", "There was not enough memory to decode it.") from error
    except _FAILURES as error:
        _raise_readable(error)


def read_orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8, that a JPEG's EXIF or XMP states; 1 where it states none."""
    try:
        return _orientation(_open(data, formats.JPEG))
    except DecodeError:
        return 1


def _open(data: bytes, format_name: str) -> Image.Image:
    names = [formats.JPEG, "MPO"] if format_name == formats.JPEG else [format_name]
    try:
        with _without_pillow_limit():
            image = Image.open(io.BytesIO(data), formats=names)
    except UnidentifiedImageError as error:
        if format_name == "TIFF" and _is_mosaic(data):
            raise formats.raw_photo() from error
        raise DecodeError("corrupt", f"It begins like a {format_name} file, but its header cannot be read.") from error
    except MemoryError as error:
        raise DecodeError("out_of_memory", "There was not enough memory to open it.") from error
    except _FAILURES as error:
        _raise_readable(error)
    if format_name == "TIFF" and _is_raw(image):
        raise formats.raw_photo()
    return image


@contextmanager
def _without_pillow_limit() -> Iterator[None]:
    """Switch off Pillow's own limit, which is lower than ours, while any thread opens or loads a picture."""
    global _lifted_by, _pillow_limit
    with _bomb_check:
        if _lifted_by == 0:
            _pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _lifted_by += 1
    try:
        yield
    finally:
        with _bomb_check:
            _lifted_by -= 1
            if _lifted_by == 0:
                Image.MAX_IMAGE_PIXELS = _pillow_limit


def _is_raw(image: Image.Image) -> bool:
    """Tell a DNG, NEF or ARW from a TIFF: its first picture is only a small copy, the real one in a sub-folder."""
    tags = getattr(image, "tag_v2", {})
    return _SUB_IFDS in tags and tags.get(_NEW_SUBFILE_TYPE) == 1


def _is_mosaic(data: bytes) -> bool:
    """Tell whether the first picture of a TIFF that Pillow cannot open is a colour-filter mosaic."""
    file = io.BytesIO(data)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        return bool(tags.get(_PHOTOMETRIC) == _CFA)
    except _FAILURES:
        return False


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (*_FAILURES, MemoryError):
        return 1
    return value if value in range(1, 9) else 1


def _to_rgb(image: Image.Image) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if mode in ("I", "F", "LAB", "HSV"):
        kind = {"I": "32-bit whole numbers", "F": "floating-point numbers"}.get(mode, f"{mode} colours")
        raise DecodeError("unsupported_pixels", f"Its pixels are {kind}, which have no defined white. Save it as RGB.")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        white.alpha_composite(image.convert("RGBA"))
        image = white
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(image)


def _raise_readable(error: Exception) -> NoReturn:
    text = str(error) or type(error).__name__
    if isinstance(error, DecodeError):
        raise error
    if "truncated" in text.lower() or isinstance(error, EOFError) or "Truncated" in text:
        raise DecodeError("truncated", f"The file ends too early ({text}).") from error
    raise DecodeError("corrupt", f"The file is damaged ({text}).") from error
