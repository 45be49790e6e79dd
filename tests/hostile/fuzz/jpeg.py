"""JPEGs: segments changed, repeated, removed."""

from __future__ import annotations

import struct

from PIL import Image

from tests.hostile.fuzz.mutations import of_pieces
from tests.hostile.fuzz.pictures import MEGABYTES, encoded, prepare, read

__all__ = ["MEGABYTES", "inputs", "prepare", "read"]


def segments(data: bytes) -> list[bytes]:
    """Return a JPEG's segments with their markers; what follows a scan's header is cut at its own markers."""
    found, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xD9, 0xDA):
        length = 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        found.append(data[at : at + length])
        at += length
    while (scan := data.find(b"\xff\xda", at + 2)) > 0:
        found.append(data[at:scan])
        at = scan
    return [*found, data[at:-2], data[-2:]]


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "described"
    return exif.tobytes()


SEEDS = [
    encoded("JPEG", quality=80),
    encoded("JPEG", progressive=True, exif=_exif()),
    encoded("JPEG", "CMYK", restart_marker_blocks=2),
    encoded("JPEG", "L", icc_profile=bytes(200), comment=b"x" * 40),
]
inputs = of_pieces(SEEDS, segments)
