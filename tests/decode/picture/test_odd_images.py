from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fxengine.backbones.spec import PictureRecipe
from fxengine.decode import picture
from fxengine.decode.limits import Limits
from fxengine.errors import DecodeError
from fxengine.features.schema import ERROR_CODES
from tests.conftest import SHARED

RECIPE = PictureRecipe(height=224, width=224, edge="short", size=256, kernel="bicubic")
# An animated PNG whose one frame has no header of its own: Pillow refuses the file, so do we.
NOT_HERE = {"pillow__chunk_no_fctl.png"}

# Every scan of this one is whole: half of its end marker is all that is missing.
WHOLE = "pillow__truncated_jpeg.jpg"


def outcome(path: Path) -> tuple[str, str]:
    """Return (code, message); the code is "ok" where it decodes."""
    data = path.read_bytes()
    out = np.empty((RECIPE.height, RECIPE.width, 3), np.uint8)
    try:
        header = picture.read_header(data, Limits())
        width, height = picture.decode_into(data, header, RECIPE, out)
    except DecodeError as error:
        return error.code, str(error)
    assert {width, height} == {header.width, header.height}, path.name
    return "ok", ""


@pytest.mark.slow
def test_every_odd_image_is_decoded_or_refused_in_words(shared_data: Callable[[str], Path]) -> None:
    paths = sorted(path for path in shared_data("odd_images").iterdir() if path.is_file())
    with (SHARED / "odd_images.csv").open(newline="", encoding="utf-8") as file:
        should = {line["name"]: line["should_decode"] for line in csv.DictReader(file)}
    assert len(paths) > 500
    assert {path.name for path in paths} == set(should)

    found = {path.name: outcome(path) for path in paths}
    refused = {name: result for name, result in found.items() if result[0] != "ok"}
    assert {name: result for name, result in refused.items() if result[0] not in ERROR_CODES} == {}
    assert {name: result for name, result in refused.items() if not result[1].endswith(".")} == {}

    kinds = ("unsupported_format", "unsupported_pixels")
    wrongly = {name: result for name, result in refused.items() if should[name] == "yes" and result[0] not in kinds}
    assert {name: result for name, result in wrongly.items() if name not in NOT_HERE} == {}
    assert [name for name in found if should[name] == "no" and found[name][0] == "ok"] == [WHOLE]

    # The names show what these are, so that no code is given by accident.
    expected = {
        "made__zero_byte.jpg": "empty",
        "made__html_named.png": "unsupported_format",
        "made__jpeg2000.jp2": "unsupported_format",
        "made__truncated_50pct.jpg": "truncated",
        "made__truncated_progressive_90pct.jpg": "truncated",
        "made__truncated_50pct.png": "truncated",
        "made__bad_idat_byte.png": "corrupt",
        "made__bomb_20000x20000_gray8.png": "too_large",
        "made__bomb_30000x30000_1bit.png": "too_large",
        "made__bomb_header_2147483647sq.png": "too_large",
        "made__jpeg_header_65535sq.jpg": "too_large",
        "made__cmyk.jpg": "ok",
        "made__gif_content_named.jpeg": "ok",
        "made__jpeg_no_extension": "ok",
        "made__trailing_garbage.jpg": "ok",
    }
    assert {name: found[name][0] for name in expected} == expected
