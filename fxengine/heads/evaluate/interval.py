"""How sure a score is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A score with its 95% confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.1%} (95% interval {self.low:.1%} to {self.high:.1%})"


def wilson(correct: float, total: int, z: float = 1.959964) -> Interval:
    """Return the share of correct answers with Wilson's score interval (Wilson 1927, JASA 22)."""
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = z / (1 + z * z / total) * math.sqrt(max(0.0, share * (1 - share) / total + z * z / (4 * total * total)))
    return Interval(share, max(0.0, centre - spread), min(1.0, centre + spread))


def percentiles(mean: float, resampled: np.ndarray) -> Interval:
    """Return a score with the middle 95% of its values on resampled rows; the score itself is always inside.

    Args:
        mean: the score.
        resampled: its values, float [resamples].
    """
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(mean, min(mean, float(low)), max(mean, float(high)))
