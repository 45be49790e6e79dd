"""What is trained on: rows with targets and sides, a probe of them, and the pictures at the net's input size."""

from __future__ import annotations

import hashlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from fxengine.backbones.spec import INPUT_NAME, PictureRecipe
from fxengine.collect import collect
from fxengine.collect.item import Item, unescape_path
from fxengine.decode import preparer_for
from fxengine.decode.limits import TAKEN_IN, Limits
from fxengine.errors import DecodeError, InputError, StoreError
from fxengine.execute import usable_cores
from fxengine.features.read import FeatureStore
from fxengine.heads import HeadSettings, head_model, make_head
from fxengine.heads.evaluate.scores import Problem, all_answers
from fxengine.probing.targets import Labelled, load_targets
from fxengine.probing.vectors import load_vectors, threshold
from fxengine.train import layout
from fxengine.train.before import check_classes, copies_across, nothing_to_gain, rare_classes, too_few_mistakes
from fxengine.train.options import FinetuneOptions
from fxengine.train.room import mapped, written_to
from fxengine.train.scale import Scale
from fxengine.train.splits import TEST, TRAIN, VALIDATION, split_rows

_LEAST_SAMPLES, _MOST_SAMPLES = 6, 24  # pictures on the sheet of changes


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
        finished: why there is nothing to train for, a sentence, or "".
    """

    root: Path
    labelled: Labelled
    split: np.ndarray
    answers: np.ndarray
    head: onnx.ModelProto
    modality: str = "picture"
    finished: str = ""

    @property
    def problem(self) -> Problem:
        """What is to be predicted."""
        return self.labelled.problem

    @property
    def scale(self) -> Scale:
        """What numbers to predict are freed of."""
        return Scale.of(self.problem, np.flatnonzero(self.split == TRAIN))

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
    labelled = load_targets(store, labels, options.kind)
    found = load_vectors(store, labelled, threshold(options.near))
    labelled, problem = found.labelled, found.problem
    modality, shares = store.provenance.modality, (options.validation, options.test)
    check_classes(labelled, str(store.path), modality)
    vectors = store.select(ids=labelled.ids).vectors(dtype="float32") if found.x is None else found.x
    split = split_rows(labelled.splits, problem.y, problem.groups, *shares, options.seed, modality)
    train = np.flatnonzero(split == TRAIN)
    if problem.kind == "classes":
        missing = set(range(len(problem.names))) - set(problem.y[train].tolist())
        if missing:
            raise StoreError(
                f"No {modality} of the class {problem.names[min(missing)]!r} is left to train on: all of them, or "
                "copies of them, are on another side. Put some on the side to train on, or leave the class out."
            )
    _check_scores(problem, split, modality)
    name = probe_name(problem.kind)
    settings = HeadSettings(balanced=options.balanced, seed=options.seed)
    probe = make_head(name, problem.kind, settings, rows=len(train))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes")  # of few rows each
        probe.fit(vectors[train], problem.y[train])
    head = head_model(name, probe, vectors.shape[1], problem.kind, len(problem.names))
    answers = all_answers(probe, vectors, problem)
    select = np.flatnonzero(split == VALIDATION)
    selected = problem.take(select), answers[select], modality
    copies, few = copies_across(labelled, split, modality), too_few_mistakes(*selected)
    labelled = replace(labelled, notes=(*labelled.notes, *rare_classes(labelled, modality), *copies, *few))
    root = Path(unescape_path(store.provenance.root))
    return TrainingData(root, labelled, split, answers, head, modality, nothing_to_gain(*selected))


def probe_name(kind: str) -> str:
    """Return which head the probe is, for a kind of targets."""
    return "ridge" if kind == "numbers" else "logistic"


def _check_scores(problem: Problem, split: np.ndarray, modality: str) -> None:
    """Raise StoreError where the rows to select or to report on define no score."""
    for side, doing in ((VALIDATION, "select on"), (TEST, "report on")):
        y, more = problem.y[split == side], f"give more {modality}s, or larger shares as `validation` and `test`."
        if problem.kind == "numbers" and len(y) < 2:
            raise StoreError(f"One {modality} is left to {doing}, and numbers are scored on two or more: {more}")
        if problem.kind == "labels" and not y.any():
            raise StoreError(f"No {modality} to {doing} has any of the labels, so there is nothing to score: {more}")


def write_training_data(data: TrainingData, recipe: PictureRecipe, options: FinetuneOptions, folder: Path) -> None:
    """Write images.npy, uint8 [n, height, width, 3], and arrays.npz into `folder`.

    Raises:
        StoreError: a picture cannot be decoded any more.
        InputError: the disk has no room for them.
    """
    shape = (len(data.labelled.ids), recipe.height, recipe.width, 3)
    preparer = preparer_for(recipe, TAKEN_IN)
    images = mapped(folder / layout.IMAGES, shape, f"{shape[0]} pictures at {shape[2]} x {shape[1]} pixels")

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
    weights, bias = data.scale.to_learn(*head_weights(data.head))
    arrays = {**arrays_of(data, options), "head_weights": weights, "head_bias": bias}
    with written_to(folder):
        np.savez(folder / layout.ARRAYS, allow_pickle=False, **arrays)


def arrays_of(data: TrainingData, options: FinetuneOptions) -> dict[str, np.ndarray]:
    """Return what is to be learned of the rows: targets, float32 [n, outputs], sides, and how much each row counts.

    Numbers are freed of their mean and spread, see `Scale`.
    """
    problem = data.problem
    classes = problem.kind == "classes"
    targets = np.eye(len(problem.names), dtype=np.float32)[problem.y] if classes else data.scale.learned(problem.y)
    weight = np.ones(len(targets), np.float32)
    if options.balanced and classes:
        counts = np.bincount(problem.y[data.split == TRAIN], minlength=len(problem.names))
        weight = (counts.sum() / len(counts) / counts)[problem.y].astype(np.float32)
    return {"targets": targets, "split": data.split, "weight": weight, "kind": np.asarray(problem.kind)}


def write_samples(photos: str | Path, recipe: PictureRecipe, folder: Path) -> None:
    """Write pictures that can be decoded, as `write_training_data` does; there is nothing to learn of them.

    One of every class, of the first 24 where there are more; then others, until there are six.

    Raises:
        InputError: there is none.
    """
    preparer, listing, done = preparer_for(recipe), collect(photos), 0
    of_class: dict[str | None, list[Item]] = {}
    for item in listing:
        of_class.setdefault(item.label, []).append(item)
    left = [iter(items) for items in of_class.values()]
    count = min(max(_LEAST_SAMPLES, len(left)), _MOST_SAMPLES)
    inputs = preparer.room(count)
    while left and done < count:
        for items in [*left][: count - done]:
            for item in items:
                with suppress(DecodeError):
                    payload, _ = listing.read(item, Limits().max_bytes)
                    preparer.open(payload).fill(inputs, done)
                    done += 1
                    break
            else:
                left.remove(items)
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
