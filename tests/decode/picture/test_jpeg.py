"""Turns, depth and ends of JPEGs, wherever cameras and editors put them."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fxengine.decode.picture import jpeg, pillow, turbojpeg
from fxengine.errors import DecodeError

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def saved(**options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "JPEG", **options)
    return file.getvalue()


def exif(turn: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = turn
    return tags.tobytes()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_segments(data: bytes, *added: bytes) -> bytes:
    return data[:2] + b"".join(added) + data[2:]


def decoded(data: bytes) -> np.ndarray:
    return turbojpeg.decode(data, turbojpeg.read_header(data, "JPEG")).pixels


def outcome(data: bytes) -> np.ndarray | str:
    """Return the pixels, or the code of the error."""
    try:
        return decoded(data)
    except DecodeError as error:
        return error.code


def test_a_turn_is_found_behind_any_other_segments() -> None:
    far = [segment(0xEB, bytes(65_000)) for _ in range(9)]
    assert jpeg.orientation(with_segments(saved(), *far, segment(0xE1, exif(6)))) == 6
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + b'<x tiff:Orientation="8"/>'
    assert jpeg.orientation(with_segments(saved(), *far, segment(0xE1, xmp))) == 8
    assert jpeg.orientation(with_segments(saved(), segment(0xE1, xmp), segment(0xE1, exif(3)))) == 3


def test_a_mark_inside_another_segment_is_no_turn() -> None:
    assert jpeg.orientation(with_segments(saved(), segment(0xFE, exif(6) + b'tiff:Orientation="6"'))) == 1


@pytest.mark.parametrize("turn", range(-1, 11))
def test_the_turn_is_what_pillow_reads(turn: int) -> None:
    data = saved() if turn < 0 else with_segments(saved(), segment(0xE1, exif(turn)))
    assert jpeg.orientation(data) == (turn if 1 <= turn <= 8 else 1)
    found = Image.open(io.BytesIO(data)).getexif().get(0x0112, 1)
    assert jpeg.orientation(data) == (found if found in range(1, 9) else 1)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 600))
def test_no_bytes_stop_the_walk(noise: bytes, at: int) -> None:
    data = saved()
    broken = data[:at] + noise + data[at:]
    assert jpeg.orientation(broken) in range(1, 9)
    assert 0 <= jpeg.precision(broken) <= 255
    jpeg.ended(broken)


def test_of_damaged_exif_the_picture_stays() -> None:
    data = with_segments(saved(), segment(0xE1, exif(6)[:14]))
    assert jpeg.orientation(data) == 1
    np.testing.assert_array_equal(decoded(data), decoded(saved()))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": 0}])
def test_only_the_end_marker_is_missing(options: dict[str, Any]) -> None:
    data = saved(quality=95, **options)
    for end in (b"", b"\xff", b"SEFHj\0\0\0" + bytes(40) + b"SEFT", b"\xff\x3c\xff\xe4\0\2" + bytes(9), data):
        np.testing.assert_array_equal(decoded(data[:-2] + end), decoded(data))


@pytest.mark.parametrize("progressive", [False, True])
def test_where_data_is_missing_it_is_an_error_or_every_pixel_is_there(progressive: bool) -> None:
    data = saved(quality=90, progressive=progressive)
    right = decoded(data)
    found = [outcome(data[:-cut]) for cut in range(2, len(data) - 700, 7)]
    whole = [pixels for pixels in found if isinstance(pixels, np.ndarray)]
    assert len(whole) <= 2
    assert all(np.array_equal(pixels, right) for pixels in whole)
    assert {code for code in found if isinstance(code, str)} <= {"truncated", "corrupt"}


def test_a_progressive_file_that_ends_between_two_scans_is_truncated() -> None:
    data = saved(quality=90, progressive=True)
    scans = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for start in scans[1:]:
        assert outcome(data[:start]) in ("truncated", "corrupt")


def test_a_file_with_a_scan_for_each_colour_that_lacks_one_is_truncated() -> None:
    file = io.BytesIO()
    smooth = Image.fromarray(PHOTO).resize((64, 48), Image.Resampling.BICUBIC)
    smooth.save(file, "JPEG", quality=90, progressive=True, subsampling=0)
    data = file.getvalue()
    # Sequential, one scan a colour: the first scan of a progressive file says so of nothing but its DC.
    frame = data.index(b"\xff\xc2")
    parts = [bytes([0xFF, 0xDA, 0, 8, 1, number, 0, 0, 63, 0]) + b"\x12\x34" for number in (1, 2, 3)]
    sequential = data[:frame] + b"\xff\xc0" + data[frame + 2 : frame + 19]
    assert jpeg.ended(sequential + b"".join(parts)) == sequential + b"".join(parts) + b"\xff\xd9"
    for count in (1, 2):
        assert jpeg.ended(sequential + b"".join(parts[:count])) is None


def test_cmyk_with_missing_data_is_truncated() -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8), "CMYK").save(file, "JPEG")
    data = file.getvalue()
    assert decoded(data).shape == (64, 64, 3)
    assert outcome(data[: len(data) // 2]) == "truncated"
    assert outcome(data[: len(data) // 2] + b"\xff\xd9") == "truncated"


def test_twelve_bits_are_said_to_be_so() -> None:
    data = bytearray(saved())
    frame = data.index(b"\xff\xc0")
    data[frame + 4] = 12
    assert jpeg.precision(bytes(data)) == 12
    with pytest.raises(DecodeError, match=r"Its samples have 12 bits\. Save it as a JPEG of 8 bits\.") as raised:
        decoded(bytes(data))
    assert raised.value.code == "unsupported_pixels"


def test_what_is_hardly_a_jpeg_is_damaged_in_words() -> None:
    with pytest.raises(DecodeError, match="begins like a JPEG file, but its header cannot be read") as raised:
        pillow.read_header(b"\xff\xd8\xff", "JPEG")
    assert raised.value.code == "corrupt"


def test_scans_are_counted_and_those_that_only_cost_time_are_refused() -> None:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    plain, progressive = io.BytesIO(), io.BytesIO()
    pixels.save(plain, "JPEG")
    pixels.save(progressive, "JPEG", progressive=True)
    assert (jpeg.scans(plain.getvalue()), jpeg.scans(progressive.getvalue())) == (1, 10)
    data = progressive.getvalue()
    last = data.rindex(b"\xff\xda")
    more = data[:last] + data[last:-2] * 92 + data[-2:]
    assert turbojpeg.read_header(data[:last] + data[last:-2] * 91 + data[-2:], "JPEG").width == 64
    with pytest.raises(DecodeError, match=r"^It comes in 101 scans; at most 100 are decoded\.$") as raised:
        turbojpeg.read_header(more, "JPEG")
    assert raised.value.code == "too_large"
    one_colour = plain.getvalue().replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x01") + b"\xff\xda" * 4
    assert jpeg.scans(one_colour) == 5


def test_fill_bytes_before_a_marker_take_no_time() -> None:
    assert list(jpeg.segments(b"\xff\xd8" + b"\xff" * 50_000_000)) == []
    filled = b"\xff\xd8" + b"\xff" * 1000 + b"\xc0\x00\x0b" + bytes(9)
    assert [marker for marker, _, _ in jpeg.segments(filled)] == [0xC0]
