"""Logistic regression: by scikit-learn (for labels one for each), and over rows in streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from fxengine.features.moments import Block, Blocks, Centred, eigh
from fxengine.heads.estimator import HeadSettings, Kind
from fxengine.heads.evaluate.calibration import fit_scale
from fxengine.heads.graph import HeadGraph
from fxengine.heads.streams.closed_form import Linear

KINDS: tuple[Kind, ...] = ("classes", "labels")
# Normalised features need little regularisation: of 1, 10, 100 and 1000 this did best or equal on the three
# photo sets of the benchmark.
STRENGTH = 100.0
_MAX_ITERATIONS = 1000
# Of which one is chosen where rows are in streams: much noise in the labels wants a smaller one.
STRENGTHS = (1.0, 10.0, STRENGTH)
# Passes over rows in streams are dear: an iteration that lowers the loss by less than this share of it is the last.
_ENOUGH = 5e-4
_STREAMED_ITERATIONS = 60


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


@dataclass(frozen=True)
class _Rows:
    """What a model is fitted to: see the arguments of `path`."""

    blocks: Blocks
    y: np.ndarray
    weights: np.ndarray
    moments: Centred


def path(
    blocks: Blocks, y: np.ndarray, weights: np.ndarray, moments: Centred, some: Block, strengths: Sequence[float]
) -> Iterator[Linear]:
    """Yield the model for each C of `strengths`, each begun at the one before.

    They minimise scikit-learn's objective, from the ridge solution on.

    Args:
        blocks: the rows.
        y: class numbers int64 [n].
        weights: float64 [n] of every row; 0 leaves it out.
        moments: of the rows with their weights and one-hot classes.
        some: rows at random, which scale the ridge solution to logarithms of probabilities.
        strengths: values of C, the smallest first.
    """
    values, vectors = eigh(moments.scatter)
    basis = np.maximum(values, 0), vectors
    coef = (moments.cross @ vectors / (basis[0] + 1)) @ vectors.T
    mine = weights[some.at] > 0
    coef *= fit_scale((some.x[mine] - moments.mean) @ coef.T, y[some.at[mine]])
    bias = np.log(np.maximum(moments.target_mean, 1 / moments.weight)) - coef @ moments.mean
    for strength in strengths:
        coef, bias = _minimise(_Rows(blocks, y, weights, moments), basis, (coef, bias), strength)
        yield Linear(coef, bias)


def _minimise(
    rows: _Rows, basis: tuple[np.ndarray, np.ndarray], start: tuple[np.ndarray, np.ndarray], strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [classes, dim] and bias [classes] with the least loss at C = `strength`, by L-BFGS from `start`.

    It goes in coordinates in which a quarter of the scatter matrix, which is near the Hessian's bound (Boehning 1992,
    doi 10.1007/BF00048682), is the identity, with biases about the mean. `basis` holds that matrix's eigenvalues and
    eigenvectors.
    """
    values, vectors = basis
    moments = rows.moments
    classes, total, mean = len(moments.target_mean), moments.weight, moments.mean
    # Of two classes scikit-learn penalises the one vector that is the difference of these two: twice as much.
    penalty = (2 if classes == 2 else 1) / (strength * total)
    curvature = np.sqrt(values / (4 * total) + penalty)
    to_weights = (vectors / curvature).T

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coef, bias = flat[:-classes].reshape(classes, -1) @ to_weights, flat[-classes:]
        value, by_coef, by_bias = _log_loss(rows, coef, bias - coef @ mean)
        by_coef = by_coef / total - np.outer(by_bias / total, mean) + penalty * coef
        value = value / total + 0.5 * penalty * float((coef * coef).sum())
        return value, np.concatenate([(by_coef @ to_weights.T).ravel(), by_bias / total])

    coef, bias = start
    begin = np.concatenate([(coef @ vectors * curvature).ravel(), bias + coef @ mean])
    options = {"maxiter": _STREAMED_ITERATIONS, "gtol": 1e-7}
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", callback=_until_slow(), options=options).x
    coef = found[:-classes].reshape(classes, -1) @ to_weights
    return coef, found[-classes:] - coef @ mean


def _until_slow() -> Callable[[OptimizeResult], None]:
    """Return what stops scipy's `minimize` after an iteration that gained little."""
    last = np.inf

    def stop(intermediate_result: OptimizeResult) -> None:
        nonlocal last
        before, last = last, float(intermediate_result.fun)
        if before - last < _ENOUGH * last:
            raise StopIteration

    return stop


def _log_loss(rows: _Rows, coef: np.ndarray, bias: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the sum over rows of the log loss, with its gradient by weights [classes, dim] and bias [classes]."""
    value, by_coef, by_bias = 0.0, np.zeros(coef.shape), np.zeros(bias.shape)
    product, shift = coef.T.astype(np.float32), bias.astype(np.float32)
    for x, at in rows.blocks():
        w, own = rows.weights[at].astype(np.float32), (np.arange(len(at)), rows.y[at])
        p = x @ product
        p += shift
        p -= p.max(axis=1, keepdims=True)
        logit = p[own]
        np.exp(p, out=p)
        sums = p.sum(axis=1)
        value += float(w @ (np.log(sums) - logit))
        p *= (w / sums)[:, None]
        p[own] -= w
        by_bias += p.sum(axis=0)
        by_coef += p.T @ x
    return value, by_coef, by_bias
