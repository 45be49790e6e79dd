"""What a transform that `fxengine pca` wrote says of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
