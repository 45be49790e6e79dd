"""Reads an ONNX file and the weights that it keeps in files beside it, and trusts neither.

A model names its external files itself, so a model from elsewhere could name any file of this machine. Taken are only
plain file names in the model's own folder: regular files, inside the folder after links are resolved, with no second
hard link, and ranges inside the file; 2 GB in all.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import TensorProto, helper

from fxengine.errors import InputError

MAX_BYTES = 2_000_000_000  # a protobuf message, and so a self-contained .onnx file, ends at 2 GiB
_PACKED = {"INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2"}
_HINT = "Put the model and its data files, as plain copies, into one folder."


Finder = Callable[[str], Path]


def load_model(path: Path, find: Finder | None = None) -> onnx.ModelProto:
    """Return the model with its external data merged into it.

    Args:
        path: the file.
        find: gives the data file of a plain name, which is then trusted to be the model's; by default it lies in the
            model's own folder.

    Raises:
        InputError: there is no such file, it is not ONNX, too large, or its external data are not to be trusted.
    """
    model = _parse(path)
    total = path.stat().st_size
    for tensor in external_tensors(model):
        file, offset, length = _range(tensor, path, find)
        total += length
        if total > MAX_BYTES:
            raise InputError(f"{path} and its external data are over 2 GB, which no single .onnx file can hold.")
        with _open(file, path) as stream:
            stream.seek(offset)
            data = stream.read(length)
        tensor.raw_data = data
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT
    return model


def data_files(path: Path) -> list[Path]:
    """Return the external files that the model uses, sorted; raises InputError as `load_model` does."""
    return sorted({_range(tensor, path)[0] for tensor in external_tensors(_parse(path))})


def _parse(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InputError(f"There is no ONNX file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} is over 2 GB, which is more than fxengine takes.")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise InputError(f"{path} is not a readable ONNX file.") from error
    if not model.graph.node:
        raise InputError(f"{path} is not a readable ONNX file: it has no nodes.")
    return model


def external_tensors(model: onnx.ModelProto) -> list[TensorProto]:
    """Return the tensors whose values are in other files."""
    tensors = [*_graph_tensors(model.graph), *(t for f in model.functions for t in _node_tensors(f.node))]
    return [tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for attribute in (a for node in nodes for a in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)


def _range(tensor: TensorProto, path: Path, find: Finder | None = None) -> tuple[Path, int, int]:
    """Return the file, the offset and the length of a tensor's data, all checked."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = _locate(entries.get("location", ""), path, find)
    size = file.stat().st_size
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size - offset))
    except ValueError as error:
        raise InputError(f"{path}: the external data of {tensor.name!r} have no readable offset or length.") from error
    if offset < 0 or length < 0 or offset + length > size:
        raise InputError(
            f"{path}: {tensor.name!r} wants bytes {offset} to {offset + length} of {file.name}, which has {size}."
            " The file is cut off, or not the model's."
        )
    expected = _bytes(tensor)
    if expected is not None and expected != length:
        raise InputError(f"{path}: {tensor.name!r} needs {expected} bytes, but its external data are {length}.")
    return file, offset, length


def _bytes(tensor: TensorProto) -> int | None:
    """Return how many bytes the tensor's values take; None for types that pack two values in a byte."""
    try:
        item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError as error:
        raise InputError(f"The tensor {tensor.name!r} is of an unknown type {tensor.data_type}.") from error
    packed = TensorProto.DataType.Name(tensor.data_type) in _PACKED
    return None if packed else math.prod(tensor.dims) * item


def _locate(location: str, path: Path, find: Finder | None) -> Path:
    """Return the file that a location names, resolved; raises InputError where it is not to be trusted."""
    if location in {"", ".", ".."} or any(c in location for c in "/\\:\0"):
        raise InputError(f"{path} keeps weights in {location!r}, which is no plain file name in its folder. {_HINT}")
    if find is not None:
        return find(location).resolve()
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if folder not in file.parents:
        raise InputError(f"{path}: its data file {location!r} is a link to outside the model's folder. {_HINT}")
    if not file.exists():
        raise InputError(f"{path} keeps weights in {location!r}, which is not beside it. {_HINT}")
    _check(file.stat(), file, path)
    return file


def _check(found: os.stat_result, file: Path, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: its data file {file.name!r} is no regular file. {_HINT}")
    if found.st_nlink > 1:
        raise InputError(f"{path}: its data file {file.name!r} has a second hard link elsewhere. {_HINT}")


def _open(file: Path, path: Path) -> BinaryIO:
    """Open a resolved file for reading; what was opened is checked again, since names can be exchanged meanwhile."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        stream = os.fdopen(os.open(file, flags), "rb")
    except OSError as error:
        raise InputError(f"{path}: its data file {file.name!r} cannot be read: {error.strerror}.") from error
    try:
        _check(os.fstat(stream.fileno()), file, path)
    except InputError:
        stream.close()
        raise
    return stream
