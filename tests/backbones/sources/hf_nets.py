"""Small random nets as transformers' exporters write them, in folders laid out like repositories."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.tokenizer import wordpiece_json
from tests.texts import VOCABULARY

DIM, POSITIONS = 8, 24
_FAR = np.float32(-1e9)


class Graph:
    """Nodes and weights of a net, put together by name."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def random(self, name: str, *shape: int) -> str:
        return self.const(name, self.rng.normal(0, 0.5, shape).astype(np.float32))

    def const(self, name: str, value: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"n_{output}", **attributes))
        return output

    def save(
        self,
        path: Path,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, Sequence[int | str]],
        opset: int = 14,
    ) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
        return path


def hidden_states(net: Graph, ids: str = "input_ids", mask: str | None = "attention_mask", causal: bool = False) -> str:
    """Add words, places and one attention, as BERT's and CLIP's; without a mask every token sees every one."""
    net.op("Shape", [ids], "shape")
    net.op("Gather", ["shape", net.const("one", np.int64(1))], "length")
    net.op("Range", [net.const("zero", np.int64(0)), "length", "one"], "range")
    net.op("Gather", [net.random("words", len(VOCABULARY), DIM), ids], "word")
    net.op("Gather", [net.random("places", POSITIONS, DIM), "range"], "place")
    net.op("Add", ["word", "place"], "embedded")
    for part in ("q", "k", "v"):
        net.op("MatMul", ["embedded", net.random(f"w_{part}", DIM, DIM)], part)
    net.op("Transpose", ["k"], "turned", perm=[0, 2, 1])
    net.op("MatMul", ["q", "turned"], "scores")
    seen = "scores"
    if mask is not None:
        net.op("Cast", [mask], "bool_mask", to=TensorProto.BOOL)
        net.op("Unsqueeze", ["bool_mask", net.const("axis1", np.array([1]))], "row_mask")
        seen = net.op("Where", ["row_mask", seen, net.const("far", _FAR)], "masked")
    if causal:
        net.op("Unsqueeze", ["range", net.const("axis_last", np.array([1]))], "column")
        net.op("LessOrEqual", ["range", "column"], "before")
        far = "far" if mask is not None else net.const("far", _FAR)
        seen = net.op("Where", ["before", seen, far], "causal")
    net.op("Softmax", [seen], "attention", axis=-1)
    net.op("MatMul", ["attention", "v"], "attended")
    net.op("Add", ["attended", "embedded"], "summed")
    return net.op("Tanh", ["summed"], "hidden")


def ids(batch: int | str = "batch", length: int | str = "sequence", kind: int = TensorProto.INT64) -> tuple[int, Any]:
    return kind, [batch, length]


BERT_INPUTS = {"input_ids": ids(), "attention_mask": ids(), "token_type_ids": ids()}


def bert(path: Path, seed: int = 0) -> Path:
    """Save a net of `last_hidden_state`, as sentence-transformers' repositories have it."""
    net = Graph(seed)
    hidden = hidden_states(net)
    net.op("Gather", [net.random("types", 2, DIM), "token_type_ids"], "type")
    net.op("Add", [hidden, "type"], "last_hidden_state")
    return net.save(path, BERT_INPUTS, {"last_hidden_state": ["batch", "sequence", DIM]})


def write(folder: Path, files: Mapping[str, object]) -> Path:
    """Write files of JSON, or of bytes, into a folder."""
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return folder


def tokenizer(**changed: object) -> bytes:
    """Return the tokenizer of single letters, which says what it should not of cutting and padding."""
    values = json.loads(wordpiece_json(VOCABULARY))
    truncation = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    padding = {
        "strategy": {"Fixed": 5}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    return json.dumps({**values, "truncation": truncation, "padding": padding, **changed}).encode()


def safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return a file of safetensors."""
    header, body = {}, b""
    for name, values in tensors.items():
        data = np.ascontiguousarray(values, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    said = json.dumps(header).encode()
    return len(said).to_bytes(8, "little") + said + body


def sentence_transformers(
    folder: Path, pooling: str = "mean_tokens", files: Mapping[str, object] | None = None
) -> Path:
    """Write the layout of sentence-transformers' repositories."""
    bert(folder / "onnx" / "model.onnx")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    said = {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": DIM, f"pooling_mode_{pooling}": True},
        "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
        "tokenizer_config.json": {"model_max_length": 20, "pad_token": "[PAD]"},
        "config.json": {"model_type": "bert", "max_position_embeddings": POSITIONS},
        "tokenizer.json": tokenizer(),
        "README.md": b"---\nlicense: apache-2.0\n---\n# card\n",
    }
    return write(folder, {**said, **(files or {})})


def tagger(folder: Path, labels: Sequence[str], length: int | str = "sequence", blind: str = "") -> Path:
    """Write a repository of a net that gives `logits` for every token, with these labels.

    Where it meets a word `blind`, what it gives is not finite.
    """
    net = Graph(7)
    hidden = hidden_states(net)
    if blind:
        (words,) = (each for each in net.weights if each.name == "words")
        values = numpy_helper.to_array(words).copy()
        values[VOCABULARY.index(blind)] = np.nan
        words.CopyFrom(numpy_helper.from_array(values, "words"))
    net.op("MatMul", [hidden, net.random("classes", DIM, len(labels))], "product")
    net.op("Add", ["product", net.random("bias", len(labels))], "logits")
    inputs = {"input_ids": ids("batch", length), "attention_mask": ids("batch", length)}
    net.save(folder / "model.onnx", inputs, {"logits": ["batch", length, len(labels)]})
    said = {"model_type": "bert", "max_position_embeddings": POSITIONS, "id2label": dict(enumerate(labels))}
    return write(folder, {"config.json": said, "tokenizer.json": tokenizer()})
