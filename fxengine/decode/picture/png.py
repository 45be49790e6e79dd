"""Takes out of a PNG what is no part of its pixels and keeps a decoder from reading it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Of the chunks that a decoder may pass over (PNG 1.2, 4.2), those that change or turn pixels.
_TRANSPARENCY = b"tRNS"
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_TURNS = frozenset({b"eXIf"})
_XMP = b"XML:com.adobe.xmp\0\0\0"
_MOST_XMP = 1 << 20
_OPTIONAL = 0x20  # this bit of a chunk's name: not needed to show the picture


def pixels_only(data: bytes) -> bytes:
    """Return the file without text, profiles and metadata whose checksum is wrong, and with its end marker.

    What turns the picture (eXIf, XMP) stays where its checksum is right. A pixel chunk is never mended: its checksum
    is added only where the file ends before it.
    """
    kept: list[bytes | memoryview] = [_SIGNATURE]
    name = b""
    for name, content, stated in _chunks(data):
        needed = not name[0] & _OPTIONAL or name == _TRANSPARENCY
        if not (needed or name in _ANIMATION or name in _TURNS or (name == b"iTXt" and _is_plain_xmp(content))):
            continue  # however long it is, nothing of it is copied
        right = zlib.crc32(content, zlib.crc32(name))
        if needed or stated in (right, None):
            checksum = right if stated is None else stated
            kept += [struct.pack(">I", len(content)) + name, content, struct.pack(">I", checksum)]
    if name != b"IEND":
        kept.append(struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND")))
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, int | None]]:
    """Yield (name, content, stated checksum) of each chunk that is there whole; no checksum where the file ends."""
    position = len(_SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        stop = position + 8 + length
        if stop > len(data):
            return
        stated = struct.unpack_from(">I", data, stop)[0] if stop + 4 <= len(data) else None
        yield name, memoryview(data)[position + 8 : stop], stated
        if name == b"IEND":
            return
        position = stop + 4


def _is_plain_xmp(content: memoryview) -> bool:
    return content[: len(_XMP)] == _XMP and len(content) <= _MOST_XMP
