"""Decodes JPEG by libjpeg-turbo through simplejpeg, which lets go of the GIL."""

from __future__ import annotations

import simplejpeg

from fxengine.decode import pillow
from fxengine.decode.formats import Header, Picture
from fxengine.errors import DecodeError

# Where EXIF and XMP stand, as a rule; a picture without either is upright.
_METADATA_BYTES = 1 << 18
_TURN_MARKS = (b"Exif\0\0", b"tiff:Orientation")
# What libjpeg warns of when pixels are missing; it fills them with grey and goes on.
_MISSING_DATA = ("premature end", "huffman", "bad code", "corrupt jpeg data: bad", "inconsistent progression")


def read_header(data: bytes, format_name: str) -> Header:
    """Return the size without decoding pixels; raises DecodeError."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # KeyError: a colour space that simplejpeg does not know
        return pillow.read_header(data, format_name)
    # 3 bytes a pixel for the array, 3 for the resizer's copy, 3 for the coefficients of a progressive file
    return Header(format_name, width, height, 9 * width * height)


def decode(data: bytes, header: Header, shrink: int = 1) -> Picture:
    """Return the picture as RGB, both edges divided by `shrink` (1, 2, 4 or 8); raises DecodeError.

    What libjpeg only warns of is either missing data, which is an error here, or harmless, as bytes too many;
    then Pillow decodes it, as it does CMYK.
    """
    try:
        # libjpeg-turbo takes the smallest of its scales that leaves as many pixels: exactly 1/shrink.
        least = (
            {"min_height": -(-header.height // shrink), "min_width": -(-header.width // shrink)} if shrink > 1 else {}
        )
        pixels = simplejpeg.decode_jpeg(data, "RGB", **least)
    except (ValueError, KeyError) as error:
        reason = str(error).lower()
        if any(mark in reason for mark in _MISSING_DATA):
            raise DecodeError("truncated", f"Part of the picture is missing ({error}).") from error
        return pillow.decode(data, header)
    except MemoryError as error:
        raise DecodeError("out_of_memory", "There was not enough memory to decode it.") from error
    return Picture(pixels, orientation(data))


def orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8, that a JPEG states; 1 where it states none."""
    turned = any(data.find(mark, 0, _METADATA_BYTES) >= 0 for mark in _TURN_MARKS)
    return pillow.read_orientation(data) if turned else 1
