from __future__ import annotations

import pytest

from fxengine.heads.evaluate.interval import wilson


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # R: prop.test(x, n, correct = FALSE)$conf.int
    [(8, 10, 0.49016, 0.94331), (0, 20, 0.0, 0.16113), (20, 20, 0.83887, 1.0), (594, 600, 0.97836, 0.99541)],
)
def test_wilson_equals_the_published_formula(correct: int, total: int, low: float, high: float) -> None:
    interval = wilson(correct, total)
    assert interval.mean == correct / total
    assert interval.low == pytest.approx(low, abs=2e-5)
    assert interval.high == pytest.approx(high, abs=2e-5)
