from __future__ import annotations

import pytest
from scipy.stats import binomtest

from fxengine.heads.evaluate.interval import exact_interval


@pytest.mark.parametrize(("correct", "total"), [(8, 10), (0, 20), (20, 20), (594, 600), (1, 1)])
def test_the_exact_interval_is_scipys(correct: int, total: int) -> None:
    interval, judge = exact_interval(correct / total, total), binomtest(correct, total).proportion_ci(method="exact")
    assert interval.mean == correct / total
    assert [interval.low, interval.high] == pytest.approx([judge.low, judge.high], abs=1e-9)
    assert (interval.high == 1) == (correct == total)


def test_trials_need_not_be_whole() -> None:
    whole, less = exact_interval(0.9, 100), exact_interval(0.9, 80.5)
    assert less.low < whole.low < 0.9 < whole.high < less.high
