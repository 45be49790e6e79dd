"""The classes of the nearest training rows, by scikit-learn. The head file holds all of these rows."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from fxengine.heads.classes import one_hot
from fxengine.heads.estimator import HeadSettings, Kind
from fxengine.heads.graph import HeadGraph

KINDS: tuple[Kind, ...] = ("classes", "numbers")
NEIGHBOURS = 5


def make(kind: Kind, settings: HeadSettings, rows: int) -> KNeighborsClassifier | KNeighborsRegressor:
    """Return the estimator of a kind of target, which asks fewer neighbours where there are fewer rows."""
    cls = KNeighborsRegressor if kind == "numbers" else KNeighborsClassifier
    return cls(min(NEIGHBOURS, rows), algorithm="brute")


def nodes(model: KNeighborsClassifier | KNeighborsRegressor, graph: HeadGraph, x: str) -> str:
    """Add the fitted model to a graph: on rows of length 1 the nearest have the largest product."""
    y = np.asarray(model._y)
    votes = one_hot(y, len(model.classes_)).toarray() if hasattr(model, "classes_") else y.reshape(len(y), -1)
    stored = np.asarray(model._fit_X)
    products = graph.node("MatMul", x, graph.constant(stored.T))
    # |x - s|^2 = |x|^2 + |s|^2 - 2 xs, of which |x|^2 changes no order.
    near = graph.node("Sub", products, graph.constant(np.square(stored).sum(axis=1) / 2))
    k = model.n_neighbors
    best = graph.node("TopK", near, graph.constant([k], np.int64), outputs=2, axis=1)
    answers = graph.node("Gather", graph.constant(votes), best, axis=0)
    return graph.node(
        "Div", graph.node("ReduceSum", answers, graph.constant([1], np.int64), keepdims=0), graph.constant(k)
    )
