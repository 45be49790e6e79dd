"""Linear discriminant analysis by scikit-learn, its covariance shrunk as Ledoit and Wolf (2004) say."""

from __future__ import annotations

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fxengine.heads.graph import HeadGraph
from fxengine.heads.logistic import as_softmax

KINDS = ("classes",)


def make(kind: str, balanced: bool, seed: int, rows: int) -> LinearDiscriminantAnalysis:
    """Return the estimator; its priors are the classes' shares, so that it cannot be balanced."""
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def nodes(model: LinearDiscriminantAnalysis, graph: HeadGraph, x: str) -> str:
    """Add the fitted model to a graph."""
    return graph.softmax(graph.dense(x, *as_softmax(model.coef_, model.intercept_)))
