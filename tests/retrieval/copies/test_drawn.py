from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from fxengine.retrieval.copies.drawn import changed, is_bare, is_drawn
from fxengine.retrieval.copies.judge import judge_pictures
from fxengine.retrieval.copies.looks import Looks
from fxengine.trust import note_named
from tests.retrieval.copies.made import scene

WORDS = ["invoice", "total", "order", "number", "paid", "bank", "street", "city", "thank", "delivery", "of", "goods"]


def page(amount: str, note: str = "") -> Image.Image:
    """Return a page of the same twenty lines but for what stands in two."""
    image, rng = Image.new("RGB", (600, 760), "white"), random.Random(1)
    draw = ImageDraw.Draw(image)
    for line in range(20):
        text = " ".join(rng.choices(WORDS, k=7))
        shown = {9: f"amount: {amount} EUR", 15: note}.get(line, text)
        draw.text((40, 40 + 32 * line), shown, "black", font_size=20)
    return image


def board(*moved: tuple[int, int]) -> Image.Image:
    """Return a chess board with a disc on each field of four rows but for some."""
    y, x = np.mgrid[:400, :400] // 50
    image = Image.fromarray(np.where((y + x) % 2, 120, 235).astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for row, column in {(r, c) for r in (0, 1, 6, 7) for c in range(8)} ^ {*moved}:
        draw.ellipse((column * 50 + 12, row * 50 + 12, column * 50 + 38, row * 50 + 38), "black")
    return image


def bars(*heights: int) -> Image.Image:
    image = Image.new("RGB", (500, 400), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 20, 480, 370), outline="black")
    for at, height in enumerate(heights):
        draw.text((50 + at * 40, 375), str(at), "black", font_size=14)
        draw.rectangle((46 + at * 40, 370 - height, 72 + at * 40, 370), "steelblue")
    return image


HEIGHTS = (60, 150, 210, 270, 90, 180, 240, 120, 165, 195)


def judged(folder: Path, first: Image.Image, second: Image.Image, quality: int = 90) -> str:
    """Return what the second of two pictures is to the first, both saved."""
    names, hashes = ["a.jpg", "b.jpg"], []
    for name, image, kept in zip(names, (first, second), (90, quality), strict=True):
        data = io.BytesIO()
        image.save(data, "JPEG", quality=kept)
        (folder / name).write_bytes(data.getvalue())
        hashes.append(hashlib.sha256(data.getvalue()).hexdigest())
    note_named("root", str(folder))
    return judge_pictures(Looks(str(folder), names, hashes), 0, 1).kind


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (page("1"), page("7")),
        (page("12345"), page("98761")),
        (page("12345"), page("12345", "paid on the third of May")),
        (board(), board((6, 4), (4, 4))),
        (bars(*HEIGHTS), bars(*HEIGHTS[:4], 120, *HEIGHTS[5:])),
    ],
    ids=["a digit", "a number", "a line", "a move", "a bar"],
)
def test_drawn_pictures_of_which_a_detail_is_another_are_not_the_same(
    tmp_path: Path, first: Image.Image, second: Image.Image
) -> None:
    assert judged(tmp_path, first, second) == "same scene"


@pytest.mark.parametrize("first", [page("12345"), board(), bars(*HEIGHTS)], ids=["page", "board", "bars"])
@pytest.mark.parametrize(
    ("edit", "quality"),
    [
        (lambda p: p, 10),
        (lambda p: p.resize((p.width // 2, p.height // 2)), 90),
        (lambda p: p.resize((p.width * 2, p.height * 2)), 90),
        (ImageOps.mirror, 90),
        (lambda p: p.transpose(Image.Transpose.ROTATE_90), 90),
        (lambda p: p.point(lambda level: level * 0.6), 90),
    ],
    ids=["q10", "half", "twice", "mirrored", "turned", "darker"],
)
def test_copies_of_drawn_pictures_are_the_same(
    tmp_path: Path, first: Image.Image, edit: Callable[[Image.Image], Image.Image], quality: int
) -> None:
    assert judged(tmp_path, first, edit(first), quality) == "same picture"


def test_what_is_drawn() -> None:
    drawn = [np.asarray(image.convert("L").resize((256, 256))) for image in (page("1"), board(), bars(*HEIGHTS))]
    assert [is_drawn(grey) for grey in drawn] == [True] * 3
    assert not any(is_drawn(np.asarray(scene(seed).convert("L"))) for seed in range(3))
    lone = np.full((240, 320), 255, np.uint8)  # a thing before a white wall
    lone[40:200, 80:240] = np.asarray(scene(4, (160, 160)).convert("L"))
    assert not is_drawn(lone)
    assert not is_drawn(np.full((20, 20), 7, np.uint8))


def test_how_much_the_place_changed_that_changed_most() -> None:
    first = np.asarray(scene(1).convert("L"), np.float32)
    assert changed(first, first) == 0
    assert changed(first, 20 + 0.5 * first) == pytest.approx(0, abs=1e-3)  # light is no change
    second = first.copy()
    second[100:120, 100:120] = first[20:40, 200:220]
    assert 1 < changed(first, second) < 2


def logo(sign: int) -> Image.Image:
    """Return a patterned thing before black, with a sign of its own above it."""
    image = Image.new("RGB", (400, 300))
    image.paste(scene(1, (260, 150)), (70, 140))
    image.paste(scene(sign, (80, 70)), (160, 40))
    return image


def test_logos_with_another_sign_are_not_the_same_and_copies_of_one_are(tmp_path: Path) -> None:
    ours = logo(2)
    assert is_bare(np.asarray(ours.convert("L")))
    assert judged(tmp_path, ours, logo(3)) == "same scene"
    marked = ours.copy()
    ImageDraw.Draw(marked).text((100, 5), "sample 2024", "white", font_size=24)
    for copy, quality in ((ours, 10), (ours.resize((200, 150)), 90), (marked, 90), (ImageOps.mirror(ours), 90)):
        assert judged(tmp_path, ours, copy, quality) == "same picture"


def test_red_print_is_not_black_print(tmp_path: Path) -> None:
    black = page("12345")
    red = Image.composite(
        Image.new("RGB", black.size, "white"), Image.new("RGB", black.size, "red"), black.convert("L")
    )
    assert judged(tmp_path, black, red) == "same scene"
    assert judged(tmp_path, red, red.resize((300, 380))) == "same picture"
