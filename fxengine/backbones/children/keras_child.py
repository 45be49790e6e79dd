"""The program that Keras, TensorFlow and tf2onnx run in: `python keras_child.py JOB.json`. No part of the engine.

It may run in an environment that has no fxengine, so it imports only numpy, onnx, keras, tensorflow and tf2onnx,
and talks by files. JOB.json holds {"photos": .npy, "jobs": [job, ...]}; each job names a folder, into which go, by the
names of layout.py: the net (float32 pictures after preprocessing in, NHWC), the reference (uint8 photos, those after
Keras's own preprocessing, and what Keras makes of them) and the answer ("ok" or an error in words).
"""

from __future__ import annotations

import difflib
import importlib
import json
import logging
import os
import runpy
import shutil
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, cast

# Read when Keras is imported; a user's keras.json may say another.
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import onnx
import onnx.numpy_helper
import tensorflow as tf
import tf2onnx

# By its path: the folder must not be searched for modules.
layout, answer_file, photo_crops = (
    SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(f"{name}.py"))))
    for name in ("layout", "answer_file", "photo_crops")
)

Job = dict[str, Any]
FEATURES, LOGITS = "features", "logits"
crops: Callable[[np.ndarray, int, int], np.ndarray] = photo_crops.crops
_SHARE_OF_A_BLOCK = 0.3
# Policies that are exported in float32, and how far a model may be from itself (||a-b||/||b||): a few roundings.
_ROUNDINGS = {"mixed_float16": 2e-2, "float16": 2e-2, "mixed_bfloat16": 0.1, "bfloat16": 0.1, "float64": 1e-3}
# tf2onnx 1.17 speaks opset 18 at most; each entry is tried when the ones before failed.
RECIPES = (("tf2onnx.from_function", 18), ("tf2onnx.from_function", 17), ("model.export", 17))


class Tensor(Protocol):
    """Keras's and TensorFlow's, as far as they are used here; so are the classes below."""

    shape: tuple[int, ...]
    _keras_history: History

    def __getitem__(self, index: object) -> Tensor: ...


class History(Protocol):
    """Which layer made a tensor."""

    operation: Layer


class Node(Protocol):
    """A call of a layer."""

    operation: Layer
    input_tensors: list[Tensor]


class Weight(Protocol):
    """A variable."""

    path: str
    shape: tuple[int, ...]

    assign: Callable[[object], object]

    def __rmul__(self, factor: float) -> object: ...


class Layer(Protocol):
    """A layer of any class; it has only some of these."""

    name: str
    input: Tensor
    output: Tensor
    weights: list[Weight]
    activation: object
    mean: object
    variance: object
    momentum: float
    moving_variance: Weight
    adapt_mean: Weight
    adapt_variance: Weight
    finalize_state: Callable[[], None]
    _outbound_nodes: list[Node]

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return what it makes of a tensor."""


class Model(Protocol):
    """A Functional or Sequential model."""

    layers: list[Layer]
    inputs: list[Tensor]
    output: Tensor
    input_shape: tuple[int, int, int, int]
    get_layer: Callable[[str], Layer]
    get_weights: Callable[[], list[np.ndarray]]
    set_weights: Callable[[list[np.ndarray]], None]
    load_weights: Callable[[str], None]
    export: Callable[..., None]

    def __call__(self, pictures: object, *, training: bool) -> dict[str, Tensor]:
        """Return its named outputs."""


Function = Callable[[Tensor], dict[str, Tensor]]
Make = Callable[..., Model]


class Refused(Exception):
    """The user asked for something that cannot be; the message says what to do."""


def main(path: Path) -> None:
    """Do every job; one that fails says so in its folder and stops no other."""
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    order = json.loads(path.read_text())
    images = np.load(order["photos"])
    for job in order["jobs"]:
        keras.backend.clear_session()
        folder = Path(job["folder"])
        leave_answer(folder, partial(run, job, images, folder))


def leave_answer(folder: Path, do: Callable[[list[str]], Job]) -> None:
    """Do a job and leave its answer, or what went wrong in words; `do` notes what it tries in the list that it gets."""
    answer_file.leave_answer(folder / layout.ANSWER, do, Refused)


def run(job: Job, images: np.ndarray, folder: Path, tried: list[str]) -> Job:
    """Build, convert and answer the photos of one job."""
    if job["kind"] == "savedmodel":
        net = saved_model(job)
        photos, ready = photos_for(job, images, net.size)
    else:
        model, photos, ready = model_of(job, images)
        net = cut(model, job)
        if job["kind"] == "keras":
            check_float32(net, job, ready)
    return finish(net, photos, ready, folder, tried)


def model_of(job: Job, images: np.ndarray) -> tuple[Model, np.ndarray, np.ndarray]:
    """Return the model of an Application or a file, photos of its input size, and the same as it takes them.

    "random" weights are made here and nowhere else: those that are exported are those that are trained.
    """
    keras.utils.set_random_seed(7)
    model = application(job) if job["kind"] == "application" else own_model(job)
    photos, ready = photos_for(job, images, model.input_shape[1:3])
    if job["weights"] == "random":
        with tf.device("CPU:0"):  # a GPU rounds the statistics otherwise
            randomise(model, ready)
    return model, photos, ready


def finish(net: Net, photos: np.ndarray, ready: np.ndarray, folder: Path, tried: list[str]) -> Job:
    """Write the net and the reference; return what the answer says of them."""
    reference = by_batches(net, ready)
    recipe = convert(net, folder / layout.NET, tried)
    arrays = {"photos": photos, "preprocessed": ready, **reference}
    np.savez(folder / layout.REFERENCE, allow_pickle=False, **arrays)
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__, "tf2onnx": tf2onnx.__version__}
    return {"cut": net.cut, "recipe": recipe, "versions": versions, "removed": net.removed, "batch": net.batch}


def by_batches(net: Net, ready: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the net makes of the pictures: as many at once as it is fixed to, else all."""
    batch = net.batch or len(ready)
    rows = [np.resize(ready[i : i + batch], (batch, *ready.shape[1:])) for i in range(0, len(ready), batch)]
    found = [net.function(tf.constant(pictures)) for pictures in rows]
    return {name: np.concatenate([np.asarray(part[name]) for part in found])[: len(ready)] for name in found[0]}


class Net:
    """What is converted: a Python function from preprocessed pictures to named outputs, its Keras model if any.

    `endpoint` is what a SavedModel is called by, `removed` the layers that the default cut took away,
    `batch` how many pictures a model is fixed to.
    """

    def __init__(
        self,
        function: Function,
        size: tuple[int, int],
        cut: str,
        model: Model | None = None,
        endpoint: str | None = None,
    ) -> None:
        self.function, self.size, self.cut, self.model, self.endpoint = function, size, cut, model, endpoint
        self.removed: list[str] = []
        self.batch: int | None = None if model is None else model.inputs[0].shape[0]


def check_float32(net: Net, job: Job, ready: np.ndarray) -> None:
    """Refuse an own model whose features in float32, as `own_model` makes it, are not those of its own policy."""
    policies = put_float32(read_config(job["what"]))
    if not policies:
        return
    before, after = by_batches(cut(load_own(job, job["what"]), job), ready), by_batches(net, ready)
    worst = max(relative(after[name], before[name]) for name in before)
    if not worst <= max(_ROUNDINGS[policy] for policy in policies):  # not ">": NaN must fail
        raise Refused(
            f"its features in float32 are {worst:.2g} (||a-b||/||b||) from those in {', '.join(sorted(policies))}, "
            "which is more than rounding: save it with the policy float32."
        )


def read_config(path: str) -> object:
    """Return the config.json of a .keras file."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def put_float32(config: object) -> set[str]:
    """Put float32 for the policies in a model's configuration that compute in another float; return these."""
    parts = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    found = set().union(*map(put_float32, parts))
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config["config"].get("name") in _ROUNDINGS:
            found.add(config["config"]["name"])
            config["config"]["name"] = "float32"
        if str(config.get("dtype")).startswith("mixed_"):
            found.add(config["dtype"])
            config["dtype"] = "float32"
    return found


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """Return the worst row's ||a-b||/||b||."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float((np.linalg.norm(a - b, axis=1) / np.maximum(np.linalg.norm(b, axis=1), 1e-30)).max())


def application(job: Job) -> Model:
    """Return the Application, headless unless its classifier is asked for."""
    make: Make | None = getattr(keras.applications, job["what"], None)
    if make is None:
        raise Refused(f"Keras {keras.__version__} has no {job['what']}: pip install --upgrade keras.")
    shape = (job["height"], job["width"], 3)
    whole: Job = {"include_top": True, "classifier_activation": None, "input_shape": shape}
    headless: Job = {"include_top": False, "pooling": job["pooling"] or "avg", "input_shape": shape}
    wanted = whole if job["logits"] else headless
    if job["weights"] == "random":
        return make(weights=None, **wanted)
    if job["weights"] == "imagenet":
        return with_imagenet(make, wanted)
    return with_weights(make, job, wanted, whole)


def with_imagenet(make: Make, wanted: Job) -> Model:
    """Return the Application with Keras's own download, which Keras keeps in KERAS_HOME."""
    try:
        return make(weights="imagenet", **wanted)
    except Exception as error:
        if "URL fetch failure" not in str(error):
            raise
        raise Refused(
            f"its weights could not be downloaded ({error}). Put that file into ~/.keras/models (or KERAS_HOME), "
            "or give a file as `weights`."
        ) from error


def with_weights(make: Make, job: Job, wanted: Job, whole: Job) -> Model:
    """Return the Application with the weights of a file, which may hold the classifier or not."""
    try:
        model = make(weights=None, **wanted)
        model.load_weights(job["weights"])
        return model
    except (ValueError, OSError, KeyError) as error:
        logging.warning("The weights do not fit: %s", error)
    try:
        model = make(weights=None, **whole)
        model.load_weights(job["weights"])
    except (ValueError, OSError, KeyError) as error:
        raise Refused(
            f"the weights in {job['weights']} do not fit it, with its classifier or without: {str(error)[:300]}"
        ) from error
    if job["logits"]:
        return model
    return cast(Model, keras.Model(model.inputs, pooled(map_before_head(model), job["pooling"] or "avg", model)))


def own_model(job: Job) -> Model:
    """Return the model in a .keras file, computing in float32 whatever its policy (mixed_float16).

    So its weights are stored, ONNX Runtime has no convolution of bfloat16, and fxengine chooses a precision itself.
    """
    config = read_config(job["what"])
    if not put_float32(config):
        return load_own(job, job["what"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.keras"
        with zipfile.ZipFile(job["what"]) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                with new.open(name, "w", force_zip64=True) as copy:
                    if name == "config.json":
                        copy.write(json.dumps(config).encode())
                    else:
                        shutil.copyfileobj(old.open(name), copy)
        return load_own(job, str(path))


def load_own(job: Job, path: str) -> Model:
    """Return the model in a .keras file as it is; safe mode refuses code in it."""
    try:
        model: Model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise Refused(why_not_loaded(error)) from error
    if not getattr(model, "inputs", None) or len(model.inputs) != 1 or len(model.input_shape) != 4:
        raise Refused("it is no Functional or Sequential model with one input of pictures [batch, height, width, 3].")
    shape, wanted = model.input_shape, (job["height"], job["width"])
    for name, has, wants in zip(("height", "width"), shape[1:3], wanted, strict=True):
        if has is None and wants is None:
            raise Refused(f"its {name} is open: give the input size.")
        if None not in (has, wants) and has != wants:
            raise Refused(f"its {name} is fixed at {has} pixels; {wants} was asked for.")
    if shape[3] != 3:
        raise Refused(f"it takes {shape[3]} channels; pictures have 3.")
    if None not in shape[1:3]:
        return model
    return with_size(model, wanted)


def why_not_loaded(error: Exception) -> str:
    """Return why Keras does not load a .keras file, and what to do."""
    if "Lambda" in str(error):
        return (
            "it holds a Lambda layer, and code in a .keras file is not run, trusted or not. Put one of Keras's own "
            "layers in its place (such as Rescaling), or export it as a SavedModel (model.export) and trust that."
        )
    said = " ".join(str(error).split())[:300]
    return f"Keras {keras.__version__} does not load it: {said}"


def with_size(model: Model, size: tuple[int, int]) -> Model:
    """Return the same net with its open height and width fixed."""
    fixed: Model = keras.models.clone_model(model, input_tensors=keras.Input((*size, 3)))
    fixed.set_weights(model.get_weights())  # a clone starts with new ones
    for layer in walk(fixed):
        if hasattr(layer, "adapt_mean"):
            layer.finalize_state()
    return fixed


def saved_model(job: Job) -> Net:
    """Return the SavedModel's serving signature, or the object itself where it has none (TensorFlow Hub)."""
    loaded = tf.saved_model.load(job["what"])
    signatures = dict(getattr(loaded, "signatures", {}))
    named = "serving_default" if callable(loaded) or len(signatures) != 1 else next(iter(signatures))
    signature = signatures.get(named)
    size = job["height"], job["width"]
    if signature is not None:
        keywords = signature.structured_input_signature[1]
        if len(keywords) != 1:
            raise Refused(f"its signature takes {sorted(keywords)}; one input of pictures is wanted.")
        ((argument, spec),) = keywords.items()
        size = size[0] or spec.shape[1], size[1] or spec.shape[2]
    if None in size:
        raise Refused("its height or width is open: give the input size.")

    def call(pictures: Tensor) -> dict[str, Tensor]:
        answer = signature(**{argument: pictures}) if signature is not None else loaded(pictures)
        return answer if isinstance(answer, dict) else {"output": answer}

    found = call(tf.zeros((1, *size, 3)))
    names = job["layers"] or ([*found] if len(found) == 1 else ["default"])
    missing = [name for name in names if name not in found]
    if missing:
        raise Refused(f"it has no output {missing[0]!r}: name one of {', '.join(sorted(found))} as layer.")
    keys = dict(zip(output_names(names), names, strict=True))

    def function(pictures: Tensor) -> dict[str, Tensor]:
        answer = call(pictures)
        vectors = {name: tf.cast(answer[key], tf.float32) for name, key in keys.items()}
        return {name: reduced(value, job["pooling"] or "avg") for name, value in vectors.items()}

    return Net(function, size, names[-1], endpoint="__call__" if signature is None else named)


def reduced(value: Tensor, pooling: str) -> Tensor:
    """Pool a map to a vector in plain TensorFlow."""
    axes = list(range(1, len(value.shape) - 1))
    return (tf.reduce_max if pooling == "max" else tf.reduce_mean)(value, axes) if axes else value


def output_names(layers: list[str]) -> list[str]:
    """Return the output of each layer: the last one is `features`."""
    return [*(f"{FEATURES}@{name}" for name in layers[:-1]), FEATURES]


def cut(model: Model, job: Job) -> Net:
    """Return the net whose outputs are the asked-for layers, each pooled to a vector, and `logits` if wanted."""
    pooling = job["pooling"] or "avg"
    outputs, where = {}, ",".join(job["layers"])
    if job["kind"] == "application":
        features, head = (map_before_head(model), model.output) if job["logits"] else (model.output, None)
    else:
        features, head = before_classifier(model)
    if job["layers"]:
        tensors = [layer_tensor(model, name) for name in job["layers"]]
        outputs = dict(zip(output_names(job["layers"]), (pooled(t, pooling) for t in tensors), strict=True))
    else:
        where = str(features._keras_history.operation.name)
        outputs[FEATURES] = pooled(features, pooling, model)
    if job["logits"]:
        if head is None:
            raise Refused("it has no classifier (a last Dense layer), so there are no logits.")
        outputs[LOGITS] = head
    write_out_constants(model)
    net = keras.Model(model.inputs, outputs)
    height, width = model.input_shape[1:3]

    def function(pictures: Tensor) -> dict[str, Tensor]:
        return {name: tf.cast(value, tf.float32) for name, value in net(pictures, training=False).items()}

    found = Net(function, (height, width), where, net)
    if job["kind"] == "keras" and not job["layers"] and head is not None:
        found.removed = classifier_layers(model)
    return found


def classifier_layers(model: Model) -> list[str]:
    """Return the layers from the last Dense one to the output."""
    kinds = [type(layer).__name__ for layer in model.layers]
    last = max(i for i, layer in enumerate(model.layers) if isinstance(layer, keras.layers.Dense))
    return [f"{kind} {layer.name}" for kind, layer in zip(kinds, model.layers, strict=True)][last:]


def write_out_constants(model: Model) -> None:
    """Make a Normalization's mean and variance plain arrays: as eager tensors they would become inputs of the graph."""
    for layer in walk(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)


def map_before_head(model: Model) -> Tensor:
    """Return the last map of an Application with its top: what its last pooling, or VGG's Flatten, takes."""
    kinds = [type(layer).__name__ for layer in model.layers]
    kind = "GlobalAveragePooling2D" if "GlobalAveragePooling2D" in kinds else "Flatten"
    return model.layers[len(kinds) - 1 - kinds[::-1].index(kind)].input


def before_classifier(model: Model) -> tuple[Tensor, Tensor | None]:
    """Return what the last Dense layer takes and gives without its activation; (output, None) where there is none."""
    for layer in reversed(model.layers):
        if isinstance(layer, keras.layers.Dense):
            before = layer.input
            layer.activation = keras.activations.linear
            return before, layer(before)
        if not isinstance(layer, keras.layers.Activation | keras.layers.Softmax):
            break
    if isinstance(model.output, list | tuple | dict):
        raise Refused(
            f"it has {len(model.output)} outputs, and none of them is a classifier's (a last Dense layer): save it "
            "with the one that is wanted, keras.Model(model.inputs, model.get_layer(NAME).output)."
        )
    return model.output, None


def layer_tensor(model: Model, name: str) -> Tensor:
    """Return a layer's output."""
    names = [layer.name for layer in model.layers]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=4, cutoff=0.3) or names[-4:]
        raise Refused(f"it has no layer {name!r}; the nearest are {', '.join(near)}.")
    return model.get_layer(name).output


def pooled(tensor: Tensor, pooling: str, model: Model | None = None) -> Tensor:
    """Pool a map or tokens to a vector, as `include_top=False, pooling=...` does."""
    rank = len(tensor.shape)
    if rank == 2:
        return tensor
    if pooling == "cls":
        if rank != 3:
            raise Refused(f"pooling 'cls' needs tokens [batch, token, number]; the layer gives {tensor.shape}.")
        return tensor[:, 0]
    kind = {"avg": "GlobalAveragePooling", "max": "GlobalMaxPooling"}[pooling]
    vector: Tensor = getattr(keras.layers, f"{kind}{rank - 2}D")()(tensor)
    # ConvNeXt normalises after pooling, also where it has no top.
    after = model.layers[-2] if model is not None and len(model.layers) > 1 else None
    is_norm = isinstance(after, keras.layers.LayerNormalization) and after.output.shape == vector.shape
    return after(vector) if after is not None and is_norm else vector


def photos_for(job: Job, images: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return photos of the net's input size, and the same as the net takes them."""
    photos = crops(images, *size)
    return photos, preprocess(job, photos)


def preprocess(job: Job, photos: np.ndarray) -> np.ndarray:
    """Return the photos as the net takes them: Keras's own `preprocess_input`, or what the user stated."""
    x = photos.astype(np.float32)
    if job["affine"] is not None:
        x = x[..., ::-1] if job["affine"]["bgr"] else x
        ready = (x - np.float32(job["affine"]["mean"])) / np.float32(job["affine"]["std"])
    else:
        module: Any = importlib.import_module(getattr(keras.applications, job["what"]).__module__)
        ready = np.asarray(module.preprocess_input(x))
    return np.ascontiguousarray(ready, np.float32)


def randomise(model: Model, ready: np.ndarray) -> None:
    """Give biases, scales and statistics values that a wrong export would show.

    Keras starts them at 0 and 1, where dropping or swapping them changes nothing. The statistics of batch
    normalisation come from one training-mode pass, so that the signal neither dies nor explodes. What is added to a
    shortcut is made small, as in a trained net: a hundred random blocks of full size are chaotic, and the rounding of
    float32 alone moves the features of a ResNet101 by 1.6e-4 (against float64).
    """
    rng = np.random.default_rng(7)
    for layer in walk(model):
        share = _SHARE_OF_A_BLOCK if ends_a_block(layer) else 1.0
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if hasattr(
            layer, "adapt_mean"
        ):  # EfficientNet's; where the net fixes mean and variance there is nothing to set
            layer.adapt_mean.assign(np.full(layer.adapt_mean.shape, 0.45))
            layer.adapt_variance.assign(np.full(layer.adapt_variance.shape, 0.05))
            layer.finalize_state()
        gamma: Weight | None = getattr(layer, "gamma", None)  # a scale; ConvNeXt's LayerScale starts at 1e-6
        for weight in layer.weights:
            name, shape = weight.path.rsplit("/", 1)[-1], weight.shape
            if name in {"bias", "beta"}:
                weight.assign(rng.normal(0, 0.1, shape))
            elif weight is gamma:
                weight.assign(share * rng.uniform(0.6, 1.4, shape))
            elif name == "kernel":
                weight.assign(share * weight)
    model(ready, training=True)
    for layer in walk(model):
        # A channel that hardly varies over these few photos would blow up mere rounding.
        if isinstance(layer, keras.layers.BatchNormalization):
            variance = np.asarray(layer.moving_variance)
            layer.moving_variance.assign(np.maximum(variance, 0.5 * variance.mean()))


def ends_a_block(layer: Layer) -> bool:
    """Tell whether the layer's output is added to a shortcut (the last one of the sum, where that has weights too)."""
    sums = [node for node in layer._outbound_nodes if isinstance(node.operation, keras.layers.Add)]
    adders = [[tensor._keras_history.operation for tensor in node.input_tensors] for node in sums]
    return any(layer in [one for one in adder if one.weights][-1:] for adder in adders)


def walk(model: Model) -> list[Layer]:
    """Return the layers of a model and of the models in it."""
    found = []
    for layer in model.layers:
        found += walk(cast(Model, layer)) if hasattr(layer, "layers") else [layer]
    return found


def convert(net: Net, path: Path, tried: list[str]) -> str:
    """Write the ONNX file by the first recipe that works, and return that recipe."""
    failures = []
    for way, opset in RECIPES:
        if way == "model.export" and net.model is None:
            continue
        tried.append(f"{way} (opset {opset})")
        try:
            model = by_function(net, opset) if way != "model.export" else by_export(net, opset, path)
            write_out_erfc(model.graph)
            onnx.checker.check_model(model)  # tf2onnx writes an op that it does not know as it is
            if len(model.graph.input) != 1:
                raise ValueError(f"the graph has inputs {[value.name for value in model.graph.input]}, one is wanted")
            onnx.save(model, path)
            return tried[-1]
        except Exception as error:
            traceback.print_exc()
            failures.append(f"{tried[-1]}: {type(error).__name__}: {str(error).strip()[:300]}")
            path.unlink(missing_ok=True)
    raise RuntimeError("; ".join(failures))


def by_function(net: Net, opset: int) -> onnx.ModelProto:
    """Convert by tf2onnx; outputs get the names of the function's dictionary.

    Keras wraps grouped convolutions (ConvNeXt) in a compiled function of their own, which tf2onnx leaves as a call
    that ONNX has no op for. "Eagerly" writes inner functions out while the outer one is traced.
    """
    signature = [tf.TensorSpec((None, *net.size, 3), tf.float32, name="pictures")]
    tf.config.run_functions_eagerly(net.model is not None)
    try:
        function = tf.function(net.function, input_signature=signature)
        model: onnx.ModelProto = tf2onnx.convert.from_function(function, signature, opset=opset)[0]
    finally:
        tf.config.run_functions_eagerly(False)
    return model


def write_out_erfc(graph: onnx.GraphProto) -> None:
    """Put 1 - Erf(x) for Erfc(x), which TensorFlow's GELU uses and neither tf2onnx nor ONNX has."""
    if not any(node.op_type == "Erfc" for node in graph.node):
        return
    graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(1, np.float32), "erfc/one"))
    nodes = []
    for node in graph.node:
        if node.op_type == "Erfc":
            inner = f"{node.name}/erf"
            nodes.append(onnx.helper.make_node("Erf", node.input, [inner], name=inner))
            nodes.append(onnx.helper.make_node("Sub", ["erfc/one", inner], node.output, name=node.name))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def by_export(net: Net, opset: int, path: Path) -> onnx.ModelProto:
    """Convert by Keras's own export, which patches tf2onnx where NumPy 2 breaks it."""
    assert net.model is not None
    signature = [keras.InputSpec(shape=(None, *net.size, 3), dtype="float32")]
    net.model.export(path, format="onnx", input_signature=signature, opset_version=opset, verbose=False)
    model = onnx.load(path)
    unknown = {output.name for output in model.graph.output} ^ {*cast("dict[str, Tensor]", net.model.output)}
    if unknown:
        raise ValueError(f"model.export gave other outputs than asked for: {sorted(unknown)}")
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1]))
