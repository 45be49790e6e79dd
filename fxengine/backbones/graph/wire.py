"""Reads an ONNX file that should be small but for its weights, and looks at its bytes before anything parses them.

A parser makes an object of every message, also of an empty one: a file of 20 MB can hold ten million of those, which
fill gigabytes. Here the lengths of its fields are walked through first. Weights are left out: they are looked at where
they are, and the rest is a few thousand bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import onnx

from fxengine.backbones.graph.model import metadata_of
from fxengine.errors import InputError, explained
from fxengine.facts import FactsError

# Which fields of a message are looked into, by their numbers in onnx.proto; weights and metadata may be long.
_WITHIN = {"model": {7: "graph", 14: "metadata"}, "graph": {5: "tensor"}, "tensor": {9: "weights"}}
_LONGEST = {"weights": 1 << 31, "metadata": 8 << 20}  # bytes; the names of 100,000 classes take 2 MB
_SMALL, _MOST_FIELDS = 4096, 1000  # bytes of any other field; how many there are. The largest head has 150
_BYTES = 2  # the kind of field that has a length
_LONGEST_METADATA = 64 << 20  # bytes of an entry of a backbone; a tokenizer of 250,000 tokens takes 6 MB
_GRAPH = 7 << 3 | _BYTES  # how the field of a model that is its graph begins
_BROKEN = "is damaged, or no file that fxengine wrote"


@dataclass(frozen=True)
class SmallModel:
    """A model of few nodes, as it is in a file.

    Attributes:
        model: without its weights.
        weights: bytes of each of them, in the order of the graph's initializers; parts of `content`.
        content: the whole file. It says nothing else.
    """

    model: onnx.ModelProto
    weights: tuple[memoryview, ...]
    content: bytes


def read_small_model(path: Path) -> SmallModel:
    """Return a model of few nodes, under 2 GB.

    Raises:
        FactsError: it is larger, no regular file, or no such model.
        InputError: it cannot be read.
    """
    with explained(f"Cannot read {path}", kind=InputError):
        # A pipe in its place would be waited for.
        flags = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY"))
        with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise FactsError("is no regular file")
            if found.st_size >= 1 << 31:
                raise FactsError("is over 2 GB, more than one ONNX file holds")
            _Walk(stream).small("model", 0, found.st_size)  # before as much is read
            stream.seek(0)
            content = stream.read(found.st_size)
        walk = _Walk(BytesIO(content))
        small = walk.small("model", 0, len(content))
        model = onnx.ModelProto()
        try:
            model.ParseFromString(small)
        except MemoryError:
            raise
        except Exception as error:  # protobuf's own, of no public name
            raise FactsError("is not a readable ONNX file") from error
        model.DiscardUnknownFields()
        if model.ByteSize() != len(small):  # another parser could read another model
            raise FactsError(_BROKEN)
    return SmallModel(model, tuple(memoryview(content)[begin:end] for begin, end in walk.weights), content)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file of any size; its graph is not read.

    Raises:
        FactsError: it is no such file.
        OSError: it cannot be read.
    """
    parts = list[bytes]()
    with path.open("rb") as stream:
        walk, at, end = _Walk(stream), 0, os.fstat(stream.fileno()).st_size
        while at < end:
            begin, (tag, _, at) = at, walk.field(at)
            if tag != _GRAPH:
                if at > end or at - begin > _LONGEST_METADATA or len(parts) == _MOST_FIELDS:
                    raise FactsError(_BROKEN)
                stream.seek(begin)
                parts.append(stream.read(at - begin))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(b"".join(parts))
    except Exception as error:  # protobuf's own, of no public name
        raise FactsError("is not a readable ONNX file") from error
    return metadata_of(model)


def fields(stream: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the tag of each field of the message between two places, and where its content begins and ends.

    Raises:
        FactsError: it is no message.
    """
    walk = _Walk(stream)
    while at < end:
        tag, begin, at = walk.field(at)
        if at > end:
            raise FactsError(_BROKEN)
        yield tag, begin, at


class _Walk:
    """Goes through the fields of a file, and remembers where each tensor's weights are."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._fields = stream, 0
        self.weights = list[tuple[int, int]]()

    def small(self, kind: str, at: int, end: int) -> bytes:
        """Return a message without weights; raises FactsError where its fields are too many or too long."""
        parts, place = list[bytes](), None
        while at < end:
            self._fields += 1
            if self._fields > _MOST_FIELDS:
                raise FactsError(_BROKEN)
            begin, (tag, at, after) = at, self.field(at)
            inner = _WITHIN[kind].get(tag >> 3, "") if tag & 7 == _BYTES else ""
            if after > end:
                raise FactsError("is not a readable ONNX file")
            if inner in _WITHIN:
                body = self.small(inner, at, after)
                parts += [_digits(tag), _digits(len(body)), body]
            elif after - at > _LONGEST.get(inner, _SMALL) or (inner == "weights" and place is not None):
                raise FactsError(_BROKEN)
            elif inner == "weights":
                place = at, after
            else:
                self._stream.seek(begin)
                parts.append(self._stream.read(after - begin))
            at = after
        if kind == "tensor":
            self.weights.append(place or (0, 0))
        return b"".join(parts)

    def field(self, at: int) -> tuple[int, int, int]:
        """Return the tag of the field that begins at a place, where its content begins, and where that ends."""
        tag, at = self._varint(at)
        match tag & 7:
            case 0:
                return tag, at, self._varint(at)[1]
            case 1 | 5 as wire:
                return tag, at, at + (8 if wire == 1 else 4)
            case 2:
                length, at = self._varint(at)
                return tag, at, at + length
        raise FactsError("is not a readable ONNX file")

    def _varint(self, at: int) -> tuple[int, int]:
        """Return the number that begins at a place, and where it ends."""
        self._stream.seek(at)
        value = 0
        for i, byte in enumerate(self._stream.read(10)):
            value |= (byte & 127) << (7 * i)
            if byte < 128:
                if byte == 0 < i:  # longer than it need be: what is written anew would be another file
                    raise FactsError(_BROKEN)
                return value, at + i + 1
        raise FactsError("is not a readable ONNX file")


def _digits(value: int) -> bytes:
    """Return a number as it is written."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _digits(value >> 7)
