from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fxengine.backbones.spec import Kernel, PictureRecipe
from fxengine.decode.picture import resize
from fxengine.decode.picture.geometry import place, upright
from fxengine.decode.picture.resize import resize_into
from tests.conftest import PATIENCE, ROOT

KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PAD = (10, 20, 30)


def noise(width: int, height: int) -> np.ndarray:
    """No kernel overshoots out of 0 to 255 from these levels, so that the order of the two passes hardly counts."""
    return np.random.default_rng(width * 1000 + height).integers(90, 166, (height, width, 3), np.uint8)


def expected(pixels: np.ndarray, orientation: int, recipe: PictureRecipe) -> np.ndarray:
    """Turn, resize everything, then cut or pad: the plain way."""
    image = Image.fromarray(pixels)
    turn = TURNS[orientation]
    if turn is not None:
        image = image.transpose(turn)
    image = image.resize(recipe.resized(*image.size), KERNELS[recipe.kernel])
    canvas = Image.new("RGB", (recipe.width, recipe.height), recipe.pad_color)
    left, top = (
        -recipe.offset(scaled, target) if scaled > target else recipe.offset(target, scaled)
        for scaled, target in zip(image.size, canvas.size, strict=True)
    )
    canvas.paste(image, (left, top))
    return np.asarray(canvas)


def resized(pixels: np.ndarray, orientation: int, recipe: PictureRecipe) -> np.ndarray:
    out = np.full((recipe.height, recipe.width, 3), 222, np.uint8)
    resize_into(pixels, orientation, recipe, out)
    return out


def by_pillow(pixels: np.ndarray, orientation: int, recipe: PictureRecipe) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resize, "simd", None)
        return resized(pixels, orientation, recipe)


def levels(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert a.shape == b.shape
    return np.abs(a.astype(np.int16) - b.astype(np.int16))


RECIPES = st.builds(
    PictureRecipe,
    height=st.integers(1, 48),
    width=st.integers(1, 48),
    edge=st.sampled_from(["short", "long", "both"]),
    size=st.integers(1, 60),
    kernel=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
    rounding=st.sampled_from(["nearest", "torchvision"]),
    pad_color=st.just(PAD),
)
SIDES, ORIENTATIONS = st.integers(1, 300), st.integers(1, 8)


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, ORIENTATIONS, RECIPES)
def test_resizing_a_box_is_resizing_all_and_cutting(
    width: int, height: int, orientation: int, recipe: PictureRecipe
) -> None:
    pixels = noise(width, height)
    assert levels(by_pillow(pixels, orientation, recipe), expected(pixels, orientation, recipe)).max() <= 2


def vertical_first(pixels: np.ndarray, orientation: int, recipe: PictureRecipe) -> np.ndarray:
    """By Pillow with its two passes in the other order, which is that of the SIMD library."""
    swapped = orientation + 4 if orientation < 5 else orientation - 4
    return by_pillow(np.ascontiguousarray(pixels.transpose(1, 0, 2)), swapped, recipe)


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, ORIENTATIONS, RECIPES)
def check_simd(width: int, height: int, orientation: int, recipe: PictureRecipe) -> None:
    pixels = noise(width, height)
    found = resized(pixels, orientation, recipe)
    assert levels(found, by_pillow(pixels, orientation, recipe)).mean() <= 1.0
    assert levels(found, vertical_first(pixels, orientation, recipe)).max() <= 2


def check_sizes(*cases: tuple[int, int, int, int]) -> None:
    for width, height, orientation, size in cases:
        print(f"{width} x {height}, orientation {orientation}, short edge to {size}", flush=True)  # noqa: T201
        pixels, recipe = noise(width, height), PictureRecipe(224, 224, "short", size, "bicubic")
        found, reference = resized(pixels, orientation, recipe), vertical_first(pixels, orientation, recipe)
        assert levels(found, reference).max() <= 2


def in_child(call: str) -> None:
    """Run a check in a process of its own: what crashes natively must not take the other tests down."""
    code = f"import tests.decode.picture.test_geometry as t; t.{call}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"exit code {done.returncode} in {call}\n{(done.stdout + done.stderr)[-1500:]}"


needs_simd = pytest.mark.skipif(resize.simd is None, reason="no SIMD resizer on this platform")


@needs_simd
@pytest.mark.slow
def test_simd_gives_what_pillow_gives() -> None:
    in_child("check_simd()")


# Enlarged pictures of which the middle of the first column to be drawn (of the last one, where they are mirrored)
# falls on the middle of a source pixel: there Catmull-Rom's outer weights are exactly zero. cykooz-resizer 4.0.1
# leaves them out of what it reads, and then reads outside: left it crashes, right it takes other pixels.
ALIGNED = [(54, 31, 256), (185, 183, 256), (94, 54, 256), (972, 93, 256), (275, 32, 224), (382, 192, 224)]


@needs_simd
@pytest.mark.slow
@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_simd_draws_a_border_column_on_the_middle_of_a_pixel(orientation: int) -> None:
    in_child(f"check_sizes(*[(width, height, {orientation}, size) for width, height, size in t.ALIGNED])")


@needs_simd
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(640, 480), (90, 333)])
def test_on_hard_edges_simd_differs_only_by_the_order_of_its_passes(kernel: Kernel, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (size[1], size[0], 3))
    recipe = PictureRecipe(64, 64, "short", 72, kernel)
    assert levels(resized(pixels, 1, recipe), vertical_first(pixels, 1, recipe)).max() <= 2


@needs_simd
@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["box", "bilinear", "bicubic", "lanczos"])
def test_on_photos_simd_gives_what_pillow_gives(kernel: Kernel, shared_data: Callable[[str], Path]) -> None:
    recipe = PictureRecipe(224, 224, "short", 256, kernel)
    for path in sorted(shared_data("imagenet_500").iterdir())[::20]:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert levels(resized(pixels, 1, recipe), by_pillow(pixels, 1, recipe)).mean() <= 0.5, path.name


@pytest.mark.parametrize("kernel", get_args(Kernel))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_at_its_own_size_a_picture_is_only_turned(kernel: Kernel, orientation: int) -> None:
    pixels = noise(31, 17)
    reference = upright(pixels, orientation)
    recipe = PictureRecipe(reference.shape[0], reference.shape[1], "both", 1, kernel)
    np.testing.assert_array_equal(resized(pixels, orientation, recipe), reference)
    np.testing.assert_array_equal(by_pillow(pixels, orientation, recipe), reference)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_turns_as_exif_says(orientation: int) -> None:
    pixels = noise(5, 3)
    image = Image.fromarray(pixels)
    turn = TURNS[orientation]
    reference = np.asarray(image if turn is None else image.transpose(turn))
    np.testing.assert_array_equal(upright(pixels, orientation), reference)


def test_a_landscape_is_cut_left_and_right() -> None:
    # Columns are their own number; the short edge already is 20 long, so the cut is all that happens.
    pixels = np.repeat(np.repeat(np.arange(50, dtype=np.uint8)[None, :, None], 20, 0), 3, 2)
    found = resized(pixels, 1, PictureRecipe(20, 20, "short", 20, "bicubic"))
    np.testing.assert_array_equal(found[:, :, 0], np.tile(np.arange(15, 35, dtype=np.uint8), (20, 1)))
    mirrored = resized(pixels, 2, PictureRecipe(20, 20, "short", 20, "bicubic"))
    np.testing.assert_array_equal(mirrored[0, :, 0], np.arange(34, 14, -1))


def test_an_odd_cut_takes_less_from_the_left_or_as_torchvision_does() -> None:
    pixels = np.repeat(np.repeat(np.arange(23, dtype=np.uint8)[None, :, None], 20, 0), 3, 2)  # 1.5 on each side
    assert resized(pixels, 1, PictureRecipe(20, 20, "short", 20, "bicubic"))[0, 0, 0] == 1
    assert resized(pixels, 1, PictureRecipe(20, 20, "short", 20, "bicubic", rounding="torchvision"))[0, 0, 0] == 2
    # The picture as seen is what is cut, not the picture as stored.
    assert resized(pixels, 2, PictureRecipe(20, 20, "short", 20, "bicubic"))[0, 0, 0] == 22 - 1
    assert resized(pixels.transpose(1, 0, 2), 5, PictureRecipe(20, 20, "short", 20, "bicubic"))[0, 0, 0] == 1
    assert resized(pixels.transpose(1, 0, 2), 8, PictureRecipe(20, 20, "short", 20, "bicubic"))[0, 0, 0] == 1
    assert resized(pixels.transpose(1, 0, 2), 6, PictureRecipe(20, 20, "short", 20, "bicubic"))[0, 0, 0] == 22 - 1


def test_a_landscape_is_padded_above_and_below() -> None:
    found = resized(np.full((15, 30, 3), 200, np.uint8), 1, PictureRecipe(20, 20, "long", 20, "bicubic", pad_color=PAD))
    assert (found[5:15] == 200).all()
    assert (found[:5] == PAD).all()
    assert (found[15:] == PAD).all()


@pytest.mark.parametrize("size", [(65_500, 8), (1, 2000), (2000, 1), (1, 1)])
def test_extreme_shapes_keep_their_one_colour(size: tuple[int, int]) -> None:
    pixels = np.full((size[1], size[0], 3), (7, 120, 250), np.uint8)
    for orientation in (1, 6):
        for recipe in (PictureRecipe(224, 224, "short", 256, "bicubic"), PictureRecipe(224, 224, "both", 1, "bicubic")):
            found = resized(pixels, orientation, recipe)
            assert (found == (7, 120, 250)).all()


def test_only_the_cut_is_resized() -> None:
    where = place(65_500, 8, 1, PictureRecipe(224, 224, "short", 256, "bicubic"))
    assert where.size == (224, 224)
    x0, y0, x1, y1 = where.box
    assert x1 - x0 == pytest.approx(7, abs=1e-6)
    assert (y0, y1) == pytest.approx((0.5, 7.5))
    assert (x0 + x1) / 2 == pytest.approx(32_750, abs=0.05)


def test_without_antialias_a_pixel_is_drawn_from_its_neighbours_only() -> None:
    row = np.array([0, 100, 200, 40, 250, 250, 0, 10], np.uint8)
    pixels = np.repeat(np.repeat(row[None, :, None], 2, 0), 3, 2)
    recipe = PictureRecipe(2, 2, "both", 1, "bilinear", antialias=False)
    # 8 to 2: the centres fall on 1.5 and 5.5, between (100, 200) and (250, 0).
    assert resized(pixels, 1, recipe)[0, :, 0].tolist() == [150, 125]
    smoothed = resized(pixels, 1, PictureRecipe(2, 2, "both", 1, "bilinear"))[0, :, 0].tolist()
    assert smoothed != [150, 125]
    # 2 to 8: half-pixel centres, the border repeated.
    recipe = PictureRecipe(1, 8, "both", 1, "bilinear", antialias=False)
    found = resized(np.repeat(np.array([[0, 80]], np.uint8)[:, :, None], 3, 2), 1, recipe)
    assert found[0, :, 0].tolist() == [0, 0, 10, 30, 50, 70, 80, 80]
