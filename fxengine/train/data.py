"""What is trained on: rows with targets and sides, a probe of them, and the pictures at the net's input size."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from fxengine.backbones.spec import INPUT_NAME, PictureRecipe
from fxengine.collect import collect
from fxengine.collect.item import unescape_path
from fxengine.decode import preparer_for
from fxengine.decode.limits import TAKEN_IN, Limits
from fxengine.errors import DecodeError, InputError, StoreError
from fxengine.execute import usable_cores
from fxengine.features.read import FeatureStore
from fxengine.heads import HeadSettings, head_model, make_head
from fxengine.heads.evaluate.scores import Problem, all_answers
from fxengine.probing.targets import Labelled, check_enough, load_targets
from fxengine.probing.vectors import load_vectors, threshold
from fxengine.train import layout
from fxengine.train.options import FinetuneOptions
from fxengine.train.splits import TRAIN, split_rows


@dataclass(frozen=True)
class TrainingData:
    """Rows with a target, sorted by id.

    Attributes:
        root: the folder that ids are relative to, or the table that they are of.
        labelled: ids and what is to be predicted; near-duplicates are one group.
        split: int64 [n], see `fxengine.train.splits`.
        answers: of the probe that was fitted to the rows to train on, float32 [n, outputs].
        head: that probe, from features to answers.
        modality: what the rows are, "picture" or "text".
    """

    root: Path
    labelled: Labelled
    split: np.ndarray
    answers: np.ndarray
    head: onnx.ModelProto
    modality: str = "picture"

    @property
    def problem(self) -> Problem:
        """What is to be predicted."""
        return self.labelled.problem

    def fingerprint(self) -> str:
        """Return a hash of the rows, their targets and their sides."""
        digest = hashlib.sha256()
        for key, content, y, side in zip(
            self.labelled.ids, self.labelled.hashes, self.problem.y, self.split, strict=True
        ):
            digest.update(f"{key}\0{content}\0{y}\0{side}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def load_training_data(store: FeatureStore, labels: str | Path | None, options: FinetuneOptions) -> TrainingData:
    """Return the rows with a target, their sides, and a probe fitted to those to train on.

    Raises:
        StoreError: there are no targets, one class only, a class with one row, or no row for a side.
        InputError: the file of labels cannot be used.
    """
    labelled = load_targets(store, labels)
    check_enough(labelled, store, 2)
    found = load_vectors(store, labelled, threshold(options.near))
    labelled, problem = found.labelled, found.problem
    vectors = store.select(ids=labelled.ids).vectors(dtype="float32") if found.x is None else found.x
    modality, shares = store.provenance.modality, (options.validation, options.test)
    split = split_rows(labelled.splits, problem.y, problem.groups, *shares, options.seed, modality)
    train = np.flatnonzero(split == TRAIN)
    if problem.kind == "classes":
        missing = set(range(len(problem.names))) - set(problem.y[train].tolist())
        if missing:
            raise StoreError(f"No {modality} of the class {problem.names[min(missing)]!r} is left to train on.")
    name = "ridge" if problem.kind == "numbers" else "logistic"
    settings = HeadSettings(balanced=options.balanced, seed=options.seed)
    probe = make_head(name, problem.kind, settings, rows=len(train))
    probe.fit(vectors[train], problem.y[train])
    head = head_model(name, probe, vectors.shape[1], problem.kind, len(problem.names))
    answers = all_answers(probe, vectors, problem)
    return TrainingData(Path(unescape_path(store.provenance.root)), labelled, split, answers, head, modality)


def write_training_data(data: TrainingData, recipe: PictureRecipe, options: FinetuneOptions, folder: Path) -> None:
    """Write images.npy, uint8 [n, height, width, 3], and arrays.npz into `folder`.

    Raises:
        StoreError: a picture cannot be decoded any more.
    """
    shape = (len(data.labelled.ids), recipe.height, recipe.width, 3)
    preparer = preparer_for(recipe, TAKEN_IN)
    images = np.lib.format.open_memmap(folder / layout.IMAGES, mode="w+", dtype=np.uint8, shape=shape)

    def write(i: int) -> None:
        key = data.labelled.ids[i]
        try:
            preparer.open(preparer.payload_of(data.root / unescape_path(key))).fill({INPUT_NAME: images}, i)
        except DecodeError as error:
            raise StoreError(f"{key} cannot be decoded any more: {error} Run the same command again.") from error

    # Once and by the engine's own decoders, so that the net learns the very pixels that it will be given later.
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(write, range(len(images))))
    images.flush()
    weights, bias = head_weights(data.head)
    arrays = {**arrays_of(data, options), "head_weights": weights, "head_bias": bias}
    np.savez(folder / layout.ARRAYS, allow_pickle=False, **arrays)


def arrays_of(data: TrainingData, options: FinetuneOptions) -> dict[str, np.ndarray]:
    """Return what is to be learned of the rows: targets, float32 [n, outputs], sides, and how much each row counts."""
    problem = data.problem
    classes = problem.kind == "classes"
    targets = np.eye(len(problem.names), dtype=np.float32)[problem.y] if classes else problem.y.astype(np.float32)
    weight = np.ones(len(targets), np.float32)
    if options.balanced and classes:
        counts = np.bincount(problem.y[data.split == TRAIN], minlength=len(problem.names))
        weight = (counts.sum() / len(counts) / counts)[problem.y].astype(np.float32)
    return {"targets": targets, "split": data.split, "weight": weight, "kind": np.asarray(problem.kind)}


def write_samples(photos: str | Path, recipe: PictureRecipe, folder: Path, count: int = 6) -> None:
    """Write the first pictures that can be decoded, as `write_training_data` does; there is nothing to learn of them.

    Raises:
        InputError: there is none.
    """
    preparer, listing, done = preparer_for(recipe), collect(photos), 0
    inputs = preparer.room(count)
    for item in listing:
        with suppress(DecodeError):
            payload, _ = listing.read(item, Limits().max_bytes)
            preparer.open(payload).fill(inputs, done)
            done += 1
        if done == count:
            break
    if not done:
        raise InputError(f"No picture of {photos} can be decoded.")
    np.save(folder / layout.IMAGES, inputs[INPUT_NAME][:done])
    none = np.zeros((done, 1), np.float32)
    split, weight = np.full(done, TRAIN), np.ones(done, np.float32)
    np.savez(folder / layout.ARRAYS, targets=none, split=split, weight=weight, kind=np.asarray("classes"))


def head_weights(head: onnx.ModelProto) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [outputs, dim] and bias [outputs] of a head's last product."""
    weights, bias = _last_product(head)
    return numpy_helper.to_array(weights), numpy_helper.to_array(bias)


def with_weights(head: onnx.ModelProto, weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    """Return a copy of a head whose last product has other numbers."""
    made = onnx.ModelProto()
    made.CopyFrom(head)
    for tensor, values in zip(_last_product(made), (weights, bias), strict=True):
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), tensor.name))
    return made


def _last_product(head: onnx.ModelProto) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    constants = {tensor.name: tensor for tensor in head.graph.initializer}
    node = [node for node in head.graph.node if node.op_type == "Gemm"][-1]
    return constants[node.input[1]], constants[node.input[2]]
