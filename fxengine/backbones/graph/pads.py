"""Keeps ONNX Runtime's optimiser from breaking a net: a Pad with zeros before a MaxPool."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.graph.surgery import View, all_graphs, all_nodes, attribute, inferred, keep_only

# Too small to change a number, and yet no 0 in its type.
_TINY = {TensorProto.FLOAT: 1e-30, TensorProto.DOUBLE: 1e-30, TensorProto.FLOAT16: 6e-8}
_VANISHING = {"Cast", "Identity", "Dropout"}  # what the optimiser looks through, or takes away before it looks


def with_safe_pads(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that a plain session computes right; the model itself where it has no such Pad.

    ONNX Runtime's "Pad_Fusion" (seen in 1.23.2 and 1.31.1) folds a Pad with zeros into the MaxPool behind it, which
    pads with minus infinity: where the map is negative, as in ResNet V2, features come out 60% off. It leaves a Pad
    with another number alone, so a tiny one takes the place of 0; int8 has none, and there the pool says `VALID`. What
    it does to convolutions, average pools and uint8 is right.
    """
    if not {"Pad", "MaxPool"} <= {node.op_type for node in all_nodes(model.graph.node)}:
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    found = list(_taken(made))
    if not found:
        return model
    graph = inferred(made).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    kinds |= {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    zeros = {name for pad, _ in found for name in pad.input[2:3]}
    for pad, pool in found:
        kind = next((kinds[name] for name in (*pad.input[2:3], pad.output[0]) if name in kinds), TensorProto.FLOAT)
        pads = attribute(pool, "pads")
        if kind in _TINY:
            _pad_with(made.graph, pad, np.asarray(_TINY[kind], helper.tensor_dtype_to_np_dtype(kind)))
        elif kind == TensorProto.INT8 and not (isinstance(pads, list) and any(pads)):
            _set(pool, "pads", None)
            _set(pool, "auto_pad", "VALID")
    _drop_unused(made.graph, zeros)
    return made


def _taken(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Yield each Pad that may be folded into a MaxPool, and that pool."""
    whole, constants = View(model.graph), dict[str, TensorProto]()
    for graph in all_graphs(model.graph):
        view = View(graph)
        constants |= view.constants
        for pool in graph.node:
            if pool.op_type != "MaxPool" or attribute(pool, "auto_pad") not in (None, b"NOTSET"):
                continue
            pad = view.maker.get(pool.input[0])
            while pad is not None and pad.op_type in _VANISHING:
                pad = view.maker.get(pad.input[0])
            if pad is not None and pad.op_type == "Pad" and _pads_with_zero(model, whole, constants, pad):
                yield pad, pool


def _pads_with_zero(model: onnx.ModelProto, view: View, constants: dict[str, TensorProto], pad: onnx.NodeProto) -> bool:
    if attribute(pad, "mode") not in (None, b"constant") or any(pad.input[3:]):
        return False
    if len(pad.input) == 1:  # before opset 11
        return not attribute(pad, "value")
    value = "".join(pad.input[2:3])
    if not value or value in constants:
        return not value or not numpy_helper.to_array(constants[value]).any()
    if value not in view.maker or value in view.varying:
        return False
    asked = keep_only(model, [value])  # of constants alone: the optimiser computes it first
    del asked.graph.input[:]
    (computed,) = open_plain(asked).run(None, {})
    return not np.any(computed)


def _pad_with(graph: onnx.GraphProto, pad: onnx.NodeProto, value: np.ndarray) -> None:
    if len(pad.input) == 1:
        _set(pad, "value", float(value))
        return
    name = f"fx_pad/{value.dtype}"
    pad.input[2:] = [name]
    if name not in {tensor.name for tensor in graph.initializer}:  # one for all: it counts as a parameter
        graph.initializer.append(numpy_helper.from_array(value, name))


def _drop_unused(graph: onnx.GraphProto, names: set[str]) -> None:
    """Take weights that nothing reads any more out of a graph: a plain session warns of them."""
    read = {name for node in all_nodes(graph.node) for name in node.input} | {value.name for value in graph.output}
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name in names - read:
            del graph.initializer[i]


def _set(node: onnx.NodeProto, name: str, value: object) -> None:
    """Give a node an attribute, or take it away by None."""
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend(kept if value is None else [*kept, helper.make_attribute(name, value)])
