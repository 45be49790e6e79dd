from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from fxengine.retrieval.copies.look import Look, look_at
from fxengine.retrieval.copies.verdict import compare, differences, is_same
from tests.retrieval.copies.made import scene, second_shot

Edit = Callable[[Image.Image], Image.Image]


def saved(image: Image.Image, quality: int = 85) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def look(image: Image.Image) -> Look:
    return look_at(np.asarray(image.convert("RGB")), image.size)


def written_on(image: Image.Image) -> Image.Image:
    copy = image.copy()
    ImageDraw.Draw(copy).text((20, 190), "a line of text", "white", font_size=36, stroke_width=2, stroke_fill="black")
    return copy


EDITS: dict[str, tuple[Edit, str]] = {
    "half": (lambda p: p.resize((160, 120)), "smaller"),
    "quarter": (lambda p: p.resize((80, 60)), "smaller"),
    "larger": (lambda p: p.resize((640, 480)), "larger"),
    "squeezed": (lambda p: p.resize((240, 240)), "stretched"),
    "q10": (lambda p: saved(p, 10), "re-encoded"),
    "crop 70%": (lambda p: p.crop((40, 30, 307, 231)), "cropped"),
    "crop 50%": (lambda p: p.crop((80, 60, 306, 229)), "cropped"),
    "crop 50%, half the size": (lambda p: p.crop((80, 60, 306, 229)).resize((113, 84)), "cropped, smaller"),
    "mirrored": (ImageOps.mirror, "mirrored"),
    "turned": (lambda p: p.transpose(Image.Transpose.ROTATE_90), "turned 270°"),
    "upside down": (lambda p: p.transpose(Image.Transpose.ROTATE_180), "turned 180°"),
    "mirrored and turned": (lambda p: p.transpose(Image.Transpose.TRANSPOSE), "mirrored, turned 90°"),
    "mirrored crop": (lambda p: ImageOps.mirror(p.crop((40, 30, 307, 231))), "mirrored, cropped"),
    "grey": (lambda p: p.convert("L").convert("RGB"), "grey"),
    "darker": (lambda p: ImageEnhance.Brightness(p).enhance(0.6), "darker"),
    "brighter": (lambda p: ImageEnhance.Brightness(p).enhance(1.3), "brighter"),
    "border": (lambda p: ImageOps.expand(p, 25, (200, 30, 30)), "border added"),
    "text": (written_on, "edited"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_copy_is_the_same_picture_and_how_it_differs_is_told(name: str) -> None:
    edit, words = EDITS[name]
    picture = scene(3)
    a, b = look(saved(picture)), look(saved(edit(picture)))
    proof = compare(a, b)
    assert proof is not None
    assert is_same(proof)
    assert set(words.split(", ")) <= set(differences(a, b, proof).split(", "))
    back = compare(b, a)
    assert back is not None
    assert is_same(back)


def test_crops_of_one_shot_that_share_most_are_the_same_picture() -> None:
    picture = scene(4, (400, 300))
    first, second = look(saved(picture.crop((0, 0, 340, 270)))), look(saved(picture.crop((50, 30, 400, 300))))
    proof = compare(first, second)
    assert proof is not None
    assert is_same(proof)
    assert proof.shown[0] == pytest.approx(290 * 240 / (340 * 270), abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_two_shots_of_a_scene_are_not_the_same_picture(seed: int) -> None:
    picture = scene(seed)
    proof = compare(look(saved(picture)), look(saved(second_shot(picture, seed))))
    assert proof is not None  # they do lie over each other
    assert proof.agreeing > 0.5
    assert not is_same(proof)


def test_another_part_that_moved_is_not_the_same_picture() -> None:
    picture = scene(6)
    other = picture.copy()
    other.paste(scene(7, (130, 160)), (60, 40))
    proof = compare(look(saved(picture)), look(saved(other)))
    assert proof is None or not is_same(proof)


@pytest.mark.parametrize("seed", range(3))
def test_other_pictures_are_none(seed: int) -> None:
    proof = compare(look(saved(scene(seed))), look(saved(scene(seed + 10))))
    assert proof is None or not is_same(proof)


@pytest.mark.parametrize("size", [(1, 16_000), (16_000, 1), (1, 1), (200, 100)])
def test_one_colour_and_a_line_are_too_little_to_tell(size: tuple[int, int]) -> None:
    flat = look(Image.new("RGB", size, (10, 200, 30)))
    assert flat.plain
    assert compare(flat, flat) is None
    assert compare(flat, look(scene(1))) is None
    line = np.random.default_rng(0).integers(0, 256, (size[1], 1, 3), np.uint8)
    assert look(Image.fromarray(line)).plain


def test_a_thing_in_another_colour_is_another_one() -> None:
    picture = Image.merge("RGB", [channel.point(lambda v: v // 2) for channel in scene(5).split()])
    red, blue = (Image.blend(picture, Image.new("RGB", picture.size, to), 0.4) for to in ((230, 30, 30), (30, 60, 230)))
    proof = compare(look(saved(red)), look(saved(blue)))
    assert proof is not None
    assert proof.hue < 0
    assert proof.agreeing > 0.99  # only their colour tells them apart
    assert not is_same(proof)
    grey = compare(look(saved(red)), look(saved(red.convert("L").convert("RGB"))))
    assert grey is not None
    assert is_same(grey)
    turned = compare(look(saved(scene(5))), look(saved(scene(5).transpose(Image.Transpose.TRANSPOSE), 30)))
    assert turned is not None
    assert turned.hue > 0.95
