from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.model import make_model
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError, StoreError
from fxengine.heads import head_model, make_head
from fxengine.heads.file import METADATA_KEY, Head, HeadFacts, save_head
from tests.conftest import tiny_model
from tests.heads.test_contract import blobs


def test_what_is_no_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no head file"):
        Head.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no")
    with pytest.raises(InputError, match="is not a readable ONNX file"):
        Head.load(tmp_path / "text.onnx")
    (tmp_path / "tiny.onnx").write_bytes(tiny_model().SerializeToString())
    with pytest.raises(InputError, match=r"tiny\.onnx is no head that `fxengine probe` wrote, but a backbone: give it"):
        Head.load(tmp_path / "tiny.onnx")


def test_a_head_of_another_space_is_refused(tmp_path: Path) -> None:
    x, y = blobs(2)
    facts = HeadFacts("s" * 64, "tiny", "ridge", ("a", "b"), {"mean": 1.0}, len(x))
    save_head(tmp_path / "h.onnx", head_model("ridge", make_head("ridge").fit(x, y), 12, "classes", 2), facts)
    head = Head.load(tmp_path / "h.onnx")
    head.check_space("s" * 64, "store")
    with pytest.raises(StoreError, match=r"features of 'tiny' \(ssssssssssss\); store holds those of another space"):
        head.check_space("t" * 64, "store")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": "80"}, r"h.onnx is damaged: 'rows' cannot be '80'. Update fxengine, or train the head again"),
        ({"classes": "ab"}, r"h.onnx is damaged: 'classes' cannot be 'ab'"),
        ({"accuracy": {"mean": "high"}}, r"'accuracy.mean' cannot be 'high'"),
        ({"versions": {"fxengine": "9.0"}, "towers": 2}, r"h.onnx was written by fxengine 9.0 and says 'towers' of"),
        ({"format": 2}, r"h.onnx is of another format"),
        ({"classes": ["a", "b" * 1001]}, r"h.onnx is damaged: the name of a class has more than 1000 characters"),
        ({"source": "x" * 4097}, r"h.onnx is damaged: a text in it has more than 4096 characters"),
        ({"classes": []}, r"h.onnx is damaged: 'classes' names none, or one twice. Update fxengine"),
        ({"classes": ["a", "a"]}, r"'classes' names none, or one twice"),
        ({"classes": ["a", "b", "c"]}, r"is damaged: it gives 2 probabilities, not a number for each name it has"),
        ({"predicts": "numbers"}, r"is damaged: it gives 2 probabilities, not a number"),
        ({"predicts": "colours"}, r"'predicts' cannot be 'colours'"),
        ({"rows": -1}, r"'rows' is out of range"),
        ({"rows": 10**400}, r"'rows' is out of range"),
        ({"accuracy": {}}, r"'accuracy' is not said as mean, low and high"),
        ({"accuracy": {"mean": 1, "best": 1}}, r"'accuracy' is not said as mean, low and high"),
        ({"accuracy": {"mean": 10**400}}, r"'accuracy' is out of range"),
    ],
)
def test_what_a_head_says_of_itself_is_checked(change: dict[str, object], says: str, tmp_path: Path) -> None:
    x, y = blobs(2)
    model = head_model("ridge", make_head("ridge").fit(x, y), 12, "classes", 2)
    save_head(tmp_path / "h.onnx", model, HeadFacts("s" * 64, "tiny", "ridge", ("a", "b"), {"mean": 1.0}, len(x)))
    model = onnx.load(tmp_path / "h.onnx")
    helper.set_model_props(model, {METADATA_KEY: json.dumps({**json.loads(model.metadata_props[0].value), **change})})
    onnx.save(model, tmp_path / "h.onnx")
    with pytest.raises(InputError, match=says):
        Head.load(tmp_path / "h.onnx")


def first_version(path: Path, weights: np.ndarray) -> None:
    """Write a head as the first version did."""
    constants = {"tiny": np.float32(1e-12), "weights": weights, "bias": np.zeros(len(weights), np.float32)}
    nodes = [
        helper.make_node("ReduceL2", ["features"], ["norm"], axes=[1], keepdims=1),
        helper.make_node("Max", ["norm", "tiny"], ["length"]),
        helper.make_node("Div", ["features", "length"], ["normalised"]),
        helper.make_node("Gemm", ["normalised", "weights", "bias"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])]
        for name, size in (("features", weights.shape[1]), ("probabilities", len(weights)))
    )
    made = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    model = make_model(helper.make_graph(nodes, "head", inputs, outputs, made))
    facts = HeadFacts("s" * 64, "tiny", "logistic", ("a", "b"), {"mean": 1.0, "low": 0.9, "high": 1.0}, 20)
    said = {name: value for name, value in vars(facts).items() if name not in ("layer", "predicts", "metric", "store")}
    helper.set_model_props(model, {METADATA_KEY: json.dumps({"format": 1, **said})})
    path.write_bytes(model.SerializeToString())


def test_a_head_of_the_first_version_can_be_read(tmp_path: Path) -> None:
    first_version(tmp_path / "h.onnx", np.eye(2, 3, dtype=np.float32))
    head = Head.load(tmp_path / "h.onnx")
    assert (head.dim, head.facts.predicts, head.facts.layer) == (3, "classes", None)
    scores = np.exp([0.6, 0.8])
    np.testing.assert_allclose(head.answers(np.array([[3, 4, 0]])), [scores / scores.sum()], rtol=1e-6)


def test_answers_that_are_no_numbers_are_said(tmp_path: Path) -> None:
    first_version(tmp_path / "h.onnx", np.full((2, 3), 3e38, np.float32))
    head = Head.load(tmp_path / "h.onnx")
    with pytest.raises(StoreError, match=r"The head's answers are not finite numbers: train it again"):
        head.answers(np.ones((2, 3)))
    with pytest.raises(StoreError, match=r"The head takes vectors of 3 numbers. Got some of 4."):
        head.answers(np.ones((2, 4)))


def test_many_rows_are_answered_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_version(tmp_path / "h.onnx", np.eye(2, 3, dtype=np.float32))
    x = np.random.default_rng(0).normal(0, 1, (50, 3))
    whole = Head.load(tmp_path / "h.onnx").answers(x)
    monkeypatch.setattr("fxengine.heads.file._AT_ONCE", 21)  # seven rows of three numbers
    np.testing.assert_allclose(Head.load(tmp_path / "h.onnx").answers(x), whole, rtol=1e-6)
    assert Head.load(tmp_path / "h.onnx").answers(x[:0]).shape == (0, 2)


def test_a_backbone_that_does_not_give_what_the_head_takes_is_said(tmp_path: Path, tiny: BackboneFile) -> None:
    first_version(tmp_path / "h.onnx", np.eye(2, 3, dtype=np.float32))
    head = Head.load(tmp_path / "h.onnx")
    fits = replace(tiny, fingerprint="s" * 64)
    with pytest.raises(
        StoreError, match=r"The head takes 3 numbers of the layer 'features', which net.onnx does not g"
    ):
        head.check_backbone(fits, "net.onnx")
    head.check_backbone(replace(fits, facts=replace(tiny.facts, dim=3)), "net.onnx")
    with pytest.raises(StoreError, match="those of another space"):
        head.check_backbone(tiny, "net.onnx")
