"""Puts a head behind its backbone: one ONNX file from pictures or token ids to answers.

It needs only ONNX Runtime, one of texts also the package `tokenizers`: its tokenizer travels in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones import load_for_space
from fxengine.backbones.graph.model import tokenizer_of
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.graph.surgery import followed_by
from fxengine.backbones.spec import BUNDLE_METADATA_KEY, BackboneFile, layer_output
from fxengine.collect.item import unescape_path
from fxengine.collect.stored import is_named, stored_path
from fxengine.decode import Inputs, preparer_of
from fxengine.decode.limits import TAKEN_IN
from fxengine.errors import DecodeError, InputError, StoreError, explained, first_line, path_of
from fxengine.execute.shapes import takes_texts, texts_of_a_run
from fxengine.features.blocks import store_rows
from fxengine.features.read import FeatureStore
from fxengine.features.texts import texts_of
from fxengine.files import replacing
from fxengine.heads.estimator import output_name
from fxengine.heads.file import Head, HeadFacts, read_head

_SAMPLE = 200


@dataclass(frozen=True)
class Agreement:
    """How a bundle's answers for inputs compare with the head's for their stored vectors.

    Attributes:
        rows: inputs compared.
        same: share of them with the same first answer (of numbers: within 1% of their spread).
        worst: largest difference of a probability or number.
        gone: inputs of the sample that could not be read any more, or lie in no folder or table that this user named.
        modality: what they are, "picture" or "text".
    """

    rows: int
    same: float
    worst: float
    gone: int
    modality: str = "picture"


@dataclass(frozen=True)
class Bundled:
    """A bundle that was made.

    Attributes:
        path: the file.
        backbone: name of the backbone.
        head: what the head says of itself.
        bytes: size of the file.
        agreement: with stored vectors; None where there was no store to compare with.
    """

    path: str
    backbone: str
    head: HeadFacts
    bytes: int
    agreement: Agreement | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def bundle(backbone: str | Path, model: str | Path, output: str | Path, *, store: str | Path | None = None) -> Bundled:
    """Write one model: `images` uint8 [batch, height, width, 3] -> `probabilities` [batch, classes], `label` [batch].

    Of a backbone of texts it takes `tokens` int32 [batch, length] and `lengths` int32 [batch]. A head of numbers gives
    `values` alone, one of labels `probabilities` alone. The recipe for the inputs and the names of the answers are JSON
    in the model's metadata, under "fxengine_bundle"; the tokenizer's JSON (zlib, base64) is under "fxengine_tokenizer".

    Args:
        backbone: a name or file.
        model: a head file.
        output: the .onnx file to make.
        store: its inputs and vectors say how well the bundle agrees with the head; the store that the head was
            trained on unless given, where it is still there; 200 of its rows, chosen at random, are compared.

    Raises:
        InputError: there is no such backbone or head, or the file cannot be written.
        StoreError: head and backbone, or head and store, are of different spaces.
    """
    output, model = path_of("output", output), path_of("model", model)
    if output.suffix != ".onnx":
        raise InputError(f"`output` {output} must end in .onnx.")
    loaded = Head.load(model)
    found = load_for_space(backbone, loaded.facts.space)
    loaded.check_backbone(found, f"the backbone {backbone}")
    compared = _store_of(store, loaded)
    joined = _joined(found, model, loaded.facts)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as temporary:
            temporary.write_bytes(joined.SerializeToString())
            agreement = None if compared is None else _agreement(temporary, found, loaded, compared)
    except OSError as error:
        raise InputError(f"Cannot write {output}: {error.strerror or error}.") from error
    return Bundled(str(output), found.facts.name, loaded.facts, output.stat().st_size, agreement)


def _joined(found: BackboneFile, head: Path, facts: HeadFacts) -> onnx.ModelProto:
    graph = onnx.load_model_from_string(read_head(head).content).graph
    if facts.predicts == "classes":
        _add_label(graph, facts.classes)
    net = onnx.load(found.path)
    kept = tokenizer_of(net)
    model = with_safe_pads(followed_by(net, layer_output(facts.layer), graph, "head/"))
    del model.metadata_props[:]
    told = {
        **({facts.metric: facts.accuracy} if facts.accuracy else {}),  # before the others, since a head says its name
        "format": 1,
        "space": found.fingerprint,
        "backbone": found.facts.name,
        "licence": found.facts.licence,
        "recipe": asdict(found.recipe),
        "classes": list(facts.classes),
        "predicts": facts.predicts,
    }
    helper.set_model_props(model, {BUNDLE_METADATA_KEY: json.dumps(told), **kept})
    try:
        onnx.checker.check_model(model)
    except (ValueError, onnx.checker.ValidationError) as error:
        raise InputError(f"{head} does not fit behind {found.facts.name}: {first_line(error)}") from error
    return model


def _add_label(graph: onnx.GraphProto, classes: tuple[str, ...]) -> None:
    """Add an output `label`, the name of the most probable class."""
    graph.initializer.append(numpy_helper.from_array(np.array(classes, object), "classes"))
    output = graph.output[0].name
    graph.node.append(helper.make_node("ArgMax", [output], ["best"], axis=1, keepdims=0))
    graph.node.append(helper.make_node("Gather", ["classes", "best"], ["label"], axis=0))
    graph.output.append(helper.make_tensor_value_info("label", TensorProto.STRING, ["batch"]))


def _store_of(store: str | Path | None, head: Head) -> FeatureStore | None:
    if store is not None:
        opened = FeatureStore.open(store)
        head.check_space(opened.provenance.space, str(store))
        return opened
    try:
        opened = FeatureStore.open(head.facts.store or "")
    except StoreError:
        return None
    return opened if opened.provenance.space == head.facts.space else None


def _agreement(path: Path, found: BackboneFile, head: Head, store: FeatureStore) -> Agreement:
    """Run the bundle on the inputs of some rows, and the head on their vectors."""
    ids = store_rows(store)["id"].to_pylist()
    chosen = [ids[i] for i in np.sort(np.random.default_rng(0).permutation(len(ids))[:_SAMPLE])]
    output, modality = output_name(head.facts.predicts), found.recipe.modality
    with explained("ONNX Runtime cannot load the bundle"):
        session = open_plain(path)
    preparer = preparer_of(found, TAKEN_IN)
    inputs = preparer.room(1)
    fresh, kept = [], []
    for key, given in _inputs_of(store, chosen, modality):
        try:
            preparer.open(preparer.payload_of(given)).fill(inputs, 0)
        except DecodeError:
            continue
        with explained("ONNX Runtime cannot run the bundle"):
            fresh.append(session.run([output], _without_padding(inputs))[0][0])
        kept.append(key)
    if not kept:
        return Agreement(0, 0.0, 0.0, len(chosen), modality)
    stored = head.answers(store.select(ids=kept).vectors(layer=head.facts.layer))
    answers = np.stack(fresh)
    if head.facts.predicts == "classes":
        same = answers.argmax(axis=1) == stored.argmax(axis=1)
    elif head.facts.predicts == "labels":
        same = ((answers > 0.5) == (stored > 0.5)).all(axis=1)
    else:
        same = (np.abs(answers - stored) <= 0.01 * np.maximum(stored.std(axis=0), 1e-12)).all(axis=1)
    worst, gone = float(np.abs(answers - stored).max()), len(chosen) - len(kept)
    return Agreement(len(kept), float(same.mean()), worst, gone, modality)


def _inputs_of(store: FeatureStore, keys: Sequence[str], modality: str) -> Iterator[tuple[str, Path | str]]:
    """Yield id and input of the rows whose picture's file this user named, or whose text is to be had.

    What they are, the net says: a text is no path, whatever the store says that it is.
    """
    if modality == "text":
        texts = texts_of(store, keys)
        yield from ((key, texts[key]) for key in keys if key in texts)
        return
    root = unescape_path(store.provenance.root)
    for key in keys:
        picture = stored_path(root, key)
        if is_named(picture):  # the store may be somebody else's, and name any folder
            yield key, Path(picture)


def _without_padding(inputs: Inputs) -> Inputs:
    """Return one row of inputs, a text's without what is behind it."""
    return texts_of_a_run(inputs, slice(1), 1) if takes_texts(inputs) else inputs
