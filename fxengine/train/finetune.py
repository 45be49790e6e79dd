"""Trains a backbone further, and brings the result back as an ordinary backbone file with its head.

features -> a probe, and near-duplicates on one side -> pictures at the input size, or texts as words -> the training
process -> the tuned file, compared with Keras -> outcome.py: the tuned net where it is really better, else the probe
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from fxengine.backbones import DEFAULT
from fxengine.backbones.children.framework import SECONDS_A_NET
from fxengine.backbones.children.process import check_answer, run_program
from fxengine.backbones.options import ExportOptions, Pooling, WordWeights, input_size
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError, explained, path_of
from fxengine.features.read import FeatureStore
from fxengine.files import replacing
from fxengine.heads.estimator import Kind
from fxengine.pipeline.extract import extract
from fxengine.pipeline.suited import holds_texts
from fxengine.storage import is_remote, shown
from fxengine.train import layout
from fxengine.train.data import TrainingData, load_training_data, write_samples
from fxengine.train.options import (
    FinetuneOptions,
    Net,
    Optimizer,
    augmentations,
    for_pictures,
    for_texts,
    for_tokens,
)
from fxengine.train.outcome import finish
from fxengine.train.pictures import train_pictures
from fxengine.train.report import FinetuneReport
from fxengine.train.room import written_to
from fxengine.train.runs import kept_by, read_record
from fxengine.train.texts import train_texts
from fxengine.train.tokens import train_tokens
from fxengine.train.trainable import (
    TextNet,
    TokenNet,
    Trainable,
    is_over_vectors,
    load_text_net,
    load_trainable,
    load_trainable_of_pictures,
    refuse_pictures,
    refuse_texts,
    refuse_texts_without_vectors,
)
from fxengine.train.tuned import Tuned, Watch, program_of, untrained, versions_of


def finetune(
    inputs: str | Path,
    output: str | Path,
    *,
    backbone: str = DEFAULT,
    weights: str = "imagenet",
    size: int | Sequence[int] | None = None,
    pooling: Pooling | None = None,
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
    kind: Kind | None = None,
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
    force: bool = False,
    progress: Watch = None,
    tell: Callable[[str], None] | None = None,
) -> FinetuneReport:
    """Train `backbone` on pictures or texts; write `output`, its head beside it (`.head.onnx`) and a folder (`.run`).

    Killed at any moment, the same call goes on from the last epoch.

    Args:
        inputs: a folder of pictures, or a table or folder of texts, as `extract` takes it.
        output: the .onnx file to make.
        backbone: a source of Keras or PyTorch, or the embedded EfficientNet-Lite0; for texts torch-hf:NAME, or
            vectors:FILE, which a net is put over.
        weights: for Keras and PyTorch: "imagenet" (its own), "random", or a file.
        size: input height and width in pixels, or one number for both, where the net allows it.
        pooling: how a map, or tokens, become one vector, where the net does not say it; as for `extract`.
        preprocess: a JSON file that states how pixels are prepared, for a net of one's own.
        trust: load a SavedModel, which is a program; of torch-hf: run code and pickles in the repository.
        tokens: of word vectors, how the words of a text are found, as for `extract`.
        word_weights: of word vectors, how they are weighted in the mean that the probe is fitted to.
        words: of word vectors, take only the first so many of the file.
        column: of a table, the column of the texts; as for `extract`, as are the next three.
        id_column: of a table, the column of the rows' ids.
        label_column: of a table, the column of the labels.
        split_column: of a table, the column that says train, val or test.
        labels: None for the folders' names, or `label_column`; else FILE or FILE:A,B, joined by id.
        kind: what to predict, "classes", "labels" or "numbers"; as the columns look unless given, as for a probe.
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
        force: replace what an earlier run left in `output` even where that did better on the same rows.
        progress: called while rows are embedded and while it trains.
        tell: called before it trains with each sentence on the rows: what is left out, and copies between the sides.

    Raises:
        InputError: the backbone cannot be trained, its framework is not installed, no word has a vector, training
            failed, or `output` holds what did better.
        StoreError: too few rows or classes, or no row is left for a side.
    """
    inputs, output = path_of("inputs", inputs), path_of("output", output)
    if output.suffix != ".onnx":
        raise InputError(f"`output` {output} must end in .onnx.")
    options = FinetuneOptions(
        unfreeze, rate, optimizer, epochs, patience, batch, label_smoothing, balanced, augment, validation, test, near,
        seed, net, units, max_words, kind,
    )  # fmt: skip
    if is_remote(inputs):
        raise InputError(f"A net is trained on files of a disk: copy {shown(inputs)} to one, and give the folder.")
    if not inputs.exists():  # said before a net is fetched for it
        raise InputError(f"There is no file or folder {inputs}.")
    refuse_texts_without_vectors(inputs, backbone)
    export = _export_options(weights, size, preprocess, trust=trust)
    export = replace(export, pooling=pooling, tokens=tokens, word_weights=word_weights, words=words)
    options = _settled(options, inputs, backbone)
    framework = backbone.partition(":")[0]
    versions_of(framework)
    begin, folder = time.perf_counter(), output.with_suffix(layout.RUN)
    work = folder / layout.WORK
    fresh = not folder.exists()
    with explained(f"Cannot write {folder}", kind=InputError):
        work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            found = _loaded(inputs, backbone, export, work)
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
            record = _begin(folder, found.file, data, options, versions_of(framework))
            if tell is not None:
                for note in data.labelled.notes:
                    tell(note)
            tuned = _trained(work, found, store, data, options, progress)
            there = kept_by(folder) if output.is_file() and not force else None
            report = finish(output, found.file, data, tuned, there)
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


def _settled(options: FinetuneOptions, inputs: Path, backbone: str) -> FinetuneOptions:
    """Return the options of what is trained: a net over vectors of words, one that takes tokens, or one of pictures."""
    if is_over_vectors(backbone):
        return for_texts(options)
    return for_tokens(options, backbone) if holds_texts(inputs) else for_pictures(options, backbone)


def _loaded(inputs: Path, backbone: str, export: ExportOptions, work: Path) -> Trainable | TokenNet | TextNet:
    """Return what is trained; raises InputError where it does not take such inputs."""
    if is_over_vectors(backbone):
        return load_text_net(backbone, export)
    found = load_trainable(backbone, export, work)
    if isinstance(found, TokenNet):
        refuse_pictures(inputs, backbone)
    else:
        refuse_texts(inputs)
    return found


def _trained(
    work: Path,
    found: Trainable | TokenNet | TextNet,
    store: FeatureStore,
    data: TrainingData,
    options: FinetuneOptions,
    progress: Watch,
) -> Tuned:
    """Train, where there is something to gain."""
    if data.finished:
        return untrained(found.file, data.head, data.answers.shape[1], options)
    if isinstance(found, TokenNet):
        return train_tokens(work, found, store, data, options, progress)
    if isinstance(found, TextNet):
        return train_texts(work, found, store, data, options, progress)
    return train_pictures(work, found, data, options, progress)


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
    """Draw a picture of every class, six at least, a row each: as the net would see it, then five random changes of it.

    Raises:
        InputError: no picture can be decoded, the backbone cannot be trained, or the file cannot be written.
    """
    refuse_texts(path_of("inputs", inputs))
    with tempfile.TemporaryDirectory(prefix="fxengine-preview-") as name:
        folder = Path(name)
        net = load_trainable_of_pictures(backbone, _export_options(weights, size, preprocess, trust=trust), folder)
        write_samples(inputs, net.preparation.recipe, folder)
        order = {
            "net": net.job,
            "pixels": net.pixels,
            "data": name,
            "folder": name,
            "preview": str(folder / layout.SAMPLES),
            "settings": {"augmentations": augmentations(augment), "seed": seed},
        }
        log, ended = run_program(program_of(net.kind), order, folder, seconds=SECONDS_A_NET)
        check_answer(str(sheet), folder, log, ended, "drawn")
        rows, columns, height, width, _ = (samples := np.load(folder / layout.SAMPLES)).shape
    grid = samples.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    try:
        Image.fromarray(grid).save(sheet)
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot write {sheet}: {error}.") from error


def _begin(
    folder: Path, file: BackboneFile, data: TrainingData, options: FinetuneOptions, frameworks: dict[str, str]
) -> dict[str, Any]:
    """Write what the run is; raises InputError where the folder holds another one that was not finished."""
    record: dict[str, Any] = {
        "backbone": file.facts.name,
        "backbone_space": file.fingerprint,
        "data": data.fingerprint(),
        "settings": asdict(options),
    }
    path = _running_record(folder)
    if not path.is_file():  # a finished run was killed before it cleared up
        (folder / layout.WORK / layout.CHECKPOINT).unlink(missing_ok=True)
    if path.is_file() and (folder / layout.WORK / layout.CHECKPOINT).is_file():
        there = read_record(path)
        other = [key for key in record if there.get(key) != record[key]]
        if other:
            raise InputError(
                f"{folder} holds a run that was not finished, of another {' and '.join(other)}: give its very command "
                "to go on, delete the folder, or choose another `output`."
            )
    versions = {**frameworks, "fxengine": version("fxengine"), "numpy": np.__version__}
    _write_json(path, {**record, "status": "running", "versions": versions})
    return read_record(path)


def _running_record(folder: Path) -> Path:
    """Return where a run says what it is while it trains: a finished run's record stays until the next is finished."""
    path = folder / layout.RECORD
    with suppress(InputError):
        if path.is_file() and read_record(path).get("status") == "finished":
            return folder / layout.WORK / layout.RECORD
    return path


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with written_to(path.parent), replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")
