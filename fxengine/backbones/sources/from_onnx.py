"""Any ONNX file as a backbone: `onnx:model.onnx[@tensor]`.

read (external data merged, custom operators refused) -> find the classifier -> keep what stands before it -> newer
opset, any number of pictures (both compared with the file itself) -> prologue, net, pooling: one graph
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fxengine.backbones.graph import surgery
from fxengine.backbones.graph.batch import with_open_batch
from fxengine.backbones.graph.cut import (
    Cut,
    Head,
    channels_last,
    check_cut,
    find_classifier,
    find_head,
    find_tensor,
    list_candidates,
    no_classifier,
    vector_nodes,
)
from fxengine.backbones.graph.external_data import data_files, load_model
from fxengine.backbones.graph.model import OPSET, metadata_of
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.graph.prologue import prologue
from fxengine.backbones.graph.quantized import check_scales, with_numbers
from fxengine.backbones.graph.run import open_plain, outputs_of, run_model
from fxengine.backbones.graph.surgery import BATCH, View
from fxengine.backbones.json_file import object_in
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.report import measure
from fxengine.backbones.sources.feature_check import check_vectors, sample_pictures
from fxengine.backbones.sources.preprocessing import Beside, Preparation, prepare, preprocessing_file
from fxengine.backbones.spec import FEATURE_OUTPUT, LOGITS_OUTPUT, METADATA_KEY, Facts, layer_output
from fxengine.errors import InputError, first_line

# Bumped when `export` changes what it builds, so that caches of the older file are not used.
BUILD = "4"
_PREFIX = "net/"
_Way = Callable[[onnx.ModelProto], onnx.ModelProto]
_INPUT_KINDS = (TensorProto.FLOAT, TensorProto.FLOAT16)
# How far the rebuilt net may be from the file, in parts of the largest value.
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 2e-2


@dataclass(frozen=True)
class Origin:
    """A file, how people call it, and what its makers say beside it.

    Attributes:
        path: the file.
        source: what asks for it, as "onnx:model.onnx"; SOURCE@TENSOR asks for a tensor of it.
        name: how messages call the file.
        find: gives a file of weights that the model names; by default those in its own folder are taken.
        beside: what may state the preprocessing, see `prepare`.
        config: may state the names of the classes; None: there is none.
    """

    path: Path
    source: str
    name: str
    find: Callable[[str], Path] | None
    beside: Beside
    config: Path | None


@dataclass(frozen=True)
class _Net:
    """A read and cleaned file, and what its input says.

    Attributes:
        origin: the file.
        model: its graph.
        input: the input's name.
        kind: the input's element type.
        batch: how many pictures it takes at once; None where any number.
        size: height and width; None where open.
        last: whether it takes [batch, height, width, 3].
    """

    origin: Origin
    model: onnx.ModelProto
    input: str
    kind: int
    batch: int | None
    size: tuple[int | None, int | None]
    last: bool

    def dims(self, batch: int | str, size: tuple[int, int]) -> list[int | str]:
        """Return the input's shape."""
        return [batch, *size, 3] if self.last else [batch, 3, *size]


def export(what: str, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of `what`, "model.onnx" or "model.onnx@tensor".

    Raises:
        InputError: the file cannot be read or trusted, cut, fed with photos or made to take many of them.
    """
    if options.weights != "imagenet":
        raise InputError(f"{what} holds its own weights: leave out `weights` {options.weights}.")
    path, tensor = _split(what)
    return export_net(origin_of(path), tensor, options)


def origin_of(path: Path) -> Origin:
    """Return a file by itself, with what lies in its folder."""
    config = path.parent / "config.json"
    return Origin(path, f"onnx:{path}", str(path), None, path.parent, config)


def export_net(origin: Origin, tensor: str | None, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of a net of pictures, cut at this tensor, or before its classifier.

    Raises as `export`.
    """
    net = _read(origin)
    head = find_head(View(net.model.graph))
    if head is None and tensor is None and not options.layers:
        check_scales(net.model, origin.name)  # the likeliest reason
    outputs = _chosen(net, tensor, options, head)
    preparation = prepare(options, net.size, origin.beside)
    size = (preparation.recipe.height, preparation.recipe.width)
    tensors = list(dict.fromkeys(outputs.values()))
    cut = surgery.with_input(surgery.keep_only(net.model, tensors), net.dims(net.batch or BATCH, size))
    check_scales(cut, origin.name)
    pictures = sample_pictures(*size)
    pixels = _as_input(pictures, preparation, net)
    wanted = _reference(cut, net, pixels)
    body, changes = _open_batch(cut, net, size, pixels, wanted)
    cuts = {name: _cut(net, View(cut.graph), outputs[name], wanted) for name in outputs}
    model = _assemble(net, body, preparation, cuts, options.pooling or "avg")
    _check(model, origin, pictures, cuts)
    notes = {**_removed(net, head, outputs, size), **changes}
    notes |= {"preprocessing": preparation.source, "sha256": sha256_of([origin.path])}
    facts = _facts(net, model, preparation, cuts, options, notes)
    helper.set_model_props(model, {METADATA_KEY: facts.to_json()})
    return model


def pinned(what: str, options: ExportOptions) -> str:
    """Return `what`: it names nothing that moves."""
    return what


def identity(what: str, options: ExportOptions) -> str:
    """Return the SHA-256 of the model, its external data, and the JSON files read with them."""
    path, _ = _split(what)
    files = [path, *data_files(path)]
    stated = preprocessing_file(options, path.parent)
    beside = [file for file in (stated, path.parent / "config.json") if file is not None and file.is_file()]
    return f"{BUILD}-{onnx.__version__}-{sha256_of([*files, *beside])}"


def former_cut(what: str) -> str | None:
    """Return the tensor that was cut at by default before embeddings were kept whole; None where that is no other."""
    path, tensor = _split(what)
    view = View(_clean(origin_of(path)).graph)
    head = find_head(view) if tensor is None else None
    if head is None or head.removed:
        return None
    found = (find_classifier(view, value.name) for value in view.graph.output)
    return next((old.features for old in found if old is not None), None)


def candidates(what: str) -> list[dict[str, Any]]:
    """Return every tensor that can become features: tensor, op, shape and whether it is the default cut."""
    return candidates_of(origin_of(_split(what)[0]))


def candidates_of(origin: Origin) -> list[dict[str, Any]]:
    """Return what `candidates` does."""
    model = _clean(origin)
    return list_candidates(model, find_head(View(model.graph)))


def _split(what: str) -> tuple[Path, str | None]:
    """Return the file and the tensor; a tensor's name may have an "@" too."""
    if Path(what).is_file() or ".onnx@" not in what:
        return Path(what), None
    path, _, tensor = what.partition(".onnx@")
    return Path(f"{path}.onnx"), tensor


def _clean(origin: Origin) -> onnx.ModelProto:
    return with_numbers(surgery.clean(load_model(origin.path, origin.find), origin.name))


def _read(origin: Origin) -> _Net:
    model, path = _clean(origin), origin.name
    if METADATA_KEY in metadata_of(model):
        raise InputError(f"{path} is a backbone that fxengine exported: give its path without onnx:.")
    if len(model.graph.input) != 1:
        names = ", ".join(value.name for value in model.graph.input) or "none"
        raise InputError(f"{path} has the inputs {names}: only nets of one input, the picture, can be backbones.")
    value = model.graph.input[0]
    kind = value.type.tensor_type.elem_type
    if kind not in _INPUT_KINDS:
        raise InputError(f"{path}: its input {value.name!r} is {_kind_name(kind)}; float32 and float16 are taken.")
    shape = surgery.shape_of(value)
    last = _input_last(model, shape, path)
    batch, height, width = (n if isinstance(n, int) and n > 0 else None for n in _spatial(shape, last))
    return _Net(origin, model, value.name, kind, batch, (height, width), last)


def _kind_name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)).lower()


def _spatial(shape: Sequence[int | str], last: bool) -> tuple[int | str, int | str, int | str]:
    return (shape[0], shape[1], shape[2]) if last else (shape[0], shape[2], shape[3])


def _input_last(model: onnx.ModelProto, shape: Sequence[int | str], file: str) -> bool:
    """Tell whether the input is [batch, height, width, 3]; raises InputError where it takes no RGB photos."""
    value = model.graph.input[0]
    if len(shape) != 4:
        raise InputError(
            f"{file}: its input {value.name!r} is {list(shape)}, {len(shape)} dimensions; a net for photos has 4."
        )
    if 3 in (shape[1], shape[3]):
        return shape[1] != 3
    if isinstance(shape[1], int) and isinstance(shape[3], int):
        raise InputError(
            f"{file}: its input {value.name!r} is {list(shape)}; dimension 1 (or 3, channels last) must be 3 colours."
        )
    readers = View(model.graph).readers(value.name)
    if "chan" in str(shape[1]).lower() or any(node.op_type == "Conv" for node in readers):
        return False
    if any(surgery.attribute(node, "perm") == [0, 3, 1, 2] for node in readers):
        return True
    raise InputError(
        f"{file}: its input {value.name!r} is {list(shape)}, which does not say where the 3 colours are: "
        "export it with that dimension fixed."
    )


def _chosen(net: _Net, tensor: str | None, options: ExportOptions, head: Head | None) -> dict[str, str]:
    """Return output -> tensor."""
    source, view = net.origin.source, View(net.model.graph)
    if tensor is not None and options.layers:
        raise InputError(f"Both {source}@{tensor} and `layers` name what to keep: give one of them.")
    names = options.layers or ((tensor,) if tensor is not None else ())
    own = head.features if head is not None and FEATURE_OUTPUT not in view.maker else None
    found = [own if own and name == FEATURE_OUTPUT else find_tensor(view, name, source) for name in names]
    if (not found and head is None) or (options.logits and (head is None or head.logits is None)):
        raise no_classifier(net.model, source)
    if not found and head is not None:
        found = [head.features]
    result = {layer_output(name): tensor for name, tensor in zip(names[:-1], found[:-1], strict=True)}
    result[FEATURE_OUTPUT] = found[-1]
    if options.logits and head is not None and head.logits is not None:
        result[LOGITS_OUTPUT] = head.logits
    return result


def _cut(net: _Net, view: View, tensor: str, wanted: dict[str, np.ndarray]) -> Cut:
    shape = (1, *wanted[tensor].shape[1:])
    last = len(shape) == 4 and channels_last(view, tensor, shape, net.last)
    return Cut(tensor, shape, last)


def _removed(net: _Net, head: Head | None, outputs: dict[str, str], size: tuple[int, int]) -> dict[str, Any]:
    """Return which nodes the default cut took away, and the tensor that keeps them, with its numbers a picture."""
    if head is None or not head.removed or outputs[FEATURE_OUTPUT] != head.features:
        return {"removed": []}
    fed = surgery.with_input(net.model, net.dims(net.batch or 1, size))
    _, shape = surgery.tensor_shapes(fed).get(head.output, (0, []))
    lengths = [n for n in shape[1:] if isinstance(n, int) and n > 0]
    whole = {"tensor": head.output, "dim": math.prod(lengths) if shape and len(lengths) == len(shape) - 1 else None}
    return {"removed": list(head.removed), "whole": whole}


def _as_input(pictures: np.ndarray, preparation: Preparation, net: _Net) -> np.ndarray:
    """Return uint8 pictures as the net takes them."""
    values = (pictures - np.array(preparation.mean)) / np.array(preparation.std)
    kind = helper.tensor_dtype_to_np_dtype(net.kind)
    return np.ascontiguousarray(values if net.last else values.transpose(0, 3, 1, 2)).astype(kind)


def _reference(cut: onnx.ModelProto, net: _Net, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the file itself gives for each picture; each fed as often as a fixed batch wants it."""
    repeats = net.batch or 1
    try:
        session = open_plain(with_safe_pads(cut))  # as the cache will keep it: the file itself may not be run right
        rows = [outputs_of(session, np.repeat(pixels[i : i + 1], repeats, axis=0)) for i in range(len(pixels))]
    except Exception as error:  # ONNX Runtime has a class for each kind of failure, of no common parent
        raise InputError(f"ONNX Runtime cannot run {net.origin.name}: {first_line(error)}") from error
    for name, value in rows[0].items():
        if np.ndim(value) < 1 or len(value) != repeats:
            raise InputError(
                f"The tensor {name!r} of {net.origin.name} is {list(np.shape(value))}: dimension 0 must be the "
                f"pictures (here {repeats}). Choose another one: `fxengine info {net.origin.source} --layers`."
            )
        check_cut(_cut(net, View(cut.graph), name, {name: value}), net.origin.source)
    return {name: np.concatenate([row[name][:1] for row in rows]) for name in rows[0]}


def _open_batch(
    cut: onnx.ModelProto, net: _Net, size: tuple[int, int], pixels: np.ndarray, wanted: dict[str, np.ndarray]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return the first way to make the net take any number of pictures that gives what the file gives, and notes."""
    bases = [base for base in (surgery.upgraded(cut), cut) if base is not None and surgery.opset(base) >= 7]
    problems = []
    # The order is part of what is in stores: a way that is added comes last.
    ways_of_old: list[_Way] = [lambda model: model, surgery.with_free_batch]
    later_ways: list[_Way] = [partial(_with_open_batch, net=net, pixels=pixels)]
    for ways in (ways_of_old, later_ways):
        for base, way in product(bases, ways):
            alive = surgery.keep_only(way(base), list(wanted))
            body = surgery.with_input(alive, net.dims(BATCH, size))
            problems.append(_difference(body, pixels, wanted))
            if not problems[-1]:
                return body, _changes(net, cut, body)
    if net.batch is None and problems and problems[0].startswith(f"with {len(pixels)} pictures the values"):
        raise InputError(
            f"{net.origin.name} gives a picture another vector when other pictures go in with it: features would "
            "depend on their neighbours. Export it for inference (no training mode, nothing taken over the batch), or "
            f"choose an earlier tensor, as in {net.origin.source}@NAME: `fxengine info {net.origin.source} --layers` "
            "lists them."
        )
    problem = problems[-1] if problems else f"its opset {surgery.opset(cut)} cannot be converted"
    raise InputError(
        f"{net.origin.name} cannot be made to take any number of pictures ({problem}): export it again with an open "
        "batch dimension and opset 17."
    )


def _with_open_batch(model: onnx.ModelProto, *, net: _Net, pixels: np.ndarray) -> onnx.ModelProto:
    batch = net.batch or 1
    try:
        return with_open_batch(model, np.repeat(pixels[:1], batch, axis=0))
    except Exception:  # as in _reference: the model as it is then says what is wrong
        return model


def _changes(net: _Net, cut: onnx.ModelProto, body: onnx.ModelProto) -> dict[str, Any]:
    old, new = surgery.opset(cut), surgery.opset(body)
    kept = old if old >= OPSET else f"{old}, which onnx could not upgrade"
    notes: dict[str, Any] = {"opset": f"{old} upgraded to {new}" if old != new else kept}
    return notes if net.batch is None else {**notes, "batch": f"{net.batch} in the file, opened"}


def _difference(body: onnx.ModelProto, pixels: np.ndarray, wanted: dict[str, np.ndarray]) -> str:
    """Return what is wrong when 1 picture and when all go in at once; empty where nothing is."""
    half = any(tensor.data_type != TensorProto.FLOAT for tensor in body.graph.initializer if len(tensor.dims) > 1)
    tolerance = _HALF_TOLERANCE if half else _TOLERANCE
    try:
        session = open_plain(with_safe_pads(body))
        for rows in (1, len(pixels)):
            for name, value in outputs_of(session, pixels[:rows]).items():
                right = wanted[name][:rows].astype(np.float64)
                if value.shape != right.shape:
                    return f"with {rows} pictures {name!r} is {list(value.shape)}"
                largest = np.abs(right[np.isfinite(right)]).max(initial=1e-6)
                if not np.allclose(value, right, rtol=0, atol=tolerance * largest, equal_nan=True):
                    return f"with {rows} pictures the values of {name!r} are others"
    except Exception as error:  # as in _reference
        return first_line(error)
    return ""


def _assemble(
    net: _Net, body: onnx.ModelProto, preparation: Preparation, cuts: dict[str, Cut], pooling: str
) -> onnx.ModelProto:
    """Return prologue, net and pooling as one checked model; the net's own names get a prefix, so none can clash."""
    body = surgery.prefixed(body, _PREFIX)
    recipe = preparation.recipe
    images, nodes, weights = prologue(
        recipe.height,
        recipe.width,
        preparation.pixels,
        _PREFIX + net.input,
        channels_first=not net.last,
        cast_to=None if net.kind == TensorProto.FLOAT else net.kind,
    )
    nodes += body.graph.node
    weights += body.graph.initializer
    outputs = []
    for name, cut in cuts.items():
        named = Cut(_PREFIX + cut.tensor, cut.shape, cut.last)
        added, constants = vector_nodes(named, name, pooling, pooled=name != LOGITS_OUTPUT)
        nodes += added
        weights += constants
        dim = cut.dim(pooled=name != LOGITS_OUTPUT)
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, dim]))
    outputs.sort(key=lambda value: value.name != FEATURE_OUTPUT)
    graph = helper.make_graph(nodes, net.origin.path.stem, [images], outputs, weights)
    model = helper.make_model(graph, opset_imports=list(body.opset_import), ir_version=body.ir_version)
    return model


def _check(model: onnx.ModelProto, origin: Origin, pictures: np.ndarray, cuts: dict[str, Cut]) -> None:
    try:
        onnx.checker.check_model(model)
        found = run_model(with_safe_pads(model), pictures)
    except Exception as error:  # as in _reference
        raise InputError(f"The backbone made of {origin.name} does not run: {first_line(error)}") from error
    for value in model.graph.output:
        shape = (len(pictures), value.type.tensor_type.shape.dim[1].dim_value)
        if found[value.name].shape != shape:
            raise InputError(
                f"The backbone made of {origin.name} gives {found[value.name].shape} as {value.name}, not {shape}."
            )
        if value.name != LOGITS_OUTPUT:
            lists = f"`fxengine info {origin.source} --layers` lists them."
            instead = f"Choose another tensor, as in {origin.source}@NAME: {lists}"
            check_vectors(found[value.name], f"{origin.name} (tensor {cuts[value.name].tensor!r})", instead)


def _facts(
    net: _Net,
    model: onnx.ModelProto,
    preparation: Preparation,
    cuts: dict[str, Cut],
    options: ExportOptions,
    notes: dict[str, Any],
) -> Facts:
    features, prefix = cuts[FEATURE_OUTPUT], layer_output("")
    metadata = metadata_of(net.model)
    report = measure(model)
    further = [(name.removeprefix(prefix), cut.dim()) for name, cut in cuts.items() if name.startswith(prefix)]
    classes = class_names(net.origin.config, cuts[LOGITS_OUTPUT].dim(pooled=False)) if LOGITS_OUTPUT in cuts else ()
    return Facts(
        name=net.origin.path.stem,
        source=f"{net.origin.path.name} (made by {net.model.producer_name or 'an unnamed program'})",
        licence=metadata.get("license", metadata.get("licence", "not stated in the file")),
        recipe=replace(preparation.recipe, scaled_decode=True),
        dim=features.dim(),
        cut=features.tensor,
        pooling=(options.pooling or "avg") if features.pools else "none",
        parameters=report.parameters,
        multiply_adds=report.multiply_adds,
        classes=classes,
        layers=tuple(further),
        notes={**notes, "export": report.to_dict()},
    )


def class_names(config: Path | None, count: int) -> tuple[str, ...]:
    """Return the class names that a config.json states, else their numbers."""
    try:
        values = {} if config is None else object_in(config)
        names = values.get("label_names") or [values["id2label"][str(i)] for i in range(count)]
    except (ValueError, KeyError, TypeError, AttributeError):
        names = []
    return tuple(map(str, names)) if len(names) == count else tuple(map(str, range(count)))


def sha256_of(files: Sequence[Path]) -> str:
    """Return the SHA-256 of the SHA-256 of each file."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
