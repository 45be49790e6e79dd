"""The head of every backbone graph: uint8 pictures in, the numbers that the net was trained on out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.spec import INPUT_NAME, PROLOGUE

Three = tuple[float, float, float]


@dataclass(frozen=True)
class Pixels:
    """The numbers that a net takes: `(pixel - mean) / std`, a colour after another.

    Attributes:
        mean: in pixel levels (0 to 255), in the net's channel order.
        std: in pixel levels, in the net's channel order.
        bgr: whether the net wants blue first.
    """

    mean: Three
    std: Three
    bgr: bool = False


def prologue(
    height: int,
    width: int,
    pixels: Pixels,
    output: str,
    *,
    channels_first: bool = True,
    cast_to: int | None = None,
) -> tuple[onnx.ValueInfoProto, list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the graph's input, and the nodes and initializers that compute `(pixel - mean) / std`.

    Args:
        height: input height in pixels.
        width: input width in pixels.
        pixels: what the net takes.
        output: name of the tensor that the net takes.
        channels_first: whether the net wants [batch, 3, height, width].
        cast_to: the element type that the net takes, such as `TensorProto.FLOAT16`, where it is not float32.

    The nodes stand in the order Cast, Transpose, (Gather,) Sub, Mul, (back, to_net) and are named `fx_pre/...`: over
    the channels as planes, arithmetic takes a tenth of what it takes over pixels of three numbers (EfficientNet-Lite0
    as a whole by ONNX Runtime: 13% faster), and TensorRT takes uint8 where it is cast first. The mean is not folded
    into the first convolution: that is inexact wherever the net pads with zeros.
    """
    images = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["batch", height, width, 3])
    constants = {
        "mean": np.asarray(pixels.mean, np.float32)[:, None, None],
        "scale": np.float32(1) / np.asarray(pixels.std, np.float32)[:, None, None],
    }
    steps: list[tuple[str, str, list[str], dict[str, Any]]] = [
        ("cast", "Cast", [], {"to": TensorProto.FLOAT}),
        ("transpose", "Transpose", [], {"perm": [0, 3, 1, 2]}),
    ]
    if pixels.bgr:
        constants["bgr"] = np.asarray([2, 1, 0], np.int64)
        steps.append(("gather", "Gather", ["bgr"], {"axis": 1}))
    steps += [("sub", "Sub", ["mean"], {}), ("mul", "Mul", ["scale"], {})]
    if not channels_first:
        steps.append(("back", "Transpose", [], {"perm": [0, 2, 3, 1]}))
    if cast_to is not None:
        steps.append(("to_net", "Cast", [], {"to": cast_to}))
    nodes, current = [], INPUT_NAME
    for i, (name, op, extra, attributes) in enumerate(steps):
        result = output if i == len(steps) - 1 else f"{PROLOGUE}{name}_out"
        inputs = [current, *(PROLOGUE + constant for constant in extra)]
        nodes.append(helper.make_node(op, inputs, [result], name=f"{PROLOGUE}{name}", **attributes))
        current = result
    initializers = [numpy_helper.from_array(value, PROLOGUE + name) for name, value in constants.items()]
    return images, nodes, initializers


def pixels_of(model: onnx.ModelProto) -> Pixels:
    """Return what the prologue of a backbone of pictures computes."""
    constants = {each.name.removeprefix(PROLOGUE): numpy_helper.to_array(each) for each in model.graph.initializer
                 if each.name.startswith(PROLOGUE)}  # fmt: skip
    mean, std = constants["mean"].ravel().tolist(), (1 / constants["scale"].astype(np.float64)).ravel().tolist()
    return Pixels((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), "bgr" in constants)
