"""Trains a net over word vectors, as the guides of Keras do it.

the words of the training rows -> their vectors -> the training process -> one ONNX file, compared with Keras
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx

from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.report import differences
from fxengine.backbones.spec import FEATURE_OUTPUT, LENGTHS_INPUT, TOKENIZER_KEY, TOKENS_INPUT, Facts, TextRecipe
from fxengine.backbones.tokenizer import packed, sha256_of_tokenizer
from fxengine.backbones.words.vocabulary import Vocabulary
from fxengine.errors import InputError, StoreError
from fxengine.features.read import FeatureStore
from fxengine.features.texts import texts_of
from fxengine.train import layout
from fxengine.train.data import TrainingData, arrays_of
from fxengine.train.options import FinetuneOptions
from fxengine.train.room import written_to
from fxengine.train.splits import TRAIN
from fxengine.train.trainable import VECTORS, TextNet
from fxengine.train.tuned import Tuned, Watch, run_training
from fxengine.train.vocabulary import Numbered, numbered, training_words, vectors_of
from fxengine.train.word_nets import dense_head, multiply_adds, parameters, word_net

_RATES = (3e-4, 1e-3, 3e-3)  # that are tried; the net begins at random
_MOST_RELATIVE = 1e-4  # of the file's features to Keras's
_CUT = {"bilstm": "last states of both directions", "average": "dense layer over the mean"}


def train_texts(
    work: Path, net: TextNet, store: FeatureStore, data: TrainingData, options: FinetuneOptions, progress: Watch
) -> Tuned:
    """Run the training process to its end.

    Args:
        work: a folder for what passes to and from it.
        net: the vectors of words.
        store: whose rows' texts are meant.
        data: the rows.
        options: how.
        progress: told the steps.

    Raises:
        StoreError: a text is not to be had any more.
        InputError: no word has a vector, the training failed, or the file does not compute what Keras does.
    """
    texts = texts_in(store, data)
    vocabulary = training_words((texts[i] for i in np.flatnonzero(data.split == TRAIN)), net.known)
    frozen = options.unfreeze == "none"
    table, missing = vectors_of(vocabulary, net.vectors, frozen=frozen, seed=options.seed)
    rows = numbered(texts, vocabulary, options.max_words)
    arrays = {**arrays_of(data, options), "tokens": rows.tokens, "starts": rows.starts}
    with written_to(work):
        np.savez(work / layout.ARRAYS, allow_pickle=False, **arrays)
        np.save(work / layout.TABLE, table)
    name = str(options.net)
    order = {
        "net": {"kind": "words", "net": name, "units": options.units, "frozen": frozen},
        "rates": _RATES,
        "settings": {**asdict(options), "augmentations": ()},
    }
    answer, outputs = run_training(net.file.facts.name, work, order, progress, VECTORS)
    model = word_net(name, outputs)
    return Tuned(
        model=model,
        facts=_facts(net.file.facts, vocabulary, model, outputs, options),
        head=dense_head(data.problem.kind, *data.scale.to_answer(outputs["head_weights"], outputs["head_bias"])),
        rows=outputs["rows"],
        logits=data.scale.answers(outputs["logits"]),
        state=answer["state"],
        trained=answer["trained"],
        changed=answer["changed"],
        differences=check_against_keras(net.file.facts.name, model, outputs, rows),
        metadata={TOKENIZER_KEY: packed(vocabulary.to_bytes())},
        notes=_notes(vocabulary, missing, rows, options),
    )


def texts_in(store: FeatureStore, data: TrainingData) -> list[str]:
    """Return the rows' texts; raises StoreError where one is not to be had any more."""
    found = texts_of(store, data.labelled.ids)
    gone = [key for key in data.labelled.ids if key not in found]
    if gone:
        raise StoreError(f"{gone[0]} cannot be read any more in {data.root}: run the same command again.")
    return [found[key] for key in data.labelled.ids]


def check_against_keras(
    name: str, model: onnx.ModelProto, outputs: Mapping[str, np.ndarray], rows: Numbered
) -> dict[str, float]:
    """Return how far the graph, which takes each text alone, is from Keras, which took them side by side.

    Raises:
        InputError: it does not compute what Keras does.
    """
    session = open_plain(model)
    there = [i for i, number in enumerate(outputs["sample"]) if len(rows.row(number))]
    found = []
    for number in outputs["sample"][there]:
        tokens = rows.row(number)[None]
        given = {TOKENS_INPUT: tokens, LENGTHS_INPUT: np.array([tokens.shape[1]], np.int32)}
        found.append(session.run([FEATURE_OUTPUT], given)[0][0])
    worst = differences(np.stack(found), outputs[FEATURE_OUTPUT][there])
    if not worst["relative"] <= _MOST_RELATIVE:  # not ">": NaN must fail
        raise InputError(
            f"{name}: the exported net does not compute what Keras does, so nothing is kept: features are off by "
            f"{worst['relative']:.3g} (||a-b||/||b||). Please report it with the versions of keras and tensorflow."
        )
    return worst


def _facts(
    old: Facts,
    vocabulary: Vocabulary,
    model: onnx.ModelProto,
    weights: Mapping[str, np.ndarray],
    options: FinetuneOptions,
) -> Facts:
    name = str(options.net)
    return replace(
        old,
        recipe=TextRecipe(sha256_of_tokenizer(vocabulary.to_bytes()), options.max_words, kind="words"),
        dim=model.graph.output[0].type.tensor_type.shape.dim[1].dim_value,
        cut=_CUT[name],
        pooling="avg" if name == "average" else "none",
        parameters=parameters(model),
        multiply_adds=multiply_adds(name, weights),
        metric="",
        notes={"words": len(vocabulary.words), "net": name},
    )


def _notes(vocabulary: Vocabulary, missing: int, rows: Numbered, options: FinetuneOptions) -> tuple[str, ...]:
    count = len(vocabulary.words)
    others = "the others are zeros" if options.unfreeze == "none" else "the others began as small random numbers"
    said = [
        f"The vocabulary is the {count:,} words of the texts to train on; {count - missing:,} of them have a vector"
        + (f", {others}." if missing else ".")
    ]
    if rows.cut:
        said.append(
            f"{rows.cut:,} of {len(rows.starts) - 1:,} texts were cut behind their first {options.max_words} "
            "known words."
        )
    if rows.empty:
        said.append(
            f"{rows.empty:,} of the texts to select or to report on have no word of the vocabulary: the tuned net "
            "answers them here as if they were empty, and gives such texts no vector later."
        )
    return tuple(said)
