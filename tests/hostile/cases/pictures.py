"""Hostile pictures: headers that promise what no memory holds, what grows when it is unpacked, and loops."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.conftest import make_photo
from tests.hostile.cases import Case, Kit

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGE = 100_000_000  # bytes that a bomb grows to


def _saved(format_name: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 50, 50)).save(file, format_name, **options)
    return file.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes, data: bytes = b"") -> bytes:
    """Return a PNG of 8-bit RGB."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(data or (b"\0" + bytes(3 * min(width, 100))) * min(height, 100))
    return _PNG + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _jpeg_of_size(width: int, height: int) -> bytes:
    """Return a JPEG whose header says another size."""
    data = bytearray(_saved("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _jpeg_of_scans(times: int) -> bytes:
    """Return a progressive JPEG that says its last scan over and over."""
    data = _saved("JPEG", (2000, 2000), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * times + data[-2:]


def _exif_loop() -> bytes:
    """Return a JPEG whose EXIF directory is followed by itself."""
    directory = struct.pack("<H", 1) + struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<I", 8)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory
    data = _saved("JPEG")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def _tiff(*entries: tuple[int, int, int, int], following: int = 0, pixels: bytes = b"") -> bytes:
    """Return a TIFF with these entries (tag, type, count, value); pixels begin at 8."""
    start = 8 + len(pixels)
    packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    directory = struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", start) + pixels + directory


def _plain(width: int, height: int, length: int, compression: int = 1) -> list[tuple[int, int, int, int]]:
    """Return the entries of a grey picture in one strip."""
    numbers = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: height, 279: length}
    return [(tag, 4, 1, value) for tag, value in numbers.items()]


def _tiff_bomb() -> bytes:
    packed = zlib.compress(bytes(_LARGE))
    return _tiff(*_plain(10, 10, len(packed), 8), pixels=packed)


def _gif(width: int, height: int, frames: int) -> bytes:
    """Return a GIF with a large screen and many frames of one pixel."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return screen + frame * frames + b"\x3b"


def _webp(width: int, height: int) -> bytes:
    """Return a WebP whose canvas has another size than its picture."""
    inner = _saved("WEBP")[12:]
    canvas = (
        b"VP8X" + struct.pack("<II", 10, 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(inner)) + b"WEBP" + canvas + inner


def _bmp(width: int, height: int, compression: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(100)


BYTES: dict[str, Callable[[], bytes]] = {
    "a PNG of 60,000 x 60,000": lambda: _png(60_000, 60_000),
    "a PNG of 2^31 - 1": lambda: _png(2**31 - 1, 2**31 - 1),
    "a PNG of no pixels": lambda: _png(0, 0),
    "a PNG that unpacks to 100 MB": lambda: _png(100, 100, data=bytes(_LARGE)),
    "a PNG with 100 MB of text": lambda: _png(100, 100, _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(_LARGE)))),
    "a PNG with 100 MB of profile": lambda: _png(100, 100, _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(_LARGE)))),
    "a PNG of 50,000 chunks": lambda: _png(100, 100, _chunk(b"tEXt", b"a\0b") * 50_000),
    "a PNG of 2^31 frames": lambda: _png(100, 100, _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
    "a JPEG of 65,535 x 65,535": lambda: _jpeg_of_size(65_535, 65_535),
    "a JPEG of no lines": lambda: _jpeg_of_size(40, 0),
    "a JPEG of 11,000 x 11,000 with no data": lambda: _jpeg_of_size(11_000, 11_000),
    "a JPEG of 5,000 scans": lambda: _jpeg_of_scans(5000),
    "a JPEG with EXIF in a loop": _exif_loop,
    "a JPEG of 10,000 comments": lambda: _saved("JPEG")[:2] + b"\xff\xfe\0\x04ab" * 10_000 + _saved("JPEG")[2:],
    "a JPEG of fill bytes": lambda: b"\xff\xd8" + b"\xff" * 1_000_000,
    "a TIFF in a loop": lambda: _tiff(*_plain(10, 10, 100), following=108, pixels=bytes(100)),
    "a TIFF of 2^32 - 1 strips": lambda: _tiff(*_plain(10, 10, 9)[:5], (273, 4, 2**32 - 1, 8), (279, 4, 2**32 - 1, 8)),
    "a TIFF of 2^31 x 2^31": lambda: _tiff(*_plain(2**31 - 1, 2**31 - 1, 100), pixels=bytes(100)),
    "a TIFF of 65,000 samples": lambda: _tiff(*_plain(10, 10, 100)[:6], (277, 3, 1, 65_000), pixels=bytes(100)),
    "a TIFF that unpacks to 100 MB": _tiff_bomb,
    "a TIFF of 65,535 entries": lambda: _tiff(*_plain(10, 10, 100), *((65_000, 4, 1, 0),) * 65_000, pixels=bytes(100)),
    "a GIF of 65,535 x 65,535": lambda: _gif(65_535, 65_535, 1),
    "a GIF of 50,000 frames": lambda: _gif(100, 100, 50_000),
    "a WebP of 16,384 x 16,384": lambda: _webp(16_384, 16_384),
    "a BMP of -2^31 lines": lambda: _bmp(10, -(2**31)),
    "a BMP of 2^31 - 1": lambda: _bmp(2**31 - 1, 1),
    "a BMP of runs": lambda: _bmp(10_000, 10_000, 1),
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "SVG": lambda: b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><svg>&b;</svg>",
    "a PDF": lambda: b"%PDF-1.7\n1 0 obj<</OpenAction 2 0 R>>endobj\n",
    "a ZIP behind a JPEG": lambda: _saved("JPEG") + b"PK\x03\x04" + bytes(1000),
    "an icon": lambda: b"\0\0\1\0\xff\xff" + b"\0" * 16 * 0xFFFF,
    "an AVIF of noise": lambda: b"\0\0\0\x20ftypavif" + bytes(range(256)) * 20,
    "a HEIC of noise": lambda: b"\0\0\0\x20ftypheic" + bytes(range(256)) * 20,
    "a JPEG 2000 of noise": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(range(256)) * 20,
}  # fmt: skip


def _case(make: Callable[[], bytes]) -> Case:
    def build(_: Kit, folder: Path) -> Path:
        sound = make_photo(folder / "photos" / "sound.jpg", 1)
        sound.with_name("hostile.jpg").write_bytes(make())
        return sound.parent

    return Case(build)


PICTURES = {name: _case(make) for name, make in BYTES.items()}
