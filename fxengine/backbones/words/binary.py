"""Word vectors in word2vec's binary format: a header, then each word, a space and its numbers in 4 bytes each."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from fxengine.backbones.words.blocks import Block, Blocks, check_dim, check_finite
from fxengine.backbones.words.stream import Stream
from fxengine.backbones.words.text import HEADER, is_number
from fxengine.errors import InputError

_LONGEST = 1 << 16  # bytes of a word
_USUAL = 12  # bytes of a word and what parts it from its numbers
_CONTROL = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f]")


def is_binary(head: bytes) -> bool:
    """Tell whether what a file begins with is word2vec's binary format, and not its text."""
    header = HEADER.match(head)
    if header is None:
        return False
    dim, (line, end, _) = int(header[2]), head[header.end() :].partition(b"\n")
    fields = line.rstrip(b" \r").split(b" ")
    values = fields[-dim:] if end else fields[1:-1] or fields[1:]
    if values and len(fields) > 1 and all(is_number(field) for field in values):
        return False
    return _CONTROL.search(head, header.end()) is not None or not _is_text(head)


def read_binary(stream: Stream) -> Blocks:
    """Return the vectors of a file for which `is_binary` holds.

    Raises:
        InputError: it has none; the blocks raise it where a row is cut, or has a number that is not finite.
    """
    header = HEADER.match(stream.head)
    if header is None:
        raise InputError(f"{stream.name} is not in word2vec's binary format.")
    dim = check_dim(stream.name, int(header[2]))
    return Blocks("word2vec's binary format", dim, _blocks(stream, dim, header.end()), stream.likely(4 * dim + _USUAL))


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # of a head that ends within a letter
    return True


def _blocks(stream: Stream, dim: int, start: int) -> Iterator[Block]:
    """Yield words and rows; how many the header says is not heeded."""
    size, number, rest = 4 * dim, 1, b""
    for block in stream.blocks():
        data, at = rest + block[start:], 0
        start, words, vectors = 0, [], []
        while 0 <= (space := data.find(b" ", at, at + _LONGEST)) < len(data) - size:
            words.append(data[at:space].lstrip(b"\n"))
            vectors.append(data[space + 1 : space + 1 + size])
            at = space + 1 + size
        rest = data[at:]
        if space < 0 and len(rest) >= _LONGEST:
            raise InputError(f"{stream.name}: row {number + len(words):,} has a word of over {_LONGEST:,} bytes.")
        rows = np.frombuffer(b"".join(vectors), "<f4").reshape(-1, dim)
        check_finite(stream.name, words, rows, number)
        number += len(words)
        yield words, rows
    if rest.strip(b"\n"):
        raise InputError(f"{stream.name} ends within row {number:,}: it is cut. Fetch it again.")
