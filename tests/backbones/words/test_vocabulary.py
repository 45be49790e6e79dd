"""Vocabularies: what is looked up how, and that one comes back from its bytes."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine.backbones.words.rule import RULES
from fxengine.backbones.words.vocabulary import Vocabulary
from fxengine.errors import InputError

WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n")), unique=True, max_size=20)


def test_words_are_looked_up_as_they_are_and_then_in_lower_case() -> None:
    known = Vocabulary(RULES["words"], ["Apple", "apple", "us", "US", "\u00df"])
    assert known.ids("Apple APPLE apple US us Us uS \u00df ? .") == ([0, 1, 1, 3, 2, 2, 2, 4], 10)
    assert [known.number(word) for word in ("Apple", "aPPLE", "pear")] == [0, 1, -1]
    keras = Vocabulary(RULES["keras"], ["Apple", "apple", "don't"])
    assert keras.ids("Apple, DON'T!") == ([1, 2], 2)


@given(WORDS, st.sampled_from(sorted(RULES)))
def test_it_comes_back_from_its_bytes(words: list[str], rule: str) -> None:
    made = Vocabulary(RULES[rule], words)
    again = Vocabulary.from_bytes(made.to_bytes())
    assert (again.rule, list(again.words)) == (made.rule, words)
    assert again.to_bytes() == made.to_bytes()


@given(WORDS, st.lists(st.sampled_from(["a", "A", "b", "B", "?", "ab"])))
def test_looking_up_again_gives_the_same(words: list[str], asked: list[str]) -> None:
    known = Vocabulary(RULES["words"], words)
    by_hand = [next((words.index(w) for w in (word, word.lower()) if w in words), -1) for word in asked]
    for _ in range(2):
        assert [known.number(word) for word in asked] == by_hand


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "This is no vocabulary"),
        (b"\xff\n", "This is no vocabulary"),
        (b"[]\na", "This is no vocabulary"),
        (b'{"rule": 1}\na', "This is no vocabulary"),
        (json.dumps({**asdict(RULES["words"]), "pattern": "(a+)+$"}).encode() + b"\na", "a rule that this version"),
        (json.dumps(asdict(RULES["words"])).encode() + b"\na\nb\na", "has a word twice"),
    ],
)
def test_what_is_none_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Vocabulary.from_bytes(data)


LIKELY = st.sampled_from(
    ["do", "n't", "don't", "'", "''", "it's", "I'd", "_", "a", "b1", " ", "\t", ",", ".", "x'n't", "n"]
)
ASCII = st.text(st.characters(codec="ascii"))
TEXTS = st.lists(st.lists(LIKELY | ASCII | st.text(max_size=3), max_size=12).map("".join), max_size=6)


@settings(deadline=None)  # the first one loads Arrow's kernels
@given(TEXTS, st.lists(LIKELY | ASCII, unique=True, max_size=20), st.sampled_from(sorted(RULES)))
def test_many_texts_at_once_give_what_each_gives(texts: list[str], words: list[str], rule: str) -> None:
    known = Vocabulary(RULES[rule], words)
    for _ in range(2):
        together = known.all_ids(texts)
        assert [(ids.tolist(), count) for ids, count in together] == [known.ids(text) for text in texts]
        assert {ids.dtype.name for ids, _ in together} <= {"int32"}
