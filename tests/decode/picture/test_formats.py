from __future__ import annotations

import io
import struct
from typing import Any

import pillow_heif
import pytest
from PIL import Image, TiffImagePlugin

from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.decode.picture.formats import check_size, sniff
from fxengine.errors import DecodeError

pillow_heif.register_heif_opener()


def saved(format_name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 40)).save(file, format_name, **options)
    return file.getvalue()


def failure(data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as raised:
        sniff(data)
    return raised.value


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_each_format_is_known_by_its_content(name: str) -> None:
    data = saved(name)
    assert sniff(data) == name
    header = picture.read_header(data, Limits())
    assert (header.format, header.width, header.height) == (name, 64, 48)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GIF87a....", "GIF"),
        (b"GIF89a....", "GIF"),
        (b"MM\0*....", "TIFF"),
        (b"II+\0....", "TIFF"),  # BigTIFF
        (b"MM\0+....", "TIFF"),
        (b"\0\0\0\x1cftypmif1....", "HEIF"),
        (b"\0\0\0\x1cftypheix....", "HEIF"),
        (b"\0\0\n\x1cftypavis....", "AVIF"),
        (b"RIFF\n\n\n\nWEBPVP8L", "WEBP"),
    ],
)
def test_variants(data: bytes, name: str) -> None:
    assert sniff(data) == name


def test_a_multi_picture_jpeg_is_a_jpeg() -> None:
    file = io.BytesIO()
    first, second = (Image.new("RGB", (32, 16), color) for color in ("red", "blue"))
    first.save(file, "MPO", save_all=True, append_images=[second])
    header = picture.read_header(file.getvalue(), Limits())
    assert (header.format, header.width, header.height) == ("JPEG", 32, 16)
    header = picture.read_header(file.getvalue(), Limits(), decoder="pillow")
    assert (header.format, header.width, header.height) == ("JPEG", 32, 16)


def test_an_empty_file() -> None:
    error = failure(b"")
    assert (error.code, str(error)) == ("empty", "The file is empty.")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n  <HTML lang=en>", "a web page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"plain words", "no image that fxengine knows"),
        (b"\0\0\0\0", "no image that fxengine knows"),
        (b'{"id": 7}', "text or JSON"),
        (b'<?xml version="1.0"?>\n<!-- drawn --><svg>', "an SVG drawing"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"%!PS-Adobe", "a PostScript file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"\xff\x0a\0\0", "a JPEG XL image"),
        (b"P6\n3 3\n255\n", "a PNM image"),
        (b"\0\0\1\0\1\0", "an icon"),
        (b"\0\0\0\x18ftypisom\0\0", "a video"),
        (b"RIFF\0\0\0\0AVI LIST", "a video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "no image that fxengine knows"),
        (b"PK\x03\x04", "an archive"),
        (b"\xff\xd8", "no image that fxengine knows"),
        (b"\x89PNG\r\n", "no image that fxengine knows"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(data: bytes, what: str) -> None:
    error = failure(data)
    assert error.code == "unsupported_format"
    assert str(error) == (f"The file is {what}. What is decoded: JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC/HEIF, AVIF.")


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0\x10\0\0\0CR\2\0",  # Canon CR2
        b"\0\0\0\x18ftypcrx \0\0\0\1",  # Canon CR3
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0",  # Olympus
        b"IIRS\x08\0\0\0",
        b"MMOR\0\0\0\x08",
        b"IIU\0\x18\0\0\0",  # Panasonic
        b"FOVb\0\0",  # Sigma
        b"\0MRM\0\0",  # Minolta
    ],
)
def test_raw_photos_are_called_so(data: bytes) -> None:
    error = failure(data)
    assert error.code == "raw_photo"
    assert str(error) == "This is a camera's RAW file. Develop it to JPEG or TIFF first (darktable-cli)."


def read_code(data: bytes) -> str:
    with pytest.raises(DecodeError) as raised:
        picture.read_header(data, Limits())
    return raised.value.code


def test_a_raw_photo_that_is_a_tiff_with_a_small_copy_first() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1  # a reduced picture, the mosaic being in a sub-directory
    tags[330] = 8
    tags.tagtype[330] = 4
    assert read_code(saved("TIFF", tiffinfo=tags)) == "raw_photo"
    del tags[330]
    assert picture.read_header(saved("TIFF", tiffinfo=tags), Limits()).format == "TIFF"


def mosaic(photometric: int) -> bytes:
    """A 4 x 4 TIFF of one 16-bit channel."""
    entries = [
        (254, 4, 1, 0),
        (256, 3, 1, 4),
        (257, 3, 1, 4),
        (258, 3, 1, 16),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 3, 1, 4),
        (279, 4, 1, 32),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 40) + bytes(32) + directory + bytes(4)


def test_a_raw_photo_that_is_a_tiff_of_a_mosaic() -> None:
    assert picture.read_header(mosaic(1), Limits()).width == 4
    assert read_code(mosaic(32803)) == "raw_photo"


def test_the_limit_of_pixels() -> None:
    limits = Limits(max_pixels=100)
    check_size(10, 10, limits)
    check_size(1, 100, limits)
    for width, height in ((101, 1), (11, 10), (1, 101), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(DecodeError) as raised:
            check_size(width, height, limits)
        assert raised.value.code == "too_large"
    with pytest.raises(DecodeError, match=r"20000 x 20000 pixels are 400 million; `max_pixels` allows 128 million\."):
        check_size(20_000, 20_000, Limits())


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5), (0, 0)])
def test_a_picture_needs_pixels(width: int, height: int) -> None:
    with pytest.raises(DecodeError, match=rf"The header says {width} x {height} pixels\.") as raised:
        check_size(width, height, Limits())
    assert raised.value.code == "corrupt"


@pytest.mark.parametrize(
    ("name", "counts"), [("JPEG", 1.0), ("PNG", 1.0), ("GIF", 1.0), ("AVIF", 13 / 9), ("WEBP", 2.0)]
)
def test_a_format_that_takes_more_memory_counts_for_more_pixels(name: str, counts: float) -> None:
    data = saved(name)
    pixels = int(64 * 48 * counts)
    assert picture.read_header(data, Limits(max_pixels=pixels)).width == 64
    with pytest.raises(DecodeError, match="`max_pixels` allows") as raised:
        picture.read_header(data, Limits(max_pixels=pixels - 1))
    assert raised.value.code == "too_large"


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_read_header_applies_both_limits(name: str) -> None:
    data = saved(name)
    assert picture.read_header(data, Limits(max_pixels=64 * 48, max_bytes=len(data))).width == 64
    for limits in (Limits(max_pixels=64 * 48 - 1), Limits(max_bytes=len(data) - 1)):
        with pytest.raises(DecodeError) as raised:
            picture.read_header(data, limits)
        assert raised.value.code == "too_large"


@pytest.mark.parametrize("reserved", [b"\0\0\0\0", b"\x10\0\x20\0", b"\xff\xff\xff\xff"])
def test_a_bitmap_may_fill_its_reserved_bytes(reserved: bytes) -> None:
    data = saved("BMP")
    hotspot = data[:6] + reserved + data[10:]
    assert sniff(hotspot) == "BMP"
    assert picture.read_header(hotspot, Limits()).width == 64


def test_text_that_begins_like_a_bitmap_is_none() -> None:
    assert failure(b"BMW 320i, 4 doors, blue, 3 owners").code == "unsupported_format"


def test_few_pixels_are_said_whole() -> None:
    with pytest.raises(DecodeError, match=r"^300 x 200 pixels are 60000; `max_pixels` allows 50000\.$"):
        check_size(300, 200, Limits(max_pixels=50_000))
    with pytest.raises(DecodeError, match=r"^1500 x 1000 pixels are 1500000; `max_pixels` allows 1400000\.$"):
        check_size(1500, 1000, Limits(max_pixels=1_400_000))
