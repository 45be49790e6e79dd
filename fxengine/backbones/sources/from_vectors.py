"""A file of word vectors as a text backbone: `vectors:glove.6B.50d.txt`, the mean of a text's known words.

read -> a row for every word, weighted where that is asked for, and one of zeros -> gather, add up, divide: one graph

A folder of model2vec is one, too: its own tokenizer takes the texts apart, and features are what model2vec gives before
it scales them to length 1.

`word_weights` "sif" multiplies the vector of a word with a / (a + p), a = 0.001, where p is how frequent the word is:
"A simple but tough-to-beat baseline for sentence embeddings" (Arora, Liang, Ma; ICLR 2017). Files have their words in
the order of how frequent they are, the numbers themselves not, so p is taken from the rank by Zipf's law: that of the
word at rank r, from 1, of n is 1 / (r (1 + 1/2 + ... + 1/n)). The paper's second step, to take the common component of
all sentences away, needs the sentences and is not done here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fxengine.backbones.graph.external_data import MAX_BYTES
from fxengine.backbones.graph.model import make_model
from fxengine.backbones.graph.texts import MASK, Nodes, text_inputs, text_prologue
from fxengine.backbones.options import ExportOptions, refuse_unread
from fxengine.backbones.spec import (
    EPILOGUE,
    FEATURE_OUTPUT,
    LENGTHS_INPUT,
    METADATA_KEY,
    TOKENIZER_KEY,
    TOKENS_INPUT,
    Facts,
    TextRecipe,
)
from fxengine.backbones.tokenizer import packed, sha256_of_tokenizer
from fxengine.backbones.words.rule import find_rule
from fxengine.backbones.words.static import config_of, files_of
from fxengine.backbones.words.stream import find_place
from fxengine.backbones.words.vectors import WordVectors
from fxengine.backbones.words.vocabulary import Vocabulary
from fxengine.errors import InputError, at_least, explained, one_of

# Bumped when `export` changes what it builds, so that caches of the older file are not used.
BUILD = "1"
MAX_TOKENS = 16_384  # known words of a text; what is cut is told
WEIGHTS = ("sif",)
_SIF = 1e-3
_OWN_TOKENS = 512  # of a model2vec folder that does not say
_ROOM = 1 << 20  # bytes of a file that are neither table nor vocabulary


def export(what: str, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of `what`, "FILE", "FILE#MEMBER" or a folder of model2vec.

    Raises:
        InputError: it is no file of word vectors, does not fit into one ONNX file, or an option cannot be used.
    """
    check(options)
    refuse_unread(options, f"vectors:{what} is a table", read=("tokens", "word_weights", "words"))
    vectors = WordVectors.open(what, words=options.words)
    if vectors.tokenizer_json is None:
        return _of_words(vectors, what, options)
    refuse_unread(options, f"{what} has a tokenizer and weights of its own", read=())
    return _of_tokens(vectors, what, vectors.tokenizer_json)


def pinned(what: str, options: ExportOptions) -> str:
    """Return `what`: it names nothing that moves."""
    return what


def identity(what: str, options: ExportOptions) -> str:
    """Return what an export depends on: size and time of the file, or of those of a folder, and the rule of words."""
    check(options)
    path = find_place(what).path
    files, config = (files_of(path), config_of(path)) if path.is_dir() else ([path], {})
    with explained(f"{path} cannot be read", kind=InputError):
        stamps = [(found.st_size, found.st_mtime_ns) for found in map(os.stat, files)]
    return f"{BUILD} {stamps} {find_rule(options.tokens)} {json.dumps(config, sort_keys=True)}"


def check(options: ExportOptions) -> None:
    """Raise InputError where an option of word vectors is none."""
    find_rule(options.tokens)
    if options.word_weights is not None:
        one_of("word_weights", options.word_weights, WEIGHTS)
    if options.words is not None:
        at_least("words", options.words, 1)


def weights_of(count: int, options: ExportOptions) -> np.ndarray | None:
    """Return what the vectors of so many words, the most frequent first, are multiplied with, float32 [count]."""
    if options.word_weights is None:
        return None
    ranks = np.arange(1, count + 1, dtype=np.float64)
    frequency = 1 / (ranks * (1 / ranks).sum())
    return np.asarray(_SIF / (_SIF + frequency), np.float32)


def _of_words(vectors: WordVectors, what: str, options: ExportOptions) -> onnx.ModelProto:
    vocabulary = Vocabulary(find_rule(options.tokens), vectors.words).to_bytes()
    tokenizer = packed(vocabulary)
    _refuse_large(vectors, what, len(tokenizer))
    table = _table(vectors, weights_of(len(vectors.words), options))
    recipe = TextRecipe(sha256_of_tokenizer(vocabulary), MAX_TOKENS, kind="words")
    notes: dict[str, Any] = {"words": len(vectors.words), "tokens": options.tokens}
    if options.word_weights is not None:
        notes["word_weights"] = options.word_weights
    return _built(table, _facts(vectors, what, recipe, notes, "cosine"), tokenizer, None)


def _of_tokens(vectors: WordVectors, what: str, own: bytes) -> onnx.ModelProto:
    """Return what a folder of model2vec computes: the mean over its tokens, unknown ones left out."""
    try:
        values = json.loads(own)
        unknown = _unknown(values)
        # model2vec adds no special tokens, which only a post-processor does.
        values |= {"truncation": None, "padding": None, "post_processor": None}
        tokenizer = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
        most = vectors.config.get("max_length", _OWN_TOKENS)
        recipe = TextRecipe(sha256_of_tokenizer(tokenizer), MAX_TOKENS if most is None else int(most))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{what} has a tokenizer.json or config.json that cannot be used: {error}") from error
    text = packed(tokenizer)
    _refuse_large(vectors, what, len(text))
    notes = {"words": len(vectors.words)}
    metric = "cosine" if vectors.config.get("normalize") else ""
    return _built(_table(vectors, None), _facts(vectors, what, recipe, notes, metric), text, unknown)


def _unknown(tokenizer: Mapping[str, Any]) -> np.int32 | None:
    """Return the id of what a tokenizer gives for what it does not know; None where it has none."""
    model = tokenizer["model"]
    unknown = model.get("unk_id")
    if model.get("unk_token") is not None:
        added = {each["content"]: each["id"] for each in tokenizer.get("added_tokens") or ()}
        unknown = model["vocab"].get(model["unk_token"], added.get(model["unk_token"]))
    return None if unknown is None else np.int32(int(unknown))


def _facts(vectors: WordVectors, what: str, recipe: TextRecipe, notes: dict[str, Any], metric: Any) -> Facts:
    count, dim = vectors.array.shape
    return Facts(
        name=_name(what) + (f"+{notes['word_weights']}" if "word_weights" in notes else ""),
        source=f"{Path(what).name} ({vectors.format}), {count} words",
        licence="not stated by the file",
        recipe=recipe,
        dim=dim,
        cut="vectors of words",
        pooling="avg",
        parameters=count * dim,
        multiply_adds=0,
        notes=notes,
        metric=metric,
    )


def _name(what: str) -> str:
    """Return the file's name, or its member's, without what says its format."""
    place = find_place(what)
    name = Path(place.member or place.path).name
    while name.lower().endswith((".txt", ".vec", ".bin", ".gz", ".zip")):
        name = name.rpartition(".")[0]
    return name or "vectors"


def _refuse_large(vectors: WordVectors, what: str, tokenizer: int) -> None:
    """Raise InputError where table and tokenizer do not fit into one ONNX file."""
    count, dim = vectors.array.shape
    room = MAX_BYTES - _ROOM
    needed = 4 * dim * (count + 1) + tokenizer
    if needed > room:
        raise InputError(
            f"{what} is over 2 GB as a backbone, more than one ONNX file holds: give `words` {room * count // needed}, "
            "for only its most frequent ones."
        )


def _table(vectors: WordVectors, weights: np.ndarray | None) -> np.ndarray:
    """Return the vectors with a row of zeros behind them, float32 [words + 1, dim]."""
    count, dim = vectors.array.shape
    table = np.zeros((count + 1, dim), np.float32)
    table[:count] = vectors.array
    if weights is not None:
        table[:count] *= weights[:, None]
    return table


def _built(table: np.ndarray, facts: Facts, tokenizer: str, unknown: np.int32 | None) -> onnx.ModelProto:
    """Return the graph: the row of zeros stands for what is behind a text, which takes a third of the time that a
    product with the mask does. Without an unknown token there is a divisor of at least 1, for a row without a text;
    with one, a text of nothing else gives no finite number, and so no vector.
    """
    net = Nodes(EPILOGUE)
    none = net.constant("none", np.int32(len(table) - 1))
    kept, divisor = MASK, LENGTHS_INPUT
    if unknown is not None:
        known = net.node("Equal", [TOKENS_INPUT, net.constant("unknown", unknown)], "is_unknown")
        kept = net.node("And", [MASK, net.node("Not", [known], "known")], "kept")
        ones = net.node("Cast", [kept], "ones", to=TensorProto.INT32)
        divisor = net.node("ReduceSum", [ones, net.constant("words", [1])], "counted", keepdims=0)
    numbers = net.node("Where", [kept, TOKENS_INPUT, none], "numbers")
    rows = net.node("Gather", [net.constant("table", table), numbers], "rows")
    total = net.node("ReduceSum", [rows, net.constant("tokens", [1])], "total", keepdims=0)
    counts = net.node("Cast", [divisor], "counts", to=TensorProto.FLOAT)
    column = net.node("Unsqueeze", [counts, net.constant("axis", [1])], "column")
    if unknown is None:
        column = net.node("Max", [column, net.constant("one", np.float32(1))], "divisor")
    net.nodes.append(helper.make_node("Div", [total, column], [FEATURE_OUTPUT], name=net.named("mean")))
    head = text_prologue()
    output = helper.make_tensor_value_info(FEATURE_OUTPUT, TensorProto.FLOAT, ["batch", facts.dim])
    graph = helper.make_graph(
        [*head.nodes, *net.nodes], "word_vectors", text_inputs(), [output], [*head.initializers, *net.initializers]
    )
    model = make_model(graph)
    onnx.checker.check_model(model)
    helper.set_model_props(model, {METADATA_KEY: facts.to_json(), TOKENIZER_KEY: tokenizer})
    return model
