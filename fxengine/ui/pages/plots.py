"""Plots, as PNG bytes; the one file that loads matplotlib."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

matplotlib.use("Agg")
_BLUE, _RED, _GREY = "#2f6fb0", "#c4483a", "#8a8a8a"
_COLOURS = [color for i, color in enumerate(matplotlib.color_sequences["tab20"]) if i not in (14, 15)]  # no greys


def explained_variance(variances: np.ndarray, kept: int) -> bytes:
    """Draw the share of the variance that the first components explain together; `kept` is marked.

    Args:
        variances: along every component, the largest first, [dim].
        kept: components kept.
    """
    figure, axes = _figure(6, 3.6)
    shares = np.cumsum(variances) / variances.sum()
    axes.plot(np.arange(1, len(shares) + 1), shares, color=_BLUE)
    axes.plot([kept], [shares[kept - 1]], "o", color=_RED)
    axes.annotate(f"{kept}: {shares[kept - 1]:.1%}", (kept, shares[kept - 1]), (6, -14), textcoords="offset points")
    axes.set(xscale="log", xlabel="components", ylabel="variance explained", ylim=(0, 1.02))
    axes.yaxis.set_major_formatter("{x:.0%}")
    return _png(figure)


def confusion(counts: Sequence[Sequence[int]], names: Sequence[str]) -> bytes:
    """Draw a confusion matrix, rows scaled to shares; counts are written where there is room.

    Args:
        counts: rows of each class (down) answered as each class (across).
        names: of the classes.
    """
    matrix = np.asarray(counts, float)
    n = len(names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = min(10.0, 3.0 + 0.35 * n)
    figure, axes = _figure(size, size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if n <= 40:
        axes.set_xticks(range(n), [_short(name) for name in names], rotation=90)
        axes.set_yticks(range(n), [_short(name) for name in names])
    if n <= 25:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            color = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{int(matrix[i, j])}", ha="center", va="center", color=color, fontsize=8)
    axes.set(xlabel="answer", ylabel="label")
    axes.grid(False)
    return _png(figure)


def reliability(bins: Sequence[tuple[float, float, float]]) -> bytes:
    """Draw accuracy over confidence; the area of a dot is the share of the rows.

    Args:
        bins: (mean confidence, accuracy, share of the rows) of each bin.
    """
    figure, axes = _figure(4, 4)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1)
    confidence, accuracy, share = np.asarray(bins).T
    axes.plot(confidence, accuracy, color=_BLUE, linewidth=1)
    axes.scatter(confidence, accuracy, s=20 + 400 * share, color=_BLUE, alpha=0.7)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.05), aspect="equal")
    return _png(figure)


def learning_curve(
    rows: Sequence[int], scores: Sequence[float], expected: Sequence[tuple[int, float, float, float]], metric: str
) -> bytes:
    """Draw scores over training rows, and what to expect beyond.

    Args:
        rows: training rows of each point.
        scores: of each point.
        expected: (rows, mean, low, high) beyond.
        metric: what a score is.
    """
    figure, axes = _figure(6, 3.6)
    axes.plot(rows, scores, "o-", color=_BLUE, label="measured")
    if expected:
        at, mean, low, high = np.asarray(expected).T
        axes.errorbar(
            at, mean, [mean - low, high - mean], fmt="s--", color=_RED, capsize=3, label="expected, 95% interval"
        )
    axes.set(xscale="log", xlabel="training rows", ylabel=metric.replace("_", " "))
    ticks = sorted({*rows, *(int(row[0]) for row in expected)})
    axes.set_xticks(ticks, [str(tick) for tick in ticks], rotation=45)
    axes.minorticks_off()
    axes.legend(frameon=False)
    return _png(figure)


def training(history: Sequence[dict[str, float]]) -> bytes:
    """Draw the losses of every epoch, and beside them the accuracy where it is known.

    Args:
        history: of each epoch: train_loss, validation_loss and, for classes, validation_accuracy.
    """
    figure = Figure((9, 3.4), layout="constrained")
    epochs = np.arange(1, len(history) + 1)
    for i, (label, names) in enumerate(_TRAINING.items()):
        axes = figure.add_subplot(1, 2, i + 1)
        for name, color in names.items():
            if history and name in history[0]:
                axes.plot(epochs, [row[name] for row in history], "o-", color=color, label=name.replace("_", " "))
        axes.set(xlabel="epoch", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.lines:
            axes.legend(frameon=False)
    return _png(figure)


_TRAINING = {
    "loss": {"train_loss": _BLUE, "validation_loss": _RED},
    "accuracy": {"validation_accuracy": _RED},
}


def plane(x: np.ndarray, y: np.ndarray, labels: Sequence[str | None]) -> bytes:
    """Draw rows on a plane, in the colours of the 18 most frequent labels; the others are grey.

    Args:
        x: across, [n].
        y: up, [n].
        labels: n of them, None where unknown.
    """
    figure, axes = _figure(8, 8)
    size = float(np.clip(20_000 / max(1, len(x)), 1, 24))
    named = [label for label, _ in Counter(label for label in labels if label is not None).most_common(len(_COLOURS))]
    kinds = np.array([named.index(label) if label in named else -1 for label in labels])
    rest = kinds < 0
    axes.scatter(x[rest], y[rest], s=size, color=_GREY, alpha=0.5, linewidths=0)
    for number, name in enumerate(named):
        mine = kinds == number
        axes.scatter(x[mine], y[mine], s=size, color=_COLOURS[number], alpha=0.7, linewidths=0, label=_short(name))
    if named:
        axes.legend(frameon=False, markerscale=max(1.0, 5 / size**0.5), loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.grid(False)
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()


def _short(name: str) -> str:
    # "$" would begin a formula
    return (name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$")
