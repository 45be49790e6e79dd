"""What a transform that `fxengine pca` wrote says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx

from fxengine.backbones.contract import another_kind
from fxengine.backbones.graph.gate import check_graph
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.graph.wire import read_small_model
from fxengine.backbones.spec import FEATURE_OUTPUT, PCA_METADATA_KEY
from fxengine.errors import InputError
from fxengine.facts import FactsError, facts_from, read_json

PCA_FORMAT = 1


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

    def __post_init__(self) -> None:
        if not 2 <= self.rows < 1 << 62:
            raise ValueError("'rows' is out of range")
        if not 0 < self.total_variance < 1e300:
            raise ValueError("'total_variance' is out of range")
        along = self.explained_variance
        if not along or not all(0 <= b <= a < 1e300 for a, b in pairwise((*along, 0))):
            raise ValueError("'explained_variance' is not one number for each component, the largest first")

    @property
    def explained_variance_ratio(self) -> np.ndarray:
        """Share of the total variance along each component, [k]."""
        ratio: np.ndarray = np.asarray(self.explained_variance) / self.total_variance
        return ratio


def read_transform(path: Path) -> tuple[onnx.ModelProto, PcaFacts]:
    """Return the graph of a transform's file, and what it says of itself.

    Raises:
        InputError: there is no such file, it is no such transform, or what it says of itself is damaged or newer than
            this version knows.
    """
    if not path.is_file():
        raise InputError(f"There is no transform {path}. `fxengine pca STORE -o pca.onnx` makes one.")
    try:
        found = read_small_model(path)
        said, graph = metadata_of(found.model), found.model.graph
        text = said.get(PCA_METADATA_KEY)
        if text is None:
            raise InputError(another_kind(said, path, "transform that `fxengine pca` wrote"))
        facts = facts_from(PcaFacts, read_json(text), PCA_FORMAT)
        passed = check_graph(found.model, found.weights, FEATURE_OUTPUT)
        written = ["Sub", "Gemm"], ["mean", "components"]
        if ([node.op_type for node in graph.node], [weights.name for weights in graph.initializer]) != written:
            raise FactsError("is damaged: it is no product of centred vectors")
        if passed.outputs != len(facts.explained_variance):
            raise FactsError(f"is damaged: it has {passed.outputs} components, not one for each variance that it says")
    except FactsError as error:
        raise InputError(f"{path} {error}. Update fxengine, or fit it again: `fxengine pca`.") from error
    return onnx.load_model_from_string(found.content), facts
