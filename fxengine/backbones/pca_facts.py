"""What a transform that `fxengine pca` wrote says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.spec import PCA_METADATA_KEY
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
        model = onnx.load(path)
    except Exception as error:
        raise InputError(f"{path} is not a readable ONNX file.") from error
    text = metadata_of(model).get(PCA_METADATA_KEY)
    if text is None:
        raise InputError(f"{path} is an ONNX file, but no transform that `fxengine pca` wrote.")
    try:
        return model, facts_from(PcaFacts, read_json(text), PCA_FORMAT)
    except FactsError as error:
        raise InputError(f"{path} {error}. Update fxengine, or fit it again: `fxengine pca`.") from error
