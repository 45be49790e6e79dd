"""What every reader of word vectors gives: words and rows, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fxengine.errors import InputError

MOST_DIM = 1 << 16
Block = tuple[list[bytes], np.ndarray]  # words as they are in the file, and float32 [words, dim]


@dataclass(frozen=True)
class Blocks:
    """The vectors of a file, to be taken once.

    Attributes:
        format: what the file is, in words.
        dim: numbers a vector has.
        blocks: in the file's order.
        likely: how many there are, roughly; 0 where that cannot be said.
        whole: whether no word may be left out, since a tokenizer counts on its number.
    """

    format: str
    dim: int
    blocks: Iterator[Block]
    likely: int = 0
    whole: bool = False


def check_dim(name: str, dim: int) -> int:
    """Return the numbers a vector has; raises InputError where that is out of all bounds."""
    if not 1 <= dim <= MOST_DIM:
        raise InputError(f"{name} is said to have vectors of {dim} numbers; 1 to {MOST_DIM:,} can be read.")
    return dim


def check_finite(name: str, words: list[bytes], rows: np.ndarray, first: int) -> None:
    """Raise InputError where a number of a block, whose first row has the number `first`, is none."""
    sound = np.isfinite(rows).all(axis=1)
    if not sound.all():
        at = int(np.argmin(sound))
        word = words[at].decode(errors="replace")[:60]
        raise InputError(f"{name}: row {first + at:,} ({word!r}) has a number that is not finite.")
