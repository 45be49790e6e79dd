"""Names what is on pictures: by the backbone's own classes, or by a head trained on a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from fxengine.backbones import DEFAULT, find_space, load_backbone
from fxengine.backbones.spec import LOGITS_OUTPUT, BackboneFile, layer_output
from fxengine.collect import collect
from fxengine.decode.picture import Limits
from fxengine.errors import InputError
from fxengine.execute import open_session, usable_cores
from fxengine.features.parts import list_parts
from fxengine.features.read import FeatureStore
from fxengine.heads.file import Head
from fxengine.pipeline.summary import Progress
from fxengine.pipeline.threads import Pipeline


@dataclass(frozen=True)
class Prediction:
    """What one picture shows.

    Attributes:
        id: path relative to the folder, or the store's id.
        labels: the k most probable classes, the most probable first (of a head of numbers, the targets' names); empty
            where it failed.
        probabilities: as many, between 0 and 1; empty for a head of numbers.
        error: why it failed, or None.
        values: as many, of a head of numbers.
    """

    id: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str | None = None
    values: tuple[float, ...] = ()


def predict(
    source: str | Path,
    *,
    model: Path | None = None,
    backbone: str | Path | None = None,
    top: int = 5,
    device: str = "auto",
    limit: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[Prediction]:
    """Yield a prediction for every picture below `source`, by id, or for every row of a store, failed rows last.

    Args:
        source: a folder of pictures, one picture, or a feature store (then `model` is needed).
        model: a head file; without one the backbone's own classes are used.
        backbone: a name or file; with `model` only where its space is not found otherwise.
        top: how many classes to name.
        device: "auto", "cpu", "cuda" or "tensorrt".
        limit: only the first so many pictures.
        progress: called after every batch of pictures.

    Raises:
        InputError: the source cannot be read, or the backbone has no classes of its own.
        StoreError: the head belongs to another feature space than the store.
    """
    if top < 1:
        raise InputError(f"--top must be at least 1. Got {top}.")
    head = None if model is None else Head.load(model)
    if Path(source).is_dir() and list_parts(Path(source)):
        if head is None:
            raise InputError(f"{source} is a feature store: give a head with --model, or give the folder of pictures.")
        return _from_store(FeatureStore.open(source), head, top)
    found = _backbone(head, backbone)
    return _from_pictures(source, found, head, top, device, limit, progress)


def _backbone(head: Head | None, backbone: str | Path | None) -> BackboneFile:
    if head is None:
        found = load_backbone(backbone or DEFAULT)
        if not found.facts.classes:
            raise InputError(
                f"{found.facts.name} has no classes of its own: train a head (fxengine probe), give it as --model."
            )
        return found
    if backbone is None:
        return find_space(head.facts.space, head.facts.source)
    found = load_backbone(backbone)
    head.check_space(found.fingerprint, f"--backbone {backbone}")
    return found


def _from_store(store: FeatureStore, head: Head, top: int) -> Iterator[Prediction]:
    head.check_space(store.provenance.space, str(store.path))
    for table in store.batches(layer=head.facts.layer):
        yield from _name(table.keys, head.answers(table.vectors), head.facts.classes, top, head.facts.predicts)
    for failed in store.errors():
        yield Prediction(failed["id"], (), (), failed["error"])


def _from_pictures(
    source: str | Path,
    found: BackboneFile,
    head: Head | None,
    top: int,
    device: str,
    limit: int | None,
    progress: Callable[[Progress], None] | None,
) -> Iterator[Prediction]:
    output = LOGITS_OUTPUT if head is None else layer_output(head.facts.layer)
    classes, predicts = (found.facts.classes, "classes") if head is None else (head.facts.classes, head.facts.predicts)
    items = collect(source)
    session = open_session(found.path, device, streams=usable_cores())
    pipeline = Pipeline(session, found.recipe, (output,), usable_cores(), Limits())
    count = items.count()
    total = count if limit is None else min(count, limit)
    done, failed, begin = 0, 0, time.perf_counter()
    with closing(pipeline.results(islice(items, limit))) as batches:
        for batch in batches:
            rows = [job for job in batch.jobs if job.error is None]
            if rows:
                values = batch.outputs[output][[job.slot for job in rows]]
                given = softmax(values) if head is None else head.answers(values)
                made = _name([j.item.key for j in rows], given, classes, top, predicts)
                named = dict(zip(map(id, rows), made, strict=True))
            for job in batch.jobs:
                yield named[id(job)] if job.error is None else Prediction(job.item.key, (), (), str(job.error))
            done += len(batch.jobs)
            failed += len(batch.jobs) - len(rows)
            if progress is not None:
                progress(Progress(done, failed, total, time.perf_counter() - begin))


def _name(
    keys: Sequence[str], probabilities: np.ndarray, classes: Sequence[str], top: int, predicts: str
) -> Iterator[Prediction]:
    if predicts == "numbers":
        for key, row in zip(keys, probabilities, strict=True):
            yield Prediction(key, tuple(classes), (), values=tuple(map(float, row)))
        return
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    for key, row, order in zip(keys, probabilities, best, strict=True):
        yield Prediction(key, tuple(classes[i] for i in order), tuple(float(row[i]) for i in order))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities [n, classes] of logits [n, classes]."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
