"""Word vectors in fastText's .bin, as its own `get_word_vector` gives them.

The vector of a word is the mean of its own row and of the rows of its n-grams, which unknown words have, too. Layout:
fastText's `FastText::loadModel`, `Dictionary::load` and `Dictionary::computeSubwords`, version 12 of the format.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from fxengine.backbones.words.blocks import Block, Blocks, check_dim, check_finite
from fxengine.backbones.words.stream import Stream
from fxengine.errors import InputError, explained
from fxengine.files import open_regular

FASTTEXT = "fastText's .bin"
MAGIC = struct.pack("<i", 793712314)
_VERSION = 12
_ARGUMENTS, _COUNTS, _ENTRY, _SHAPE = "<12id", "<iiiqq", "<qb", "<qq"
_LONGEST = 1 << 16  # bytes of a word
_GATHERED = 1 << 24  # bytes of rows that are added up at once, roughly
_MOST_GATHERED = 1 << 28  # bytes of the rows of one word
_NGRAMS = 32  # of a word, roughly
_OFFSET, _PRIME = np.uint32(2166136261), np.uint32(16777619)  # of FNV-1a
_END = b"</s>"  # a text's end, which has no n-grams


@dataclass(frozen=True, eq=False)
class Subwords:
    """The rows of a model, and which of them a word has.

    Attributes:
        source: where they came from.
        words: how many there are; their rows stand first.
        rows: float32 [words and buckets, dim], mapped.
        shortest: letters of the shortest n-gram, the marks of a word's begin and end included.
        longest: letters of the longest.
        buckets: into which n-grams are hashed.
        pruned: (hash, row behind the words) sorted by hash where only some n-grams were kept; else None.
    """

    source: str
    words: int
    rows: np.ndarray
    shortest: int
    longest: int
    buckets: int
    pruned: np.ndarray | None

    def vectors(self, words: Sequence[bytes], numbers: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 [words, dim] and of how many rows each is the mean; zeros where of none.

        Args:
            words: in UTF-8.
            numbers: of their own rows; None where they are unknown.

        Raises:
            InputError: one is too long for all its n-grams.
        """
        parts = [self._means(words[step], None if numbers is None else numbers[step]) for step in self._steps(words)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    @property
    def step(self) -> int:
        """How many words' vectors are made at once."""
        return max(1, _GATHERED // (4 * int(self.rows.shape[1]) * _NGRAMS))

    def _steps(self, words: Sequence[bytes]) -> list[slice]:
        """Return which words' vectors are made at once: of long words, which have more n-grams, fewer."""
        lengths = np.array([len(word) + 2 for word in words], np.int64)
        ngrams = lengths * np.maximum(1, np.minimum(self.longest, lengths) - self.shortest + 1)
        most = _MOST_GATHERED // (4 * int(self.rows.shape[1]))
        if self.buckets and ngrams.max(initial=0) > most:
            raise InputError(
                f"{self.source}: a word of {lengths.max() - 2:,} bytes is too long for vectors of its n-grams."
            )
        groups = ngrams.cumsum() // (self.step * _NGRAMS)
        ends = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(words)]
        return [slice(*each) for each in pairwise(ends)]

    def _means(self, words: Sequence[bytes], numbers: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        rows, owners = self._ngrams(words)
        if numbers is not None:
            rows = np.concatenate([numbers, rows])
            owners = np.concatenate([np.arange(len(words)), owners])
        order = np.argsort(owners, kind="stable")
        counts = np.bincount(owners, minlength=len(words))
        out = np.zeros((len(words), self.rows.shape[1]), np.float32)
        some = np.flatnonzero(counts)
        if len(some):
            starts = (np.cumsum(counts) - counts)[some]
            out[some] = np.add.reduceat(self.rows[rows[order]], starts, axis=0) / counts[some, None].astype(np.float32)
        return out, counts

    def _ngrams(self, words: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of all n-grams of words, and the place of each one's word."""
        marked = [b"<%b>" % word if word != _END else b"" for word in words]
        lengths = np.array([len(word) for word in marked], np.int64)
        letters = np.frombuffer(b"".join(marked) + b"<", np.uint8)
        if not self.buckets or len(letters) == 1:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        begins = (letters & 0xC0) != 0x80
        index = np.cumsum(begins)  # of the letter that a byte belongs to
        owner = np.repeat(np.arange(len(words)), lengths)
        ends = np.cumsum(lengths)
        signed = letters.view(np.int8).astype(np.int32).view(np.uint32)
        at = np.flatnonzero(begins[:-1])
        hashes = np.full(len(at), _OFFSET)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        step = 0
        while len(at):
            hashes = (hashes ^ signed[at + step]) * _PRIME
            step += 1
            after, own = at + step, owner[at]
            whole = begins[after]  # it ends with a letter's last byte
            count = index[after] - index[at]
            first, last = at == ends[own] - lengths[own], after == ends[own]
            taken = whole & (count >= self.shortest) & (count <= self.longest) & ~((count == 1) & (first | last))
            found.append((hashes[taken] % np.uint32(self.buckets), own[taken]))
            more = ~last & ~(whole & (count >= self.longest))
            at, hashes = at[more], hashes[more]
        return self._rows_of(*(np.concatenate(each) for each in zip(*found, strict=True)))

    def _rows_of(self, hashes: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = hashes.astype(np.int64)
        if self.pruned is not None:
            place = np.minimum(np.searchsorted(self.pruned[:, 0], rows), len(self.pruned) - 1)
            kept = self.pruned[place, 0] == rows
            rows, owners = self.pruned[place, 1][kept], owners[kept]
        return self.words + rows, owners


@dataclass(frozen=True, eq=False)
class Model:
    """A file of fastText.

    Attributes:
        words: in the file's order, the most frequent first; labels are none.
        subwords: their rows.
    """

    words: list[bytes]
    subwords: Subwords

    def blocks(self) -> Iterator[Block]:
        """Yield words and vectors."""
        step = self.subwords.step
        for start in range(0, len(self.words), step):
            words = self.words[start : start + step]
            yield words, self.subwords.vectors(words, np.arange(start, start + len(words)))[0]


def read_fasttext(stream: Stream) -> Blocks:
    """Return the vectors of the known words of a file that begins with `MAGIC`.

    Raises:
        InputError: it is packed, damaged, quantised or of another version; the blocks raise it for a row with a number
            that is not finite.
    """
    if stream.plain is None:
        raise InputError(f"{stream.name} is a .bin of fastText, which is read where it lies: unpack it first.")
    model = open_model(stream.plain)
    dim = check_dim(stream.name, model.subwords.rows.shape[1])

    def blocks() -> Iterator[Block]:
        number = 1
        for words, rows in model.blocks():
            check_finite(stream.name, words, rows, number)
            number += len(words)
            yield words, rows

    return Blocks(FASTTEXT, dim, blocks())


def open_model(path: Path) -> Model:
    """Open a .bin of fastText, its rows mapped; raises InputError where that is not possible."""
    with explained(f"{path} cannot be read", kind=InputError), open_regular(path, follow=True) as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            return _model(path, data)
        except (struct.error, IndexError) as error:
            raise InputError(f"{path} is a .bin of fastText that is cut. Fetch it again.") from error


def _model(path: Path, data: mmap.mmap) -> Model:
    if data[:4] != MAGIC:
        raise InputError(f"{path} is no .bin of fastText.")
    (version,) = struct.unpack_from("<i", data, 4)
    if version != _VERSION:
        raise InputError(f"{path} is a .bin of fastText in version {version} of its format; {_VERSION} can be read.")
    dim, *_, buckets, shortest, longest, _, _ = struct.unpack_from(_ARGUMENTS, data, 8)
    at = 8 + struct.calcsize(_ARGUMENTS)
    size, known, _, _, pruned_size = struct.unpack_from(_COUNTS, data, at)
    words, at = _dictionary(path, data, at + struct.calcsize(_COUNTS), size, known)
    pruned = None
    if pruned_size > 0:
        pruned, at = _pruned(path, data, at, pruned_size)
    if data[at]:
        raise InputError(
            f"{path} is quantised, as fastText's .ftz are: its vectors are only near those that it was made of. Take "
            "the .bin that it was made of."
        )
    rows, columns = struct.unpack_from(_SHAPE, data, at + 1)
    at += 1 + struct.calcsize(_SHAPE)
    if longest < 1 or shortest > longest or pruned_size == 0:
        buckets = 0  # nothing but whole words
    needed = known + (len(pruned) if pruned is not None else max(0, buckets))
    if columns != dim or dim < 1 or known < 1 or rows < needed:
        raise InputError(f"{path} is a .bin of fastText that is damaged. Fetch it again.")
    if len(data) < at + 4 * rows * columns:
        raise InputError(f"{path} is a .bin of fastText that is cut. Fetch it again.")
    matrix = np.frombuffer(data, "<f4", rows * columns, at).reshape(rows, columns)
    return Model(words, Subwords(str(path), known, matrix, shortest, longest, max(0, buckets), pruned))


def _dictionary(path: Path, data: mmap.mmap, at: int, size: int, known: int) -> tuple[list[bytes], int]:
    """Return the words of a dictionary, which stand before its labels, and where it ends."""
    words: list[bytes] = []
    for _ in range(size):
        end = data.find(b"\0", at, at + _LONGEST)
        if end in (-1, at):  # no word is empty
            raise InputError(f"{path} is a .bin of fastText that is cut or damaged. Fetch it again.")
        if len(words) < known:
            words.append(data[at:end])
        at = end + 1 + struct.calcsize(_ENTRY)
    if len(words) != known:
        raise InputError(f"{path} is a .bin of fastText that is damaged. Fetch it again.")
    return words, at


def _pruned(path: Path, data: mmap.mmap, at: int, size: int) -> tuple[np.ndarray, int]:
    """Return (hash, row) of the n-grams that were kept, sorted by hash, and where they end."""
    if len(data) < at + 8 * size:
        raise InputError(f"{path} is a .bin of fastText that is cut. Fetch it again.")
    pairs = np.frombuffer(data, "<i4", 2 * size, at).reshape(size, 2).astype(np.int64)
    if pairs[:, 1].min() < 0 or pairs[:, 1].max() >= size:
        raise InputError(f"{path} is a .bin of fastText that is damaged. Fetch it again.")
    return pairs[np.argsort(pairs[:, 0], kind="stable")], at + 8 * size
