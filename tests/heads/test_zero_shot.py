"""The zero-shot head against open_clip's recipe, written out in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from fxengine.backbones.pair import Activation
from fxengine.errors import InputError
from fxengine.heads.file import Head, HeadFacts, ZeroShot, save_head
from fxengine.heads.zero_shot import KIND, class_vector, zero_shot_model

DIM = 12


def open_clip_weights(texts: np.ndarray) -> np.ndarray:
    """Return build_zero_shot_classifier's weights [classes, dim] of raw vectors [classes, templates, dim]."""
    embedded = texts / np.linalg.norm(texts, axis=-1, keepdims=True)
    mean = embedded.mean(axis=1)
    return np.asarray(mean / np.linalg.norm(mean, axis=-1, keepdims=True))


def facts(classes: int, activation: Activation, scale: float, bias: float) -> HeadFacts:
    names = tuple(f"c{i}" for i in range(classes))
    said = ZeroShot("t" * 64, names, ("{}",), activation, scale, bias, "pair")
    return HeadFacts("p" * 64, "made", KIND, names, {}, 0, zero_shot=said)


def saved(path: Path, texts: np.ndarray, activation: Activation, scale: float, bias: float) -> Head:
    model = zero_shot_model(np.stack([class_vector(each) for each in texts]), scale, bias, activation)
    save_head(path, model, facts(len(texts), activation, scale, bias))
    return Head.load(path)


@pytest.mark.parametrize(
    ("activation", "scale", "bias"), [("softmax", 100.0, 0.0), ("softmax", 20.0, 0.0), ("sigmoid", 117.3, -12.9)]
)
def test_it_is_open_clips_recipe(tmp_path: Path, activation: Activation, scale: float, bias: float) -> None:
    rng = np.random.default_rng(0)
    texts = (rng.normal(0, 3, (7, 4, DIM)) + 1).astype(np.float32)
    pictures = rng.normal(0, 5, (50, DIM)).astype(np.float32)
    found = saved(tmp_path / "head.onnx", texts, activation, scale, bias).answers(pictures)
    unit = pictures / np.linalg.norm(pictures, axis=1, keepdims=True)
    logits = scale * unit @ open_clip_weights(texts).T + bias
    expected = softmax(logits, axis=1) if activation == "softmax" else expit(logits)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-30)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 100), st.sampled_from(["softmax", "sigmoid"]))
def test_permuted_classes_are_permuted_answers(order: list[int], seed: int, activation: Activation) -> None:
    import onnxruntime as ort

    rng = np.random.default_rng(seed)
    vectors = np.stack([class_vector(each) for each in rng.normal(0, 1, (5, 3, DIM))])
    pictures = rng.normal(0, 1, (9, DIM)).astype(np.float32)
    found = []
    for each in (vectors, vectors[order]):
        model = zero_shot_model(each, 30.0, -2.0, activation)
        session = ort.InferenceSession(model.SerializeToString())
        found.append(session.run(None, {"features": pictures})[0])
    np.testing.assert_allclose(found[0][:, order], found[1], rtol=1e-5)


def test_the_length_of_a_vector_does_not_count(tmp_path: Path) -> None:
    texts = np.random.default_rng(1).normal(0, 1, (3, 2, DIM))
    head = saved(tmp_path / "head.onnx", texts, "softmax", 50.0, 0.0)
    picture = np.random.default_rng(2).normal(0, 1, (1, DIM))
    np.testing.assert_allclose(head.answers(picture * 1000), head.answers(picture), rtol=1e-4)
    np.testing.assert_allclose(head.answers(np.zeros((1, DIM))), 1 / 3, rtol=1e-6)


def test_its_facts_are_written_and_read(tmp_path: Path) -> None:
    head = saved(tmp_path / "head.onnx", np.eye(3)[:, None], "sigmoid", 10.0, -1.0)
    assert head.facts == facts(3, "sigmoid", 10.0, -1.0)
    assert head.facts.to_dict()["zero_shot"]["scale_from"] == "pair"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"accuracy": {"mean": 0.5}}, "'accuracy' is not said"),
        ({"zero_shot": None}, "'accuracy' is not said"),
        ({"classes": ("a",)}, "'zero_shot.words' are not as many"),
    ],
)
def test_facts_that_cannot_be(changed: dict[str, object], said: str) -> None:
    values = {**vars(facts(3, "softmax", 1.0, 0.0)), **changed}
    with pytest.raises(ValueError, match=said):
        HeadFacts(**values)


def test_a_damaged_head_is_refused(tmp_path: Path) -> None:
    broken = zero_shot_model(np.eye(4), 10.0, 0.0, "softmax")
    save_head(tmp_path / "head.onnx", broken, facts(3, "softmax", 10.0, 0.0))
    with pytest.raises(InputError, match="is damaged: it gives 4 probabilities"):
        Head.load(tmp_path / "head.onnx")
