"""Word vectors in text: GloVe's, without a header, and word2vec's, which fastText's .vec is, too.

A line is a word, a space, and the numbers with a space between each. The word may hold spaces, so that a line is split
from the right; it may hold U+0085 or a no-break space, so that bytes are split, and at the plain space alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from fxengine.backbones.words.blocks import MOST_DIM, Block, Blocks, check_dim
from fxengine.backbones.words.stream import Stream
from fxengine.errors import InputError

_BOM = b"\xef\xbb\xbf"
_LONGEST = 32 * MOST_DIM + (1 << 20)  # bytes of a line
_MOST = float(np.finfo(np.float32).max)
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_FRACTION = re.compile(rb"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+")
HEADER = re.compile(rb"(?:\xef\xbb\xbf)?(\d{1,20}) (\d{1,20})[ \t\r]*\n")


def is_number(text: bytes) -> bool:
    """Tell whether a field of a line is a number, or says that it is none ("nan")."""
    return _NUMBER.fullmatch(text) is not None


def read_text(stream: Stream) -> Blocks:
    """Return the vectors of a file in text.

    Raises:
        InputError: it has none; the blocks raise it for a line with another number of values, or one that is none.
    """
    header = HEADER.match(stream.head)
    if header is not None and not _is_row(stream.head, header):
        # How many words it says is not heeded: it lies in many files.
        dim = check_dim(stream.name, int(header[2]))
        return Blocks("word2vec's text", dim, _blocks(stream, dim, headed=True), _likely(stream))
    lines = stream.head.removeprefix(_BOM).split(b"\n")
    if len(lines) > 1 and not stream.head.endswith(b"\n"):
        lines.pop()  # may go on behind the head
    # A word with spaces makes a line look longer, a damaged one shorter: most lines are neither.
    lines = [line.rstrip(b" \r") for line in lines if line.strip()]
    counts = Counter(line.count(b" ") for line in lines)
    dim = counts.most_common(1)[0][0] if counts else 0
    usual = next((line for line in lines if line.count(b" ") == dim), b"")
    if not dim or not is_number(usual.rpartition(b" ")[2]):
        raise _nothing(stream)
    return Blocks("GloVe's text", check_dim(stream.name, dim), _blocks(stream, dim, headed=False), _likely(stream))


def _nothing(stream: Stream) -> InputError:
    if b"\0" in stream.head:
        return InputError(f"{stream.name} is binary, and neither word2vec's format nor fastText's .bin.")
    return InputError(
        f"{stream.name} has no word vectors: a line is a word and its numbers, with a single space between each."
    )


def _likely(stream: Stream) -> int:
    lines = stream.head.count(b"\n")
    return stream.likely(len(stream.head) / lines) if lines else 0


def _is_row(head: bytes, header: re.Match[bytes]) -> bool:
    """Tell whether what looks like a header is the first of vectors of one number, whose word is a number."""
    line = head[header.end() :].partition(b"\n")[0].rstrip(b" \r")
    return int(header[2]) != 1 and line.count(b" ") == 1


def _blocks(stream: Stream, dim: int, *, headed: bool) -> Iterator[Block]:
    number, rest, first = 1, b"", True
    for block in stream.blocks():
        if first:
            block, first = block.removeprefix(_BOM), False
        end = block.rfind(b"\n") + 1
        if end:
            lines, rest = rest + block[:end], block[end:]
            yield _parsed(stream.name, lines, dim, number, headed=headed and number == 1)
            number += lines.count(b"\n")
        else:
            rest += block
        if len(rest) > _LONGEST:
            raise InputError(f"{stream.name} has no word vectors: line {number:,} has over {_LONGEST:,} bytes.")
    if rest:
        yield _parsed(stream.name, rest + b"\n", dim, number, headed=headed and number == 1)


def _parsed(name: str, block: bytes, dim: int, number: int, *, headed: bool) -> Block:
    """Return the words and rows of whole lines, of which the first is line `number` of the file."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    lines = block.replace(b" \n", b"\n").split(b"\n")[headed:-1]
    number += headed
    parts = [line.partition(b" ") for line in lines]
    rows = _quickly([part[2] for part in parts], dim)
    if rows is not None:
        return [part[0] for part in parts], rows
    apart = [(at, *_apart(name, line, dim, at)) for at, line in enumerate(lines, number) if line]
    rests = [rest for _, _, rest in apart]
    rows = _quickly(rests, dim)
    if rows is None:
        values = [_slowly(name, rest, at) for at, _, rest in apart]
        rows = np.array(values, np.float32).reshape(-1, dim)
    return [word for _, word, _ in apart], rows


def _apart(name: str, line: bytes, dim: int, number: int) -> tuple[bytes, bytes]:
    """Return the word of a line, which may hold spaces, and its numbers; raises InputError where they are others."""
    line = line.rstrip(b" ")  # two of them, or with a line's end of another kind
    fields = line.split(b" ")
    # A word's further parts may be whole numbers, as in "1 000"; fractions are values.
    extra = sum(1 for field in fields[1:-dim] if _FRACTION.fullmatch(field))
    if len(fields) <= dim or extra == len(fields) - 1 - dim > 0:
        raise InputError(
            f"{name}: line {number:,} has {len(fields) - 1:,} values, where the others have {dim:,}. The file is "
            "damaged or cut: fetch it again."
        )
    word, *values = line.rsplit(b" ", dim)
    return word, b" ".join(values)


def _quickly(rests: list[bytes], dim: int) -> np.ndarray | None:
    """Return float32 [lines, dim] of the numbers of lines; None where any line has not `dim` finite ones."""
    letters = np.frombuffer(b"\n".join(rests), np.uint8)
    kept = letters > ord(" ")
    marks = np.flatnonzero(~kept)
    expected = np.full(len(rests) * dim, ord(" "), np.uint8)
    expected[dim - 1 :: dim] = ord("\n")
    if not rests or not np.array_equal(letters[marks], expected[:-1]):
        return None
    letters = letters[kept]
    offsets = np.zeros(len(marks) + 2, np.int32)
    offsets[1:-1] = marks - np.arange(len(marks))
    offsets[-1] = len(letters)
    # As text to the cast, which parses faster than any function of numpy.
    texts = pa.Array.from_buffers(pa.utf8(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(letters)])
    try:
        cast = texts.cast(pa.float32())
    except pa.ArrowInvalid:
        return None
    values = np.frombuffer(cast.buffers()[1], np.float32, len(cast))  # `to_numpy` would load pandas
    return values.reshape(-1, dim) if np.isfinite(values).all() else None


def _slowly(name: str, rest: bytes, number: int) -> list[float]:
    """Return the numbers of a line; raises InputError where one is none."""
    values = []
    for field in rest.split(b" "):
        shown = field.decode(errors="replace")[:60]
        if not is_number(field):
            raise InputError(f"{name}: line {number:,} has {shown!r} where a number is expected.")
        value = float(field)
        if not abs(value) <= _MOST:
            raise InputError(f"{name}: line {number:,} has {shown!r}, which is no finite number of 32 bits.")
        values.append(value)
    return values
