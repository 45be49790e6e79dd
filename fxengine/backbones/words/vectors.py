"""Word vectors from a file, in any of the formats that they come in; `WordVectors` is public."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones.words.binary import is_binary, read_binary
from fxengine.backbones.words.blocks import Blocks
from fxengine.backbones.words.fasttext import FASTTEXT, MAGIC, Subwords, open_model, read_fasttext
from fxengine.backbones.words.kept import Dropped, find_table, keep_table, kept_name
from fxengine.backbones.words.static import config_of, files_of, read_static, tokenizer_of
from fxengine.backbones.words.stream import Place, Stream, find_place, open_stream
from fxengine.backbones.words.text import read_text
from fxengine.errors import InputError, at_least, explained, given, path_of

_FEW = 8  # words


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and a vector for each.

    Attributes:
        source: where they came from, "FILE" or "FILE#MEMBER".
        format: what that is, in words.
        words: in its order, which is the most frequent first in all that is usually published; all different.
        array: float32 [words, dim], read-only, mapped into memory.
        dropped: how many words of it were left out, and why.
        tokenizer_json: the tokenizer that finds the words, of a folder as model2vec writes it; else None. A word is
            then a token, and none was left out, so that a token's id is its row.
        config: what such a folder says of itself, such as `normalize`.
    """

    source: str
    format: str
    words: Sequence[str] = field(repr=False)
    array: np.ndarray = field(repr=False)
    dropped: Dropped
    tokenizer_json: bytes | None = field(default=None, repr=False)
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    _file: Path | None = field(default=None, repr=False)  # where there are subwords
    _stamp: tuple[int, int] = field(default=(0, 0), repr=False)
    _asked: Iterator[int] = field(default_factory=count, repr=False)

    @classmethod
    def open(cls, path: str | Path, *, words: int | None = None) -> WordVectors:
        """Open word vectors: the first time they are read into the cache, and from then on mapped from there.

        Text as GloVe writes it, word2vec's text and binary format, fastText's .vec and .bin, each plain, in a .gz (but
        for fastText's .bin) or as a member of a .zip, and folders as model2vec writes them. What a file is, is found by
        what is in it.

        Args:
            path: "FILE", or "FILE#MEMBER" for a .zip with several; a folder.
            words: how many are taken at most, the first ones; all unless given.

        Raises:
            InputError: it is none of these, damaged, or over 2 GB as float32.
        """
        place = find_place(path_of("path", path))
        folder = place.path.is_dir()
        if words is not None:
            at_least("words", words, 1)
        if folder and words is not None:
            raise InputError(f"{place} is a folder, whose tokenizer counts on every row: leave `words` out.")
        files = list(files_of(place.path)) if folder else [place.path]
        stamp, name = _stamp(files[0]), kept_name(str(place), files, words)
        kept = find_table(name) or keep_table(name, str(place), partial(_blocks_of, place), words)
        tokenizer, config = (tokenizer_of(place.path), config_of(place.path)) if folder else (None, {})
        file = place.path.absolute() if kept.format == FASTTEXT else None
        return cls(str(place), kept.format, kept.words, kept.rows, kept.dropped, tokenizer, config, file, stamp)

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return int(self.array.shape[1])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return self._number(word) is not None

    def __getitem__(self, word: str) -> np.ndarray:
        """Return the vector of a word; of one that is not known from its subwords, where the file has such.

        Raises:
            KeyError: there is none.
        """
        number = self._number(word)
        if number is not None:
            row: np.ndarray = self.array[number]
            return row
        if isinstance(word, str):
            (row,), (subwords,) = self._from_subwords([word])
            if subwords:
                return row
        lower = word.lower() if isinstance(word, str) else ""
        hint = f"; there is {lower!r}" if lower in self else ""
        raise KeyError(f"{self.source} has no word {given(word)}{hint}.")

    def vector(self, word: str) -> np.ndarray:
        """Return the same as `[word]`."""
        return self[word]

    def matrix(self, vocabulary: Iterable[str]) -> tuple[np.ndarray, list[str]]:
        """Return a row for each word of a vocabulary, as for an Embedding of Keras, and the words that have none.

        Each is looked up as it is, then in lower case, then made from subwords, where the file has such.

        Args:
            vocabulary: words in the order of the rows.

        Returns:
            float32 [words, dim] with zeros for missing words; those words in their order.

        Raises:
            InputError: one is no text.
        """
        if isinstance(vocabulary, str | bytes):
            raise InputError("A vocabulary must be words, such as a list of them. Got one text.")
        names = list(vocabulary)
        for name in names:
            if not isinstance(name, str):
                raise InputError(f"A vocabulary must be words. Got {given(name)}.")
        known = self._numbers
        numbers = np.array([known.get(name, known.get(name.lower(), -1)) for name in names], np.int64)
        out = np.zeros((len(names), self.dim), np.float32)
        out[numbers >= 0] = self.array[numbers[numbers >= 0]]
        others = np.flatnonzero(numbers < 0)
        made, counts = self._from_subwords([names[at] for at in others])
        out[others] = made
        return out, [names[at] for at in others[counts == 0]]

    def _number(self, word: object) -> int | None:
        """Return the row of a word; the first few are looked for one by one, since a dict of all takes its time."""
        if "_numbers" not in self.__dict__ and next(self._asked) < _FEW:
            try:
                return self.words.index(word) if isinstance(word, str) else None
            except ValueError:
                return None
        return self._numbers.get(word) if isinstance(word, str) else None

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Word -> its row, of the first of that word; made when more than a few are asked for."""
        numbers = dict(zip(self.words, range(len(self.words)), strict=True))
        if len(numbers) != len(self.words):  # tokens of a damaged tokenizer
            numbers = dict(zip(reversed(self.words), range(len(self.words) - 1, -1, -1), strict=True))
        return numbers

    def _from_subwords(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return vectors of unknown words and of how many subwords each is the mean."""
        if self._subwords is None or not words:
            return np.zeros((len(words), self.dim), np.float32), np.zeros(len(words), np.int64)
        return self._subwords.vectors([word.encode(errors="replace") for word in words])

    @cached_property
    def _subwords(self) -> Subwords | None:
        """The rows of subwords, opened when an unknown word is first asked for."""
        if self._file is None:
            return None
        if _stamp(self._file) != self._stamp:
            raise InputError(f"{self.source} was changed since it was opened. Open it again.")
        return open_model(self._file).subwords


def _stamp(file: Path) -> tuple[int, int]:
    with explained(f"{file} cannot be read", kind=InputError):
        status = file.stat()
    return status.st_size, status.st_mtime_ns


@contextmanager
def _blocks_of(place: Place) -> Iterator[Blocks]:
    """Begin to read what is at a place."""
    if place.path.is_dir():
        yield read_static(place.path)
        return
    with open_stream(place) as stream:
        yield _reader_of(stream)(stream)


def _reader_of(stream: Stream) -> Callable[[Stream], Blocks]:
    """Return what reads a file, by what it begins with."""
    if stream.head.startswith(MAGIC):
        return read_fasttext
    return read_binary if is_binary(stream.head) else read_text
