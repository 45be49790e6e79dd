"""Decodes every allowed format by Pillow: the reference, and the fallback of the fast paths."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pillow_heif
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from fxengine.decode.picture import formats, jpeg, png, tiff
from fxengine.decode.picture.formats import PIXEL_BYTES, Header, Picture
from fxengine.errors import DecodeError

pillow_heif.register_heif_opener()
_ORIENTATION = 0x0112
_NEW_SUBFILE_TYPE = 254
_SUB_IFDS = 330
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
_STRIP_PIXELS = 1 << 22
# Bytes of a pixel that a format's own library takes beside Pillow's image, measured at 40 megapixels.
_FORMAT_BYTES = {"WEBP": 9, "AVIF": 4, "HEIF": 1, "TIFF": 1}
_bomb_check = threading.Lock()
_lifted_by = 0
_pillow_limit = Image.MAX_IMAGE_PIXELS


def read_header(data: bytes, format_name: str) -> Header:
    """Return the size without decoding pixels; raises DecodeError."""
    image = _open(data, format_name)
    # Pillow's image and then an array; later that array and a copy of it for the resize
    each = _FORMAT_BYTES.get(format_name, 0) + PIXEL_BYTES
    memory = each * image.width * image.height
    return Header(format_name, image.width, image.height, memory, memory)


def decode(data: bytes, header: Header, shrink: int = 1) -> Picture:
    """Return the first frame as RGB, a JPEG's at a fraction of its size, others whole; raises DecodeError.

    Transparency is laid over white; of deeper grey the high byte counts; CMYK is converted without its profile.
    """
    image = _open(data, header.format)
    if header.format == formats.JPEG and shrink > 1:
        image.draft("RGB", (header.width // shrink, header.height // shrink))
    try:
        return from_image(image)
    except DecodeError as error:
        # Text that is too long or whose checksum is wrong may stand behind the pixels, too.
        cleaned = _without_text(data, header.format, error)
        try:
            return from_image(cleaned)
        except DecodeError:
            raise error from None


def from_image(image: Image.Image) -> Picture:
    """Return a Pillow image's first frame as RGB; raises DecodeError."""
    try:
        layout = tiff.layout_of(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
        if layout is not None:
            tiff.check(layout)
        with _without_pillow_limit():
            image.load()
        return Picture(_to_rgb(image, layout), _orientation(image))
    except Image.DecompressionBombError as error:
        raise DecodeError("too_large", "A frame is larger than the header says.") from error
    except MemoryError as error:
        raise DecodeError("out_of_memory", "There was not enough memory to decode it.") from error
    except _FAILURES as error:
        raise _readable(error) from error


def _open(data: bytes, format_name: str) -> Image.Image:
    try:
        image = _opened(data, format_name)
    except DecodeError as error:
        if format_name == "TIFF":
            _refuse_tiff(data)
        if format_name == formats.JPEG and (bits := jpeg.precision(data)) != 8:
            raise DecodeError(
                "unsupported_pixels", f"Its samples have {bits} bits. Save it as a JPEG of 8 bits."
            ) from error
        image = _without_text(data, format_name, error)
    if format_name == "TIFF" and _is_raw(image):
        raise formats.raw_photo()
    return image


def _without_text(data: bytes, format_name: str, error: DecodeError) -> Image.Image:
    """Return a damaged PNG without what is no part of its pixels; raises `error` where that is no help."""
    if format_name != "PNG" or error.code not in ("corrupt", "truncated"):
        raise error
    try:
        return _opened(png.pixels_only(data), format_name)
    except DecodeError:
        raise error from None


def _opened(data: bytes, format_name: str) -> Image.Image:
    try:
        with _without_pillow_limit():
            return Image.open(io.BytesIO(data), formats=[format_name])
    except UnidentifiedImageError as error:
        raise DecodeError("corrupt", f"It begins like a {format_name} file, but its header cannot be read.") from error
    except MemoryError as error:
        raise DecodeError("out_of_memory", "There was not enough memory to open it.") from error
    except _FAILURES as error:
        raise _readable(error) from error


def _refuse_tiff(data: bytes) -> None:
    """Raise DecodeError where the tags of a TIFF that Pillow does not open say why."""
    layout = tiff.read_layout(data)
    if layout is None:
        return
    if tiff.is_mosaic(layout):
        raise formats.raw_photo()
    tiff.check(layout)
    raise tiff.unsupported(layout)


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


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (*_FAILURES, MemoryError):
        return 1
    return value if value in range(1, 9) else 1


def _to_rgb(image: Image.Image, layout: tiff.Layout | None) -> np.ndarray:
    """Return uint8 [height, width, 3]; a large picture strip by strip, which takes a third of the memory."""
    mode = image.mode
    if mode in ("I", "F", "LAB", "HSV"):
        kind = {"I": "32-bit whole numbers", "F": "floating-point numbers"}.get(mode, f"{mode} colours")
        raise DecodeError("unsupported_pixels", f"Its pixels are {kind}, which have no defined white. Save it as RGB.")
    width, height = image.size
    white = 65535
    if (
        mode.startswith("I;16")
        and layout is not None
        and layout.white < white
        and np.asarray(image).max() <= layout.white
    ):
        white = layout.white  # a larger value shows that the tag is stale
    rows = max(1, _STRIP_PIXELS // width)
    if rows >= height:
        return _strip_to_rgb(image, white, layout)
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        out[top:bottom] = _strip_to_rgb(image.crop((0, top, width, bottom)), white, layout)
    return out


def _strip_to_rgb(image: Image.Image, white: int, layout: tiff.Layout | None) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> (white.bit_length() - 8)).astype(np.uint8)
        if layout is not None and tiff.white_is_zero(layout):
            grey = 255 - grey
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(image)


def _readable(error: Exception) -> DecodeError:
    """Return what a person can read of an error that a plugin of Pillow let through."""
    if isinstance(error, DecodeError):
        return error
    text = str(error)
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return DecodeError("truncated", f"The file ends too early ({text or type(error).__name__}).")
    if not text or isinstance(error, LookupError | AttributeError | AssertionError):
        text = f"Pillow's reader stopped at {type(error).__name__}" + (f" {text}" if text else "")
    return DecodeError("corrupt", f"The file is damaged ({text}).")
