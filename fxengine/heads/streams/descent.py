"""L-BFGS as a coroutine that asks for values and gradients, so that several descents go on side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np

_PAIRS = 6  # each takes as much memory as a gradient
_ARMIJO = 1e-4  # so much of what the slope promises is enough
_SHORTER = 5  # a step that so many cuts do not mend is lost in rounding


class Asked(NamedTuple):
    """Where a descent wants to know the value and the gradient.

    Attributes:
        point: float64.
        promise: the share of the value by which the last step lowered it, or the step there is to lower it, whichever
            is more; infinite at the start.
    """

    point: np.ndarray
    promise: float


# Is sent the value and the gradient of what it asked for, and returns the last point that was taken.
Descent = Generator[Asked, tuple[float, np.ndarray], np.ndarray]


def descend(
    start: np.ndarray,
    diagonal: Callable[[np.ndarray], np.ndarray],
    first: Callable[[np.ndarray, np.ndarray], float],
    *,
    enough: float,
    most: int,
) -> Descent:
    """Go down from `start` until a step lowered the value by no more than `enough` of it, and so will the next.

    Args:
        start: float64, of any shape.
        diagonal: from a point to the diagonal of the Hessian there, about.
        first: from the start and the first step to the factor by which it is to be longer.
        enough: a share of the value; 0 goes on as far as rounding lets it.
        most: points at most.
    """
    pairs: deque[_Pair] = deque(maxlen=_PAIRS)
    at, gain, asked = start, 0.0, 1
    value, gradient = yield Asked(at, np.inf)
    while True:
        step = -_newton(gradient, pairs, diagonal(at))
        if asked == 1:
            step *= first(at, step)
        slope = _dot(step, gradient)
        # Half the slope is what Newton's step gains where the value is quadratic. A poor step's says too little: hence
        # the last gain.
        promise = max(gain, -slope / 2 / value)
        if slope >= 0 or promise <= enough:
            return at
        for _ in range(_SHORTER):
            if asked == most:
                return at
            there, asked = at + step, asked + 1
            value_there, gradient_there = yield Asked(there, promise)
            if value_there <= value + _ARMIJO * slope:
                break
            shorter = float(np.clip(-slope / (2 * (value_there - value - slope)), 0.1, 0.5))
            step, slope = shorter * step, shorter * slope
        else:
            return at
        change = gradient_there - gradient
        if (along := _dot(step, change)) > 0:
            pairs.append(_Pair(step.astype(np.float32), change.astype(np.float32), along))
        gain = (value - value_there) / value
        at, value, gradient = there, value_there, gradient_there


class _Pair(NamedTuple):
    """A step, by how much it changed the gradient, both float32, and the product of the two."""

    step: np.ndarray
    change: np.ndarray
    along: float


def _newton(gradient: np.ndarray, pairs: deque[_Pair], diagonal: np.ndarray) -> np.ndarray:
    """Return about the Hessian's inverse times a gradient (Nocedal and Wright 2006, algorithm 7.4)."""
    found, shares = gradient.copy(), []
    for step, change, along in reversed(pairs):
        shares.append(_dot(step, found) / along)
        found -= shares[-1] * change
    found /= diagonal
    if pairs:
        found *= pairs[-1].along / _dot(pairs[-1].change, pairs[-1].change / diagonal)
    for (step, change, along), share in zip(pairs, reversed(shares), strict=True):
        found += (share - _dot(change, found) / along) * step
    return found


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b))
