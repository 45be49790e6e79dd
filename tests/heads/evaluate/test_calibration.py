"""Scaled probabilities are never worse than before by more than chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from fxengine.heads.evaluate.calibration import calibrate, fit_scale, sharpen


def answers(seed: int, rows: int, gap: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities [rows, 4] that are off by the factor `scale`, and the classes, drawn from the right ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, gap, (rows, 4))
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(4, p=p) for p in right])
    return np.asarray(sharpen(right, scale), np.float32), y


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_probabilities_that_are_off_are_mended_by_the_factor_that_they_are_off_by(scale: float) -> None:
    p, y = answers(0, 4000, 3.0, scale)
    scaled, found = calibrate(p, y, np.arange(4000) % 5)
    assert found == pytest.approx(1 / scale, rel=0.1)
    best = minimize_scalar(lambda s: log_loss(y, sharpen(p, s)), bounds=(0.05, 20), method="bounded").x
    assert found == pytest.approx(best, rel=0.01)
    fresh, truth = answers(1, 4000, 3.0, scale)
    assert log_loss(truth, sharpen(fresh, found)) < log_loss(truth, fresh)
    assert log_loss(y, scaled) < log_loss(y, p)


def test_probabilities_that_are_right_stay_as_they_are() -> None:
    used = 0
    for seed in range(60):
        p, y = answers(seed, 80, 3.0, 1.0)
        scaled, found = calibrate(p, y, np.arange(80) % 5)
        used += found != 1
        assert found != 1 or scaled is p
    assert used <= 8  # 5% by chance, each


def test_rows_without_a_mistake_do_not_make_the_next_one_certain() -> None:
    scores, y = np.eye(3)[np.arange(90) % 3], np.arange(90) % 3
    sure = sharpen(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), fit_scale(scores, y))
    assert sure.max() == pytest.approx(91 / 92, abs=1e-3)  # (n + 1) / (n + 2)
    labels = np.stack([y == 0, y != 0], axis=1).astype(int)
    scale = fit_scale(labels.astype(float), labels)
    assert 1 / (1 + np.exp(-0.5 * scale)) == pytest.approx(91 / 92, abs=1e-3)
