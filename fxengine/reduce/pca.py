"""Principal components as a file: one ONNX transform that says which feature space it takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph.model import make_model
from fxengine.backbones.pca_facts import PCA_FORMAT, PcaFacts, read_transform
from fxengine.backbones.spec import FEATURE_OUTPUT, PCA_METADATA_KEY
from fxengine.errors import InputError
from fxengine.files import replacing


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
                helper.make_node("Sub", [FEATURE_OUTPUT, "mean"], ["centred"]),
                helper.make_node("Gemm", ["centred", "components"], ["reduced"], transB=1),
            ],
            "pca",
            [helper.make_tensor_value_info(FEATURE_OUTPUT, TensorProto.FLOAT, ["batch", dim])],
            [helper.make_tensor_value_info("reduced", TensorProto.FLOAT, ["batch", k])],
            [numpy_helper.from_array(np.ascontiguousarray(v, np.float32), n) for n, v in constants.items()],
        )
        model = make_model(graph)
        helper.set_model_props(model, {PCA_METADATA_KEY: json.dumps({"format": PCA_FORMAT, **vars(self.facts)})})
        onnx.checker.check_model(model)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(model.SerializeToString())
        except OSError as error:
            raise InputError(f"Cannot write the transform {path}: {error.strerror}.") from error

    @classmethod
    def load(cls, path: Path) -> Pca:
        """Read a file that `save` wrote.

        Raises:
            InputError: there is no such file, it is no such transform, or what it says of itself is damaged or newer
                than this version knows.
        """
        model, facts = read_transform(path)
        constants = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
        return cls(constants["mean"], constants["components"], facts)


def components_for(variances: np.ndarray, share: float) -> int:
    """Return how many components explain at least this share of the variance; variances [dim], the largest first."""
    reached = np.cumsum(variances) / variances.sum()
    return int(np.searchsorted(reached, share - 1e-12)) + 1
