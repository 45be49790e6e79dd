"""The fingerprint of a backbone: what its features depend on, and nothing else."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
from onnx import numpy_helper

from fxengine.backbones.spec import Recipe


def fingerprint(model: onnx.ModelProto, recipe: Recipe) -> str:
    """Return the SHA-256, in hex, of the graph's content and of the recipe fields that change numbers.

    Every tensor gets a digest made from the node that computes it and the digests of that node's inputs, so
    names, order of nodes, producer, IR version and documentation do not count, and a changed weight, attribute
    or opset does.
    """
    total = hashlib.sha256()
    opsets = sorted((entry.domain or "ai.onnx", entry.version) for entry in model.opset_import)
    total.update(json.dumps([opsets, recipe.canonical()], sort_keys=True).encode())
    for function in sorted(model.functions, key=lambda f: (f.domain, f.name)):
        total.update(function.SerializeToString(deterministic=True))
    for name, digest in sorted(_graph_outputs(model.graph, {}).items()):
        total.update(name.encode() + b"\0" + digest)
    return total.hexdigest()


def _graph_outputs(graph: onnx.GraphProto, outer: dict[str, bytes]) -> dict[str, bytes]:
    tensors = dict(outer)
    for initializer in graph.initializer:
        tensors[initializer.name] = _tensor_digest(initializer)
    for value in graph.input:
        if value.name not in tensors:
            tensors[value.name] = _digest(b"input", value.name.encode(), _type_text(value).encode())
    for node in graph.node:
        for name, digest in _node_digests(node, tensors).items():
            tensors[name] = digest
    return {value.name: tensors[value.name] for value in graph.output}


def _node_digests(node: onnx.NodeProto, tensors: dict[str, bytes]) -> dict[str, bytes]:
    if node.op_type == "Constant" and node.attribute[0].name == "value":
        return {node.output[0]: _tensor_digest(node.attribute[0].t)}
    parts = [b"node", node.op_type.encode(), (node.domain or "ai.onnx").encode()]
    for attribute in sorted(node.attribute, key=lambda a: a.name):
        parts += [attribute.name.encode(), _attribute_digest(attribute, tensors)]
    parts += [tensors[name] if name else b"" for name in node.input]
    body = _digest(*parts)
    return {name: _digest(body, str(i).encode()) for i, name in enumerate(node.output) if name}


def _attribute_digest(attribute: onnx.AttributeProto, tensors: dict[str, bytes]) -> bytes:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return _tensor_digest(value)
    if isinstance(value, onnx.GraphProto):
        outputs = _graph_outputs(value, tensors)
        return _digest(*(outputs[output.name] for output in value.output))
    if isinstance(value, bytes):
        return _digest(b"bytes", value)
    if isinstance(value, float | int):
        return _digest(b"number", repr(value).encode())
    return _digest(b"list", *(v if isinstance(v, bytes) else repr(v).encode() for v in value))


def _tensor_digest(tensor: onnx.TensorProto) -> bytes:
    array = numpy_helper.to_array(tensor)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    shape = ",".join(map(str, array.shape))
    return _digest(b"tensor", str(tensor.data_type).encode(), shape.encode(), np.ascontiguousarray(array).tobytes())


def _type_text(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else "?" for d in tensor.shape.dim]
    return f"{tensor.elem_type}{dims}"


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()
