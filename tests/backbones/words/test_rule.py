"""What the words of a text are: against Keras' own function, and against a plain account of the other rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine.backbones.words.rule import RULES, find_rule
from fxengine.errors import InputError

# keras.src.legacy.preprocessing.text.text_to_word_sequence(text) of Keras 3.13
_FILTERED = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def keras_words(text: str) -> list[str]:
    apart: dict[int, str] = {ord(mark): " " for mark in _FILTERED}
    changed = text.lower().translate(apart)
    return [word for word in changed.split(" ") if word]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't, they can\u2019t.", ["I", "do", "n't", ",", "they", "ca", "n't", "."]),
        ("It's Tom's; we've won!", ["It", "'s", "Tom", "'s", ";", "we", "'ve", "won", "!"]),
        ("'quoted' o'clock", ["'", "quoted", "'", "o", "'", "clock"]),
        ("well-known 3.5 a_b \u00e9t\u00e9", ["well", "-", "known", "3", ".", "5", "a_b", "\u00e9t\u00e9"]),
        ("n't tn't't", ["n't", "t", "n't", "'", "t"]),
        ("\u4f60\u597d, \U0001f600\U0001f600", ["\u4f60\u597d", ",", "\U0001f600", "\U0001f600"]),
        (" \t\u00a0\u2028\n", []),
        ("", []),
    ],
)
def test_words_and_marks(text: str, words: list[str]) -> None:
    assert find_rule("words").words(text) == words


@given(st.text(st.sampled_from("ab'nt\u2019s. -\n")))
def test_no_letter_and_no_mark_is_lost(text: str) -> None:
    found = RULES["words"].words(text)
    assert "".join(found) == "".join(text.replace("\u2019", "'").split())
    assert all(found)


@given(st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(_FILTERED + " '\u00a0\u0130"))))
def test_keras_words_are_those_of_its_tokenizer(text: str) -> None:
    assert RULES["keras"].words(text) == keras_words(text)


def test_a_rule_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="There is no rule 'bert' for `tokens`"):
        find_rule("bert")
