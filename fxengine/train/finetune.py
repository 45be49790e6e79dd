"""Trains a backbone further, and brings the result back as an ordinary backbone file with its head.

features -> a probe, and near-duplicates on one side -> pictures at the input size, or texts as words -> the training
process -> the tuned file, compared with Keras -> whichever is better on the rows to select on: the tuned net or the
probe
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from onnx import helper
from PIL import Image

from fxengine.backbones import DEFAULT, cache, source_name
from fxengine.backbones.children import keras_env
from fxengine.backbones.children.process import check_answer, run_program
from fxengine.backbones.fingerprint import fingerprint
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.options import ExportOptions, WordWeights, input_size
from fxengine.backbones.spec import METADATA_KEY, BackboneFile
from fxengine.errors import InputError, explained, path_of
from fxengine.features.read import FeatureStore
from fxengine.files import replacing
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.scores import DECIDES, interval_of
from fxengine.heads.file import HeadFacts, save_head
from fxengine.pipeline.extract import extract
from fxengine.probing.report import Answered, ProbeReport, describe
from fxengine.train import layout
from fxengine.train.data import TrainingData, load_training_data, write_samples
from fxengine.train.options import FinetuneOptions, Net, Optimizer, augmentations, for_pictures, for_texts
from fxengine.train.pictures import train_pictures
from fxengine.train.report import FinetuneReport, Side
from fxengine.train.runs import read_record
from fxengine.train.splits import TEST, TRAIN, VALIDATION
from fxengine.train.texts import train_texts
from fxengine.train.trainable import (
    TextNet,
    is_over_vectors,
    load_text_net,
    load_trainable,
    refuse_texts,
    refuse_texts_without_vectors,
)
from fxengine.train.tuned import CHILD, Tuned, Watch
from fxengine.trust import note_named


def finetune(
    inputs: str | Path,
    output: str | Path,
    *,
    backbone: str = DEFAULT,
    weights: str = "imagenet",
    size: int | Sequence[int] | None = None,
    preprocess: str | Path | None = None,
    trust: bool = False,
    tokens: str = "words",
    word_weights: WordWeights | None = None,
    words: int | None = None,
    column: str | None = None,
    id_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    labels: str | Path | None = None,
    net: Net | None = None,
    units: int = 64,
    max_words: int = 256,
    unfreeze: str | None = None,
    rate: float | None = None,
    optimizer: Optimizer = "adamw",
    epochs: int = 15,
    patience: int = 4,
    batch: int = 16,
    label_smoothing: float = 0.0,
    balanced: bool = False,
    augment: str = "light",
    validation: float = 0.2,
    test: float = 0.2,
    near: float = 0.97,
    seed: int = 0,
    progress: Watch = None,
) -> FinetuneReport:
    """Train `backbone` on pictures or texts; write `output`, its head beside it (`.head.onnx`) and a folder (`.run`).

    Killed at any moment, the same call goes on from the last epoch.

    Args:
        inputs: a folder of pictures, or a table or folder of texts, as `extract` takes it.
        output: the .onnx file to make.
        backbone: a Keras source or the embedded EfficientNet-Lite0; for texts vectors:FILE, which a net is put over.
        weights: for Keras: "imagenet", "random", or a file.
        size: input height and width in pixels, or one number for both, where the net allows it.
        preprocess: a JSON file that states how pixels are prepared, for a net of one's own.
        trust: load a SavedModel, which is a program.
        tokens: of word vectors, how the words of a text are found, as for `extract`.
        word_weights: of word vectors, how they are weighted in the mean that the probe is fitted to.
        words: of word vectors, take only the first so many of the file.
        column: of a table, the column of the texts; as for `extract`, as are the next three.
        id_column: of a table, the column of the rows' ids.
        label_column: of a table, the column of the labels.
        split_column: of a table, the column that says train, val or test.
        labels: None for the folders' names, or `label_column`; else FILE or FILE:COLUMN, joined by id.
        net: of texts, "bilstm" (unless given) or "average"; see `FinetuneOptions`, as for what follows.
        units: of that net.
        max_words: known words of a text that it reads.
        unfreeze: "all", how many last layers, or the first layer to train; of texts "none" (unless given) or "all".
        rate: learning rate; three are tried unless given.
        optimizer: what follows the gradients.
        epochs: at most.
        patience: epochs in vain after which it stops.
        batch: rows a step.
        label_smoothing: of the training loss.
        balanced: let every class count as much.
        augment: "none", "light", "strong", or changes joined by commas; of pictures alone.
        validation: share of the rows to select on, where no split is given.
        test: share of the rows to report on, where no split is given.
        near: cosine from which rows stay on one side.
        seed: of everything random.
        progress: called while rows are embedded and while it trains.

    Raises:
        InputError: the backbone cannot be trained, Keras is not installed, no word has a vector, or training failed.
        StoreError: too few rows or classes, or no row is left for a side.
    """
    inputs, output = path_of("inputs", inputs), path_of("output", output)
    if output.suffix != ".onnx":
        raise InputError(f"`output` {output} must end in .onnx.")
    options = FinetuneOptions(
        unfreeze, rate, optimizer, epochs, patience, batch, label_smoothing, balanced, augment, validation, test, near,
        seed, net, units, max_words,
    )  # fmt: skip
    refuse_texts_without_vectors(inputs, backbone)
    export = _export_options(weights, size, preprocess, trust=trust)
    export = replace(export, tokens=tokens, word_weights=word_weights, words=words)
    options = for_texts(options) if is_over_vectors(backbone) else for_pictures(options, backbone)
    keras_env.versions()
    begin, folder = time.perf_counter(), output.with_suffix(layout.RUN)
    work = folder / layout.WORK
    fresh = not folder.exists()
    with explained(f"Cannot write {folder}", kind=InputError):
        work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            found = load_text_net(backbone, export) if options.net else load_trainable(backbone, export, work)
            place = folder / layout.FEATURES
            done = extract(
                inputs,
                place,
                backbone=found.file.path if export != ExportOptions() else backbone,
                dtype="float32",
                column=column,
                id_column=id_column,
                label_column=label_column,
                split_column=split_column,
                prune=True,
                yes=True,
                progress=progress,
            )
            if done.interrupted:
                raise KeyboardInterrupt
            store = FeatureStore.open(place)
            data = load_training_data(store, labels, options)
            record = _begin(folder, found.file, data, options)
            if isinstance(found, TextNet):
                tuned = train_texts(work, found, store, data, options, progress)
            else:
                tuned = train_pictures(work, found, data, options, progress)
            report = _finish(output, found.file, data, tuned)
            report = replace(report, failed=len(store.errors()), seconds=round(time.perf_counter() - begin, 1))
            _write_json(folder / layout.RECORD, {**record, "status": "finished", **report.to_dict()})
    except Timeout as error:
        raise InputError(f"Another process trains in {folder}: wait for it, or choose another `output`.") from error
    except Exception:
        if fresh and not (folder / layout.FEATURES).exists():  # nothing that the same call would go on with
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(work)
    return report


def _export_options(
    weights: str, size: int | Sequence[int] | None, preprocess: str | Path | None, *, trust: bool
) -> ExportOptions:
    path = None if preprocess is None else Path(preprocess)
    return ExportOptions(weights=weights, size=input_size(size), preprocess=path, trust=trust)


def preview_augmentation(
    inputs: str | Path,
    sheet: str | Path,
    *,
    backbone: str = DEFAULT,
    weights: str = "imagenet",
    size: int | Sequence[int] | None = None,
    preprocess: str | Path | None = None,
    trust: bool = False,
    augment: str = "light",
    seed: int = 0,
) -> None:
    """Draw six pictures, a row each: as the net would see it, then five random changes of it.

    Raises:
        InputError: no picture can be decoded, the backbone cannot be trained, or the file cannot be written.
    """
    refuse_texts(path_of("inputs", inputs))
    with tempfile.TemporaryDirectory(prefix="fxengine-preview-") as name:
        folder = Path(name)
        net = load_trainable(backbone, _export_options(weights, size, preprocess, trust=trust), folder)
        write_samples(inputs, net.preparation.recipe, folder)
        order = {
            "net": net.job,
            "pixels": net.pixels,
            "data": name,
            "folder": name,
            "preview": str(folder / layout.SAMPLES),
            "settings": {"augmentations": augmentations(augment), "seed": seed},
        }
        log, ended = run_program(keras_env.program(CHILD), order, folder, seconds=keras_env.SECONDS_A_NET)
        check_answer(str(sheet), folder, log, ended, "drawn")
        rows, columns, height, width, _ = (samples := np.load(folder / layout.SAMPLES)).shape
    grid = samples.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    try:
        Image.fromarray(grid).save(sheet)
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot write {sheet}: {error}.") from error


def _begin(folder: Path, file: BackboneFile, data: TrainingData, options: FinetuneOptions) -> dict[str, Any]:
    """Write what the run is; raises InputError where the folder holds another one that was not finished."""
    record: dict[str, Any] = {
        "backbone": file.facts.name,
        "backbone_space": file.fingerprint,
        "data": data.fingerprint(),
        "settings": asdict(options),
    }
    path = folder / layout.RECORD
    if path.is_file() and (folder / layout.WORK / layout.CHECKPOINT).is_file():
        there = read_record(path)
        other = [key for key in record if there.get(key) != record[key]]
        if other:
            raise InputError(
                f"{folder} holds a run that was not finished, of another {' and '.join(other)}: give its very command "
                "to go on, delete the folder, or choose another `output`."
            )
    versions = {**keras_env.versions(), "fxengine": version("fxengine"), "numpy": np.__version__}
    _write_json(path, {**record, "status": "running", "versions": versions})
    return read_record(path)


def _finish(output: Path, original: BackboneFile, data: TrainingData, found: Tuned) -> FinetuneReport:
    """Compare the tuned net with the probe on the rows to select on, and write the better one."""
    tuned = np.array(data.answers)
    tuned[found.rows] = _as_answers(found.logits, data.problem.kind)
    sides = {"probe": _sides(data, data.answers), "tuned": _sides(data, tuned)}
    better = _is_better(sides["tuned"], sides["probe"])
    kept = "tuned" if better else "probe"
    counts = {name: int((data.split == side).sum()) for name, side in _SIDES.items()}
    if better:
        file, head = _tuned_file(original, data, found, sides["tuned"]), found.head
    else:
        file, head = original, data.head
    head_path = output.with_suffix(layout.HEAD)
    score = sides[kept].test
    facts = HeadFacts(
        space=file.fingerprint,
        source=source_name(output),
        kind="dense" if better else "logistic",
        classes=data.problem.names,
        accuracy=asdict(score),
        rows=counts["train"],
        versions={name: version(name) for name in ("scikit-learn", "onnx")},
        predicts=data.problem.kind,
        metric=DECIDES[data.problem.kind],
    )
    again = "Run the same command again: what was trained is kept."
    with explained(f"Cannot write {output}", again, InputError), replacing(output) as temporary:
        shutil.copyfile(file.path, temporary)
        save_head(head_path, head, facts)  # before it is in its place: neither of the two without the other
    note_named("backbone", facts.source)
    return FinetuneReport(
        output=str(output),
        head=str(head_path),
        run=str(output.with_suffix(layout.RUN)),
        backbone=original.facts.name,
        space=file.fingerprint,
        kept=kept,
        kind=data.problem.kind,
        metric=DECIDES[data.problem.kind],
        classes=data.problem.names,
        rows=counts,
        probe=sides["probe"],
        tuned=sides["tuned"],
        rate=found.state["rate"],
        batch=found.state["batch"],
        best_epoch=found.state["best_epoch"],
        history=tuple(found.state["history"]),
        trained_layers=len(found.trained),
        differences=found.differences,
        details=_details(data, tuned if better else data.answers, score, counts["train"], output),
        notes=(*data.labelled.notes, *found.notes),
        modality=data.modality,
    )


def _is_better(tuned: Side, probe: Side) -> bool:
    """Tell whether the tuned net does better on the rows to select on; those to report on say nothing here."""
    return tuned.validation.mean > probe.validation.mean


_SIDES = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def _sides(data: TrainingData, answers: np.ndarray) -> Side:
    """Return the score on the rows to select on and on those to report on, each with its interval."""
    found = []
    for side in (VALIDATION, TEST):
        rows = np.flatnonzero(data.split == side)
        found.append(interval_of(data.problem.take(rows), [answers[rows]]))
    return Side(*found)


def _details(data: TrainingData, answers: np.ndarray, score: Interval, trained_on: int, output: Path) -> ProbeReport:
    """Return every score on the rows to report on."""
    rows = np.flatnonzero(data.split == TEST)
    ids = [data.labelled.ids[i] for i in rows]
    tested = Answered(data.problem.take(rows), answers[rows], ids)
    found = describe(tested, head="dense", score=score, evaluation="tested once", trained_on=trained_on)
    store = output.with_suffix(layout.RUN) / layout.FEATURES
    return replace(found, root=str(data.root), store=str(store) if data.modality == "text" else "")


def _as_answers(logits: np.ndarray, kind: str) -> np.ndarray:
    """Return probabilities of logits, or the numbers themselves."""
    if kind == "numbers":
        return logits
    if kind == "labels":
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _tuned_file(original: BackboneFile, data: TrainingData, found: Tuned, scores: Side) -> BackboneFile:
    """Return the tuned backbone in the cache, with facts that say from what, on what, and how well."""
    old, count, things = original.facts, len(data.labelled.ids), f"{data.modality}s"
    tuned = {
        "from": old.name,
        "from_space": original.fingerprint,
        "on": str(data.root),
        "data": data.fingerprint(),
        things: count,
        DECIDES[data.problem.kind]: asdict(scores.test),
    }
    facts = replace(
        found.facts,
        name=f"{old.name}-tuned",
        source=f"{old.source}, fine-tuned on {count} {things} of {data.root.name}",
        classes=(),
        class_ids=(),
        layers=(),
        notes={**found.facts.notes, "tuned": tuned},
    )
    model = with_safe_pads(found.model)
    helper.set_model_props(model, {METADATA_KEY: facts.to_json(), **found.metadata})
    digest = fingerprint(model, facts.recipe)
    return cache.keep(model, f"tuned-{digest[:32]}")


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")
