"""L-BFGS as a coroutine that asks for values and gradients, so that several descents go on side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator

import numpy as np

_PAIRS = 8  # each takes as much memory as one gradient in float64
_ARMIJO = 1e-4  # of what the slope promises, as much is enough
_SHORTER = 5  # a step that so many cuts do not mend is lost in rounding

# Yields points, is sent the value and the gradient there, and returns the last point that was taken.
Descent = Generator[np.ndarray, tuple[float, np.ndarray], np.ndarray]


def descend(
    start: np.ndarray,
    diagonal: np.ndarray,
    first: Callable[[np.ndarray, np.ndarray], float],
    *,
    enough: float,
    most: int,
) -> Descent:
    """Go down from `start` until a next step promises to lower the value by no more than `enough` of it.

    Args:
        start: float64, of any shape.
        diagonal: that of the Hessian, about, of the same shape; the steps' lengths are in its measure.
        first: from the start and the first step to the factor by which it is to be longer.
        enough: a share of the value; 0 goes on as far as rounding lets it.
        most: points at most.
    """
    curvature = _Curvature(diagonal)
    at = start
    value, gradient = yield at
    asked = 1
    while True:
        step = -curvature.solve(gradient)
        if asked == 1:
            step *= first(at, step)
        slope = _dot(step, gradient)
        # Where the value is quadratic, and the step is Newton's, it falls by half of what the slope promises.
        import os
        if os.environ.get("SHOW"): print("   promise", -slope / 2 / value)
        if -slope / 2 <= enough * value:
            return at
        for _ in range(_SHORTER):
            if asked == most:
                return at
            there, asked = at + step, asked + 1
            value_there, gradient_there = yield there
            if value_there <= value + _ARMIJO * slope:
                break
            shorter = float(np.clip(-slope / (2 * (value_there - value - slope)), 0.1, 0.5))
            step, slope = shorter * step, shorter * slope
        else:
            return at
        curvature.add(step, gradient_there - gradient)
        at, value, gradient = there, value_there, gradient_there


class _Curvature:
    """The last steps with the changes of the gradient along them, and the Hessian's diagonal."""

    def __init__(self, diagonal: np.ndarray) -> None:
        self._diagonal = diagonal
        self._pairs: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=_PAIRS)

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        """Learn from a step; one along which the gradient does not grow says nothing."""
        along = _dot(step, change)
        if along > 0:
            self._pairs.append((step.astype(np.float32), change.astype(np.float32), along))

    def solve(self, gradient: np.ndarray) -> np.ndarray:
        """Return about the Hessian's inverse times a gradient (Nocedal and Wright 2006, algorithm 7.4)."""
        found, shares = gradient.copy(), []
        for step, change, along in reversed(self._pairs):
            share = _dot(step, found) / along
            shares.append(share)
            found -= share * change
        found /= self._diagonal
        if self._pairs:
            _, change, along = self._pairs[-1]
            found *= along / _dot(change, change / self._diagonal)
        for (step, change, along), share in zip(self._pairs, reversed(shares), strict=True):
            found += (share - _dot(change, found) / along) * step
        return found


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b))
