"""What is known of a SavedModel without running it: the size of its pictures, its classes; and its classifier's cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper

from fxengine.backbones.graph.cut import Cut, channels_last, check_cut, find_classifier, vector_nodes
from fxengine.backbones.graph.run import run_tensors
from fxengine.backbones.graph.surgery import BATCH, View, keep_only
from fxengine.backbones.graph.wire import fields
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import FEATURE_OUTPUT, LOGITS_OUTPUT
from fxengine.errors import InputError, explained
from fxengine.facts import FactsError
from fxengine.files import read_small

FILE = "saved_model.pb"
_SIGNATURE, _INTERNAL = b"serving_default", b"__"  # and what TensorFlow's own names begin with
# Fields by their numbers in TensorFlow's saved_model.proto, meta_graph.proto and tensor_shape.proto.
_META_GRAPHS, _SIGNATURES, _KEY, _VALUE, _INPUTS, _SHAPE, _DIM, _SIZE = 2, 5, 1, 2, 1, 3, 2, 1
_MOST_PIXELS = 1 << 16  # an open dimension is -1
_LONGEST = 8_000_000  # bytes of a file of labels


def check_trust(name: str, options: ExportOptions) -> None:
    """Raise InputError where a SavedModel is not trusted."""
    if not options.trust:
        raise InputError(
            f"{name} is a SavedModel, which is a program: load it only from a source you trust, by `trust`, as "
            "`fxengine export` takes it."
        )


def input_size(folder: Path) -> tuple[int | None, int | None]:
    """Return the height and width that the one input of the serving signature, or of the only one, says.

    None where they are open or not said.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    path = folder / FILE
    with explained(f"{path} cannot be read", kind=InputError), path.open("rb") as stream:
        try:
            return _input_size(stream, path.stat().st_size)
        except FactsError as error:
            raise InputError(f"{path} is damaged: it is no SavedModel.") from error


def class_names(labels: Path | None, folder: Path | None, count: int) -> tuple[str, ...]:
    """Return the names of a classifier's classes, a line each.

    Args:
        labels: a file that the user names.
        folder: of a SavedModel: the one .txt file of its `assets` that has as many lines, else numbers.
        count: how many classes there are.

    Raises:
        InputError: the user's file cannot be read, or has more or fewer lines.
    """
    if labels is not None:
        with explained(f"{labels} cannot be read", kind=InputError):
            lines = _lines(labels.resolve())
        if len(lines) != count:
            hint = " (of ImageNet some have 1001, with a background first)" if count in (1000, 1001) else ""
            raise InputError(f"{labels} names {len(lines)} classes, and the net has {count}{hint}: see `labels`.")
        return lines
    if folder is None:
        return ()
    fitting = []
    for path in sorted((folder / "assets").glob("*.txt")):
        with suppress(OSError, InputError):
            fitting += [lines for lines in [_lines(path)] if len(lines) == count]
    return fitting[0] if len(fitting) == 1 else tuple(map(str, range(count)))


def with_logits(model: onnx.ModelProto, name: str, pooling: str, photos: np.ndarray) -> tuple[onnx.ModelProto, str]:
    """Return a backbone with what goes into its classifier as `features`, and the tensor that this is.

    Args:
        model: the backbone, whose `features` are the classifier's answer: before a softmax, that becomes `logits`.
        name: what it is called in messages.
        pooling: how a map becomes a vector.
        photos: uint8 pictures to try it with.

    Raises:
        InputError: no classifier can be told apart.
    """
    view = View(model.graph)
    head = find_classifier(view, FEATURE_OUTPUT)
    if head is None or head.logits is None:
        raise InputError(
            f"{name} does not end in a classifier that can be told apart (MatMul or 1x1 Conv): leave out the `logits`."
        )
    found = run_tensors(model, [head.features, head.logits], photos[:1])
    cuts = {}
    for output, tensor in ((FEATURE_OUTPUT, head.features), (LOGITS_OUTPUT, head.logits)):
        shape = found[tensor].shape
        last = len(shape) == 4 and channels_last(view, tensor, shape, input_last=True)
        cuts[output] = Cut(_renamed(tensor), shape, last)
        check_cut(cuts[output], name)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        for names in (node.input, node.output):
            names[:] = map(_renamed, names)
    others = [value for value in model.graph.output if value.name != FEATURE_OUTPUT]
    del result.graph.output[:]
    for output, cut in cuts.items():
        pools = output == FEATURE_OUTPUT
        nodes, weights = vector_nodes(cut, output, pooling, pooled=pools)
        result.graph.node.extend(nodes)
        result.graph.initializer.extend(weights)
        dims: list[int | str] = [BATCH, cut.dim(pooled=pools)]
        result.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, dims))
    result.graph.output.extend(others)
    order = [FEATURE_OUTPUT, *(value.name for value in others), LOGITS_OUTPUT]
    return keep_only(result, order), head.features


def _renamed(tensor: str) -> str:
    """Return what a tensor is called once its name is that of another one."""
    return "classifier/answer" if tensor == FEATURE_OUTPUT else tensor


def _lines(path: Path) -> tuple[str, ...]:
    try:
        text = read_small(path, _LONGEST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: it is no text in UTF-8.") from error
    return tuple(line.strip() for line in text.rstrip().splitlines())


def _input_size(stream: BinaryIO, end: int) -> tuple[int | None, int | None]:
    for graph in _within(stream, (0, end), _META_GRAPHS):
        for entry in _serving(stream, graph):
            inputs = [
                tensor
                for signature in _within(stream, entry, _VALUE)
                for named in _within(stream, signature, _INPUTS)
                for tensor in _within(stream, named, _VALUE)
            ]
            shapes = [shape for tensor in inputs for shape in _within(stream, tensor, _SHAPE)]
            dims = [_dim(stream, dim) for shape in shapes for dim in _within(stream, shape, _DIM)]
            if len(inputs) == 1 and len(dims) == 4:
                return dims[1], dims[2]
    return None, None


_Span = tuple[int, int]


def _serving(stream: BinaryIO, graph: _Span) -> list[_Span]:
    """Return where the serving signature is, or the only one where none is called so."""
    found = {}
    for entry in _within(stream, graph, _SIGNATURES):
        for key in _within(stream, entry, _KEY):
            name = _bytes(stream, key)
            if not name.startswith(_INTERNAL):
                found[name] = entry
    if _SIGNATURE in found:
        return [found[_SIGNATURE]]
    return [*found.values()] if len(found) == 1 else []


def _within(stream: BinaryIO, span: _Span, number: int) -> Iterator[_Span]:
    """Yield where the fields of this number are, inside the message at a place."""
    for tag, begin, end in fields(stream, *span):
        if tag >> 3 == number:
            yield begin, end


def _bytes(stream: BinaryIO, span: _Span) -> bytes:
    stream.seek(span[0])
    return stream.read(min(span[1] - span[0], 100))


def _dim(stream: BinaryIO, span: _Span) -> int | None:
    sizes = [_bytes(stream, each) for each in _within(stream, span, _SIZE)]
    size = sum((byte & 127) << (7 * i) for i, byte in enumerate(sizes[-1])) if sizes else 0
    return size if 0 < size <= _MOST_PIXELS else None
