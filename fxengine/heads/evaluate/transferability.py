"""LogME: how well features suit labels, without training a head.

You, Liu, Wang and Long, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021 (arXiv
2102.11005): the logarithm of the evidence of Bayesian linear regression to each one-hot class, maximised over both of
its precisions by MacKay's fixed point, divided by the rows and averaged over the classes.
"""

from __future__ import annotations

import numpy as np

_ITERATIONS, _TOLERANCE = 100, 1e-4
_LEAST = 1e-12


def log_me(x: np.ndarray, targets: np.ndarray) -> float:
    """Return the score; higher is better, and only scores of the same rows and targets compare.

    Args:
        x: features, [n, dim].
        targets: one-hot classes, labels or numbers, [n, targets].
    """
    u, s, _ = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    squares = s * s
    return float(np.mean([_evidence(u, squares, x.shape[1], y) for y in np.asarray(targets, np.float64).T]))


def _evidence(u: np.ndarray, squares: np.ndarray, dim: int, y: np.ndarray) -> float:
    """Return the maximal log evidence of one target, divided by the rows.

    Args:
        u: left singular vectors of the features, [n, k].
        squares: squared singular values, [k].
        dim: numbers of a feature.
        y: the target, [n].
    """
    n = len(y)
    along = (u.T @ y) ** 2
    outside = max(float(y @ y - along.sum()), 0.0)  # what no weights can reach
    alpha = beta = 1.0
    for _ in range(_ITERATIONS):
        ratio = alpha / beta
        gamma = float((squares / (squares + ratio)).sum())
        weights = float((squares * along / (squares + ratio) ** 2).sum())
        residual = float((along * (ratio / (squares + ratio)) ** 2).sum()) + outside
        # As many features as rows reach every target: what is left over is then a rounding, or nothing.
        alpha, beta = gamma / max(weights, 1e-300), max(n - gamma, _LEAST) / max(residual, 1e-300)
        if abs(alpha / beta - ratio) <= _TOLERANCE * ratio:
            break
    ratio = alpha / beta
    weights = float((squares * along / (squares + ratio) ** 2).sum())
    residual = float((along * (ratio / (squares + ratio)) ** 2).sum()) + outside
    logs = dim * np.log(alpha) + n * np.log(beta) - n * np.log(2 * np.pi)
    determinant = float(np.log(alpha + beta * squares).sum()) + (dim - len(squares)) * np.log(alpha)
    return float((logs - determinant - beta * residual - alpha * weights) / (2 * n))
