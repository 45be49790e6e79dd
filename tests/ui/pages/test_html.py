from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fxengine.ui.pages import html
from tests.conftest import make_photo
from tests.ui.pages.reader import read

NASTY = "<script>alert(1)</script>&\"'\x1b\udce9"


def jpeg_in(figure: str) -> Image.Image:
    match = re.search(r"data:image/jpeg;base64,([^\"]+)", figure)
    assert match is not None
    return Image.open(io.BytesIO(base64.b64decode(match[1])))


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    make_photo(tmp_path / "a.jpg", 1)
    body = html.picture(tmp_path / "a.jpg", NASTY) + html.table([NASTY], [[NASTY]]) + html.picture(NASTY, NASTY)
    page = html.page(NASTY, body)
    page.encode("utf-8")
    reader = read(page)
    assert "script" not in reader.tags
    assert reader.shown.count("<script>alert(1)</script>&\"'\\x1b\\udce9") == 6
    assert "http" not in page.replace("initial-scale", "")


def test_a_picture_is_an_upright_thumbnail_of_the_file(tmp_path: Path) -> None:
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:150, :200] = (250, 10, 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: to be turned clockwise
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    small = jpeg_in(html.picture(tmp_path / "a.jpg", "two\nlines"))
    assert small.size == (144, 192)
    shown = np.asarray(small).astype(int)
    np.testing.assert_allclose(shown[20, -20], (250, 10, 10), atol=12)
    np.testing.assert_allclose(shown[20, 20], (0, 0, 0), atol=12)


def test_a_picture_that_cannot_be_shown_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"not a picture")
    reader = read(html.picture(tmp_path / "bad.jpg", "bad.jpg"))
    assert "img" not in reader.tags
    assert "The file is no image that fxengine knows." in reader.shown
    assert "The file is not there (any more)." in read(html.picture(tmp_path / "none.jpg", "x")).shown


def test_a_table_sets_numbers_right_and_leaves_none_empty() -> None:
    made = html.table(["id", "score"], [["a", 0.123456], ["b", 7], ["c", None]])
    assert '<td class="number">0.1235</td>' in made
    assert '<td class="number">7</td>' in made
    assert "<td>c</td><td></td>" in made


def test_a_column_of_scores_has_one_number_of_decimals() -> None:
    made = html.table(["class", "rows", "recall", "rate"], [["a", 3, 1.0, 3e-5], ["b", 12, 0.96667, 1.0]])
    assert '<th>class</th><th class="number">rows</th><th class="number">recall</th>' in made
    assert '<td class="number">3</td><td class="number">1.0000</td><td class="number">3e-05</td>' in made
    assert '<td class="number">12</td><td class="number">0.9667</td><td class="number">1</td>' in made
    assert '<td class="number">1.0000</td>' in html.table(["recall"], [[1.0]])  # beside 0.7225 elsewhere on the page
    assert "<tbody>\n\n</tbody>" in html.table(["nothing"], [])


def test_a_name_of_a_megabyte_is_cut() -> None:
    long = "a" * 500_000 + "b" * 500_000
    figure = html.stored_pictures("/nowhere")(long, long)
    assert f"<figcaption>{'a' * 100}…{'b' * 99}\n{'a' * 100}…{'b' * 99}</figcaption>" in figure
    assert f"<td>{'a' * 100}…{'b' * 99}</td>" in html.table(["x"], [[long]])
    assert len(html.text(long)) == 2000


def test_folders_are_looked_up_once_a_page_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def nothing_named(kind: str, folder: str) -> bool:
        asked.append(folder)
        return False

    monkeypatch.setattr("fxengine.trust.was_named", nothing_named)
    draw = html.stored_pictures("/photos")
    for key in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "a/" * 30_000 + "1.jpg"):
        assert "not shown" in draw(key, "")
    assert asked == ["/photos/a", "/photos", "/", "/photos/b", "/photos", "/"]
