"""How sure a score is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TAIL = 0.025


@dataclass(frozen=True)
class Interval:
    """A score with its 95% confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.1%} (95% interval {self.low:.1%} to {self.high:.1%})"


def exact_interval(share: float, trials: float) -> Interval:
    """Return a share of successes with its exact 95% interval (Clopper & Pearson 1934, Biometrika 26).

    Args:
        share: of the trials.
        trials: how many there were; need not be whole.
    """
    from scipy.special import betaincinv  # quantiles of the beta distribution; no first page waits for it

    wins, losses = share * trials, (1 - share) * trials
    low = 0.0 if wins == 0 else float(betaincinv(wins, losses + 1, _TAIL))
    high = 1.0 if losses == 0 else float(betaincinv(wins + 1, losses, 1 - _TAIL))
    return Interval(share, min(share, low), max(share, high))


def percentiles(mean: float, resampled: np.ndarray) -> Interval:
    """Return a score with the middle 95% of its values on resampled rows; the score itself is always inside.

    Args:
        mean: the score.
        resampled: its values, float [resamples]; NaN where the rows of a resample do not define it.
    """
    known = resampled[np.isfinite(resampled)]
    low, high = np.percentile(known if len(known) else [mean], [2.5, 97.5])
    return Interval(mean, min(mean, float(low)), max(mean, float(high)))
