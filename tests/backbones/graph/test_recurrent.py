from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fxengine.backbones.graph.model import make_model
from fxengine.backbones.graph.recurrent import LstmWeights, bidirectional_lstm
from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.graph.texts import Nodes, text_inputs
from tests.lstm import bilstm_features, random_lstm

WORDS, DIM, UNITS, LONGEST = 23, 5, 3, 9


@pytest.fixture(scope="module")
def net() -> tuple[Any, np.ndarray, LstmWeights, LstmWeights]:
    """A session of a random net, its word vectors, and the weights of both directions."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(WORDS, DIM)).astype(np.float32)
    sides = random_lstm(rng, DIM, UNITS), random_lstm(rng, DIM, UNITS)
    words = Nodes("")
    lstm = bidirectional_lstm(words.constant("table", table), *sides)
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 2 * UNITS])
    graph = helper.make_graph(
        [*words.nodes, *lstm.nodes], "net", text_inputs(), [output], [*words.initializers, *lstm.initializers]
    )
    model = make_model(graph)
    onnx.checker.check_model(model, full_check=True)
    return open_plain(model), table, *sides


def run(session: Any, rows: list[list[int]], width: int, padding: int = 0) -> np.ndarray:
    tokens = np.full((len(rows), width), padding, np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    lengths = np.array([len(ids) for ids in rows], np.int32)
    found: np.ndarray = session.run(["features"], {"tokens": tokens, "lengths": lengths})[0]
    return found


def test_the_gates_are_those_of_keras(net: tuple[Any, np.ndarray, LstmWeights, LstmWeights]) -> None:
    session, table, forward, backward = net
    ids = [3, 1, 4, 1, 5, 9, 2]
    expected = bilstm_features(table[ids], forward, backward)
    np.testing.assert_allclose(run(session, [ids], len(ids))[0], expected, atol=1e-6)
    swapped = LstmWeights(
        *(np.roll(part, UNITS, axis=-1) for part in (forward.kernel, forward.recurrent, forward.bias))
    )
    assert np.abs(bilstm_features(table[ids], swapped, backward) - expected).max() > 0.01


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, WORDS - 1), max_size=LONGEST), min_size=1, max_size=6),
    st.integers(0, 5),
    st.integers(0, WORDS - 1),
)
def test_a_row_is_the_same_alone_padded_and_among_others(
    net: tuple[Any, np.ndarray, LstmWeights, LstmWeights], rows: list[list[int]], more: int, padding: int
) -> None:
    session, table, forward, backward = net
    together = run(session, rows, max(1, *map(len, rows)) + more, padding)
    for ids, found in zip(rows, together, strict=True):
        np.testing.assert_allclose(found, bilstm_features(table[ids], forward, backward), atol=1e-6)
        alone = run(session, [ids], max(1, len(ids)))[0]
        np.testing.assert_allclose(found, alone, atol=1e-6)
