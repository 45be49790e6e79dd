"""A tiny backbone of texts, and tables for it."""

from __future__ import annotations

import csv
import string
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.model import make_model
from fxengine.backbones.graph.texts import POSITIONS, mean_over_tokens, text_inputs, text_prologue
from fxengine.backbones.spec import FEATURE_OUTPUT, METADATA_KEY, TOKENIZER_KEY, TOKENS_INPUT, Facts, TextRecipe
from fxengine.backbones.tokenizer import packed, sha256_of_tokenizer, wordpiece_json

MAX_TOKENS = 16
_LETTERS = string.ascii_lowercase + string.digits
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "good",
    "bad",
    ".",
    *_LETTERS,
    *(f"##{c}" for c in _LETTERS),
]


def tiny_text_model(scale: float = 1.0, dim: int = 8, tokenizer: bytes | None = None) -> onnx.ModelProto:
    """Return a backbone of texts of up to 16 tokens, a token a letter; features differ in every number.

    Words and their places are added up, multiplied with a matrix, and the mean is taken.
    """
    rng = np.random.default_rng(11)
    tokenizer = wordpiece_json(VOCABULARY) if tokenizer is None else tokenizer
    weights = {
        "words": rng.normal(0, 1, (len(VOCABULARY), 24)),
        "places": rng.normal(0, 0.3, (MAX_TOKENS, 24)),
        "w": rng.normal(0, 0.5, (24, dim)) * scale,
    }
    nodes = [
        helper.make_node("Gather", ["words", TOKENS_INPUT], ["word"]),
        helper.make_node("Gather", ["places", POSITIONS], ["place"]),
        helper.make_node("Add", ["word", "place"], ["embedded"]),
        helper.make_node("Tanh", ["embedded"], ["bent"]),
        helper.make_node("MatMul", ["bent", "w"], ["hidden"]),
    ]
    head, tail = text_prologue(), mean_over_tokens("hidden", FEATURE_OUTPUT)
    tensors = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    output = helper.make_tensor_value_info(FEATURE_OUTPUT, TensorProto.FLOAT, ["batch", dim])
    graph = helper.make_graph(
        [*head.nodes, *nodes, *tail.nodes],
        "tiny_text",
        text_inputs(),
        [output],
        [*head.initializers, *tensors, *tail.initializers],
    )
    model = make_model(graph)
    facts = Facts(
        name="tiny_text",
        source="made by the tests",
        licence="none",
        recipe=TextRecipe(sha256_of_tokenizer(tokenizer), MAX_TOKENS),
        dim=dim,
        cut="hidden",
        pooling="avg",
        parameters=sum(values.size for values in weights.values()),
        multiply_adds=24 * dim,
        metric="cosine",
    )
    helper.set_model_props(model, {METADATA_KEY: facts.to_json(), TOKENIZER_KEY: packed(tokenizer)})
    return model


def write_table(path: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = ("id", "text", "label")) -> Path:
    """Write a .csv with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path
