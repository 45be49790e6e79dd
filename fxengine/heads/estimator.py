"""What a head is made of: an estimator, as scikit-learn has them, in a pipeline that takes raw vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from fxengine.heads.graph import HeadGraph

# What is predicted: one of several classes, several labels of 0 and 1, or numbers.
Kind = Literal["classes", "labels", "numbers"]


def output_name(kind: Kind) -> str:
    """Return what a head's output is called: `values` for numbers, else `probabilities`."""
    return "values" if kind == "numbers" else "probabilities"


@dataclass(frozen=True)
class HeadSettings:
    """How to fit a head.

    Attributes:
        balanced: whether every class counts as much, whatever its rows.
        seed: of anything random.
        pca: components to reduce the rows to before it; 0 for none.
        hidden: units of each dense layer of `mlp`, one to three layers; its own unless given.
    """

    balanced: bool = False
    seed: int = 0
    pca: int = 0
    hidden: tuple[int, ...] = ()


class Estimator(Protocol):
    """What is used of a scikit-learn estimator; only one that answers classes or labels has the last two."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Fit to [n, dim] rows and [n] or [n, outputs] targets."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return class numbers [n], 0 and 1 [n, labels], or numbers [n] or [n, targets]."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities [n, classes or labels]."""

    @property
    def classes_(self) -> np.ndarray:
        """Class numbers that it was fitted to, int64 [classes]."""


class HeadPipeline(Estimator, Protocol):
    """A scikit-learn pipeline: rows scaled to length 1, where asked for a PCA, then the model."""

    steps: list[tuple[str, Any]]


Model = TypeVar("Model")


class HeadModule(Protocol[Model]):
    """A module of `fxengine.heads.HEADS`; `Model` is its estimator."""

    @property
    def KINDS(self) -> tuple[Kind, ...]:
        """What it can predict."""

    def make(self, kind: Kind, settings: HeadSettings, rows: int) -> Model:
        """Return an unfitted estimator, which will be fitted to at least so many rows."""

    def nodes(self, model: Model, graph: HeadGraph, x: str) -> str:
        """Add the fitted estimator to a graph behind the tensor `x`; return the tensor of its answers."""
