"""The net to train, for the training process only: a backbone of any Keras source, or EfficientNet-Lite0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

Job = dict[str, Any]
_BN_EPSILON = 1e-3


def efficientnet_lite0(weights: dict[str, np.ndarray], stages: list[list[int]], size: tuple[int, int]) -> keras.Model:
    """Return the headless net, from preprocessed pictures to 1280 features.

    Args:
        weights: the PyTorch state that the ONNX file is built of.
        stages: (repeats, kernel, stride, expansion) of each.
        size: input height and width.
    """
    x = inputs = keras.Input((*size, 3))
    x = _convolution(x, weights, "_conv_stem", "_bn0", stride=2, relu=True)
    index = 0
    for repeats, _, stride, expansion in stages:
        for repeat in range(repeats):
            x = _block(x, weights, f"_blocks.{index}", stride if repeat == 0 else 1, expansion, skip=repeat > 0)
            index += 1
    x = _convolution(x, weights, "_conv_head", "_bn1", stride=1, relu=True)
    x = keras.layers.GlobalAveragePooling2D(name="global_average_pool")(x)
    return keras.Model(inputs, x, name="efficientnet_lite0")


def _block(
    x: keras.KerasTensor, weights: dict[str, np.ndarray], name: str, stride: int, expansion: int, *, skip: bool
) -> keras.KerasTensor:
    """Add an inverted residual block: expand, filter each channel, project, add the input."""
    y = x
    if expansion > 1:
        y = _convolution(y, weights, f"{name}._expand_conv", f"{name}._bn0", stride=1, relu=True)
    y = _convolution(y, weights, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, relu=True)
    y = _convolution(y, weights, f"{name}._project_conv", f"{name}._bn2", stride=1, relu=False)
    return keras.layers.Add(name=_name(f"{name}.add"))([x, y]) if skip else y


def _convolution(
    x: keras.KerasTensor, weights: dict[str, np.ndarray], name: str, norm: str, *, stride: int, relu: bool
) -> keras.KerasTensor:
    """Add a convolution, its batch norm and, where wanted, ReLU6."""
    kernel = weights[f"{name}.weight"]
    shared: Job = {"strides": stride, "padding": "same", "use_bias": False, "name": _name(name)}
    if name.endswith("_depthwise_conv"):
        layer = keras.layers.DepthwiseConv2D(kernel.shape[2], **shared)
        values = kernel.transpose(2, 3, 0, 1)
    else:
        layer = keras.layers.Conv2D(kernel.shape[0], kernel.shape[2], **shared)
        values = kernel.transpose(2, 3, 1, 0)
    x = layer(x)
    layer.set_weights([values])
    batch_norm = keras.layers.BatchNormalization(epsilon=_BN_EPSILON, name=_name(norm, of=name))
    x = batch_norm(x)
    batch_norm.set_weights([weights[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])
    return keras.layers.ReLU(6.0, name=f"{_name(name)}_relu")(x) if relu else x


def _name(name: str, of: str = "") -> str:
    """Return a layer's name: `_blocks.3._project_conv` becomes `block3_project`, its norm `block3_project_bn`."""
    short = (of or name).replace("_blocks.", "block").replace("._", "_").replace("_conv", "").strip("_")
    return f"{short}_bn" if of else short.replace(".", "_")


def with_weights(layers: Iterable[keras.Layer]) -> list[keras.Layer]:
    """Return the layers that have weights."""
    return [layer for layer in layers if layer.weights]


def train_from(layers: Iterable[keras.Layer], first: int) -> list[str]:
    """Freeze the layers with weights before the one at the place `first`; return the names of those that train.

    Batch-norm layers stay frozen, which in Keras also keeps them in inference mode.
    """
    chosen = []
    for i, layer in enumerate(with_weights(layers)):
        layer.trainable = i >= first and not isinstance(layer, keras.layers.BatchNormalization)
        if layer.trainable:
            chosen.append(layer.name)
    return chosen
