"""One to three dense layers with dropout, as transfer-learning guides put them on a frozen base; in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fxengine.heads.classes import balanced_weights, one_hot
from fxengine.heads.estimator import HeadSettings, Kind
from fxengine.heads.graph import HeadGraph

KINDS: tuple[Kind, ...] = ("classes", "labels", "numbers")
_HIDDEN = (256,)  # units of each hidden layer
_BATCH = 32
_RATE, _BETAS, _EPSILON = 1e-3, (0.9, 0.999), 1e-8  # Adam (Kingma and Ba 2014, arXiv 1412.6980)
_STEPS = 1500  # at least: small sets are seen more often than large ones

Layers = list[np.ndarray]  # weights, bias, weights, bias, ...


class _Rows(NamedTuple):
    """Rows x float32 [n, dim], their targets y float32 [n, outputs], and weights float32 [n] where they have any."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None

    def take(self, rows: np.ndarray) -> _Rows:
        """Return some of the rows."""
        return _Rows(self.x[rows], self.y[rows], None if self.weights is None else self.weights[rows])


class _Mlp(BaseEstimator):  # type: ignore[misc]
    """What the two estimators share: the net and its training.

    Numbers are standardised before the first layer, with that folded into its weights afterwards.
    """

    def __init__(
        self,
        hidden: Sequence[int] = _HIDDEN,
        dropout: float = 0.5,
        epochs: int = 30,
        balanced: bool = False,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.epochs = epochs
        self.balanced = balanced
        self.seed = seed

    def _train(self, x: np.ndarray, y: np.ndarray, activation: str, weights: np.ndarray | None) -> None:
        rng = np.random.default_rng(self.seed)
        mean, deviation = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
        rows = _Rows(np.asarray((x - mean) / deviation, np.float32), y, weights)
        layers = _initial([x.shape[1], *self.hidden, y.shape[1]], rng)
        moments = [(np.zeros_like(v), np.zeros_like(v)) for v in layers]
        step = 0
        epochs = max(self.epochs, -(-_STEPS * _BATCH // len(x)))
        for epoch in range(epochs):
            rate = _RATE * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
            order = rng.permutation(len(x))
            for start in range(0, len(x), _BATCH):
                batch = rows.take(order[start : start + _BATCH])
                gradients = _gradients(layers, batch, activation, self.dropout, rng)
                step += 1
                _adam(layers, gradients, moments, step, rate)
        layers[1] = layers[1] - (mean / deviation) @ layers[0]
        layers[0] = layers[0] / deviation[:, None]
        self.layers_ = layers

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        x = validate_data(self, X, reset=False)
        for weights, bias in zip(self.layers_[:-2:2], self.layers_[1:-2:2], strict=True):
            x = np.maximum(x @ weights + bias, 0)
        result: np.ndarray = x @ self.layers_[-2] + self.layers_[-1]
        return result


def _initial(widths: list[int], rng: np.random.Generator) -> Layers:
    """Return He's initial weights (arXiv 1502.01852); the last layer starts at zero."""
    layers: Layers = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        deviation = 0.0 if i == len(widths) - 2 else np.sqrt(2 / inputs)
        layers += [rng.normal(0, 1, (inputs, outputs)).astype(np.float32) * np.float32(deviation)]
        layers += [np.zeros(outputs, np.float32)]
    return layers


def _gradients(layers: Layers, batch: _Rows, activation: str, dropout: float, rng: np.random.Generator) -> Layers:
    """Return the gradient of the mean loss of a batch by backpropagation."""
    inputs, masks = [batch.x], []
    for w, b in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        hidden = inputs[-1] @ w + b
        keep = (rng.random(hidden.shape, np.float32) >= dropout) / np.float32(1 - dropout)
        masks.append((hidden > 0) * keep)
        inputs.append(hidden * masks[-1])
    output = inputs[-1] @ layers[-2] + layers[-1]
    # Cross-entropy with its softmax or sigmoids, and half the squared error, have this same gradient.
    answer = {"softmax": lambda v: softmax(v, axis=1), "sigmoid": expit, "linear": lambda v: v}[activation](output)
    delta = (answer - batch.y) / np.float32(len(batch.x))
    if batch.weights is not None:
        delta = delta * batch.weights[:, None]
    gradients: Layers = []
    for i in range(len(inputs) - 1, -1, -1):
        gradients = [inputs[i].T @ delta, delta.sum(axis=0), *gradients]
        if i:
            delta = (delta @ layers[2 * i].T) * masks[i - 1]
    return gradients


def _adam(
    layers: Layers, gradients: Layers, moments: list[tuple[np.ndarray, np.ndarray]], step: int, rate: float
) -> None:
    """Take one step, in place."""
    first, second = _BETAS
    for value, gradient, (m, v) in zip(layers, gradients, moments, strict=True):
        m += (1 - first) * (gradient - m)
        v += (1 - second) * (np.square(gradient) - v)
        corrected = m / (1 - first**step)
        value -= rate * corrected / (np.sqrt(v / (1 - second**step)) + _EPSILON)


class MlpClassifier(ClassifierMixin, _Mlp):  # type: ignore[misc]
    """Dense layers with ReLU and dropout, then a softmax over classes or a sigmoid for each label.

    Args:
        hidden: units of each hidden layer.
        dropout: share of the hidden units that a training step leaves out.
        epochs: times that every row is seen, more where there are few rows.
        balanced: whether every class counts as much, whatever its rows.
        seed: of weights, order and dropout.
    """

    def fit(self, X: np.ndarray, y: np.ndarray) -> MlpClassifier:
        """Fit to [n, dim] rows and [n] classes, or [n, labels] of 0 and 1.

        Raises:
            ValueError: there is one class only, or scikit-learn cannot take the arrays.
        """
        X, y = validate_data(self, X, y, multi_output=True)
        check_classification_targets(y)
        self.multilabel_ = y.ndim == 2 and y.shape[1] > 1
        if self.multilabel_:
            self.classes_ = np.arange(y.shape[1])
            self._train(X, np.asarray(y, np.float32), "sigmoid", None)
            return self
        self.classes_, numbers = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("Classifier can't train when only one class is present.")
        count = len(self.classes_)
        weights = balanced_weights(numbers, count).astype(np.float32) if self.balanced else None
        self._train(X, one_hot(numbers, count).toarray(), "softmax", weights)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities [n, classes]; of labels each on its own."""
        output = self._outputs(X)
        return np.asarray(expit(output) if self.multilabel_ else softmax(output, axis=1))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return classes [n], or 0 and 1 of labels [n, labels]."""
        output = self._outputs(X)
        if self.multilabel_:
            return (output > 0).astype(np.int64)
        found: np.ndarray = self.classes_[output.argmax(axis=1)]
        return found


class MlpRegressor(RegressorMixin, _Mlp):  # type: ignore[misc]
    """The same layers with a linear output; the numbers are standardised while it trains."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> MlpRegressor:
        """Fit to [n, dim] rows and [n] or [n, targets] numbers."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True)
        self.single_ = y.ndim == 1
        y = y.reshape(len(y), -1).astype(np.float64)
        mean, deviation = y.mean(axis=0), np.maximum(y.std(axis=0), 1e-12)
        self._train(X, ((y - mean) / deviation).astype(np.float32), "linear", None)
        self.layers_[-2] = self.layers_[-2] * deviation
        self.layers_[-1] = self.layers_[-1] * deviation + mean
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return numbers of the shape that `fit` was given."""
        output = self._outputs(X)
        return output[:, 0] if self.single_ else output

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def make(kind: Kind, settings: HeadSettings, rows: int) -> MlpClassifier | MlpRegressor:
    """Return the estimator of a kind of target."""
    hidden = settings.hidden or _HIDDEN
    if kind == "numbers":
        return MlpRegressor(hidden, seed=settings.seed)
    return MlpClassifier(hidden, balanced=settings.balanced, seed=settings.seed)


def nodes(model: MlpClassifier | MlpRegressor, graph: HeadGraph, x: str) -> str:
    """Add the fitted model to a graph."""
    for weights, bias in zip(model.layers_[:-2:2], model.layers_[1:-2:2], strict=True):
        x = graph.node("Relu", graph.dense(x, weights.T, bias))
    x = graph.dense(x, model.layers_[-2].T, model.layers_[-1])
    if isinstance(model, MlpRegressor):
        return x
    return graph.sigmoid(x) if model.multilabel_ else graph.softmax(x)
