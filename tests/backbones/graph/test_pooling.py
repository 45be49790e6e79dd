"""How tokens become one vector, and the layers behind it, against numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fxengine.backbones.graph.pooling import ACTIVATIONS, POOLINGS, Dense, dense, pool
from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.graph.texts import Nodes, text_inputs, text_prologue
from fxengine.backbones.spec import FEATURE_OUTPUT, LENGTHS_INPUT, TOKENS_INPUT

DIM = 5
HIDDEN = np.random.default_rng(0).normal(0, 2, (4, 6, DIM)).astype(np.float32)
LENGTHS = np.array([6, 1, 3, 5], np.int32)


def graph(made: Nodes, hidden: int = TensorProto.FLOAT, dim: int = DIM, pooled: bool = True) -> onnx.ModelProto:
    """Return a model of these nodes behind the prologue, which takes the vectors of tokens as an input."""
    head = text_prologue()
    shape: list[str | int | None] = ["batch", "length", DIM] if pooled else ["batch", DIM]
    inputs = [*text_inputs(), helper.make_tensor_value_info("hidden", hidden, shape)]
    output = helper.make_tensor_value_info(FEATURE_OUTPUT, TensorProto.FLOAT, ["batch", dim])
    weights = [*head.initializers, *made.initializers]
    net = helper.make_graph([*head.nodes, *made.nodes], "pooled", inputs, [output], weights)
    model = helper.make_model(net, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def pooled(how: Sequence[str], hidden: np.ndarray = HIDDEN, lengths: np.ndarray = LENGTHS) -> np.ndarray:
    kind = helper.np_dtype_to_tensor_dtype(hidden.dtype)
    model = graph(pool("hidden", FEATURE_OUTPUT, how), kind, DIM * len(how))
    tokens = np.zeros(hidden.shape[:2], np.int32)
    inputs = {TOKENS_INPUT: tokens, LENGTHS_INPUT: lengths, "hidden": hidden}
    return np.asarray(open_plain(model).run([FEATURE_OUTPUT], inputs)[0])


def by_hand(how: str, tokens: np.ndarray) -> np.ndarray:
    """Return the vector of one text's tokens, [length, dim], which are all there."""
    places = np.arange(1, len(tokens) + 1)[:, None]
    wanted = {
        "cls": tokens[0],
        "max": tokens.max(axis=0),
        "avg": tokens.mean(axis=0),
        "sqrt": tokens.sum(axis=0) / len(tokens) ** 0.5,
        "weighted": (tokens * places).sum(axis=0) / places.sum(),
        "last": tokens[-1],
    }
    return np.asarray(wanted[how])


@pytest.mark.parametrize("how", POOLINGS)
def test_a_text_is_pooled_over_its_own_tokens(how: str) -> None:
    wanted = [by_hand(how, row[:length].astype(np.float64)) for row, length in zip(HIDDEN, LENGTHS, strict=True)]
    np.testing.assert_allclose(pooled([how]), wanted, rtol=1e-5, atol=1e-6)


def test_several_stand_behind_each_other() -> None:
    together = pooled(POOLINGS)
    for i, how in enumerate(POOLINGS):
        np.testing.assert_array_equal(together[:, i * DIM : (i + 1) * DIM], pooled([how]))


def test_tokens_in_half_precision_are_pooled_in_single() -> None:
    half = HIDDEN.astype(np.float16)
    for how in POOLINGS:
        np.testing.assert_array_equal(pooled([how], half), pooled([how], half.astype(np.float32)))


def test_the_largest_of_negative_numbers_is_theirs() -> None:
    found = pooled(["max"], -np.abs(HIDDEN) - 1)
    assert (found < 0).all()
    assert found.min() > -20


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    behind=st.integers(0, 5),
    filling=st.sampled_from([0.0, -3.0, 1e6, -1e6]),
    seed=st.integers(0, 9),
)
def test_what_is_behind_a_text_says_nothing(lengths: list[int], behind: int, filling: float, seed: int) -> None:
    hidden = np.random.default_rng(seed).normal(0, 1, (len(lengths), max(lengths) + behind, DIM)).astype(np.float32)
    for row, length in zip(hidden, lengths, strict=True):
        row[length:] = filling
    found = pooled(POOLINGS, hidden, np.array(lengths, np.int32))
    for i, length in enumerate(lengths):
        alone = pooled(POOLINGS, hidden[i : i + 1, :length], np.array([length], np.int32))[0]
        np.testing.assert_allclose(found[i], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_compute_what_torch_says_of_them(activation: str) -> None:
    rng = np.random.default_rng(1)
    first = Dense(rng.normal(0, 1, (3, DIM)).astype(np.float32), rng.normal(0, 1, 3).astype(np.float32), activation)
    second = Dense(rng.normal(0, 1, (2, 3)).astype(np.float32), None, "Identity")
    vectors = rng.normal(0, 1, (4, DIM)).astype(np.float32)
    model = graph(dense("hidden", FEATURE_OUTPUT, [first, second]), dim=2, pooled=False)
    inputs = {TOKENS_INPUT: np.zeros((4, 1), np.int32), LENGTHS_INPUT: np.ones(4, np.int32), "hidden": vectors}
    (found,) = open_plain(model).run([FEATURE_OUTPUT], inputs)
    assert first.bias is not None
    active: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "Identity": lambda x: x,
        "Tanh": np.tanh,
        "ReLU": lambda x: np.maximum(x, 0),
        "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    }
    wanted = active[activation](vectors @ first.weights.T + first.bias) @ second.weights.T
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
