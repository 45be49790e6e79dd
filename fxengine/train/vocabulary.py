"""The words of texts as a net over word vectors takes them: a vocabulary from the training rows, and its vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fxengine.backbones.words.vectors import WordVectors
from fxengine.backbones.words.vocabulary import Vocabulary
from fxengine.errors import InputError

# What a word without a vector begins with where vectors are trained: as Keras's Embedding does.
_SPREAD = 0.05


@dataclass(frozen=True)
class Numbered:
    """Texts as the numbers of their known words, row i being `tokens[starts[i] : starts[i + 1]]`.

    Attributes:
        tokens: int32.
        starts: int64 [rows + 1].
        cut: rows that had more known words than are taken.
        empty: rows of which no word is known.
    """

    tokens: np.ndarray
    starts: np.ndarray
    cut: int
    empty: int

    def row(self, number: int) -> np.ndarray:
        """Return the words of a row, int32 [words]."""
        return self.tokens[self.starts[number] : self.starts[number + 1]]


def training_words(texts: Iterable[str], known: Vocabulary) -> Vocabulary:
    """Return the words of the texts to train on, the most frequent first.

    A word is spelt as it is known: as it stands, else in lower case, which is how the net will look words up, too.
    """
    counts = Counter(_spelt(word, known) for text in texts for word in known.rule.words(text))
    return Vocabulary(known.rule, [word for word, _ in counts.most_common()])


def _spelt(word: str, known: Vocabulary) -> str:
    number = known.number(word)
    return known.words[number] if number >= 0 else word.lower()


def vectors_of(vocabulary: Vocabulary, vectors: WordVectors, *, frozen: bool, seed: int) -> tuple[np.ndarray, int]:
    """Return the vectors of a vocabulary, float32 [words, dim], and how many of its words have none.

    Where vectors stay frozen, these are zeros, as in the guides; else small random numbers.

    Raises:
        InputError: none has one.
    """
    table, missing = vectors.matrix(vocabulary.words)
    if len(missing) == len(vocabulary.words):
        raise InputError(
            f"None of the {len(missing)} words of the texts to train on has a vector in {vectors.source}: take vectors "
            "of the texts' language."
        )
    if not frozen and missing:
        rows = [vocabulary.number(word) for word in missing]
        table = np.array(table)
        table[rows] = np.random.default_rng(seed).uniform(-_SPREAD, _SPREAD, (len(rows), table.shape[1]))
    return np.ascontiguousarray(table, np.float32), len(missing)


def numbered(texts: Sequence[str], vocabulary: Vocabulary, most: int) -> Numbered:
    """Return texts as the numbers of their known words, of each the first `most` ones."""
    rows = [vocabulary.ids(text)[0] for text in texts]
    kept = [np.asarray(row[:most], np.int32) for row in rows]
    starts = np.cumsum([0, *map(len, kept)], dtype=np.int64)
    tokens = np.concatenate([*kept, np.zeros(0, np.int32)])
    return Numbered(tokens, starts, sum(len(row) > most for row in rows), sum(not row for row in rows))
