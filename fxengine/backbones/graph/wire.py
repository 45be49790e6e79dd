"""Reads an ONNX file that should be small but for its weights, and looks at its bytes before anything parses them.

A parser makes an object of every message, also of an empty one: a file of 20 MB can hold ten million of those, which
fill gigabytes. Here the lengths of its fields are walked through first, and weights are skipped.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import onnx

from fxengine.errors import InputError, explained
from fxengine.facts import FactsError

# Which fields of a message are looked into, by their numbers in onnx.proto; weights and metadata may be long.
_WITHIN = {"model": {7: "graph", 14: "metadata"}, "graph": {5: "tensor"}, "tensor": {9: "weights"}}
_LONGEST = {"weights": 1 << 31, "metadata": 8 << 20}  # bytes; the names of 100,000 classes take 2 MB
_SMALL, _MOST_FIELDS = 4096, 1000  # bytes of any other field; how many there are. The largest head has 150
_BROKEN = "is damaged, or no file that fxengine wrote"


def read_small_model(path: Path) -> tuple[onnx.ModelProto, bytes]:
    """Return a model of few nodes, under 2 GB, and the bytes of its file, which say nothing else.

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
            _walk(stream, found.st_size)
            stream.seek(0)
            content = stream.read(found.st_size)
        model = onnx.ModelProto()
        try:
            model.ParseFromString(content)
        except MemoryError:
            raise
        except Exception as error:  # protobuf's own, of no public name
            raise FactsError("is not a readable ONNX file") from error
        model.DiscardUnknownFields()
        if model.ByteSize() != len(content):  # another parser could read another model
            raise FactsError(_BROKEN)
    return model, content


def _walk(stream: BinaryIO, size: int) -> None:
    """Raise FactsError where the fields of a model are too many or too long."""
    todo, fields = [("model", 0, size)], 0
    while todo:
        kind, at, end = todo.pop()
        while at < end:
            fields += 1
            tag, at = _varint(stream, at)
            number, wire, length = tag >> 3, tag & 7, 0
            if wire == 0:
                _, at = _varint(stream, at)
            elif wire == 2:
                length, at = _varint(stream, at)
                inner = _WITHIN[kind].get(number, "")
                if inner in _WITHIN:
                    todo.append((inner, at, at + length))
                elif length > _LONGEST.get(inner, _SMALL):
                    raise FactsError(_BROKEN)
            elif wire in (1, 5):
                length = 8 if wire == 1 else 4
            else:
                raise FactsError("is not a readable ONNX file")
            at += length
            if fields > _MOST_FIELDS:
                raise FactsError(_BROKEN)
        if at != end:
            raise FactsError("is not a readable ONNX file")


def _varint(stream: BinaryIO, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and where it ends."""
    stream.seek(at)
    value = 0
    for i, byte in enumerate(stream.read(10)):
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, at + i + 1
    raise FactsError("is not a readable ONNX file")
