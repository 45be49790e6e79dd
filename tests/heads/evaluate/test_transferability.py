from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from fxengine.heads.evaluate.transferability import log_me
from tests.heads.test_contract import blobs


@pytest.mark.parametrize("shape", [(40, 6), (15, 30)])
def test_it_is_the_greatest_evidence_of_bayesian_linear_regression(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=shape)
    y = x[:, 0] + rng.normal(0, 0.5, shape[0])

    def negative(logs: np.ndarray) -> float:
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(y)) / beta + x @ x.T / alpha
        return float(-multivariate_normal(np.zeros(len(y)), covariance).logpdf(y) / len(y))

    best = -minimize(negative, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).fun
    assert log_me(x, y[:, None]) == pytest.approx(best, abs=1e-4)


def test_features_that_tell_classes_apart_score_higher() -> None:
    x, y = blobs(4)
    noise = np.random.default_rng(0).normal(size=x.shape)
    targets = np.eye(4)[y]
    assert log_me(x, targets) > log_me(x + noise, targets) > log_me(noise, targets)


def test_features_that_reach_every_target_have_a_score() -> None:
    """As many as rows, all strong: nothing is left over for noise."""
    x = 1e9 * np.eye(16)
    assert np.isfinite(log_me(x, np.eye(4)[np.arange(16) % 4]))
