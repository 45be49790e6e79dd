"""Linear discriminant analysis: by scikit-learn, and from streamed statistics."""

from __future__ import annotations

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fxengine.features.moments import Centred
from fxengine.heads.estimator import HeadSettings, Kind
from fxengine.heads.graph import HeadGraph
from fxengine.heads.logistic import as_softmax
from fxengine.heads.streams.closed_form import Linear

KINDS: tuple[Kind, ...] = ("classes",)


def solve(moments: Centred, strength: float) -> Linear:
    """Return the discriminants of one-hot classes; the strength is added to the scatter within classes.

    Scores are logarithms of posteriors up to a constant a row (Hastie, Tibshirani, Friedman, "The Elements of
    Statistical Learning", eq. 4.10, its covariance shrunk towards the unit matrix as in eq. 4.14). A class without rows
    stands at the mean of all, with the share of half a row.
    """
    rows = moments.target_mean * moments.weight
    centres = moments.cross / np.maximum(rows, 1)[:, None]
    within = moments.scatter - (centres * rows[:, None]).T @ centres
    # Not by `moments.eigh`: a limit of threads holds for the whole process, and stands around the folds' threads.
    values, vectors = np.linalg.eigh(within)
    weights = (moments.weight * centres @ vectors / (np.maximum(values, 0) + strength)) @ vectors.T
    priors = np.log(np.maximum(rows, 0.5) / moments.weight)
    return Linear(weights, priors - (weights * centres).sum(axis=1) / 2 - weights @ moments.mean)


def make(kind: Kind, settings: HeadSettings, rows: int) -> LinearDiscriminantAnalysis:
    """Return the estimator, its covariance shrunk as Ledoit and Wolf (2004) say.

    Its priors are the classes' shares, so that it cannot be balanced.
    """
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def nodes(model: LinearDiscriminantAnalysis, graph: HeadGraph, x: str) -> str:
    """Add the fitted model to a graph."""
    return graph.softmax(graph.dense(x, *as_softmax(model.coef_, model.intercept_)))
