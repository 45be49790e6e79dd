from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine.backbones.graph.run import open_plain
from fxengine.heads.file import Head, HeadFacts, save_head
from fxengine.train.word_nets import dense_head, multiply_adds, parameters, word_net
from tests.lstm import bilstm_features, random_lstm

RNG = np.random.default_rng(4)
TABLE = RNG.normal(size=(11, 6)).astype(np.float32)
SIDES = random_lstm(RNG, 6, 4), random_lstm(RNG, 6, 4)
BILSTM = {
    "table": TABLE,
    **{f"{side}_{part}": getattr(lstm, part) for side, lstm in zip(("forward", "backward"), SIDES, strict=True)
       for part in ("kernel", "recurrent", "bias")},
}  # fmt: skip
AVERAGE = {
    "table": TABLE,
    "dense_weights": RNG.normal(size=(6, 4)).astype(np.float32),
    "dense_bias": RNG.normal(size=4).astype(np.float32),
}
TOKENS = np.array([[3, 1, 4, 1], [5, 9, 0, 0]], np.int32)
LENGTHS = np.array([4, 2], np.int32)


def test_a_bilstm_gives_the_last_states_of_both_directions() -> None:
    model = word_net("bilstm", BILSTM)
    found = open_plain(model).run(["features"], {"tokens": TOKENS, "lengths": LENGTHS})[0]
    expected = [bilstm_features(TABLE[row[:n]], *SIDES) for row, n in zip(TOKENS, LENGTHS, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert multiply_adds("bilstm", BILSTM) == 2 * 4 * 4 * (6 + 4)
    assert parameters(model) == 11 * 6 + 2 * (4 * 4 * (6 + 4) + 8 * 4)  # a second bias of zeros is ONNX's own


def test_an_average_is_a_dense_layer_over_the_mean_of_the_words_that_are_there() -> None:
    found = open_plain(word_net("average", AVERAGE)).run(["features"], {"tokens": TOKENS, "lengths": LENGTHS})[0]
    means = np.stack([TABLE[row[:n]].mean(axis=0) for row, n in zip(TOKENS, LENGTHS, strict=True)])
    expected = np.maximum(means @ AVERAGE["dense_weights"] + AVERAGE["dense_bias"], 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found > 0).any()


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_a_dense_head_is_an_ordinary_head(tmp_path: Path, kind: str) -> None:
    weights, bias = RNG.normal(size=(3, 8)).astype(np.float32), RNG.normal(size=3).astype(np.float32)
    facts = HeadFacts("s" * 64, "net.onnx", "dense", ("a", "b", "c"), {"mean": 0.5}, 9, predicts=kind)  # type: ignore[arg-type]
    save_head(tmp_path / "head.onnx", dense_head(kind, weights, bias), facts)  # type: ignore[arg-type]
    x = RNG.normal(size=(5, 8)).astype(np.float32)
    logits = x @ weights.T + bias
    expected = {
        "classes": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        "labels": 1 / (1 + np.exp(-logits)),
        "numbers": logits,
    }[kind]
    np.testing.assert_allclose(Head.load(tmp_path / "head.onnx").answers(x), expected, atol=1e-5)
