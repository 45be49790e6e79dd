"""Which rows a net computes at once: pictures in batches of one size, texts in runs of one length.

A text's vector may not depend on what stands beside it. Padding would change it, a little, and so may another number of
rows; so every text is computed in a shape that its own length alone decides: without padding, beside as many rows as
make up the tokens of a run, rows of zeros where there are no more of this length.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import numpy as np

from fxengine.backbones.spec import LENGTHS_INPUT, TOKENS_INPUT
from fxengine.errors import at_least

# Tokens of a run. On two AVX2 cores, all-MiniLM-L6-v2 takes 3,700 to 3,900 tokens a second and core in runs of 128,
# 3,400 to 3,800 in runs of 64, 2,200 to 3,000 where a short text is alone.
CPU_TOKENS = 128
WORDS_TOKENS = 4096  # of a net over words, which takes a hundredth of the time for each
GPU_TOKENS = 16_384
_MOST_TOKENS = 1 << 17  # a run is filled up to its size, however few texts there are

Rows = slice | np.ndarray  # of inputs that are run at once


def takes_texts(inputs: Container[str]) -> bool:
    """Tell whether these are (the names of) inputs of a text backbone."""
    return LENGTHS_INPUT in inputs


def tokens_of_a_run(asked: int | None, usual: int) -> int:
    """Return the tokens of a run, as they were asked for; raises InputError where no machine has room for so many."""
    if asked is None:
        return usual
    at_least("batch_size", asked, 1, _MOST_TOKENS)
    return asked


class Dealer:
    """Deals rows out to runs as they become ready, in whatever order.

    Args:
        inputs: name -> array [n, ...].
        size: rows of a batch of pictures, tokens of a run over texts.
    """

    def __init__(self, inputs: Mapping[str, np.ndarray], size: int) -> None:
        self._lengths = inputs.get(LENGTHS_INPUT)
        self._size = size
        self._end = 0
        self._waiting: dict[int, list[int]] = {}

    def ready(self, rows: Iterable[int]) -> list[Rows]:
        """Take rows that are ready; return what can be run: texts as soon as a run of their length is whole."""
        if self._lengths is None:
            self._end = max(self._end, *(row + 1 for row in rows), 0)
            return []
        made: list[Rows] = []
        for row in rows:
            length = int(self._lengths[row])
            alike = self._waiting.setdefault(length, [])
            alike.append(row)
            if len(alike) == rows_of_a_run(length, self._size):
                made.append(np.array(self._waiting.pop(length)))
        return made

    def rest(self) -> list[Rows]:
        """Return what is left, the longest texts first: what is begun last then ends soon.

        Pictures are run from the first to the last that is ready; others between them are computed with them.
        """
        if self._lengths is None:
            return [slice(start, min(start + self._size, self._end)) for start in range(0, self._end, self._size)]
        return [np.array(self._waiting[length]) for length in sorted(self._waiting, reverse=True)]


def cut(inputs: Mapping[str, np.ndarray], rows: Iterable[int], size: int) -> list[Rows]:
    """Return which of the rows are run at once, where all of them are ready, the longest texts first; see `Dealer`."""
    dealer = Dealer(inputs, size)
    runs = [*dealer.ready(rows), *dealer.rest()]
    return sorted(runs, key=lambda run: -inputs[LENGTHS_INPUT][run][0]) if takes_texts(inputs) else runs


def rows_of_a_run(length: int, tokens: int) -> int:
    """Return how many texts of a length are run at once, where a run takes so many tokens."""
    return max(1, tokens // max(1, length))


def texts_of_a_run(inputs: Mapping[str, np.ndarray], rows: Rows, tokens: int) -> dict[str, np.ndarray]:
    """Return texts of one length without what is behind them, with rows of zeros up to those of a whole run."""
    lengths = inputs[LENGTHS_INPUT][rows]
    length = max(1, int(lengths[0]))
    made = np.zeros((rows_of_a_run(length, tokens), length), np.int32)
    texts = inputs[TOKENS_INPUT][rows]
    made[: len(texts)] = np.concatenate(texts).reshape(-1, length) if texts.ndim == 1 else texts[:, :length]
    return {TOKENS_INPUT: made, LENGTHS_INPUT: np.full(len(made), length, np.int32)}
