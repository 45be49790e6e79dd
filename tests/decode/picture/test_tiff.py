"""A TIFF's tags are read before its pixels are believed: right pixels, or `unsupported_pixels`."""

from __future__ import annotations

import itertools
import struct
from typing import Literal

import numpy as np
import pytest

from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.decode.picture import pillow
from fxengine.errors import DecodeError

HEIGHT, WIDTH = 6, 8
# Five bands of values from 0 to 1.
BANDS = np.random.default_rng(0).random((HEIGHT, WIDTH, 5))
UNSIGNED, SIGNED, FLOATING = 1, 2, 3


def tiff(
    bands: np.ndarray,
    photometric: int,
    form: int = UNSIGNED,
    *,
    planar: bool = False,
    most: int = 0,
    order: Literal["<", ">"] = "<",
) -> bytes:
    """An uncompressed TIFF of [height, width, samples], all in one strip, or in one a plane."""
    samples = bands.shape[2]
    bits = 8 * bands.dtype.itemsize
    values = np.moveaxis(bands, 2, 0) if planar else bands
    pixels = values.astype(bands.dtype.newbyteorder(order)).tobytes()
    strips = samples if planar else 1
    extra = samples - (3 if photometric == 2 else 1)
    lists: dict[int, list[int]] = {
        256: [WIDTH],
        257: [HEIGHT],
        258: [bits] * samples,
        259: [1],
        262: [photometric],
        273: [8 + i * len(pixels) // strips for i in range(strips)],
        277: [samples],
        278: [HEIGHT],
        279: [len(pixels) // strips] * strips,
        284: [2 if planar else 1],
        339: [form] * samples,
    }
    if most:
        lists[281] = [most] * samples
    if extra > 0:
        lists[338] = [0] * extra
    start = 8 + len(pixels) + len(pixels) % 2
    behind = start + 2 + 12 * len(lists) + 4
    entries, far = b"", b""
    for tag, numbers in sorted(lists.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) <= 4:
            place = packed
        else:
            place = struct.pack(f"{order}I", behind + len(far))
            far += packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + pixels.ljust(start - 8, b"\0") + struct.pack(f"{order}H", len(lists)) + entries + bytes(4) + far


def whole(samples: int, kind: str, white: int = 0) -> np.ndarray:
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return BANDS[..., :samples].astype(dtype)
    return np.round(BANDS[..., :samples] * (white or np.iinfo(dtype).max)).astype(dtype)


def decoded(data: bytes) -> np.ndarray:
    return pillow.decode(data, picture.read_header(data, Limits())).pixels


def outcome(data: bytes) -> np.ndarray | str:
    """Return the pixels, or the code of the error."""
    try:
        return decoded(data)
    except DecodeError as error:
        return error.code


def refused(data: bytes) -> str:
    with pytest.raises(DecodeError) as raised:
        decoded(data)
    assert raised.value.code == "unsupported_pixels"
    return str(raised.value)


def near(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.abs(found - 255 * wanted).max() <= 1.01)


@pytest.mark.parametrize("order", "<>")
def test_every_layout_is_right_or_refused(order: Literal["<", ">"]) -> None:
    right = set()
    for kind, samples, photometric, planar in itertools.product(
        ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"), range(1, 6), (0, 1, 2), (False, True)
    ):
        if photometric == 2 and samples < 3:
            continue
        form = {"u": UNSIGNED, "i": SIGNED, "f": FLOATING}[kind[0]]
        data = tiff(whole(samples, kind), photometric, form, planar=planar and samples > 1, order=order)
        wanted = BANDS[..., :3] if photometric == 2 else np.repeat(BANDS[..., :1], 3, axis=2)
        what, found = (kind, samples, photometric, planar and samples > 1), outcome(data)
        if isinstance(found, str):
            assert found == "unsupported_pixels", what
        else:
            assert near(found, 1 - wanted if photometric == 0 else wanted), what
            right.add(what)
    assert {("u1", 1, 0, False), ("u1", 1, 1, False), ("u2", 1, 1, False)} <= right
    assert {("u1", 3, 2, False), ("u1", 3, 2, True), ("u2", 3, 2, False), ("u1", 4, 2, False)} <= right
    assert {kind for kind, *_ in right} == {"u1", "u2"}


def test_the_sentence_says_what_the_pixels_are() -> None:
    assert refused(tiff(whole(3, "f4"), 2, FLOATING)) == (
        "Its pixels are 3 floating-point numbers of 32 bits, which are not decoded. Save it as RGB or grey of 8 bits."
    )
    assert "3 whole numbers of 16 bits, each in a plane of its own, which" in refused(
        tiff(whole(3, "u2"), 2, planar=True)
    )
    assert "5 whole numbers of 8 bits, which" in refused(tiff(whole(5, "u1"), 1))
    assert "signed whole numbers of 8 bits" in refused(tiff(whole(1, "i1"), 1, SIGNED))


@pytest.mark.parametrize("white", [1023, 4095, 16383])
@pytest.mark.parametrize("photometric", [0, 1])
def test_fewer_bits_in_sixteen_are_counted_from_the_white_that_the_tags_state(white: int, photometric: int) -> None:
    found = decoded(tiff(whole(1, "u2", white), photometric, most=white))
    wanted = np.repeat(BANDS[..., :1], 3, axis=2)
    assert near(found, wanted if photometric else 1 - wanted)


@pytest.mark.parametrize("most", [0, 65535, 4000, 300, 255, 4095, 16383])
def test_a_largest_value_that_is_no_white_or_is_stale_changes_nothing(most: int) -> None:
    values = whole(1, "u2")
    assert np.array_equal(decoded(tiff(values, 1, most=most))[..., 0], values[..., 0] >> 8)


def test_an_unknown_compression_is_no_damage() -> None:
    data = tiff(whole(1, "u1"), 1)
    at = data.index(struct.pack("<HHII", 259, 4, 1, 1))
    strange = data[: at + 8] + struct.pack("<I", 34_925 + 9_999) + data[at + 12 :]
    with pytest.raises(DecodeError, match="compressed by TIFF's method 44924, which Pillow does not know") as raised:
        decoded(strange)
    assert raised.value.code == "unsupported_pixels"


def test_colours_of_fewer_bits_in_sixteen_are_refused() -> None:
    refused(tiff(whole(3, "u2", 4095), 2, most=4095))
    assert near(decoded(tiff(whole(3, "u2"), 2, most=255)), BANDS[..., :3])
