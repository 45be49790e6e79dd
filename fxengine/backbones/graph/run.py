"""Runs a model here and now: ONNX Runtime on the processor, as anybody's plain session computes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx


def open_plain(model: onnx.ModelProto | Path, *, optimised: bool = True) -> Any:
    """Return a session on the processor.

    Args:
        model: a model of one input, or its file.
        optimised: whether ONNX Runtime may change the graph, as it does by default.

    Raises:
        Exception: whatever ONNX Runtime raises where it cannot load the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4  # what fails is raised
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def outputs_of(session: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return every output of a session for its one input."""
    names = [value.name for value in session.get_outputs()]
    values = session.run(names, {session.get_inputs()[0].name: pixels})
    return dict(zip(names, map(np.asarray, values), strict=True))


def run_model(model: onnx.ModelProto, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return every output of a model for its one input; raises as `open_plain` does."""
    return outputs_of(open_plain(model), pixels)


def run_tensors(model: onnx.ModelProto, names: Sequence[str], pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return tensors inside a model of one input, nothing fused; raises as `open_plain` does."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return outputs_of(open_plain(asked, optimised=False), pixels)
