from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine import InputError
from fxengine.backbones.words.rule import RULES
from fxengine.backbones.words.vectors import WordVectors
from fxengine.backbones.words.vocabulary import Vocabulary
from fxengine.train.vocabulary import numbered, training_words, vectors_of
from tests.word_vectors import write_vectors

KNOWN = Vocabulary(RULES["words"], ["the", "good", "US", "film"])


@pytest.fixture
def vectors(tmp_path: Path) -> WordVectors:
    table = np.array([[i, 1.5, -2] for i in range(len(KNOWN.words))])
    return WordVectors.open(write_vectors(tmp_path / "glove.txt", KNOWN.words, table))


def test_words_are_spelt_as_they_are_known_and_the_frequent_ones_come_first() -> None:
    texts = ["The good US film", "GOOD good, the Zorn US us"]
    found = training_words(texts, KNOWN)
    assert found.rule == KNOWN.rule
    assert list(found.words) == ["good", "the", "US", "film", ",", "zorn", "us"]
    assert found.ids("Us ZORN unknown Good")[0] == [6, 5, 0]  # looked up as it is, then in lower case, as it was spelt


def test_a_word_without_a_vector_is_zeros_or_small_and_random(vectors: WordVectors) -> None:
    words = Vocabulary(RULES["words"], ["good", "zorn", "film", "zarn"])
    table, missing = vectors_of(words, vectors, frozen=True, seed=0)
    assert missing == 2
    np.testing.assert_array_equal(table, [[1, 1.5, -2], [0, 0, 0], [3, 1.5, -2], [0, 0, 0]])
    tables = [vectors_of(words, vectors, frozen=False, seed=seed)[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(tables[0], tables[1])
    np.testing.assert_array_equal(tables[0][[0, 2]], table[[0, 2]])
    assert (tables[0][[1, 3]] != tables[2][[1, 3]]).all()
    assert 0 < np.abs(tables[0][[1, 3]]).max() <= 0.05


def test_vectors_that_know_no_word_are_refused(vectors: WordVectors) -> None:
    words = Vocabulary(RULES["words"], ["gut", "schlecht"])
    with pytest.raises(
        InputError, match=r"None of the 2 words of the texts to train on has a vector in .*glove\.txt: "
    ):
        vectors_of(words, vectors, frozen=True, seed=0)


def test_texts_become_numbers_and_are_cut_behind() -> None:
    found = numbered(["film good the US", "nothing here", "good"], KNOWN, 3)
    assert [found.row(i).tolist() for i in range(3)] == [[3, 1, 0], [], [1]]
    assert (found.cut, found.empty) == (1, 1)
    assert [str(found.tokens.dtype), str(found.starts.dtype)] == ["int32", "int64"]
    assert numbered([], KNOWN, 3).starts.tolist() == [0]
