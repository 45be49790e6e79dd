"""Trains a net of texts of transformers: tokens -> the training process -> a file, compared with its net."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx

from fxengine.backbones.graph.model import metadata_of, tokenizer_of
from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.sources import from_torch_hf
from fxengine.backbones.spec import FEATURE_OUTPUT, LENGTHS_INPUT, METADATA_KEY, TOKENS_INPUT, Facts
from fxengine.backbones.tokenizer import tokenizer_in
from fxengine.decode.text.tokenizer import open_tokenizer
from fxengine.features.read import FeatureStore
from fxengine.train import layout
from fxengine.train.data import TrainingData, arrays_of, head_weights, with_weights
from fxengine.train.options import FinetuneOptions
from fxengine.train.room import written_to
from fxengine.train.texts import texts_in
from fxengine.train.trainable import TokenNet
from fxengine.train.tuned import Tuned, Watch, run_training

_RATES = (1e-5, 3e-5, 1e-4)  # that are tried; the net is trained already
_SAMPLES = 16  # texts on which what is trained is compared with what the probe was fitted to


def train_tokens(
    work: Path, net: TokenNet, store: FeatureStore, data: TrainingData, options: FinetuneOptions, progress: Watch
) -> Tuned:
    """Run the training process to its end.

    Args:
        work: a folder for what passes to and from it.
        net: what is trained.
        store: whose rows' texts are meant.
        data: the rows.
        options: how.
        progress: told the steps.

    Raises:
        StoreError: a text is not to be had any more.
        InputError: the training failed, or the exported file does not compute what PyTorch does.
    """
    recipe = net.recipe
    tokenizer = open_tokenizer(tokenizer_in(net.file), recipe.max_tokens)
    found = tokenizer.all_ids([recipe.prompt + text for text in texts_in(store, data)])
    starts = np.cumsum([0, *(len(each.ids) for each in found)], dtype=np.int64)
    samples = np.unique(np.linspace(0, len(found) - 1, _SAMPLES).round().astype(int))
    weights, bias = data.scale.to_learn(*head_weights(data.head))
    arrays = {**arrays_of(data, options), "head_weights": weights, "head_bias": bias}
    arrays |= {"tokens": np.concatenate([each.ids for each in found]), "starts": starts, "sample": samples}
    with written_to(work):
        np.savez(work / layout.ARRAYS, allow_pickle=False, **arrays)
        np.save(work / layout.EXPECTED, _features(net, [found[i].ids for i in samples]))
    order = {
        "net": {**net.job, "texts": True},
        "rates": _RATES,
        "settings": {**asdict(options), "augmentations": ()},
    }
    answer, outputs = run_training(net.file.facts.name, work, order, progress, from_torch_hf.KIND)
    made = from_torch_hf.assembled(net.what, net.options, work)
    return Tuned(
        model=made,
        facts=replace(Facts.from_json(metadata_of(made)[METADATA_KEY]), name=net.file.facts.name),
        head=with_weights(data.head, *data.scale.to_answer(outputs["head_weights"], outputs["head_bias"])),
        rows=outputs["rows"],
        logits=data.scale.answers(outputs["logits"]),
        state=answer["state"],
        trained=answer["trained"],
        changed=answer["changed"],
        differences=Facts.from_json(metadata_of(made)[METADATA_KEY]).notes["export"]["differences"],
        metadata=tokenizer_of(made),
    )


def _features(net: TokenNet, rows: list[np.ndarray]) -> np.ndarray:
    """Return what the exported net makes of texts, each alone, float32 [rows, dim]."""
    session = open_plain(onnx.load(net.file.path))
    given = [{TOKENS_INPUT: ids[None], LENGTHS_INPUT: np.array([len(ids)], np.int32)} for ids in rows]
    return np.concatenate([session.run([FEATURE_OUTPUT], each)[0] for each in given])
