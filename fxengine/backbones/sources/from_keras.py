"""Keras as a source of backbones: Keras Applications, own `.keras` models and SavedModel folders.

Keras, TensorFlow and tf2onnx run in a child process (keras_child.py), never in this one: they are heavy, they
bring a CUDA of their own, and a SavedModel is a program. The child answers by files; here the prologue is put in
front and the finished file is compared with what Keras itself made of the same photos.

Pictures are resized as Keras's `image_dataset_from_directory` does it: squashed to the input size, bilinear
without antialias. Another rule is had by `options.resize` or `options.preprocess`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper

from fxengine.backbones.children import keras_env, layout
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.graph.run import run_model
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.report import measure
from fxengine.backbones.sources import saved_model
from fxengine.backbones.sources.compared import Checked, check_export
from fxengine.backbones.sources.efficientnet_lite import imagenet_classes
from fxengine.backbones.sources.feature_check import check_vectors
from fxengine.backbones.sources.keras_applications import APPLICATIONS, MODES
from fxengine.backbones.sources.preprocessing import Preparation, prepare, preprocessing_file
from fxengine.backbones.spec import FEATURE_OUTPUT, LOGITS_OUTPUT, METADATA_KEY, Facts, PictureRecipe
from fxengine.errors import InputError

# Part of every cache key: bumped when this file or the child changes what they make.
BUILD = 3
_ORIGINS = {"application": "Keras Applications", "keras": "Keras model", "savedmodel": "SavedModel"}
_OTHER_LAYER = "Keep another layer with `layers`, or mend its weights."


def export(what: str, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of an Application's name, a `.keras` file or a SavedModel folder.

    Raises:
        InputError: there is no such net, Keras is not installed, it cannot be converted, or the file's features are
            not Keras's own.
    """
    return export_many([(what, options)])[0]


def export_many(wanted: Sequence[tuple[str, ExportOptions]]) -> list[onnx.ModelProto]:
    """Return the finished backbones of several nets from one child process; TensorFlow is loaded only once."""
    return export_orders([order(what, options) for what, options in wanted])


def export_orders(orders: Sequence[Order]) -> list[onnx.ModelProto]:
    """Return what `export_many` does of nets that were checked."""
    with tempfile.TemporaryDirectory(prefix="fxengine-keras-") as name:
        folders = [Path(name) / str(i) for i in range(len(orders))]
        jobs = [{**an_order.job, "folder": str(folder)} for an_order, folder in zip(orders, folders, strict=True)]
        keras_env.run(jobs, Path(name))
        return [assemble(an_order, folder) for an_order, folder in zip(orders, folders, strict=True)]


def pinned(what: str, options: ExportOptions) -> str:
    """Return `what`: it names nothing that moves."""
    return what


def identity(what: str, options: ExportOptions) -> str:
    """Return what an export depends on beside the options: versions, and the content of local files."""
    kind = _kind(what)
    files = [] if kind == "application" else [Path(what)]
    if kind == "application" and options.weights not in {"imagenet", "random"}:
        files.append(_weights_file(options.weights))
    stated = preprocessing_file(options, _folder(what, kind))
    files += [path for path in (stated, options.labels) if path is not None and path.is_file()]
    return json.dumps([BUILD, keras_env.versions(), [_sha256(path) for path in files]])


# --- what was asked for ---


@dataclass(frozen=True)
class Order:
    """One export: what was asked for, how its pixels are prepared and the job for the child.

    `name` is what messages call it, `source` what its facts do.
    """

    what: str
    name: str
    source: str
    options: ExportOptions
    kind: str
    preparation: Preparation
    job: dict[str, Any]


def order(what: str, options: ExportOptions, *, name: str | None = None) -> Order:
    """Check what was asked for, as far as that is possible without Keras; `name` is that of what a hub fetched."""
    kind = _kind(what)
    if kind == "savedmodel":
        saved_model.check_trust(what, options)
    if options.labels is not None and not options.logits:
        raise InputError("`labels` names the classes of a net's own classifier: keep that by `logits`.")
    if options.labels is not None and not options.labels.is_file():
        raise InputError(f"There is no file of labels {options.labels}.")
    if kind != "application" and options.weights != "imagenet":
        raise InputError(f"{what} holds its own weights: leave out `weights` {options.weights}.")
    weights = options.weights
    if kind == "application" and weights not in {"imagenet", "random"}:
        weights = str(_weights_file(weights).absolute())
    preparation = _prepare(what, kind, options)
    own_pixels = kind == "application" and not states_pixels(options)
    stated = {"bgr": preparation.bgr, "mean": preparation.mean, "std": preparation.std}
    weights_named = f" with weights {Path(options.weights).name}" if kind == "application" else ""
    source = name or f"{_ORIGINS[kind]} {what}{weights_named}"
    name = name or f"keras:{what}"
    job = {
        "name": name,
        "kind": kind,
        "what": what if kind == "application" else str(Path(what).absolute()),
        "weights": weights,
        "height": preparation.recipe.height,
        "width": preparation.recipe.width,
        "layers": list(options.layers),
        "pooling": options.pooling,
        "logits": options.logits,
        # Keras's own preprocess_input is the judge where the user states nothing else.
        "affine": None if own_pixels else stated,
    }
    return Order(what, name, source, options, kind, preparation, job)


def _kind(what: str) -> Literal["application", "keras", "savedmodel"]:
    path = Path(what)
    if what in APPLICATIONS:
        return "application"
    if what.endswith(".h5"):
        raise InputError(
            f"{what}: an .h5 file is taken only as weights of a named net (keras:ResNet50 with `weights` {path.name}). "
            "Save a whole model as .keras."
        )
    if what.endswith(".keras"):
        if not path.is_file():
            raise InputError(f"There is no Keras model {what}.")
        return "keras"
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise InputError(f"{what} is no SavedModel folder: it has no saved_model.pb.")
        return "savedmodel"
    lower = {name.lower(): name for name in APPLICATIONS}
    near = difflib.get_close_matches(what.lower(), lower, n=4, cutoff=0.4) or [name.lower() for name in APPLICATIONS]
    raise InputError(
        f"There is no Keras Application {what!r}. Did you mean {', '.join(lower[name] for name in near)}, "
        "a path to a .keras file or a SavedModel folder?"
    )


def _folder(what: str, kind: str) -> Path:
    """Return where a JSON file that states the preprocessing may lie; none lies beside this file."""
    own = {"application": Path(__file__), "keras": Path(what), "savedmodel": Path(what) / "saved_model.pb"}
    return own[kind].parent


def _weights_file(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file() or path.suffix != ".h5":
        raise InputError(f"Weights {weights!r}: give imagenet, random, or a file that ends in .h5 or .weights.h5.")
    return path


def states_pixels(options: ExportOptions) -> bool:
    """Tell whether options say how pixels are prepared."""
    given = (options.channels, options.scale, options.mean, options.std, options.preprocess)
    return any(value is not None for value in given)


def _prepare(what: str, kind: str, options: ExportOptions) -> Preparation:
    size: tuple[int | None, int | None] = (None, None)
    if kind == "application":
        size = _application_size(what, options)
        if not states_pixels(options):
            mode = MODES[APPLICATIONS[what].mode]
            channels: Literal["rgb", "bgr"] = "bgr" if mode.bgr else "rgb"
            options = replace(options, channels=channels, scale=1.0, mean=mode.mean, std=mode.std)
    elif kind == "keras":
        size = keras_env.input_size(Path(what))
    else:
        size = saved_model.input_size(Path(what))
    found = prepare(options, size, _folder(what, kind))
    if options.resize is None and preprocessing_file(options, _folder(what, kind)) is None:
        height, width = found.recipe.height, found.recipe.width
        squash = PictureRecipe(height, width, "both", max(height, width), "bilinear", antialias=False)
        found = replace(found, recipe=squash)
    return found


def _application_size(what: str, options: ExportOptions) -> tuple[int, int]:
    known = APPLICATIONS[what]
    size = options.size or (known.size, known.size)
    for name, pixels in zip(("height", "width"), size, strict=True):
        if pixels < known.smallest:
            raise InputError(
                f"keras:{what} takes pictures of {known.smallest} pixels and more; its {name} is {pixels}."
            )
    return size


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            name = str(file.relative_to(path)).encode()
            digest.update(b"%d:%s:%d:" % (len(name), name, file.stat().st_size))
            with file.open("rb") as content:
                while block := content.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()


# --- the finished file ---


def assemble(an_order: Order, folder: Path) -> onnx.ModelProto:
    """Return the backbone from what the child left in `folder`, after comparing it with Keras's own features.

    Raises:
        InputError: the file does not compute what Keras does, or its features say nothing of a picture.
    """
    with np.load(folder / layout.REFERENCE) as arrays:
        photos = arrays["photos"]
        check_vectors(arrays[FEATURE_OUTPUT], an_order.name, _OTHER_LAYER)
    checked = check_export(an_order.name, an_order.preparation, folder, keras_env.KERAS)
    if an_order.kind == "savedmodel" and an_order.options.logits:
        checked = _with_logits(an_order, checked, photos)
    helper.set_model_props(checked.model, {METADATA_KEY: _facts(an_order, checked).to_json()})
    return checked.model


def _with_logits(an_order: Order, checked: Checked, photos: np.ndarray) -> Checked:
    """Return a SavedModel, whose answer is a classifier's and Keras's own, with the features before that classifier."""
    pooling = an_order.options.pooling or "avg"
    model, cut = saved_model.with_logits(checked.model, an_order.name, pooling, photos)
    ours = run_model(with_safe_pads(model), photos)
    check_vectors(ours[FEATURE_OUTPUT], an_order.name, _OTHER_LAYER)
    was = checked.report
    report = replace(measure(with_safe_pads(model)), differences=was.differences, recipe=was.recipe, failed=was.failed)
    dims = {output: values.shape[1] for output, values in ours.items()}
    return Checked(model, report, dims, {**checked.answer, "cut": cut})


def _facts(an_order: Order, checked: Checked) -> Facts:
    options, prefix = an_order.options, f"{FEATURE_OUTPUT}@"
    dims, answer, report = checked.dims, checked.answer, checked.report
    imagenet = an_order.kind == "application" and options.weights == "imagenet"
    ids, classes = imagenet_classes() if imagenet and dims.get(LOGITS_OUTPUT) == 1000 else ((), ())
    if LOGITS_OUTPUT in dims and not (classes and options.labels is None):
        folder = Path(an_order.what) if an_order.kind == "savedmodel" else None
        ids, classes = (), saved_model.class_names(options.labels, folder, dims[LOGITS_OUTPUT])
    versions = ", ".join(f"{name} {version}" for name, version in answer["versions"].items())
    return Facts(
        name=f"keras:{Path(an_order.what).name}",
        source=f"{an_order.source} ({versions})",
        licence="see keras.io/api/applications" if imagenet else "that of the given weights",
        recipe=an_order.preparation.recipe,
        dim=dims[FEATURE_OUTPUT],
        cut=answer["cut"],
        pooling=options.pooling or "avg",
        parameters=report.parameters,
        multiply_adds=report.multiply_adds,
        classes=classes,
        class_ids=ids,
        layers=tuple((name.removeprefix(prefix), dim) for name, dim in dims.items() if name.startswith(prefix)),
        notes={
            "export": report.to_dict(),
            "preprocessing": an_order.preparation.source,
            "removed": answer.get("removed", []),
        },
    )
