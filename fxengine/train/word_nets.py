"""The nets over word vectors as ONNX graphs, from the weights that a training process leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from fxengine.backbones.graph.model import make_model
from fxengine.backbones.graph.recurrent import LstmWeights, bidirectional_lstm
from fxengine.backbones.graph.texts import Nodes, mean_over_tokens, text_inputs, text_prologue
from fxengine.backbones.spec import FEATURE_OUTPUT, TOKENS_INPUT
from fxengine.heads.estimator import Kind, output_name
from fxengine.heads.graph import INPUT, HeadGraph

Weights = Mapping[str, np.ndarray]


def word_net(name: str, weights: Weights) -> onnx.ModelProto:
    """Return the graph of a net, one of `options.Net`, from token ids to `features`."""
    parts, dim = _NETS[name](weights)
    output = helper.make_tensor_value_info(FEATURE_OUTPUT, TensorProto.FLOAT, ["batch", dim])
    nodes = [node for part in parts for node in part.nodes]
    graph = helper.make_graph(nodes, name, text_inputs(), [output], [t for part in parts for t in part.initializers])
    model = make_model(graph)
    onnx.checker.check_model(model)
    return model


def parameters(model: onnx.ModelProto) -> int:
    """Return how many numbers its weights have."""
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    return sum(math.prod(tensor.dims) for tensor in floats)


def multiply_adds(name: str, weights: Weights) -> int:
    """Return those for one word; what is done once for a text is left out."""
    return 2 * (weights["forward_kernel"].size + weights["forward_recurrent"].size) if name == "bilstm" else 0


def _bilstm(weights: Weights) -> tuple[list[Nodes], int]:
    table = Nodes("")
    sides = [
        LstmWeights(*(weights[f"{side}_{part}"] for part in ("kernel", "recurrent", "bias")))
        for side in ("forward", "backward")
    ]
    return [table, bidirectional_lstm(table.constant("table", weights["table"]), *sides)], 2 * sides[0].units


def _average(weights: Weights) -> tuple[list[Nodes], int]:
    words, dense = Nodes(""), Nodes("dense/")
    rows = words.node("Gather", [words.constant("table", weights["table"]), TOKENS_INPUT], "words", axis=0)
    matrix, bias = (dense.constant(part, weights[f"dense_{part}"]) for part in ("weights", "bias"))
    sums = dense.node("Gemm", ["mean", matrix, bias], "sums")
    dense.nodes.append(helper.make_node("Relu", [sums], [FEATURE_OUTPUT], name=dense.named("features")))
    return [text_prologue(), words, mean_over_tokens(rows, "mean"), dense], len(weights["dense_bias"])


_NETS: dict[str, Callable[[Weights], tuple[list[Nodes], int]]] = {"bilstm": _bilstm, "average": _average}


def dense_head(kind: Kind, weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    """Return a head of one dense layer, from features as they are to answers.

    Args:
        kind: what it predicts.
        weights: float32 [outputs, dim].
        bias: float32 [outputs].
    """
    graph = HeadGraph(weights.shape[1])
    answers = graph.dense(INPUT, weights, bias)
    if kind != "numbers":
        answers = graph.softmax(answers) if kind == "classes" else graph.sigmoid(answers)
    return graph.model(answers, output_name(kind), len(bias))
