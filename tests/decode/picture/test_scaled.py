"""Scaled decode: when it is allowed, and how little it changes."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fxengine.backbones.sources.efficientnet_lite import RECIPE
from fxengine.backbones.spec import PictureRecipe
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.decode.picture import turbojpeg
from fxengine.decode.picture.geometry import place
from fxengine.decode.picture.resize import length_within

PLAIN = replace(RECIPE, scaled_decode=False)


def photo(width: int, height: int, orientation: int = 1, seed: int = 0) -> bytes:
    """Return a JPEG with structure at several scales, weaker where finer, as in photos."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height))
    for cells, strength in ((4, 0.8), (16, 0.3), (64, 0.1)):
        noise = rng.integers(0, 256, (cells * 3 // 4, cells, 3), np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        image = Image.blend(image, layer, strength)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


def pixels(data: bytes, recipe: PictureRecipe) -> tuple[np.ndarray, tuple[int, int]]:
    out = np.zeros((recipe.height, recipe.width, 3), np.uint8)
    size = picture.decode_into(data, picture.read_header(data, Limits()), recipe, out)
    return out, size


@pytest.mark.parametrize(
    ("width", "height", "factor"),
    [
        (4000, 3000, 4),
        (3000, 4000, 4),
        (8000, 6000, 8),
        (1366, 1024, 2),
        (1365, 1023, 1),
        (500, 400, 1),
    ],
)
def test_the_factor_leaves_twice_the_target(width: int, height: int, factor: int) -> None:
    assert RECIPE.shrink(width, height) == factor
    assert PLAIN.shrink(width, height) == 1


def test_without_antialias_or_kernel_there_is_no_scaled_decode() -> None:
    assert replace(RECIPE, antialias=False).shrink(8000, 6000) == 1
    assert replace(RECIPE, kernel="nearest").shrink(8000, 6000) == 1


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from(["short", "long", "both"]))
def test_both_edges_stay_twice_as_long_as_they_become(width: int, height: int, edge: Any) -> None:
    recipe = replace(RECIPE, edge=edge)
    factor = recipe.shrink(width, height)
    for w, h in ((width, height), (height, width)):
        scaled = recipe.resized(w, h)
        assert factor == 1 or (w / factor >= 2 * scaled[0] - 1 and h / factor >= 2 * scaled[1] - 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_pixels_are_those_of_a_whole_decode(orientation: int) -> None:
    data = photo(1603, 1205, orientation)
    whole, size = pixels(data, PLAIN)
    scaled, scaled_size = pixels(data, RECIPE)
    assert RECIPE.shrink(1603, 1205) == 2
    assert size == scaled_size == ((1205, 1603) if orientation >= 5 else (1603, 1205))
    difference = np.abs(whole.astype(int) - scaled)
    assert 0 < difference.mean() < 0.5
    assert difference.max() < 12
    moved = np.abs(whole[:, 1:].astype(int) - scaled[:, :-1]).mean()
    assert moved > 4 * difference.mean()  # a picture that is one pixel off would show


def test_turbojpeg_decodes_exactly_at_the_scale() -> None:
    data = photo(1603, 1205)
    header = picture.read_header(data, Limits())
    assert [turbojpeg.decode(data, header, f).pixels.shape for f in (1, 2, 4, 8)] == [
        (1205, 1603, 3),
        (603, 802, 3),
        (302, 401, 3),
        (151, 201, 3),
    ]


def test_what_a_decoder_holds_is_no_more_than_it_says() -> None:
    """Bytes too many, which libjpeg-turbo only warns of, send a photo to Pillow: at the same fraction of its size."""
    data = photo(1603, 1205)
    odd = data[:-2] + b"surplus" + data[-2:]
    header = picture.read_header(odd, Limits())
    for shrink in (1, 2, 4, 8):
        right = turbojpeg.decode(data, header, shrink).pixels
        found = turbojpeg.decode(odd, header, shrink).pixels
        assert found.shape == right.shape
        assert np.abs(found.astype(int) - right).max() <= 1
    assert picture.memory_needed(header, RECIPE) == header.memory // RECIPE.shrink(1603, 1205) ** 2
    assert picture.memory_needed(header, RECIPE, "nvimgcodec") == header.memory


def test_a_format_that_cannot_shrink_is_decoded_whole() -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(photo(1603, 1205))).save(file, "PNG")
    data = file.getvalue()
    header = picture.read_header(data, Limits(), "pillow")
    found = np.zeros((2, RECIPE.height, RECIPE.width, 3), np.uint8)
    for recipe, out in zip((RECIPE, PLAIN), found, strict=True):
        assert picture.decode_into(data, header, recipe, out, "pillow") == (1603, 1205)
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize(("edge", "size", "side"), [("both", 64, 64), ("long", 64, 64), ("short", 64, 64)])
def test_a_border_that_rounds_over_the_edge_is_no_fault(edge: Any, size: int, side: int) -> None:
    """470 * (845 / 8 / 845) is over 470 / 8 by a rounding; the whole run ended there."""
    recipe = PictureRecipe(side, side, edge, size, "bilinear", scaled_decode=True)
    plain = replace(recipe, scaled_decode=False)
    for width, height in ((845, 563), (563, 845), (601, 449), (940, 627)):
        data = photo(width, height)
        assert recipe.shrink(width, height) > 1
        difference = np.abs(pixels(data, recipe)[0].astype(int) - pixels(data, plain)[0])
        assert difference.mean() < 2


@given(st.integers(600, 6000), st.integers(600, 6000), st.integers(1, 8), st.sampled_from(["short", "long", "both"]))
def test_every_placement_lies_within_what_was_decoded(width: int, height: int, orientation: int, edge: Any) -> None:
    recipe = PictureRecipe(224, 224, edge, 224, "bilinear", scaled_decode=True)
    shrink = recipe.shrink(width, height)
    size = -(-width // shrink), -(-height // shrink)
    x0, y0, x1, y1 = place(width, height, orientation, recipe).shrunk((width, height), size).box
    assert 0 <= x0 < x1 <= size[0]
    assert 0 <= y0 < y1 <= size[1]
    assert x0 + length_within(x0, x1, size[0]) <= size[0]
    assert y0 + length_within(y0, y1, size[1]) <= size[1]
