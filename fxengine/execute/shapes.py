"""Which rows a net computes at once: pictures in batches of one size, texts in runs of one length.

A text's vector may not depend on what stands beside it. Padding would change it, a little, and so may another number of
rows; so every text is computed in a shape that its own length alone decides: without padding, beside as many rows as
make up the tokens of a run, rows of zeros where there are no more of this length.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import numpy as np

from fxengine.backbones.spec import LENGTHS_INPUT, TOKENS_INPUT
from fxengine.errors import at_least

# Tokens of a run. On two AVX2 cores, all-MiniLM-L6-v2 takes 3,700 to 3,900 tokens a second and core in runs of 128,
# 3,400 to 3,800 in runs of 64, 2,200 to 3,000 where a short text is alone.
CPU_TOKENS = 128
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


def cut(inputs: Mapping[str, np.ndarray], rows: Sequence[int] | np.ndarray, size: int) -> list[Rows]:
    """Return which of the rows are run at once.

    Args:
        inputs: name -> array [n, ...].
        rows: those that are wanted, ascending; others of a batch of pictures are computed with them.
        size: rows of a batch of pictures, tokens of a run over texts.
    """
    if not len(rows):
        return []
    if takes_texts(inputs):
        return _of_one_length(np.asarray(rows), inputs[LENGTHS_INPUT][rows], size)
    end = int(rows[-1]) + 1
    return [slice(start, min(start + size, end)) for start in range(0, end, size)]


def _of_one_length(rows: np.ndarray, lengths: np.ndarray, tokens: int) -> list[Rows]:
    """Return rows of one length each, the longest first: what is begun last then ends soon."""
    order = np.argsort(-lengths, kind="stable")
    ends = [*np.flatnonzero(np.diff(lengths[order])) + 1, len(rows)]
    made: list[Rows] = []
    start = 0
    for end in ends:
        step = rows_of_a_run(int(lengths[order[start]]), tokens)
        made += [rows[order[i : min(i + step, end)]] for i in range(start, end, step)]
        start = int(end)
    return made


def rows_of_a_run(length: int, tokens: int) -> int:
    """Return how many texts of a length are run at once, where a run takes so many tokens."""
    return max(1, tokens // max(1, length))


def texts_of_a_run(inputs: Mapping[str, np.ndarray], rows: Rows, tokens: int) -> dict[str, np.ndarray]:
    """Return texts of one length without what is behind them, with rows of zeros up to those of a whole run."""
    lengths = inputs[LENGTHS_INPUT][rows]
    length = max(1, int(lengths[0]))
    made = np.zeros((rows_of_a_run(length, tokens), length), np.int32)
    made[: len(lengths)] = inputs[TOKENS_INPUT][rows, :length]
    return {TOKENS_INPUT: made, LENGTHS_INPUT: np.full(len(made), length, np.int32)}
