"""The package `tokenizers`, which only this file imports: a text becomes token ids, and how many there were is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np

from fxengine.errors import InputError, first_line

_INSTALL = "Texts need the package tokenizers: pip install 'fxengine[text]'"


class Tokenized(NamedTuple):
    """The tokens of a text.

    Attributes:
        ids: of those that are kept, int32 [tokens].
        tokens: how many the whole text has.
        known: how many of them are known to a vocabulary; all of them are to other tokenizers.
    """

    ids: np.ndarray
    tokens: int
    known: int


class Word(NamedTuple):
    """A word of a text.

    Attributes:
        token: the number of its first token among those that are kept.
        start: the number of its first character, from 0.
        end: the number of the character behind the last one that its tokens cover.
    """

    token: int
    start: int
    end: int


class Tokenizer(Protocol):
    """Takes texts apart; any thread may use it."""

    @property
    def version(self) -> str:
        """What makes the tokens, with its version, for a store's metadata."""

    def all_ids(self, texts: Sequence[str], /) -> list[Tokenized]:
        """Return the tokens of each text, of which the first are kept."""


@dataclass(frozen=True)
class Subwords:
    """A tokenizer of the package that keeps the first `max_tokens` tokens of a text.

    Attributes:
        max_tokens: tokens that are kept, special ones included.
        _special: how many special tokens stand around every piece of a text.
    """

    max_tokens: int
    _special: int
    _tokenizer: Any

    @property
    def version(self) -> str:
        """The package with its version."""
        return f"tokenizers {version('tokenizers')}"

    def ids(self, text: str) -> Tokenized:
        """Do so for a single text."""
        return self.all_ids([text])[0]

    def all_ids(self, texts: Sequence[str]) -> list[Tokenized]:
        """Return the tokens of each text.

        Raises:
            InputError: the tokenizer fails on a text, or gives what is no row of token ids.
        """
        with _explained("fails on a text"):
            found = self._tokenizer.encode_batch_fast(texts)
            rows = [each.ids for each in found]
            ends = [*accumulate(map(len, rows), initial=0)]
            ids = np.fromiter(chain.from_iterable(rows), np.int32, ends[-1])
        kept = [ids[begin:end] for begin, end in pairwise(ends)]
        return [self._kept(row, each) for row, each in zip(kept, found, strict=True)]

    def words(self, texts: Sequence[str]) -> list[list[Word]]:
        """Return the words of each text, as far as their tokens are kept.

        Raises:
            InputError: the tokenizer fails on a text, or knows nothing of words.
        """
        if self._tokenizer.pre_tokenizer is None:
            raise InputError(
                "The backbone's tokenizer does not take texts apart into words, which `spans` are made of."
            )
        with _explained("fails on a text"):
            found = [(each.word_ids, each.offsets) for each in self._tokenizer.encode_batch(texts)]
        return [_words(*each) for each in found]

    def _kept(self, ids: np.ndarray, encoded: Any) -> Tokenized:
        count = len(ids)
        if count > self.max_tokens:
            raise InputError(f"The backbone's tokenizer gives {count} tokens where {self.max_tokens} are taken.")
        if count == self.max_tokens:
            count += sum(len(rest.ids) - self._special for rest in encoded.overflowing)
        return Tokenized(ids, count, count)


def open_tokenizer(tokenizer: bytes, max_tokens: int) -> Subwords:
    """Return a tokenizer.

    Args:
        tokenizer: its JSON, as the package `tokenizers` writes it; what it says of cutting and padding is left aside,
            since published ones say it wrongly (that of all-MiniLM-L6-v2 cuts at 128 tokens and pads to as many).
        max_tokens: tokens that are kept, special ones included.

    Raises:
        InputError: the package is not installed, it cannot read the tokenizer, or `max_tokens` leaves no room.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise InputError(_INSTALL) from error
    with _explained("cannot be read"):
        made = tokenizers.Tokenizer.from_str(tokenizer.decode())
        made.no_padding()
        made.enable_truncation(max_tokens)  # before any thread uses it: it must not change while one does
    return Subwords(max_tokens, made.num_special_tokens_to_add(False), made)


def _words(numbers: Sequence[int | None], offsets: Sequence[tuple[int, int]]) -> list[Word]:
    """Return the words of a text from the word's number of each token, None of a special one, and its characters."""
    made: list[Word] = []
    before = None
    for token, (number, (start, end)) in enumerate(zip(numbers, offsets, strict=True)):
        if number is not None:
            made.append(made.pop()._replace(end=end) if number == before else Word(token, start, end))
        before = number
    return made


@contextmanager
def _explained(failed: str) -> Iterator[None]:
    """Turn what the package raises into a sentence: it has no class of its own, and what it panics with is no
    `Exception`.
    """
    try:
        yield
    except MemoryError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputError(f"The backbone's tokenizer {failed}: {first_line(error)}") from error
