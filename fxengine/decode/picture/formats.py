"""What kind of file some bytes are: found by content, never by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from fxengine.decode.limits import Limits
from fxengine.errors import DecodeError

JPEG = "JPEG"
# Formats that are decoded, by what Pillow calls them.
_SIGNATURES: list[tuple[bytes, str]] = [
    (rb"\xff\xd8\xff", JPEG),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"RIFF....WEBP", "WEBP"),
    (rb"GIF8[79]a", "GIF"),
    # A second header of less than 256 bytes; what the first one reserves, some fill with a cursor's hotspot.
    (rb"BM.{13}\0\0\0", "BMP"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF"),
    (rb"....ftyp(?:avif|avis)", "AVIF"),
    (rb"....ftyp(?:heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "HEIF"),
]
_RAW = [
    rb"II\*\0....CR",
    rb"....ftypcrx ",
    rb"FUJIFILMCCD-RAW",
    rb"II(?:RO|RS|U\0)|MMOR",
    rb"FOVb",
    rb"\0MRM",
]
# What else turns up in photo folders, so that the message can say what it is.
_OTHERS: list[tuple[bytes, str]] = [
    (rb"%PDF", "a PDF document"),
    (rb"(?i)\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg", "an SVG drawing"),
    (rb"(?i)\s*<(?:!doctype html|html)", "a web page"),
    (rb"8BPS", "a Photoshop document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL image"),
    (rb"P[1-7fFyY]\s", "a PNM image"),
    (rb"DDS ", "a DDS texture"),
    (rb"icns|\0\0[\x01\x02]\0", "an icon"),
    (rb"SIMPLE  =", "a FITS image"),
    (rb"BLP[12]", "a BLP texture"),
    (rb"\x01\xda", "an SGI image"),
    (rb"....ftyp", "a video"),
    (rb"\x1a\x45\xdf\xa3|RIFF....AVI ", "a video"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive"),
    (rb"\s*[{\[]", "text or JSON"),
]
PIXEL_BYTES = 9  # of memory, that decoding and resizing take in most formats
_ALLOWED = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC/HEIF, AVIF"
_NAMED = [(re.compile(pattern, re.DOTALL), name) for pattern, name in _SIGNATURES]
_RAW_PATTERN = re.compile(b"|".join(b"(?:" + p + b")" for p in _RAW), re.DOTALL)
_OTHER_NAMED = [(re.compile(pattern, re.DOTALL), name) for pattern, name in _OTHERS]


@dataclass(frozen=True)
class Header:
    """What is known of a picture before its pixels are decoded.

    Attributes:
        format: what it is, by content.
        width: of the picture as stored, in pixels.
        height: of the picture as stored, in pixels.
        memory: bytes that decoding it whole will take, estimated from above.
        fixed: those of them that a decoder takes even where it decodes at a fraction of the size.
    """

    format: str
    width: int
    height: int
    memory: int
    fixed: int

    def memory_at(self, shrink: int) -> int:
        """Return the bytes that decoding takes with both edges divided by `shrink`."""
        return self.fixed + (self.memory - self.fixed) // shrink**2


@dataclass(frozen=True)
class Picture:
    """A decoded picture, not yet turned upright.

    Attributes:
        pixels: uint8 [height, width, 3], RGB, as stored, or both edges divided by 2, 4 or 8 and rounded up.
        orientation: EXIF orientation, 1 to 8.
    """

    pixels: np.ndarray
    orientation: int


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Return the (width, height) of a stored picture as a person sees it."""
    return (height, width) if orientation >= 5 else (width, height)


def sniff(data: bytes) -> str:
    """Return the format's name, one that Pillow knows.

    Raises:
        DecodeError: empty, a camera's RAW file, or nothing that is decoded.
    """
    if data[:3] == b"\xff\xd8\xff":
        return JPEG
    if not data:
        raise DecodeError("empty", "The file is empty.")
    head = bytes(data[:512])
    if _RAW_PATTERN.match(head):
        raise raw_photo()
    for pattern, name in _NAMED:
        if pattern.match(head):
            return name
    what = next((name for pattern, name in _OTHER_NAMED if pattern.match(head)), "no image that fxengine knows")
    raise DecodeError("unsupported_format", f"The file is {what}. What is decoded: {_ALLOWED}.")


def raw_photo() -> DecodeError:
    """Return the error for a camera's RAW file."""
    return DecodeError("raw_photo", "This is a camera's RAW file. Develop it to JPEG or TIFF first (darktable-cli).")


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raise DecodeError where a header announces no pixels or more than the limit."""
    if width < 1 or height < 1:
        raise DecodeError("corrupt", f"The header says {width} x {height} pixels.")
    if width * height > limits.max_pixels:
        raise _too_large(f"{width} x {height} pixels are {_counted(width * height)}", limits)


def check_memory(header: Header, size: int, limits: Limits) -> None:
    """Raise DecodeError where decoding a file of `size` bytes takes more memory than pixels within the limit do."""
    counts = (header.memory + max(0, size - header.width * header.height)) // PIXEL_BYTES
    if counts > limits.max_pixels:
        raise _too_large(
            f"{header.width} x {header.height} pixels of this {header.format} take the memory of {_counted(counts)}",
            limits,
        )


def _too_large(what: str, limits: Limits) -> DecodeError:
    return DecodeError("too_large", f"{what}; `max_pixels` allows {_counted(limits.max_pixels)}.")


def _counted(pixels: int) -> str:
    return f"{pixels / 1e6:.0f} million" if pixels >= 10_000_000 else str(pixels)
