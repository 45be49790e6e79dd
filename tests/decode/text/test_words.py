"""Vocabularies as tokenizers: what is known is kept, in its order, and what is not is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fxengine.backbones.spec import TextRecipe
from fxengine.backbones.tokenizer import sha256_of_tokenizer
from fxengine.backbones.words.rule import RULES
from fxengine.backbones.words.vocabulary import Vocabulary
from fxengine.decode import Preparer, preparer_for
from fxengine.decode.text.words import open_vocabulary
from fxengine.errors import DecodeError, InputError

WORDS = Vocabulary(RULES["words"], ["good", "film", "do", "n't", ".", "Apple", "apple", "it", "'s"])


def preparer(max_tokens: int = 4) -> Preparer:
    data = WORDS.to_bytes()
    return preparer_for(TextRecipe(sha256_of_tokenizer(data), max_tokens, kind="words"), tokenizer=data)


def test_known_words_are_tokens_and_unknown_ones_are_counted() -> None:
    inputs = preparer().room(2)
    filled = preparer().open("A GOOD film, it\u2019s Apple".encode()).fill(inputs, 1)
    assert inputs["tokens"][1].tolist() == [0, 1, 7, 8]
    assert inputs["tokens"][1].dtype == np.int32
    assert inputs["lengths"].tolist() == [0, 4]
    assert filled.further == {
        "tokens": 7, "truncated": True, "coverage": 5 / 7, "text": "A GOOD film, it\u2019s Apple"
    }  # fmt: skip
    assert not preparer(5).open("A GOOD film, it\u2019s Apple".encode()).fill(inputs, 0).further["truncated"]


def test_a_text_of_unknown_words_has_no_vector() -> None:
    with pytest.raises(DecodeError, match="None of its 2 words is in the vocabulary") as raised:
        preparer().open(b"bad movie").fill(preparer().room(1), 0)
    assert raised.value.code == "no_known_word"
    with pytest.raises(DecodeError, match="The text has no token") as raised:
        _keras("!!!")
    assert raised.value.code == "empty"


def _keras(text: str) -> None:
    data = replace(WORDS, rule=RULES["keras"]).to_bytes()
    made = preparer_for(TextRecipe(sha256_of_tokenizer(data), 4, kind="words"), tokenizer=data)
    made.open(text.encode()).fill(made.room(1), 0)


def test_what_finds_words_is_said() -> None:
    assert preparer().decoder.startswith("words, python 3.")


@pytest.mark.parametrize("data", [b"", b"{", b"[]\na", b'{"pattern": "(a+)+$"}\na', b"\xff", WORDS.to_bytes() + b"\n."])
def test_what_is_no_vocabulary_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"(vocabulary)"):
        open_vocabulary(data, 8)
