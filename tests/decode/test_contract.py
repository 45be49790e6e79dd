"""What every modality's preparer must do, whoever writes the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine.backbones.spec import PictureRecipe, Recipe, TextRecipe
from fxengine.backbones.tokenizer import sha256_of_tokenizer, wordpiece_json
from fxengine.decode import MODALITIES, Filled, Inputs, Modality, Preparer, load_modality, preparer_for
from fxengine.decode.limits import Limits
from fxengine.decode.picture import preparer as picture
from fxengine.decode.text import preparer as text
from fxengine.errors import DecodeError, InputError
from tests.conftest import TINY_RECIPE, make_photo
from tests.texts import MAX_TOKENS, VOCABULARY

# Checked by mypy: each module is what the table says it is.
MODULES: dict[str, Modality] = {"picture": picture, "text": text}
TOKENIZER = wordpiece_json(VOCABULARY)
RECIPES: dict[str, Recipe] = {
    "picture": TINY_RECIPE,
    "text": TextRecipe(sha256_of_tokenizer(TOKENIZER), MAX_TOKENS),
}
modalities = pytest.mark.parametrize("name", sorted(MODALITIES))


def payloads(name: str, folder: Path) -> list[bytes]:
    if name == "text":
        return ["A good café".encode(), b"bad"]
    return [make_photo(folder / f"{i}.{kind}", i, (50 + i, 40)).read_bytes() for i, kind in enumerate(["jpg", "png"])]


def prepare(name: str, limits: Limits | None = None) -> Preparer:
    return preparer_for(RECIPES[name], limits, tokenizer=TOKENIZER)


def filled(preparer: Preparer, inputs: Inputs, data: list[bytes]) -> list[Filled]:
    return [preparer.open(each).fill(inputs, row) for row, each in enumerate(data)]


def test_every_modality_is_checked_here() -> None:
    assert MODULES.keys() == RECIPES.keys() == MODALITIES.keys()
    for name, recipe in RECIPES.items():
        assert recipe.modality == name


@modalities
def test_a_row_depends_on_its_own_input_alone(tmp_path: Path, name: str) -> None:
    preparer, data = prepare(name), payloads(name, tmp_path)
    forth, back = preparer.room(2), preparer.room(2)
    first = filled(preparer, forth, data)
    assert filled(preparer, back, data[::-1]) == first[::-1]
    assert first[0] != first[1]
    for key, values in forth.items():
        for mine, other in zip(values, back[key][::-1], strict=True):  # a text's row has its own length
            np.testing.assert_array_equal(mine, other)
        assert len(preparer.room(0)[key]) == 0
        assert preparer.room(3)[key].shape == (3, *values.shape[1:])


@modalities
def test_apart_and_given_are_the_same(tmp_path: Path, name: str) -> None:
    preparer, data = prepare(name), payloads(name, tmp_path)
    here, there = preparer.room(2), preparer.room(2)
    expected = filled(preparer, here, data)
    assert preparer.open_apart(data[0]).fill(there, 0) == expected[0]
    assert preparer.open(preparer.payload_of(data[1])).fill(there, 1) == expected[1]
    for key, values in here.items():
        for mine, other in zip(values, there[key], strict=True):
            np.testing.assert_array_equal(mine, other)


@modalities
def test_several_together_are_the_same(tmp_path: Path, name: str) -> None:
    preparer, (first, second) = prepare(name), payloads(name, tmp_path)
    here, there = preparer.room(2), preparer.room(2)
    expected = filled(preparer, here, [first, second])
    found = preparer.fill_together([second, b"", first], there, [1, 0, 0])
    assert (found[1].code if isinstance(found[1], DecodeError) else None) == "empty"
    assert [found[2], found[0]] == expected
    for key, values in here.items():
        for mine, other in zip(values, there[key], strict=True):
            np.testing.assert_array_equal(mine, other)


@modalities
def test_what_is_too_large_or_nothing_is_refused(tmp_path: Path, name: str) -> None:
    (data, _) = payloads(name, tmp_path)
    with pytest.raises(DecodeError) as caught:
        prepare(name, Limits(max_bytes=len(data) - 1)).open(data)
    assert caught.value.code == "too_large"
    with pytest.raises(InputError, match="Got float"):
        prepare(name).open(prepare(name).payload_of(1.5))


@modalities
def test_it_says_what_decodes_and_what_it_costs(tmp_path: Path, name: str) -> None:
    preparer = load_modality(name).make(RECIPES[name], Limits(), False, TOKENIZER)
    assert preparer.decoder
    row = sum(values.nbytes for values in preparer.room(1).values())
    assert all(preparer.open(data).cost >= row for data in payloads(name, tmp_path))


def test_pixels_are_taken_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    preparer = preparer_for(PictureRecipe(32, 32, "both", 32, "bilinear"))
    inputs = preparer.room(1)
    opened = preparer.open(pixels)
    assert (opened.cost, opened.fill(inputs, 0)) == (0, Filled(32, 32))
    np.testing.assert_array_equal(inputs["images"][0], pixels)
