"""Scores as probabilities, and how far probabilities are from what happens."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

from fxengine.heads.evaluate.answers import Answers, likeliest

_BINS = 15
_SCALE_ROWS = 20_000  # one number needs no more
_SURE = 1.6449  # standard errors
# Probabilities below this count as this much: where a logarithm is taken, and in the log loss.
TINY = float(np.finfo(np.float32).eps)


def probabilities(scores: np.ndarray, scale: float, labels: bool = False) -> np.ndarray:
    """Return the softmax of scaled scores [n, classes]; for labels the sigmoid of each one's distance from a half."""
    return np.asarray(expit((scores - 0.5) * scale) if labels else softmax(scores * scale, axis=1))


def fit_scale(scores: np.ndarray, y: np.ndarray, seed: int = 0) -> float:
    """Return the factor of out-of-fold scores with the least log loss; of at most 20,000 rows, at random.

    It is 1 / T of temperature scaling (Guo et al. 2017, arXiv 1706.04599). A row counts as its own class with
    (n + 1) / (n + 2), as in Platt 1999 (Probabilistic outputs for support vector machines): n rows without a mistake
    do not make the next one certain.

    Args:
        scores: float [n, classes], or of labels, about 0 and 1.
        y: class numbers [n], or 0 and 1 [n, labels].
        seed: of the rows.
    """
    if len(scores) > _SCALE_ROWS:
        some = np.random.default_rng(seed).permutation(len(scores))[:_SCALE_ROWS]
        scores, y = scores[some], y[some]

    doubt = 1 / (len(y) + 2)

    def loss(log_scale: float) -> float:
        scaled = np.asarray(scores, np.float64) * np.exp(log_scale)
        if y.ndim == 1:
            own = log_softmax(scaled, axis=1)[np.arange(len(y)), y]
            others = np.log(np.maximum(-np.expm1(own), np.finfo(np.float64).eps))
            return float(-((1 - doubt) * own + doubt * others).mean())
        logits = scaled - 0.5 * np.exp(log_scale)
        wrong = np.where(y > 0.5, -logits, logits)
        return float(((1 - doubt) * np.logaddexp(0, wrong) + doubt * np.logaddexp(0, -wrong)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 7.0), method="bounded").x))


def expected_calibration_error(p: Answers, y: np.ndarray) -> float:
    """Return the mean gap between confidence and accuracy over 15 bins of equal width (Guo et al. 2017).

    Args:
        p: probabilities of n rows.
        y: class numbers [n].
    """
    return float(sum(share * abs(confidence - right) for confidence, right, share in reliability(p, y)))


def reliability(p: Answers, y: np.ndarray) -> list[tuple[float, float, float]]:
    """Return (mean confidence, accuracy, share of the rows) of every bin of confidence that has rows.

    Args:
        p: probabilities of n rows.
        y: class numbers [n].
    """
    said, confidence = likeliest(p)
    right = said == y
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    found = []
    for number in np.unique(bins):
        mine = bins == number
        found.append((float(confidence[mine].mean()), float(right[mine].mean()), float(mine.mean())))
    return found


def calibrate(p: np.ndarray, y: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, float]:
    """Return out-of-fold probabilities scaled by the factor of the other folds, and the factor of all rows.

    Both stay as they are, with a factor of 1, unless the log loss of the scaled ones is lower by more than chance: by
    1.64 standard errors of the rows' differences, one-sided 95%.

    Args:
        p: out-of-fold probabilities float32 [n, classes].
        y: class numbers [n].
        fold: int64 [n].
    """
    logs, scaled, own = np.log(np.maximum(p, TINY)), p.copy(), (np.arange(len(y)), y)
    for number in range(int(fold.max()) + 1):
        mine = fold == number
        scaled[mine] = sharpen(p[mine], fit_scale(logs[~mine], y[~mine]))
    gains = np.log(np.maximum(scaled[own], TINY)) - logs[own]
    if gains.mean() <= _SURE * gains.std() / np.sqrt(len(y)):
        return p, 1.0
    return scaled, fit_scale(logs, y)


def sharpen(p: np.ndarray, scale: float) -> np.ndarray:
    """Return probabilities [n, classes], logarithms multiplied by `scale`: temperature scaling of any head."""
    return np.asarray(softmax(np.log(np.maximum(p, TINY)) * scale, axis=1))
