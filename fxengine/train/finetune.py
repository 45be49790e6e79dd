"""Trains a backbone further, and brings the result back as an ordinary backbone file with its head.

features -> a probe, and near-duplicates on one side -> pictures at the input size -> the training process -> the tuned
file, compared with Keras -> whichever is better on the rows to select on: the tuned net or the probe
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
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
from fxengine.backbones.children.layout import ANSWER
from fxengine.backbones.children.process import check_answer, run_program
from fxengine.backbones.fingerprint import fingerprint
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.options import ExportOptions, input_size
from fxengine.backbones.sources.feature_check import sample_photos
from fxengine.backbones.sources.from_keras import Checked, check_export
from fxengine.backbones.spec import FEATURE_OUTPUT, METADATA_KEY, BackboneFile
from fxengine.errors import InputError, explained, path_of
from fxengine.features.read import FeatureStore
from fxengine.files import replacing
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.scores import DECIDES, interval_of
from fxengine.heads.file import HeadFacts, save_head
from fxengine.pipeline.extract import extract
from fxengine.pipeline.summary import Progress
from fxengine.probing.report import Answered, ProbeReport, describe
from fxengine.train import layout
from fxengine.train.data import TrainingData, load_training_data, with_weights, write_samples, write_training_data
from fxengine.train.options import FinetuneOptions, Optimizer, augmentations
from fxengine.train.report import FinetuneReport, Side
from fxengine.train.runs import read_record
from fxengine.train.splits import TEST, TRAIN, VALIDATION
from fxengine.train.trainable import Trainable, load_trainable, refuse_texts
from fxengine.trust import note_named

Watch = Callable[[Progress], None] | None
_CHILD = Path(__file__).parent / "children" / "train_child.py"


def finetune(
    inputs: str | Path,
    output: str | Path,
    *,
    backbone: str = DEFAULT,
    weights: str = "imagenet",
    size: int | Sequence[int] | None = None,
    preprocess: str | Path | None = None,
    trust: bool = False,
    labels: str | Path | None = None,
    unfreeze: str = "all",
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
    """Train `backbone` on pictures; write `output`, its head beside it (`.head.onnx`) and a folder (`.run`).

    Killed at any moment, the same call goes on from the last epoch.

    Args:
        inputs: a folder of pictures, as `extract` takes it.
        output: the .onnx file to make.
        backbone: a Keras source or the embedded EfficientNet-Lite0.
        weights: for Keras: "imagenet", "random", or a file.
        size: input height and width in pixels, or one number for both, where the net allows it.
        preprocess: a JSON file that states how pixels are prepared, for a net of one's own.
        trust: load a SavedModel, which is a program.
        labels: None for the folders' names; else FILE or FILE:COLUMN, joined by id.
        unfreeze: "all", how many last layers, or the first layer to train; see `FinetuneOptions`, as for what follows.
        rate: learning rate; three are tried unless given.
        optimizer: what follows the gradients.
        epochs: at most.
        patience: epochs in vain after which it stops.
        batch: pictures a step.
        label_smoothing: of the training loss.
        balanced: let every class count as much.
        augment: "none", "light", "strong", or changes joined by commas.
        validation: share of the rows to select on, where no split is given.
        test: share of the rows to report on, where no split is given.
        near: cosine from which pictures stay on one side.
        seed: of everything random.
        progress: called while pictures are embedded and while it trains.

    Raises:
        InputError: the backbone cannot be trained, Keras is not installed, or the training failed.
        StoreError: too few pictures or classes, or no picture is left for a side.
    """
    inputs, output = path_of("inputs", inputs), path_of("output", output)
    if output.suffix != ".onnx":
        raise InputError(f"`output` {output} must end in .onnx.")
    options = FinetuneOptions(
        unfreeze,
        rate,
        optimizer,
        epochs,
        patience,
        batch,
        label_smoothing,
        balanced,
        augment,
        validation,
        test,
        near,
        seed,
    )
    refuse_texts(inputs)
    export = _export_options(weights, size, preprocess, trust=trust)
    keras_env.versions()
    begin, folder = time.perf_counter(), output.with_suffix(layout.RUN)
    work = folder / layout.WORK
    fresh = not folder.exists()
    with explained(f"Cannot write {folder}", kind=InputError):
        work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            net = load_trainable(backbone, export, work)
            named = net.file.path if export != ExportOptions() else backbone
            place = folder / layout.FEATURES
            done = extract(inputs, place, backbone=named, dtype="float32", prune=True, yes=True, progress=progress)
            if done.interrupted:
                raise KeyboardInterrupt
            store = FeatureStore.open(place)
            data = load_training_data(store, labels, options)
            record = _begin(folder, net, data, options)
            checked, outputs = _train(work, net, data, options, progress)
            report = _finish(output, net, data, checked, outputs)
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
            "data": name,
            "folder": name,
            "preview": str(folder / layout.SAMPLES),
            "settings": {"augmentations": augmentations(augment), "seed": seed},
        }
        log, ended = run_program(keras_env.program(_CHILD), order, folder, seconds=keras_env.SECONDS_A_NET)
        check_answer(str(sheet), folder, log, ended, "drawn")
        rows, columns, height, width, _ = (samples := np.load(folder / layout.SAMPLES)).shape
    grid = samples.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    try:
        Image.fromarray(grid).save(sheet)
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot write {sheet}: {error}.") from error


def _begin(folder: Path, net: Trainable, data: TrainingData, options: FinetuneOptions) -> dict[str, Any]:
    """Write what the run is; raises InputError where the folder holds another one that was not finished."""
    record: dict[str, Any] = {
        "backbone": net.file.facts.name,
        "backbone_space": net.file.fingerprint,
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


def _train(
    work: Path, net: Trainable, data: TrainingData, options: FinetuneOptions, progress: Watch
) -> tuple[Checked, dict[str, np.ndarray]]:
    """Run the training process to its end."""
    write_training_data(data, net.preparation.recipe, options, work)
    np.save(work / layout.PHOTOS, sample_photos())
    (work / ANSWER).unlink(missing_ok=True)
    wants = net.preparation
    order = {
        "net": net.job,
        "pixels": {"mean": wants.mean, "std": wants.std, "bgr": wants.bgr},
        "data": str(work.absolute()),
        "folder": str(work.absolute()),
        "tensorboard": str(work.absolute().with_name(layout.TENSORBOARD)),
        "photos": str((work / layout.PHOTOS).absolute()),
        "settings": {**asdict(options), "augmentations": augmentations(options.augment)},
    }
    watch = _follow(work / layout.PROGRESS, progress)
    log, ended = run_program(keras_env.program(_CHILD, trains=True), order, work, seconds=math.inf, watch=watch)
    check_answer(net.file.facts.name, work, log, ended, "trained")
    with np.load(work / layout.OUTPUTS) as arrays:
        outputs = dict(arrays)
    return check_export(net.file.facts.name, wants, work), outputs


def _follow(path: Path, progress: Watch) -> Callable[[], None]:
    """Return what reads the training's last step and tells it."""
    path.unlink(missing_ok=True)
    begin = time.monotonic()

    def watch() -> None:
        if progress is None or not path.is_file():
            return
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        steps = [line for line in lines if "of" in line]
        if steps:
            progress(Progress(steps[-1]["steps"], 0, steps[-1]["of"], time.monotonic() - begin))

    return watch


def _finish(
    output: Path, net: Trainable, data: TrainingData, checked: Checked, outputs: dict[str, np.ndarray]
) -> FinetuneReport:
    """Compare the tuned net with the probe on the rows to select on, and write the better one."""
    tuned = np.array(data.answers)
    tuned[outputs["rows"]] = _as_answers(outputs["logits"], data.problem.kind)
    sides = {"probe": _sides(data, data.answers), "tuned": _sides(data, tuned)}
    better = _is_better(sides["tuned"], sides["probe"])
    kept = "tuned" if better else "probe"
    state = checked.answer["state"]
    counts = {name: int((data.split == side).sum()) for name, side in _SIDES.items()}
    if better:
        file = _tuned_file(net, data, checked, sides["tuned"])
        head = with_weights(data.head, outputs["head_weights"], outputs["head_bias"])
    else:
        file, head = net.file, data.head
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
        backbone=net.file.facts.name,
        space=file.fingerprint,
        kept=kept,
        kind=data.problem.kind,
        metric=DECIDES[data.problem.kind],
        classes=data.problem.names,
        rows=counts,
        probe=sides["probe"],
        tuned=sides["tuned"],
        rate=state["rate"],
        batch=state["batch"],
        best_epoch=state["best_epoch"],
        history=tuple(state["history"]),
        trained_layers=len(checked.answer["trained"]),
        differences=checked.report.differences,
        details=_details(data, tuned if better else data.answers, score, counts["train"]),
        notes=data.labelled.notes,
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


def _details(data: TrainingData, answers: np.ndarray, score: Interval, trained_on: int) -> ProbeReport:
    """Return every score on the rows to report on."""
    rows = np.flatnonzero(data.split == TEST)
    ids = [data.labelled.ids[i] for i in rows]
    tested = Answered(data.problem.take(rows), answers[rows], ids)
    found = describe(tested, head="dense", score=score, evaluation="tested once", trained_on=trained_on)
    return replace(found, root=str(data.root))


def _as_answers(logits: np.ndarray, kind: str) -> np.ndarray:
    """Return probabilities of logits, or the numbers themselves."""
    if kind == "numbers":
        return logits
    if kind == "labels":
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _tuned_file(net: Trainable, data: TrainingData, checked: Checked, scores: Side) -> BackboneFile:
    """Return the tuned backbone in the cache, with facts that say from what, on what, and how well."""
    old, count = net.file.facts, len(data.labelled.ids)
    tuned = {
        "from": old.name,
        "from_space": net.file.fingerprint,
        "on": str(data.root),
        "data": data.fingerprint(),
        "pictures": count,
        DECIDES[data.problem.kind]: asdict(scores.test),
    }
    facts = replace(
        old,
        name=f"{old.name}-tuned",
        source=f"{old.source}, fine-tuned on {count} pictures of {data.root.name}",
        dim=checked.dims[FEATURE_OUTPUT],
        cut=checked.answer["cut"],
        parameters=checked.report.parameters,
        multiply_adds=checked.report.multiply_adds,
        classes=(),
        class_ids=(),
        layers=(),
        notes={"export": checked.report.to_dict(), "tuned": tuned},
    )
    model = with_safe_pads(checked.model)
    helper.set_model_props(model, {METADATA_KEY: facts.to_json()})
    digest = fingerprint(model, facts.recipe)
    return cache.keep(model, f"tuned-{digest[:32]}")


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")
