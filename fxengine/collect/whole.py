"""Whether a video is as long as it says: FFmpeg does not tell one that is cut short from one that ends."""

from __future__ import annotations

import os
from typing import IO

_SEGMENT, _EBML = b"\x18\x53\x80\x67", b"\x1a\x45\xdf\xa3"  # of Matroska and WebM
_MOST_BOXES = 10_000


def is_cut_short(file: IO[bytes]) -> bool:
    """Tell whether an MP4, a Matroska file or an AVI says that it is longer than it is; of others it is not known."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(16)
    if head.startswith(b"RIFF"):
        return 8 + int.from_bytes(head[4:8], "little") > size
    if head.startswith(_EBML):
        return _of_matroska(file, size)
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"styp") and _of_mp4(file, size)


def _of_mp4(file: IO[bytes], size: int) -> bool:
    """Walk over the boxes of the top: the end of the last one is that of the file."""
    at = 0
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return bool(head)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length == 0:  # up to the end, whatever that is
            return False
        if length < 8:
            return True
        at += length
        if at > size:
            return True
    return False


def _of_matroska(file: IO[bytes], size: int) -> bool:
    file.seek(4)
    length, at = _number(file, 4)
    file.seek(at + length)
    if file.read(4) != _SEGMENT:
        return False
    length, at = _number(file, at + length + 4)
    return length >= 0 and at + length > size


def _number(file: IO[bytes], at: int) -> tuple[int, int]:
    """Return a size of EBML, -1 where it is left open, and where it ends."""
    file.seek(at)
    data = file.read(8)
    width = 9 - data[0].bit_length() if data and data[0] else 1
    value = int.from_bytes(data[:width], "big") & ((1 << 7 * width) - 1)
    return (-1 if value == (1 << 7 * width) - 1 else value), at + width
