from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine import cache
from fxengine.backbones.cache import read_backbone
from fxengine.backbones.pair import Pair, find_pair, keep_pair, pair_of, relation
from fxengine.facts import FactsError
from tests.conftest import tiny_model
from tests.pairs import tiny_pair

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
PAIR = Pair(A, B, "sigmoid", 50.0, -9.5, "model.safetensors")


@pytest.mark.parametrize(
    ("space", "other", "pair", "found"),
    [
        (A, A, None, "same"),
        (A, A, PAIR, "same"),
        (A, B, PAIR, "paired"),
        (B, A, PAIR, "paired"),
        (A, B, None, "no"),
        (A, C, PAIR, "no"),
        (C, A, PAIR, "no"),
    ],
)
def test_how_two_spaces_stand_to_each_other(space: str, other: str, pair: Pair | None, found: str) -> None:
    assert relation(space, other, pair) == found


@given(st.sampled_from([A, B, C]), st.sampled_from([A, B, C]), st.sampled_from([None, PAIR]))
def test_the_relation_has_no_direction(space: str, other: str, pair: Pair | None) -> None:
    assert relation(space, other, pair) == relation(other, space, pair)


@given(
    st.sampled_from(["softmax", "sigmoid"]),
    st.none() | st.floats(1e-6, 1e6),
    st.floats(-1e3, 1e3),
    st.text("ab/._", max_size=9),
)
def test_a_pair_is_written_and_read(activation: Any, scale: float | None, bias: float, file: str) -> None:
    pair = Pair(A, B, activation, scale, bias, file)
    assert Pair.from_json(pair.to_json()) == pair
    assert (pair.other(A), pair.other(B)) == (B, A)


@pytest.mark.parametrize(
    "changed",
    [
        {"picture": "../../etc"},
        {"text": A},
        {"activation": "tanh"},
        {"scale": 0},
        {"scale": -1.0},
        {"bias": None},
        {"format": 2},
        {"towers": 3},
    ],
)
def test_a_damaged_pair_is_none(changed: dict[str, object]) -> None:
    said = json.dumps({**json.loads(PAIR.to_json()), **changed})
    with pytest.raises(FactsError):
        Pair.from_json(said)


def test_a_file_says_its_pair_and_that_changes_no_fingerprint(tmp_path: Path) -> None:
    picture, text, pair = tiny_pair(tmp_path)
    assert read_backbone(picture.path).fingerprint == picture.fingerprint == pair.picture
    assert read_backbone(text.path).fingerprint == text.fingerprint == pair.text
    assert pair_of(picture) == pair_of(text) == pair


def test_what_a_file_says_of_others_is_not_its_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other.onnx"
    model = tiny_model(scale=2.0)
    model.metadata_props.add(key="fxengine_pair", value=PAIR.to_json())
    other.write_bytes(model.SerializeToString())
    assert pair_of(read_backbone(other)) is None


def test_the_cache_notes_a_pair_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    assert find_pair(A) is None
    keep_pair(PAIR)
    assert find_pair(A) == find_pair(B) == PAIR
    assert find_pair(C) is find_pair("../x") is None
    later = Pair(A, C, "softmax")
    keep_pair(later)
    assert (find_pair(A), find_pair(B), find_pair(C)) == (later, PAIR, later)
    note = cache.find(f"pairs/{A}.json")
    assert note is not None
    note.write_text("{")
    assert find_pair(A) is None
    assert cache.clean() > 0
    assert find_pair(B) is None
