"""Whether the net that a framework's child left, with the prologue before it, computes what the framework does.

The child leaves the net, photos, these as the net takes them, and what the framework makes of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fxengine.backbones.children import layout
from fxengine.backbones.children.framework import Framework
from fxengine.backbones.graph.batch import with_open_batch
from fxengine.backbones.graph.model import IR_VERSION, make_model
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.graph.prologue import prologue
from fxengine.backbones.graph.run import run_model
from fxengine.backbones.graph.surgery import keep_only
from fxengine.backbones.report import ExportReport, differences, measure
from fxengine.backbones.sources.preprocessing import Preparation
from fxengine.backbones.spec import FEATURE_OUTPUT, LOGITS_OUTPUT
from fxengine.errors import InputError, first_line

# Above these the file is not the net that was asked for, and nothing is kept. A right export is at 1e-5; a
# SavedModel of half precision rounds in other places than ONNX Runtime does.
_MOST_LEVELS, MOST_RELATIVE, _MOST_RELATIVE_OF_HALF = 0.01, 1e-3, 2e-2
HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Checked:
    """What the child left in a folder, found to compute what its framework does.

    Attributes:
        model: the finished graph, from uint8 pictures to its outputs; it has no facts yet.
        report: what it holds, and how far it is from the framework.
        dims: numbers in each output.
        answer: what the child says of it.
    """

    model: onnx.ModelProto
    report: ExportReport
    dims: dict[str, int]
    answer: dict[str, Any]


def check_export(name: str, wants: Preparation, folder: Path, framework: Framework) -> Checked:
    """Put the prologue before the net that the child left in `folder`, and compare it with the framework.

    Raises:
        InputError: the file does not compute what the framework does.
    """
    answer = json.loads((folder / layout.ANSWER).read_text())
    with np.load(folder / layout.REFERENCE) as arrays:
        outputs = dict(arrays)
    reference = _Reference(outputs.pop("photos"), outputs.pop("preprocessed"), outputs)
    levels = _pixel_difference(wants, reference, framework)
    model, ours = _computed(name, wants, onnx.load(folder / layout.NET), reference, framework, answer.get("batch"))
    worst = {output: differences(ours[output], values) for output, values in outputs.items()}
    relative = max(found["relative"] for found in worst.values())
    half = any(tensor.data_type in HALF for tensor in model.graph.initializer if len(tensor.dims) > 1)
    most = _MOST_RELATIVE_OF_HALF if half else MOST_RELATIVE
    if not (levels <= _MOST_LEVELS and relative <= most):  # not "or >": NaN must fail
        raise InputError(
            f"{name}: the exported file does not compute what {framework.name} does, so nothing is kept: "
            f"preprocessing is off by {levels:.3g} pixel levels, features by {relative:.3g} (||a-b||/||b||). "
            f"Please report it with the versions of {', '.join(framework.modules)}."
        )
    found = {"preprocessing_levels": levels, **worst[FEATURE_OUTPUT], "relative_all_outputs": relative}
    failed = tuple(answer["tried"][:-1])
    report = replace(measure(with_safe_pads(model)), differences=found, recipe=answer["recipe"], failed=failed)
    return Checked(model, report, {output: values.shape[1] for output, values in outputs.items()}, answer)


@dataclass(frozen=True)
class _Reference:
    """What a framework made of photos: as its net takes them, and each output."""

    photos: np.ndarray
    ready: np.ndarray
    outputs: dict[str, np.ndarray]


def _computed(
    name: str, wants: Preparation, net: onnx.ModelProto, reference: _Reference, framework: Framework, batch: int | None
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Return the finished model and what it makes of the photos; a batch that its constants fix is opened."""
    problem = ""
    for opens in (False, True) if batch is not None else (False,):
        opened = keep_only(with_open_batch(net, reference.ready[:batch]), list(reference.outputs)) if opens else net
        model = attach(wants, opened, reference.outputs, framework)
        try:
            ours = run_model(with_safe_pads(model), reference.photos)
        except Exception as error:  # ONNX Runtime has a class for each kind of failure, of no common parent
            problem = first_line(error)
            continue
        if all(ours[output].shape == values.shape for output, values in reference.outputs.items()):
            return model, ours
        problem = f"it gives other shapes than {framework.name}"
    fixed = "" if batch is None else f" Its batch is fixed at {batch}: save it with one that is open."
    raise InputError(f"{name}: the exported file does not run: {problem}.{fixed}")


def _pixel_difference(wants: Preparation, reference: _Reference, framework: Framework) -> float:
    """Return how far the prologue is from the framework's own preprocessing, in pixel levels."""
    size = wants.recipe.height, wants.recipe.width
    images, nodes, initializers = prologue(*size, wants.pixels, "ready", channels_first=framework.channels_first)
    output = helper.make_tensor_value_info("ready", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "prologue", [images], [output], initializers)
    found = run_model(make_model(graph), reference.photos)["ready"]
    std = np.abs(np.asarray(wants.std))
    return float((np.abs(found - reference.ready) * (std[:, None, None] if framework.channels_first else std)).max())


def attach(
    wants: Preparation, net: onnx.ModelProto, reference: dict[str, np.ndarray], framework: Framework
) -> onnx.ModelProto:
    """Return the net with the prologue before it and its outputs in order, each [batch, dim]."""
    (pictures,) = net.graph.input
    size = wants.recipe.height, wants.recipe.width
    images, nodes, initializers = prologue(*size, wants.pixels, pictures.name, channels_first=framework.channels_first)
    others = sorted(reference.keys() - {FEATURE_OUTPUT, LOGITS_OUTPUT})
    names = [FEATURE_OUTPUT, *others, *([LOGITS_OUTPUT] if LOGITS_OUTPUT in reference else [])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", reference[name].shape[1]]) for name in names
    ]
    graph = helper.make_graph(
        [*nodes, *net.graph.node], framework.log, [images], outputs, [*initializers, *net.graph.initializer]
    )
    used = {node.domain for node in graph.node}  # tf2onnx names more, which would be part of the fingerprint
    opsets = [entry for entry in net.opset_import if entry.domain in used]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=max(net.ir_version, IR_VERSION))
    onnx.checker.check_model(model)
    return model
