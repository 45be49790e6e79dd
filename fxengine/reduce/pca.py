"""Principal components as a file: one ONNX transform that says which feature space it takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from threadpoolctl import threadpool_limits

from fxengine.backbones.spec import PCA_METADATA_KEY
from fxengine.errors import InputError


@dataclass(frozen=True)
class PcaFacts:
    """What a transform says of itself.

    Attributes:
        space: fingerprint of the backbone whose features it takes.
        source: name of that backbone, to find it again.
        layer: the layer whose vectors it takes, or None for the default one.
        rows: vectors that it was computed from.
        whiten: whether its outputs have unit variance.
        explained_variance: variance along each component, the largest first.
        total_variance: of the vectors.
    """

    space: str
    source: str
    layer: str | None
    rows: int
    whiten: bool
    explained_variance: tuple[float, ...]
    total_variance: float

    @property
    def explained_variance_ratio(self) -> np.ndarray:
        """Share of the total variance along each component, [k]."""
        ratio: np.ndarray = np.asarray(self.explained_variance) / self.total_variance
        return ratio


@dataclass(frozen=True)
class Pca:
    """A linear transform y = (x - mean) components^T of raw feature vectors.

    Attributes:
        mean: float64 [dim].
        components: float64 [k, dim], orthonormal rows; with whitening divided by their standard deviations.
        facts: what it was made from.
    """

    mean: np.ndarray
    components: np.ndarray
    facts: PcaFacts

    def __repr__(self) -> str:
        share = self.facts.explained_variance_ratio.sum()
        return f"Pca({self.components.shape[1]} -> {len(self.components)}, {share:.1%} of the variance)"

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """Return float32 [n, k] for raw vectors [n, dim]."""
        centred = np.asarray(vectors, np.float32) - self.mean.astype(np.float32)
        return np.asarray(centred @ self.components.T.astype(np.float32), np.float32)

    def save(self, path: Path) -> None:
        """Write the ONNX file, `features` float32 [batch, dim] -> `reduced` float32 [batch, k].

        Raises:
            InputError: it cannot be written; nothing half-written is left.
        """
        k, dim = self.components.shape
        constants = {"mean": self.mean, "components": self.components}
        graph = helper.make_graph(
            [
                helper.make_node("Sub", ["features", "mean"], ["centred"]),
                helper.make_node("Gemm", ["centred", "components"], ["reduced"], transB=1),
            ],
            "pca",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", dim])],
            [helper.make_tensor_value_info("reduced", TensorProto.FLOAT, ["batch", k])],
            [numpy_helper.from_array(np.ascontiguousarray(v, np.float32), n) for n, v in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, {PCA_METADATA_KEY: json.dumps({"format": 1, **vars(self.facts)})})
        onnx.checker.check_model(model)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(model.SerializeToString())
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"Cannot write the transform {path}: {error.strerror}.") from error
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Pca:
        """Read a file that `save` wrote.

        Raises:
            InputError: there is no such file, or it is no such transform.
        """
        if not path.is_file():
            raise InputError(f"There is no transform {path}. `fxengine pca STORE -o pca.onnx` makes one.")
        try:
            model = onnx.load(path)
        except Exception as error:
            raise InputError(f"{path} is not a readable ONNX file.") from error
        text = {entry.key: entry.value for entry in model.metadata_props}.get(PCA_METADATA_KEY)
        if text is None:
            raise InputError(f"{path} is an ONNX file, but no transform that `fxengine pca` wrote.")
        values = json.loads(text)
        if values.pop("format", None) != 1:
            raise InputError(f"{path} is of another format: update fxengine.")
        values["explained_variance"] = tuple(values["explained_variance"])
        constants = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
        return cls(constants["mean"], constants["components"], PcaFacts(**values))


def principal_components(scatter: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (variances [dim], the largest first; components [dim, dim], one a row) of centred vectors.

    Signs are scikit-learn's: the entry of each component that is largest in magnitude is positive.

    Args:
        scatter: float64 [dim, dim], sum of (x - mean)(x - mean)^T.
        rows: how many vectors that is the sum of.
    """
    with threadpool_limits(1):  # see fxengine.features.moments.eigh
        values, vectors = np.linalg.eigh(scatter / (rows - 1))
    variances, components = np.maximum(values[::-1], 0), vectors.T[::-1]
    largest = np.argmax(np.abs(components), axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return variances, components * signs[:, None]


def components_for(variances: np.ndarray, share: float) -> int:
    """Return how many components explain at least this share of the variance."""
    reached = np.cumsum(variances) / variances.sum()
    return int(np.searchsorted(reached, share - 1e-12)) + 1
