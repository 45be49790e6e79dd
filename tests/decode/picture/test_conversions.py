from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fxengine.backbones.spec import PictureRecipe
from fxengine.decode import picture as decode
from fxengine.decode.limits import Limits
from fxengine.decode.picture import pillow
from fxengine.errors import DecodeError


def saved(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """Decode at the picture's own size through the public path."""
    header = decode.read_header(data, Limits())
    recipe = PictureRecipe(header.height, header.width, "both", 1, "bilinear")
    out = np.full((header.height, header.width, 3), 77, np.uint8)
    assert decode.decode_into(data, header, recipe, out) == (header.width, header.height)
    return out


def row(data: bytes) -> list[list[int]]:
    found: list[list[int]] = decoded(data)[0].tolist()
    return found


def picture(mode: str, *pixels: Any) -> Image.Image:
    image = Image.new(mode, (len(pixels), 1))
    for x, value in enumerate(pixels):
        image.putpixel((x, 0), value)
    return image


def code(data: bytes) -> str:
    with pytest.raises(DecodeError) as raised:
        decoded(data)
    assert str(raised.value).endswith(".")
    return raised.value.code


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_laid_over_white(format_name: str) -> None:
    image = picture("RGBA", (255, 0, 0, 255), (0, 0, 0, 0), (255, 0, 0, 128), (10, 20, 30, 255))
    options = {"lossless": True, "exact": True} if format_name == "WEBP" else {}
    assert row(saved(image, format_name, **options)) == [[255, 0, 0], [255, 255, 255], [255, 127, 127], [10, 20, 30]]


def test_grey_with_transparency() -> None:
    image = picture("LA", (40, 255), (40, 0), (0, 128))
    assert row(saved(image)) == [[40, 40, 40], [255, 255, 255], [127, 127, 127]]


def palette_picture() -> Image.Image:
    image = picture("P", 0, 1, 2)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


def test_a_palette() -> None:
    assert row(saved(palette_picture())) == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert row(saved(palette_picture(), "BMP")) == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_a_palette_with_a_transparent_colour() -> None:
    expected = [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
    assert row(saved(palette_picture(), transparency=1)) == expected
    assert row(saved(palette_picture(), "GIF", transparency=1)) == expected
    half = saved(palette_picture(), transparency=bytes([255, 0, 128]))
    assert row(half) == [[255, 0, 0], [255, 255, 255], [127, 127, 255]]


def test_a_transparent_colour_without_a_palette() -> None:
    image = picture("RGB", (1, 2, 3), (4, 5, 6))
    assert row(saved(image, transparency=(1, 2, 3))) == [[255, 255, 255], [4, 5, 6]]
    image = picture("L", 9, 8)
    assert row(saved(image, transparency=9)) == [[255, 255, 255], [8, 8, 8]]


def test_of_16_bit_grey_the_high_byte_counts() -> None:
    image = Image.fromarray(np.array([[0, 0x00FF, 0x1234, 0x8000, 0xFFFF]], np.uint16))
    expected = [[0] * 3, [0] * 3, [0x12] * 3, [0x80] * 3, [255] * 3]
    assert image.mode == "I;16"
    assert row(saved(image)) == expected
    assert row(saved(image, "TIFF")) == expected


def test_of_16_bit_colour_the_high_byte_counts() -> None:
    values = b"\0" + struct.pack(">6H", 0x1234, 0x8000, 0xFFFF, 0, 0x0100, 0xFE01)
    assert row(png(2, 1, 16, 2, values)) == [[0x12, 0x80, 0xFF], [0, 1, 0xFE]]


def test_grey_and_black_and_white() -> None:
    assert row(saved(picture("L", 0, 77, 255))) == [[0] * 3, [77] * 3, [255] * 3]
    assert row(saved(picture("1", 0, 1, 0))) == [[0] * 3, [255] * 3, [0] * 3]


def test_cmyk() -> None:
    image = picture("CMYK", (0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 0), (0, 255, 255, 0))
    assert row(saved(image, "TIFF")) == [[255] * 3, [0] * 3, [0, 255, 255], [255, 0, 0]]


@pytest.mark.parametrize("format_name", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_counts(format_name: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    data = saved(frames[0], format_name, save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    found = decoded(data).astype(int)
    assert np.abs(found - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_a_white_are_refused(mode: str) -> None:
    image = Image.new(mode, (4, 4), 1000)
    data = saved(image, "TIFF")
    assert Image.open(io.BytesIO(data)).mode == mode
    assert code(data) == "unsupported_pixels"


def test_lab_is_refused() -> None:
    assert code(saved(Image.new("LAB", (4, 4)), "TIFF")) == "unsupported_pixels"


def test_a_png_is_turned_by_its_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(picture("RGB", (1, 1, 1), (2, 2, 2), (3, 3, 3)), exif=exif)
    header = decode.read_header(data, Limits())
    out = np.empty((3, 1, 3), np.uint8)
    assert decode.decode_into(data, header, PictureRecipe(3, 1, "both", 1, "nearest"), out) == (1, 3)
    assert out[:, 0, 0].tolist() == [1, 2, 3]


def test_a_heic_is_turned_by_its_container_alone() -> None:
    """Its EXIF turn is only a copy for programs that do not read the container (ISO/IEC 23008-12, A.2.1)."""
    lying, turned = Image.Exif(), Image.Exif()
    lying[0x0112], turned[0x0112] = 1, 6
    image = picture("RGB", *[(255, 0, 0)] * 32, *[(0, 0, 255)] * 32).resize((64, 32), Image.Resampling.NEAREST)
    by_container = saved(image, "HEIF", exif=turned.tobytes())
    assert by_container.count(b"irot") == 1
    found = pillow.decode(by_container, decode.read_header(by_container, Limits()))
    assert (found.pixels.shape, found.orientation) == ((64, 32, 3), 1)
    only_exif = saved(image, "HEIF", exif=lying.tobytes()).replace(lying.tobytes()[6:], turned.tobytes()[6:])
    found = pillow.decode(only_exif, decode.read_header(only_exif, Limits()))
    assert (found.pixels.shape, found.orientation) == ((32, 64, 3), 1)


def test_large_pictures_are_converted_in_strips_with_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (37, 23, 4), np.uint8), "RGBA")
    images = [colours, colours.convert("RGB"), colours.convert("LA"), colours.convert("L"), colours.convert("CMYK")]
    images += [colours.convert("RGB").quantize(16), colours.convert("1"), colours.convert("RGB").convert("P")]
    images += [Image.fromarray(rng.integers(0, 65536, (37, 23), np.uint16))]
    for image in images:
        if image.mode == "P":
            image.info["transparency"] = 3
        right = pillow.from_image(image.copy()).pixels
        with monkeypatch.context() as patch:
            patch.setattr(pillow, "_STRIP_PIXELS", 100)
            np.testing.assert_array_equal(pillow.from_image(image.copy()).pixels, right, str(image.mode))


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [16_001, 50_000, 2**31 - 1])
def test_a_bomb_is_refused_from_its_header(side: int) -> None:
    data = png(side, side, 8, 2, bytes(1000))
    decode.load_decoder("pillow")
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError) as raised:
            decode.read_header(data, Limits())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raised.value.code == "too_large"
    assert str(raised.value).startswith(f"{side} x {side} pixels are ")
    assert peak < 1_000_000


def test_a_picture_within_our_limit_but_over_pillows_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for format_name in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"):
        assert decoded(saved(Image.new("RGB", (20, 20), (9, 9, 9)), format_name)).shape == (20, 20, 3)
    cmyk = saved(Image.new("CMYK", (20, 20)), "JPEG")
    assert decoded(cmyk).shape == (20, 20, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_pillows_own_limit_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None
    data = saved(Image.new("RGB", (8, 8)))
    assert decoded(data).shape == (8, 8, 3)
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(DecodeError):
        pillow.read_header(data[:20], "PNG")
    assert limit == Image.MAX_IMAGE_PIXELS

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", fail)
        with pytest.raises(KeyboardInterrupt):
            pillow.read_header(data, "PNG")
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_half_a_file_is_an_error(format_name: str) -> None:
    rng = np.random.default_rng(0)
    data = saved(Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)), format_name)
    assert code(data[: len(data) // 2]) in ("truncated", "corrupt")


def test_a_flipped_bit_in_a_png_is_an_error() -> None:
    rng = np.random.default_rng(0)
    data = bytearray(saved(Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))))
    data[len(data) // 2] ^= 0x10
    assert code(bytes(data)) == "corrupt"


def test_fewer_pixels_than_the_header_says_are_an_error() -> None:
    data = saved(Image.new("RGB", (8, 8)))
    header = decode.read_header(data, Limits())
    wrong = replace(header, width=9)
    with pytest.raises(DecodeError, match="not as many as its header says") as raised:
        decode.decode_into(data, wrong, PictureRecipe(8, 8, "both", 1, "box"), np.empty((8, 8, 3), np.uint8))
    assert raised.value.code == "corrupt"
