"""What the pixels of a TIFF are, read from its tags before a decoder is trusted with them.

Pillow opens what it has an unpacker for and ignores some of what the tags say: planes of 16 bits come out scrambled,
12 bits nearly black, signed numbers wrapped around, 16 bits that begin at white turned over.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

from PIL import TiffImagePlugin

from fxengine.errors import DecodeError

_WIDTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 258, 259, 262, 277
_MOST_VALUE, _PLANAR, _FORMAT = 281, 284, 339
_GREY = (0, 1)  # photometric interpretations: white is 0, black is 0
_MOSAIC = 32803
_IN_JPEG = (6, 7)  # compressions that say themselves what their samples are
_WHITES = (1023, 4095, 16383)
_KINDS = {1: "whole numbers", 2: "signed whole numbers", 3: "floating-point numbers"}


@dataclass(frozen=True)
class Layout:
    """How a TIFF's first picture holds its pixels.

    Attributes:
        photometric: what its values mean (TIFF 6.0, tag 262), or None.
        samples: numbers a pixel has.
        bits: of each of them.
        format: 1 unsigned, 2 signed, 3 floating-point; 0 where they differ.
        planar: whether each sample has a plane of its own.
        compression: tag 259.
        white: the largest value that the tags state for a sample where it fills 10, 12 or 14 bits, else that of `bits`.
    """

    photometric: int | None
    samples: int
    bits: tuple[int, ...]
    format: int
    planar: bool
    compression: int
    white: int


def read_layout(data: bytes) -> Layout | None:
    """Return the layout of the first picture, None where its tags cannot be read."""
    file = io.BytesIO(data)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if data[2:3] == b"+" or data[3:4] == b"+" else 8))
        file.seek(tags.next)
        tags.load(file)
        return layout_of(tags) if _WIDTH in tags else None
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error):
        return None


def layout_of(tags: Any) -> Layout:
    """Return the layout that an image's `tag_v2` states."""
    samples = int(tags.get(_SAMPLES, 1))
    bits = tuple(int(n) for n in tags.get(_BITS, (1,)))[:samples]
    formats = {int(n) for n in tags.get(_FORMAT, (1,))}
    most = tags.get(_MOST_VALUE, ())
    stated = {int(n) for n in (most if isinstance(most, tuple) else (most,))}
    # Many write the largest value that they found, or leave a stale one.
    whole = len(stated) == 1 and bits[0] == 16 and max(stated) in _WHITES
    return Layout(
        photometric=tags.get(_PHOTOMETRIC),
        samples=samples,
        bits=bits,
        format=formats.pop() if len(formats) == 1 else 0,
        planar=tags.get(_PLANAR, 1) == 2 and samples > 1,
        compression=int(tags.get(_COMPRESSION, 1)),
        white=max(stated) if whole else 2 ** bits[0] - 1,
    )


def is_mosaic(layout: Layout) -> bool:
    """Tell whether the pixels are a camera's colour-filter mosaic."""
    return layout.photometric == _MOSAIC


def white_is_zero(layout: Layout) -> bool:
    """Tell whether grey values run from white to black."""
    return layout.photometric == 0


def check(layout: Layout) -> None:
    """Raise DecodeError where Pillow would open the file and get its pixels wrong, or cannot uncompress them."""
    if layout.compression not in TiffImagePlugin.COMPRESSION_INFO:
        raise DecodeError(
            "unsupported_pixels",
            f"Its pixels are compressed by TIFF's method {layout.compression}, which Pillow does not know. Save it "
            "with LZW or without compression.",
        )
    if layout.compression in _IN_JPEG:
        return
    depth = layout.bits[0]
    wrong = (
        len(set(layout.bits)) > 1
        or layout.format != 1
        or depth not in (1, 2, 4, 8, 16)
        or (layout.photometric in _GREY and (layout.samples > 2 or layout.planar))
        # Pillow keeps the high byte of a colour, where fewer bits have nothing.
        or (layout.samples > 1 and layout.white in _WHITES)
        # Pillow itself unpacks planes of 8 bits only; compressed ones libtiff unpacks.
        or (layout.planar and depth > 8 and layout.compression == 1)
    )
    if wrong:
        raise unsupported(layout)


def unsupported(layout: Layout) -> DecodeError:
    """Return the error for pixels that have no defined colour, or that no decoder here gets right."""
    bits = "/".join(map(str, sorted(set(layout.bits))))
    planes = ", each in a plane of its own" if layout.planar else ""
    kind = _KINDS.get(layout.format, "numbers of unknown kind")
    each = f"{layout.samples} {kind} of {bits} bits{planes}" if layout.samples > 1 else f"{kind} of {bits} bits"
    return DecodeError(
        "unsupported_pixels", f"Its pixels are {each}, which are not decoded. Save it as RGB or grey of 8 bits."
    )
