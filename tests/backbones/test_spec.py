from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine.backbones.spec import BackboneFile, Facts, PictureRecipe, TextRecipe
from fxengine.errors import InputError
from fxengine.facts import FactsError, facts_from

Edge = Literal["short", "long", "both"]
Rounding = Literal["nearest", "torchvision", "down"]


def recipe(edge: Edge = "short", size: int = 256, rounding: Rounding = "nearest", **others: Any) -> PictureRecipe:
    return PictureRecipe(224, 224, edge, size, "bicubic", rounding=rounding, **others)


@pytest.mark.parametrize(
    ("edge", "rounding", "picture", "expected"),
    [
        ("short", "nearest", (400, 300), (341, 256)),  # 341.33
        ("short", "torchvision", (400, 300), (341, 256)),
        ("short", "nearest", (300, 500), (256, 427)),  # 426.67
        ("short", "torchvision", (300, 500), (256, 426)),
        ("short", "nearest", (512, 512), (256, 256)),
        ("short", "nearest", (512, 771), (256, 386)),  # 385.5: half goes up
        ("short", "torchvision", (512, 771), (256, 385)),
        ("short", "nearest", (2000, 1), (512_000, 256)),
        ("long", "nearest", (400, 300), (256, 192)),
        ("long", "nearest", (300, 500), (154, 256)),  # 153.6
        ("long", "torchvision", (300, 500), (153, 256)),
        ("long", "nearest", (512, 512), (256, 256)),
        ("long", "nearest", (2000, 1), (256, 1)),  # 0.128, but never nothing
        ("long", "torchvision", (1, 2000), (1, 256)),
        ("short", "down", (300, 500), (256, 426)),
        ("both", "nearest", (400, 300), (224, 224)),
        ("both", "torchvision", (1, 2000), (224, 224)),
    ],
)
def test_resized_by_hand(edge: Edge, rounding: Rounding, picture: tuple[int, int], expected: tuple[int, int]) -> None:
    assert recipe(edge, rounding=rounding).resized(*picture) == expected


def test_squash_goes_to_the_input_size_not_to_size() -> None:
    assert PictureRecipe(height=20, width=30, edge="both", size=99, kernel="box").resized(7, 5) == (30, 20)


@pytest.mark.parametrize(
    ("larger", "smaller", "nearest", "torchvision"),
    [
        (256, 224, 16, 16),
        (224, 224, 0, 0),
        (225, 224, 0, 0),  # 0.5 to the even 0
        (227, 224, 1, 2),  # 1.5 to the even 2
        (229, 224, 2, 2),  # 2.5 to the even 2
        (341, 224, 58, 58),  # 58.5
        (427, 224, 101, 102),  # 101.5
    ],
)
def test_offset_by_hand(larger: int, smaller: int, nearest: int, torchvision: int) -> None:
    assert recipe().offset(larger, smaller) == nearest
    assert recipe(rounding="torchvision").offset(larger, smaller) == torchvision
    assert recipe(rounding="down").offset(larger, smaller) == nearest


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600), st.integers(1, 600))
def test_torchvision_rounding_is_that_of_resize_and_center_crop(width: int, height: int, size: int, crop: int) -> None:
    asked = recipe(size=size, rounding="torchvision")
    short, long = min(width, height), max(width, height)
    scaled = int(size * long / short)  # torchvision.transforms.functional._compute_resized_output_size
    assert asked.resized(width, height) == ((size, scaled) if width <= height else (scaled, size))
    if scaled >= crop:
        assert asked.offset(scaled, crop) == round((scaled - crop) / 2.0)  # torchvision's center_crop


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600))
def test_nearest_rounding_keeps_the_aspect_to_half_a_pixel(width: int, height: int, size: int) -> None:
    scaled_width, scaled_height = recipe(size=size).resized(width, height)
    assert min(scaled_width, scaled_height) == size
    assert abs(max(scaled_width, scaled_height) - size * max(width, height) / min(width, height)) <= 0.5 + 1e-6


def test_canonical_leaves_out_what_is_at_its_default() -> None:
    plain = {"height": 224, "width": 224, "edge": "short", "size": 256, "kernel": "bicubic"}
    assert recipe().canonical() == plain
    assert recipe(antialias=True, pad_color=(0, 0, 0)).canonical() == plain
    assert recipe(antialias=False).canonical() == {**plain, "antialias": False}
    assert recipe(rounding="torchvision", pad_color=(1, 2, 3)).canonical() == {
        **plain,
        "rounding": "torchvision",
        "pad_color": (1, 2, 3),
    }


def from_json_types(values: dict[str, Any]) -> PictureRecipe:
    return facts_from(PictureRecipe, {"format": 1, **values}, 1)


def test_a_recipe_is_rebuilt_from_json_types() -> None:
    values = {"height": 8, "width": 9, "edge": "long", "size": 10, "kernel": "box", "pad_color": [1, 2, 3]}
    rebuilt = from_json_types(values)
    assert rebuilt == PictureRecipe(8, 9, "long", 10, "box", pad_color=(1, 2, 3))
    assert hash(rebuilt) == hash(PictureRecipe(8, 9, "long", 10, "box", pad_color=(1, 2, 3)))
    assert values["pad_color"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dither": True}, "says 'dither' of itself, which this version does not know"),
        ({"height": 0}, "is damaged: A recipe needs positive sizes"),
        ({"width": 0}, "positive sizes"),
        ({"size": -1}, "positive sizes"),
        ({"height": 10**9}, "A recipe's sizes end at 16384. Got 1000000000x9, size 10"),
        ({"size": 2**70}, "A recipe's sizes end at 16384"),
        ({"height": 8.5}, "'height' cannot be 8.5"),
        ({"edge": "top"}, "'edge' cannot be 'top'"),
        ({"pad_color": [1, 2]}, r"'pad_color' cannot be \[1, 2\]"),
        ({"pad_color": [1, 2, 256]}, "pad_color is three levels from 0 to 255"),
        ({"pad_color": "red"}, "'pad_color' cannot be 'red'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    values: dict[str, Any] = {"height": 8, "width": 9, "edge": "long", "size": 10, "kernel": "box", **change}
    with pytest.raises(FactsError, match=words):
        from_json_types(values)


def facts() -> Facts:
    return Facts(
        name="naïve",
        source="here",
        licence="none",
        recipe=recipe(rounding="torchvision", pad_color=(9, 8, 7)),
        dim=5,
        cut="relu",
        pooling="avg",
        parameters=10,
        multiply_adds=20,
        classes=("a", "b"),
        class_ids=("n1", "n2"),
        notes={"tuned on": ["x", 1, None]},
    )


def test_facts_survive_json() -> None:
    rebuilt = Facts.from_json(facts().to_json())
    assert rebuilt == facts()
    assert rebuilt.classes == ("a", "b")
    assert rebuilt.recipe == recipe(rounding="torchvision", pad_color=(9, 8, 7))
    assert rebuilt.to_json() == facts().to_json()


def test_facts_of_another_format_are_refused() -> None:
    with pytest.raises(InputError, match="another format version"):
        Facts.from_json(facts().to_json().replace('"format": 1', '"format": 2'))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"dim": 5', '"dim": "five"', "net.onnx is damaged: 'dim' cannot be 'five'. Update fxengine, or export it"),
        ('"dim": 5', '"dim": 5, "pair": "words"', "net.onnx was written by fxengine .* and says 'pair' of itself"),
        ('"dim": 5, ', "", "net.onnx is damaged: 'dim' is missing"),
        ('"kernel": "bicubic"', '"kernel": "sinc"', "net.onnx is damaged: 'recipe.kernel' cannot be 'sinc'"),
        ('"layers": []', '"layers": [["deep"]]', "net.onnx is damaged: 'layers' cannot be"),
        ('"dim": 5', '"dim": 0', "net.onnx is damaged: 0 is no count of a vector's numbers"),
        ('"dim": 5', '"dim": 2147483648', "2147483648 is no count of a vector's numbers"),
        ('"layers": []', '"layers": [["deep", -1]]', "-1 is no count of a vector's numbers"),
        ('"dim": 5', '"dim": NaN', "what it says of itself is not JSON"),
        ('"dim": 5', '"dim": 1e999', "what it says of itself is not JSON"),
        ('"here"', '"\\ud800"', "what it says of itself is not JSON"),
        ('"layers": []', '"layers": [[8, "deep"]]', "net.onnx is damaged: 'layers' cannot be 8"),
        ('["a", "b"]', f'["a", "{"b" * 1001}"]', "damaged: the name of a class has more than 1000 characters"),
        ('"here"', f'"{"x" * 4097}"', "damaged: a text in it has more than 4096 characters"),
    ],
)
def test_facts_that_cannot_be_are_refused_by_name(old: str, new: str, words: str) -> None:
    text = facts().to_json()
    assert old in text
    with pytest.raises(InputError, match=words):
        Facts.from_json(text.replace(old, new), "net.onnx")


TOKENIZER = "5b" * 32


def text_facts(**changes: Any) -> Facts:
    values = asdict(facts()) | {"recipe": TextRecipe(TOKENIZER, 256), "classes": (), "class_ids": (), **changes}
    return Facts(**values)


def test_facts_of_a_text_backbone_survive_json() -> None:
    for made in (text_facts(), text_facts(metric="cosine", span_labels=("O", "B-PER"))):
        rebuilt = Facts.from_json(made.to_json())
        assert rebuilt == made
        assert rebuilt.recipe == TextRecipe(TOKENIZER, 256)
        assert rebuilt.to_json() == made.to_json()
    assert json.loads(text_facts().to_json())["recipe"] == {
        "modality": "text", "tokenizer": TOKENIZER, "max_tokens": 256,
    }  # fmt: skip
    assert not {"metric", "span_labels"} & json.loads(text_facts().to_json()).keys()
    assert TextRecipe(TOKENIZER, 256).canonical() == {"modality": "text", "tokenizer": TOKENIZER, "max_tokens": 256}


def test_facts_of_a_picture_backbone_are_the_bytes_that_they_were() -> None:
    assert facts().to_json() == (
        '{"class_ids": ["n1", "n2"], "classes": ["a", "b"], "cut": "relu", "dim": 5, "format": 1, "layers": [], '
        '"licence": "none", "multiply_adds": 20, "name": "na\\u00efve", "notes": {"tuned on": ["x", 1, null]}, '
        '"parameters": 10, "pooling": "avg", "recipe": {"antialias": true, "edge": "short", "height": 224, "kernel": '
        '"bicubic", "pad_color": [9, 8, 7], "rounding": "torchvision", "scaled_decode": false, "size": 256, "width": '
        '224}, "source": "here"}'
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (f'"{TOKENIZER}"', '"5B5b"', "net.onnx is damaged: A recipe for texts names its tokenizer by a SHA-256"),
        (f'"{TOKENIZER}"', f'"{TOKENIZER}\\n"', "names its tokenizer by a SHA-256"),
        (f'"{TOKENIZER}"', "7", "'recipe.tokenizer' cannot be 7"),
        ('"max_tokens": 256', '"max_tokens": 3', "A recipe for texts needs 4 to 32768 tokens. Got 3"),
        ('"max_tokens": 256', '"max_tokens": 32769', "needs 4 to 32768 tokens. Got 32769"),
        ('"max_tokens": 256', '"max_tokens": 8.5', "'recipe.max_tokens' cannot be 8.5"),
        ('"max_tokens": 256, ', "", "'recipe.max_tokens' is missing"),
        ('"max_tokens": 256', '"max_tokens": 256, "edge": "long"', "says 'recipe.edge' of itself"),
        (', "modality": "text"', "", "says 'recipe.max_tokens' of itself"),
        ('"modality": "text"', '"modality": "video"', "'recipe.modality' is 'video', which this version does not know"),
        ('"modality": "text"', '"modality": ["text"]', r"'recipe.modality' is \['text'\], which this version"),
        ('"modality": "text"', '"modality": null', "'recipe.modality' is None, which this version"),
        ('"metric": "cosine"', '"metric": "dot"', "'metric' cannot be 'dot'"),
        ('["O"]', '["O", 1]', "'span_labels' cannot be 1"),
        ('["O"]', f'["{"O" * 1001}"]', "the name of a class has more than 1000 characters"),
        (
            '"modality": "text"',
            '"kind": "words", "modality": "text"',
            "only a net that takes the tokens of a text says",
        ),
    ],
)
def test_facts_of_texts_that_cannot_be_are_refused_by_name(old: str, new: str, words: str) -> None:
    text = text_facts(metric="cosine", span_labels=("O",)).to_json()
    assert old in text
    with pytest.raises(InputError, match=words):
        Facts.from_json(text.replace(old, new), "net.onnx")


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ('"max_tokens": 256', "recipe.max_tokens"),
        (f'"tokenizer": "{TOKENIZER}"', "recipe.tokenizer"),
        ('"modality": "text"', "recipe.antialias"),  # then it is a text's, with a picture's fields
    ],
)
def test_a_picture_has_none_of_the_fields_of_texts(more: str, name: str) -> None:
    text = facts().to_json().replace('"edge": "short"', f'"edge": "short", {more}')
    with pytest.raises(InputError, match=f"says '{name}' of itself, which this version does not know"):
        Facts.from_json(text)


def test_who_takes_pictures_refuses_a_backbone_of_texts() -> None:
    assert BackboneFile(Path("net.onnx"), "f" * 64, facts()).picture_recipe == facts().recipe
    with pytest.raises(InputError, match="naïve is a backbone of texts, which this does not take"):
        _ = BackboneFile(Path("net.onnx"), "f" * 64, text_facts()).picture_recipe
