"""Whether two pictures that were laid over each other are one, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fxengine.retrieval.copies.blur import band, blur
from fxengine.retrieval.copies.drawn import changed
from fxengine.retrieval.copies.fit import Fit, turned
from fxengine.retrieval.copies.look import LARGE, Look

_LONGEST = 128  # pixels of the longer edge of what is compared
_SHORTEST = 16  # fewer on the shorter edge are too few
_LEAST = 0.4  # of either picture that both must show
_WINDOW = 5.0  # pixels, the sigma of the window in which they are correlated
_FLOOR = 0.25  # of the root mean square of the detail: what has less in both is flat and says nothing
_FAINT = 1.0  # grey levels: so is this
_AGREES = 0.7  # correlation in a window from which it shows the same
# Correlation after the coarse steps from which the exact ones are worth their time, and after those the proof: of
# 660 planted copies the least are 0.79 and 0.83.
_HOPELESS, _DOUBTFUL = 0.55, 0.7
_FINE = 1.2  # pixels that the finest detail is blurred by: another resizing changes what is finer
_BAND = (1.0, 4.0)  # pixels: the detail that is fitted
_GREYISH = 4.0  # root mean square of the colours, below which hue is noise
_BLACK, _WHITE = 6, 249  # grey levels
_COARSE, _EXACT = 4, 3  # steps at half of `_LONGEST`, and then at all of it


@dataclass(frozen=True)
class Proof:
    """How two pictures that lie over each other agree.

    Attributes:
        fit: how the second lies in the first, made exact.
        shown: share of the first's and of the second's area that the other shows, too.
        detail: share of that which has detail in either.
        kept: share of this, by area, that is the same in both.
        agreeing: share that is the same in both, of where both have detail.
        correlation: of the detail within a window, the median.
        off: how far a window lies off, in pixels of `_LONGEST`, the median.
        added: where they differ, the detail of the second over that of the first, in energy; 1 where they do not.
        brightness: grey levels that the second is brighter by.
        hue: cosine of the colours of both, as they differ from grey; 1 where one of them is grey.
    """

    fit: Fit
    shown: tuple[float, float]
    detail: float
    kept: float
    agreeing: float
    correlation: float
    off: float
    added: float
    brightness: float
    hue: float = 1.0


def prove(a: Look, b: Look, fit: Fit) -> Proof | None:
    """Return how `b` laid over `a` agrees with it, None where little of either is in the other, or nothing agrees."""
    pair = _pair(a, b, fit)
    coarse = _fitted(pair, fit, _LONGEST // 2, _COARSE)
    if coarse is None or coarse[1] < _HOPELESS:
        return None
    exact = _fitted(pair, coarse[0], _LONGEST, _EXACT)
    spans = None if exact is None or exact[1] < _DOUBTFUL else _overlap(pair, exact[0], _LONGEST)
    if exact is None or spans is None:
        return None
    x, y = spans
    shown = (4 * x.half * y.half / pair.ours.size, 4 * x.other_half * y.other_half / pair.other.size)
    found = _agreement(exact[0], shown, pair.first(x, y), pair.second(x, y))
    return None if found is None else replace(found, hue=_hue(a, b, fit.way, x, y))


def overlaid(a: Look, b: Look, fit: Fit) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what both show, of the one and of the other, float32 [height, width] each; None where that is little."""
    pair = _pair(a, b, fit)
    spans = _overlap(pair, fit, _LONGEST)
    return None if spans is None else (pair.first(*spans), pair.second(*spans))


def changed_in_large(a: Look, b: Look, ours: np.ndarray, others: np.ndarray, fit: Fit) -> float:
    """Return `drawn.changed` of two pictures in large, uint8 [height, width] each, whose looks fit so."""
    other = turned(others, fit.way)
    rows, columns = turned(b.grey, fit.way).shape
    larger = ours.shape[1] / a.grey.shape[1], ours.shape[0] / a.grey.shape[0]
    larger_other = other.shape[1] / columns, other.shape[0] / rows
    scale = fit.scale[0] * larger[0] / larger_other[0], fit.scale[1] * larger[1] / larger_other[1]
    x, y = ((s + 0.5 - k / 2) * n - 0.5 + m / 2 for s, k, n, m in zip(fit.shift, fit.scale, larger, scale, strict=True))
    pair = _Pair(ours.astype(np.float32), other.astype(np.float32), a.size, _upright(b, fit.way))
    exact, spans = Fit(fit.way, scale, (x, y)), None
    for longest in (_LONGEST, 2 * _LONGEST, LARGE):  # in few pixels, if those are all that one of them has
        finer = _fitted(pair, exact, longest, 2)
        exact = exact if finer is None else finer[0]
        spans = _overlap(pair, exact, longest) or spans
    return 1.0 if spans is None else changed(pair.first(*spans), pair.second(*spans))


@dataclass(frozen=True)
class _Span:
    """One axis of what both show: where it lies in the first and in the second picture, in pixels; `n` samples."""

    centre: float
    half: float
    other_centre: float
    other_half: float
    n: int

    def at(self) -> np.ndarray:
        """Return the places of the samples, -1 to 1."""
        return ((np.arange(self.n) + 0.5) / self.n * 2 - 1).astype(np.float32)


@dataclass(frozen=True)
class _Pair:
    """Two images, float32 [height, width], the second turned, and width and height of the pictures themselves."""

    ours: np.ndarray
    other: np.ndarray
    size: tuple[int, int]
    other_size: tuple[int, int]

    def first(self, x: _Span, y: _Span) -> np.ndarray:
        """Return what the spans take of the first, float32 [y.n, x.n]."""
        height, width = self.ours.shape
        rows, columns = _samples(y.centre, y.half, y.n, height), _samples(x.centre, x.half, x.n, width)
        sampled: np.ndarray = rows @ self.ours @ columns.T
        return sampled

    def second(self, x: _Span, y: _Span) -> np.ndarray:
        """Return what the spans take of the second, float32 [y.n, x.n]."""
        height, width = self.other.shape
        rows = _samples(y.other_centre, y.other_half, y.n, height)
        sampled: np.ndarray = rows @ self.other @ _samples(x.other_centre, x.other_half, x.n, width).T
        return sampled


def _pair(a: Look, b: Look, fit: Fit) -> _Pair:
    other = turned(b.grey, fit.way).astype(np.float32)
    return _Pair(a.grey.astype(np.float32), other, a.size, _upright(b, fit.way))


def _upright(look: Look, way: int) -> tuple[int, int]:
    return look.size if way % 2 == 0 else (look.size[1], look.size[0])


def _overlap(pair: _Pair, fit: Fit, longest: int) -> tuple[_Span, _Span] | None:
    """Return what both show, x and y, in so many samples at most, and not more than pixels; None for little."""
    ends, pixels = [], []
    for axis in (0, 1):
        n, m = pair.ours.shape[1 - axis], pair.other.shape[1 - axis]
        scale, shift = fit.scale[axis], fit.shift[axis]
        if not 0.1 < scale < 10:
            return None
        low, high = max(-0.5, shift - 0.5 * scale), min(n - 0.5, shift + (m - 0.5) * scale)
        ends.append((low, max(high - low, 0.0), scale, shift))
        pixels.append((high - low) * min(pair.size[axis] / n, pair.other_size[axis] / m / scale))
    area = ends[0][1] * ends[1][1]
    if area < _LEAST * max(pair.ours.size, pair.other.size * fit.scale[0] * fit.scale[1]):
        return None
    factor = min(1.0, longest / max(pixels))
    spans = [
        _Span(low + wide / 2, wide / 2, (low + wide / 2 - shift) / scale, wide / 2 / scale, round(own * factor))
        for (low, wide, scale, shift), own in zip(ends, pixels, strict=True)
    ]
    return None if min(span.n for span in spans) < _SHORTEST * longest / _LONGEST else (spans[0], spans[1])


def _samples(centre: float, half: float, n: int, pixels: int) -> np.ndarray:
    """Return float32 [n, pixels], which takes n samples of a line of pixels: a tent over each, of at least a pixel."""
    at = centre + half * ((np.arange(n) + 0.5) / n * 2 - 1)
    reach = np.float32(max(1.0, 2 * abs(half) / n))
    far = np.abs(np.arange(pixels, dtype=np.float32) - at.clip(0, pixels - 1).astype(np.float32)[:, None])
    weights = np.maximum(0, 1 - far / reach)
    sampled: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return sampled


def _fitted(pair: _Pair, fit: Fit, longest: int, steps: int) -> tuple[Fit, float] | None:
    """Return the fit after some steps, and the correlation before the last; None where too little overlaps."""
    spans = _overlap(pair, fit, longest)
    if spans is None:
        return None
    x, y = spans
    ours, correlation = band(pair.first(x, y), *_BAND), 0.0
    for _ in range(steps):
        x, y, correlation = _nearer(ours, band(pair.second(x, y), *_BAND), x, y)
    scale = (x.half / x.other_half, y.half / y.other_half)
    return Fit(
        fit.way, scale, (x.centre - scale[0] * x.other_centre, y.centre - scale[1] * y.other_centre)
    ), correlation


def _nearer(ours: np.ndarray, found: np.ndarray, x: _Span, y: _Span) -> tuple[_Span, _Span, float]:
    """Return the spans after a step of Gauss and Newton (Lucas and Kanade, 1981), what differs much counting less.

    The third value is the correlation of the two images before it.
    """
    product, own, energy = (float(np.vdot(*both)) for both in ((ours, found), (ours, ours), (found, found)))
    gain = max(0.1, product / max(energy, 1e-6))
    error = ours - gain * found
    by_y, by_x = np.gradient(found)
    by_x, by_y = gain * by_x * x.n / (2 * x.other_half), gain * by_y * y.n / (2 * y.other_half)
    slopes = np.stack([by_x * x.at(), by_x, by_y * y.at()[:, None], by_y]).reshape(4, -1)
    noise = 4 * float(np.median(error**2)) + 1e-6
    weighted = slopes / (1 + error.ravel() ** 2 / noise)
    normal = (weighted @ slopes.T).astype(np.float64)
    normal += 1e-4 * max(np.trace(normal), 1e-6) * np.eye(4) / 4
    step = np.linalg.solve(normal, weighted @ error.ravel()).clip(-8, 8).tolist()
    return (
        replace(x, other_centre=x.other_centre + step[1], other_half=max(x.other_half + step[0], 2.0)),
        replace(y, other_centre=y.other_centre + step[3], other_half=max(y.other_half + step[2], 2.0)),
        product / max(float(np.sqrt(own * energy)), 1e-6),
    )


def _agreement(fit: Fit, shown: tuple[float, float], first: np.ndarray, second: np.ndarray) -> Proof | None:
    a, b = band(first, _FINE), band(second, _FINE)
    product, ours, others = blur(np.stack([a * b, a * a, b * b]), _WINDOW)
    gain = float(np.sqrt(np.median(ours) / max(float(np.median(others)), 1e-6)))
    floor = max(_FAINT**2, _FLOOR**2 * float((a * a).mean()))
    either = np.maximum(ours, others * gain**2) > floor
    both = np.minimum(ours, others * gain**2) > floor
    local = product / np.sqrt(np.maximum(ours * others, 1e-6))
    same = local > _AGREES
    if not (both & same).any():
        return None
    gain = float(np.sqrt(ours[both & same].sum() / max(float(others[both & same].sum()), 1e-6)))
    differs = either & ~same
    energies = float(others[differs].sum()) * gain**2, float(ours[differs].sum())
    off = _off(a, b * np.where(either, product / np.maximum(others, 1e-3), gain), _within(first) & _within(second))
    return Proof(
        fit=fit,
        shown=shown,
        detail=float(either.mean()),
        kept=float((either & same).sum() / either.sum()),
        agreeing=float((both & same).sum() / both.sum()),
        correlation=float(np.median(local[both])),
        off=float(np.median(off[both])) * _LONGEST / max(a.shape),
        added=energies[0] / max(energies[1], 1e-6) if differs.any() else 1.0,
        brightness=float(np.median(second - first)),
    )


def _hue(a: Look, b: Look, way: int, x: _Span, y: _Span) -> float:
    turned_hues = np.stack([turned(hues, way) for hues in b.hues])
    shape = turned(b.grey, way).shape
    ours = _hues_within(a.hues, a.grey.shape, (y.centre, y.half), (x.centre, x.half))
    others = _hues_within(turned_hues, shape, (y.other_centre, y.other_half), (x.other_centre, x.other_half))
    energies = float(np.mean(ours**2)), float(np.mean(others**2))
    return float(np.mean(ours * others) / np.sqrt(np.prod(energies))) if min(energies) > _GREYISH**2 else 1.0


def _hues_within(
    hues: np.ndarray, shape: tuple[int, ...], rows: tuple[float, float], columns: tuple[float, float]
) -> np.ndarray:
    """Return the hues, float32 [2, 16, 16], of a part of a picture whose grey has this shape: (centre, half) each."""
    taken = []
    for (centre, half), n, pixels in zip((rows, columns), hues.shape[1:], shape, strict=True):
        share = n / pixels
        taken.append(_samples((centre + 0.5) * share - 0.5, half * share, _SHORTEST, n))
    found: np.ndarray = taken[0] @ hues.astype(np.float32) @ taken[1].T
    return found


def _within(image: np.ndarray) -> np.ndarray:
    """Return where an image is neither black nor white: what was cut off there moves edges."""
    found: np.ndarray = (image > _BLACK) & (image < _WHITE)
    return found


def _off(a: np.ndarray, b: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return how far the window around each pixel of `b` lies off that of `a`, in pixels, float32 [height, width].

    Pixels where `counts` is not set count for a hundredth.
    """
    weights = np.where(counts, np.float32(1), np.float32(0.01))
    by_y, by_x = np.gradient((a + b) / 2)
    error = (a - b) * weights
    products = [by_x**2 * weights, by_y**2 * weights, by_x * by_y * weights, by_x * error, by_y * error]
    xx, yy, xy, ex, ey = blur(np.stack(products), _WINDOW)
    ridge = 0.02 * float((xx + yy).mean()) + 1e-6
    xx, yy = xx + ridge, yy + ridge
    area = xx * yy - xy**2
    far: np.ndarray = np.hypot((yy * ex - xy * ey) / area, (xx * ey - xy * ex) / area)
    return far
