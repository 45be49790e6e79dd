"""Logistic regression by scikit-learn; for labels one for each. Of rows in streams see `streams/softmax.py`."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from fxengine.heads.estimator import HeadSettings, Kind
from fxengine.heads.graph import HeadGraph

KINDS: tuple[Kind, ...] = ("classes", "labels")
# Normalised features need little regularisation: of 1, 10, 100 and 1000 this did best or equal on the three
# photo sets of the benchmark.
STRENGTH = 100.0
_MAX_ITERATIONS = 1000
# Of which one is chosen where rows are in streams: much noise in the labels wants a smaller one.
STRENGTHS = (1.0, 10.0, STRENGTH)


def make(kind: Kind, settings: HeadSettings, rows: int) -> LogisticRegression | OneVsRestClassifier:
    """Return the estimator of a kind of target."""
    weight = "balanced" if settings.balanced else None
    model = LogisticRegression(C=STRENGTH, max_iter=_MAX_ITERATIONS, class_weight=weight)
    return OneVsRestClassifier(model) if kind == "labels" else model


def nodes(model: LogisticRegression | OneVsRestClassifier, graph: HeadGraph, x: str) -> str:
    """Add the fitted model to a graph."""
    if isinstance(model, OneVsRestClassifier):
        coef, intercept = (np.concatenate([getattr(m, n) for m in model.estimators_]) for n in ("coef_", "intercept_"))
        return graph.sigmoid(graph.dense(x, coef, intercept))
    return graph.softmax(graph.dense(x, *as_softmax(model.coef_, model.intercept_)))


def as_softmax(coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [classes, dim] and bias [classes] whose softmax is the model's probabilities.

    A model of two classes has one row, whose sigmoid is the probability of the second class.
    """
    if len(coef) == 1:
        return np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
    return coef, intercept
