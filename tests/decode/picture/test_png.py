"""A PNG's text, profiles and end marker are no pixels."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fxengine.decode.picture import pillow, png
from fxengine.errors import DecodeError

PHOTO = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)


def saved(**options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "PNG", **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    right = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", right if checksum is None else checksum)


def before(name: bytes, data: bytes, added: bytes) -> bytes:
    at = data.index(name) - 4
    return data[:at] + added + data[at:]


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    picture = pillow.decode(data, pillow.read_header(data, "PNG"))
    return picture.pixels, picture.orientation


LONG = zlib.compress(bytes(3 << 20))
HARMLESS = {
    "long zTXt": chunk(b"zTXt", b"Comment\0\0" + LONG),
    "long iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + LONG),
    "wrong tEXt": chunk(b"tEXt", b"Comment\0hello", 1),
    "wrong iCCP": chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"profile"), 1),
    "long iCCP": chunk(b"iCCP", b"icc\0\0" + LONG),
    "wrong eXIf": chunk(b"eXIf", b"MM\0*\0\0\0\x08", 1),
    "wrong gAMA": chunk(b"gAMA", b"\0\0\xb1\x8f", 1),
    "wrong zTXt": chunk(b"zTXt", b"Comment\0\0not compressed"),
    "many texts": b"".join(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000))) for _ in range(80)),
}


@pytest.mark.parametrize("place", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("name", HARMLESS)
def test_metadata_is_no_damage(name: str, place: bytes) -> None:
    pixels, turn = decoded(before(place, saved(), HARMLESS[name]))
    np.testing.assert_array_equal(pixels, PHOTO)
    assert turn == 1


def test_the_turn_outlives_a_long_text() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    assert decoded(before(b"IDAT", saved(exif=tags), HARMLESS["long zTXt"]))[1] == 6
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="8"/>')
    assert decoded(before(b"IDAT", saved(pnginfo=info), HARMLESS["long zTXt"]))[1] == 8


def test_transparency_outlives_it_too() -> None:
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "PNG", transparency=tuple(PHOTO[3, 4].tolist()))
    pixels, _ = decoded(before(b"IDAT", file.getvalue(), HARMLESS["wrong tEXt"]))
    assert pixels[3, 4].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(pixels[3, 5], PHOTO[3, 5])


@pytest.mark.parametrize("cut", range(17))
def test_the_end_may_be_missing(cut: int) -> None:
    """12 bytes of end marker, and the 4 of the pixels' checksum before it."""
    data = saved()
    np.testing.assert_array_equal(decoded(data[: len(data) - cut])[0], PHOTO)


@pytest.mark.parametrize("cut", [40, 500, 2000, 4000])
def test_missing_pixels_are_an_error(cut: int) -> None:
    data = saved()
    with pytest.raises(DecodeError) as raised:
        decoded(data[: len(data) - cut])
    assert raised.value.code == "truncated"


def test_a_wrong_checksum_of_the_transparency_stays_damage() -> None:
    with pytest.raises(DecodeError) as raised:
        decoded(before(b"IDAT", saved(), chunk(b"tRNS", bytes(6), 1)))
    assert raised.value.code == "corrupt"


def test_a_very_long_text_is_not_copied() -> None:
    data = before(b"IDAT", saved(), chunk(b"tEXt", b"Comment\0" + bytes(20_000_000), 1))
    tracemalloc.start()
    try:
        cleaned = png.pixels_only(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    np.testing.assert_array_equal(decoded(cleaned)[0], PHOTO)
