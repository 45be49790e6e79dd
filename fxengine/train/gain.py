"""Whether a tuned net does better than the probe by more than chance, on the rows to select on.

Both answer the same rows, so what counts is how far they are apart on each: an interval of the paired difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fxengine.heads.evaluate.interval import Interval, percentiles
from fxengine.heads.evaluate.scores import Problem, deciding_score, resamples

_LEVEL = 0.95
_LEAST = 0.001  # of a score, below which a gain is none, however sure: rounding alone moves R squared by 1e-7
# How the interval was made, of each kind of target.
_BY = {"classes": "exact test of McNemar", "labels": "paired bootstrap", "numbers": "paired t interval"}


@dataclass(frozen=True)
class Gain:
    """What a tuned net scores more than the probe on the same rows.

    Attributes:
        difference: of the deciding scores, with its 95% interval.
        by: how that was made.
        real: whether the whole interval is above 0, and the difference at least a thousandth.
    """

    difference: Interval
    by: str
    real: bool

    def __str__(self) -> str:
        found = self.difference
        return f"{found.mean:+.3f} (95% interval {found.low:+.3f} to {found.high:+.3f}, {self.by})"


def gain_of(problem: Problem, tuned: np.ndarray, probe: np.ndarray) -> Gain:
    """Return the gain of a tuned net's answers over a probe's, both float32 [n, outputs], on the rows of a problem.

    Groups of near-duplicates count as one row each, as in every other interval.

    - classes: McNemar's exact test, as an interval: of the rows that only one of the two gets right, the share that are
      the tuned net's has Clopper and Pearson's interval (Clopper and Pearson 1934, Biometrika 26); the difference is
      (2 share - 1) times such rows.
    - numbers: Student's interval of the mean difference of squared errors over groups, in units of R squared.
    - labels: the middle 95% of the differences on resampled groups.
    """
    difference = _INTERVALS[problem.kind](problem, tuned, probe)
    return Gain(difference, _BY[problem.kind], difference.low > 0 and difference.mean >= _LEAST)


def _classes(problem: Problem, tuned: np.ndarray, probe: np.ndarray) -> Interval:
    better = (tuned.argmax(axis=1) == problem.y).astype(int) - (probe.argmax(axis=1) == problem.y)
    trials, rows = len(np.unique(problem.groups)), len(better)
    won, lost = ((better == sign).sum() * trials / rows for sign in (1, -1))
    apart, tail = won + lost, (1 - _LEVEL) / 2
    low = stats.beta.ppf(tail, won, lost + 1) if won else 0.0
    high = stats.beta.ppf(1 - tail, won + 1, lost) if lost else 1.0
    low, high = (float((2 * share - 1) * apart / trials) + 0.0 for share in (low, high))  # -0.0 becomes 0
    return Interval(float(better.mean()), low, high)


def _numbers(problem: Problem, tuned: np.ndarray, probe: np.ndarray) -> Interval:
    y = problem.y
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    spread[spread == 0] = np.inf  # R squared says nothing of a target that does not vary
    better = (((probe - y) ** 2 - (tuned - y) ** 2) / spread).mean(axis=1)
    groups = np.unique(problem.groups, return_inverse=True)[1]
    sums = np.bincount(groups, better)
    trials = len(sums)
    gain = float(sums.sum())
    if trials < 2:  # which says nothing of its noise
        return Interval(gain, min(gain, 0.0), max(gain, 0.0))
    margin = float(stats.t.ppf((1 + _LEVEL) / 2, trials - 1) * np.sqrt(trials) * sums.std(ddof=1))
    return Interval(gain, gain - margin, gain + margin)


def _labels(problem: Problem, tuned: np.ndarray, probe: np.ndarray) -> Interval:
    def difference(rows: np.ndarray) -> float:
        part = problem.take(rows)
        return deciding_score(part, tuned[rows]) - deciding_score(part, probe[rows])

    found = np.array([difference(rows) for rows in resamples(problem.groups)])
    return percentiles(difference(np.arange(len(problem.y))), found)


_INTERVALS: dict[str, Callable[[Problem, np.ndarray, np.ndarray], Interval]] = {
    "classes": _classes, "labels": _labels, "numbers": _numbers,
}  # fmt: skip
