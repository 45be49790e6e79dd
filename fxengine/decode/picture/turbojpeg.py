"""Decodes JPEG by libjpeg-turbo through simplejpeg, which lets go of the GIL."""

from __future__ import annotations

import numpy as np
import simplejpeg

from fxengine.decode.picture import jpeg, pillow
from fxengine.decode.picture.formats import PIXEL_BYTES, Header, Picture
from fxengine.errors import DecodeError

_MANY_PIXELS = 1 << 21  # fewer take no memory that counts
_MOST_SCANS = 100  # each goes over all pixels again; optimisers make 10 to 64
# What libjpeg warns of when pixels are missing; it fills them with grey and goes on.
_MISSING_DATA = ("premature end", "huffman", "bad code", "corrupt jpeg data: bad", "inconsistent progression")
_NO_MARKER = ("unsupported marker", "two soi", "two sof")  # what follows the picture in place of an end marker


def read_header(data: bytes, format_name: str) -> Header:
    """Return the size without decoding pixels; raises DecodeError."""
    if (scans := jpeg.scans(data)) > _MOST_SCANS:
        raise DecodeError("too_large", f"It comes in {scans} scans; at most {_MOST_SCANS} are decoded.")
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # KeyError: a colour space that simplejpeg does not know
        return pillow.read_header(data, format_name)
    # 3 bytes a pixel for the array, and beside it 6 for resizing it, or before that up to 6 for the coefficients of a
    # progressive file
    pixels = width * height
    progressive = pixels > _MANY_PIXELS and jpeg.is_progressive(data)
    return Header(format_name, width, height, PIXEL_BYTES * pixels, 6 * pixels if progressive else 0)


def decode(data: bytes, header: Header, shrink: int = 1) -> Picture:
    """Return the picture as RGB, both edges divided by `shrink` (1, 2, 4 or 8); raises DecodeError.

    What libjpeg only warns of is either missing data, which is an error here, or harmless, as bytes too many;
    then Pillow decodes it. Where only the end marker is missing, every pixel is there.
    """
    pixels, reason = _pixels(data, header, shrink)
    if _is(_MISSING_DATA, reason) or _is(_NO_MARKER, reason):
        whole = jpeg.ended(data)
        again, still = (None, reason) if whole is None else _pixels(whole, header, shrink)
        if whole is not None and not _is(_MISSING_DATA, still):
            data, pixels = whole, again
        elif _is(_MISSING_DATA, reason):
            raise DecodeError("truncated", f"Part of the picture is missing ({reason}).")
    return pillow.decode(data, header, shrink) if pixels is None else Picture(pixels, jpeg.orientation(data))


def _pixels(data: bytes, header: Header, shrink: int) -> tuple[np.ndarray | None, str]:
    """Return uint8 [height, width, 3], None where Pillow has to decode it, and what libjpeg said."""
    try:
        # libjpeg-turbo takes the smallest of its scales that leaves as many pixels: exactly 1/shrink.
        least = (
            {"min_height": -(-header.height // shrink), "min_width": -(-header.width // shrink)} if shrink > 1 else {}
        )
        return simplejpeg.decode_jpeg(data, "RGB", **least), ""
    except (ValueError, KeyError) as error:
        reason = str(error)
    except MemoryError as error:
        raise DecodeError("out_of_memory", "There was not enough memory to decode it.") from error
    return None, reason


def _is(marks: tuple[str, ...], reason: str) -> bool:
    return any(mark in reason.lower() for mark in marks)
