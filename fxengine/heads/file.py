"""A head on disk: one ONNX file from features to probabilities, which says what it was made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from fxengine.errors import InputError, StoreError

METADATA_KEY = "fxengine_head"


@dataclass(frozen=True)
class HeadFacts:
    """What a head file says of itself.

    Attributes:
        space: fingerprint of the backbone whose features it takes.
        source: name of that backbone, to find it again.
        kind: which head it is, such as "logistic".
        classes: class names in the order of its probabilities.
        accuracy: cross-validated accuracy: mean, low and high.
        rows: rows that it was trained on.
        versions: of the libraries that trained it.
        layer: the layer whose vectors it takes, or None for the default one.
    """

    space: str
    source: str
    kind: str
    classes: tuple[str, ...]
    accuracy: dict[str, float]
    rows: int
    versions: dict[str, str] = field(default_factory=dict)
    layer: str | None = None


def save_linear(path: Path, weights: np.ndarray, bias: np.ndarray, facts: HeadFacts) -> None:
    """Write a head that normalises, multiplies and takes the softmax.

    Args:
        path: the file to make; replaced whole.
        weights: [classes, dim].
        bias: [classes].
        facts: goes into the metadata.
    """
    constants = {
        "tiny": np.asarray(1e-12, np.float32),
        "weights": np.ascontiguousarray(weights, np.float32),
        "bias": np.ascontiguousarray(bias, np.float32),
    }
    nodes = [
        helper.make_node("ReduceL2", ["features"], ["norm"], axes=[1], keepdims=1),
        helper.make_node("Max", ["norm", "tiny"], ["length"]),
        helper.make_node("Div", ["features", "length"], ["normalised"]),
        helper.make_node("Gemm", ["normalised", "weights", "bias"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", weights.shape[1]])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(bias)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: json.dumps({"format": 1, **asdict(facts)})})
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(model.SerializeToString())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"Cannot write the head {path}: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Head:
    """A head that is ready to run."""

    facts: HeadFacts
    dim: int
    _session: Any

    @classmethod
    def load(cls, path: Path) -> Head:
        """Read a head file.

        Raises:
            InputError: there is no such file, or it is no head that fxengine wrote.
        """
        if not path.is_file():
            raise InputError(f"There is no head file {path}. `fxengine probe STORE -o head.onnx` makes one.")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InputError(f"{path} is not a readable ONNX file.") from error
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise InputError(f"{path} is an ONNX file, but no head that `fxengine probe` wrote.")
        values = json.loads(text)
        if values.pop("format", None) != 1:
            raise InputError(f"{path} is of another head format: update fxengine.")
        values["classes"] = tuple(values["classes"])
        return cls(HeadFacts(**values), session.get_inputs()[0].shape[1], session)

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return float32 [n, classes] for raw (not normalised) vectors [n, dim]."""
        result: np.ndarray = self._session.run(None, {"features": np.asarray(vectors, np.float32)})[0]
        return result

    def check_space(self, space: str, name: str) -> None:
        """Raise StoreError where features of `space` are not what this head was trained on."""
        if space != self.facts.space:
            raise StoreError(
                f"The head was trained on features of {self.facts.source!r} ({self.facts.space[:12]}); {name} holds "
                f"those of another space ({space[:12]}). Train a head on it: fxengine probe."
            )
