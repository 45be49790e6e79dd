"""Real files that failed, each after a public report; the folder's README says what is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fxengine.backbones.spec import PictureRecipe
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.errors import DecodeError

WHOLE = PictureRecipe(height=240, width=320, edge="both", size=1, kernel="bilinear")


def decoded(path: Path, recipe: PictureRecipe = WHOLE) -> tuple[np.ndarray, tuple[int, int]]:
    data = path.read_bytes()
    out = np.empty((recipe.height, recipe.width, 3), np.uint8)
    return out, picture.decode_into(data, picture.read_header(data, Limits()), recipe, out)


@pytest.mark.parametrize("name", ["g12_packed.tif", "rgb_float32.tif"])
def test_pixels_without_a_defined_colour(shared_data: Callable[[str], Path], name: str) -> None:
    with pytest.raises(DecodeError, match="which are not decoded") as raised:
        decoded(shared_data("reports") / name)
    assert raised.value.code == "unsupported_pixels"


def test_exif_behind_264_kilobytes(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("reports")
    half = PictureRecipe(height=120, width=160, edge="both", size=1, kernel="box")
    turned, size = decoded(folder / "c2pa_300k.jpg", half)
    assert size == (160, 120)
    # The same photo as no_eoi.jpg at half the size, stored lying on its side.
    upright, _ = decoded(folder / "no_eoi.jpg", half)
    assert np.abs(turned.astype(int) - upright).mean() < 8


def test_only_the_end_is_missing_and_a_long_text_is_no_damage(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("reports")
    found = [decoded(folder / name) for name in ("no_eoi.jpg", "samsung_trailer_noeoi.jpg", "png_ztxt_1.2MB.png")]
    assert [size for _, size in found] == [(320, 240)] * 3
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert np.abs(found[0][0].astype(int) - found[2][0]).mean() < 4
