"""Plots, as PNG bytes; the one file that loads matplotlib."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from functools import cache

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.ticker import MaxNLocator

from fxengine.ui.console import printable

matplotlib.use("Agg")
# What draws the signs that matplotlib's own font lacks, where one of them is installed.
_FURTHER = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "Yu Gothic",
    "Malgun Gothic", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS", "Noto Sans Thai",
    "Noto Sans Devanagari", "Nirmala UI", "Noto Emoji",
)  # fmt: skip
_BLUE, _RED, _GREY, _PALE = "#2f6fb0", "#c4483a", "#7a7a7a", "#bdbdbd"
# no two are nearer in CIELAB than 25, and none is a grey
_COLOURS = (
    "#4363d8", "#e6194b", "#3cb44b", "#f58231", "#911eb4", "#42d4f4", "#800000", "#ffe119", "#000075", "#f032e6",
    "#808000", "#469990", "#9a6324", "#bfef45", "#fabed4", "#000000", "#aaffc3", "#dcbeff", "#1b5e20", "#ffd8b1",
)  # fmt: skip


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
    axes.xaxis.set_major_formatter("{x:,.0f}")
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
    axes.scatter(confidence, accuracy, s=20 + 400 * share, color=_BLUE, alpha=0.7, clip_on=False)
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
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if label == "accuracy":
            axes.set_ylim(top=min(axes.get_ylim()[1], 1.02))
        if axes.lines:
            axes.legend(frameon=False)
    return _png(figure)


_TRAINING = {
    "loss": {"train_loss": _BLUE, "validation_loss": _RED},
    "accuracy": {"validation_accuracy": _RED},
}


def plane(x: np.ndarray, y: np.ndarray, labels: Sequence[str | None]) -> bytes:
    """Draw rows on a plane, in the colours of the 20 most frequent labels; the others are grey, and the legend says so.

    Args:
        x: across, [n].
        y: up, [n].
        labels: n of them, None where unknown.
    """
    counts = Counter(label for label in labels if label is not None)
    named = [label for label, _ in counts.most_common(len(_COLOURS))]
    groups = [(color, _short(name)) for color, name in zip(_COLOURS, named, strict=False)]
    groups += [(_GREY, f"{len(counts) - len(named)} further classes"), (_PALE, "without a label")]
    places = {label: number for number, label in enumerate(named)}
    kinds = np.array([places.get(label, len(named)) if label is not None else len(named) + 1 for label in labels])
    figure = Figure(_edges(x, y))
    axes = figure.add_axes((0, 0, 1, 1))  # the legend hangs outside, and the file grows with it
    size = float(np.clip(20_000 / max(1, len(x)), 1, 24))
    for number in reversed(range(len(groups))):  # the greys first, so that they cover nothing
        mine = kinds == number
        if mine.any():
            color, name = groups[number]
            axes.scatter(x[mine], y[mine], s=size, color=color, alpha=0.85, linewidths=0, label=name)
    drawn, names = axes.get_legend_handles_labels()
    scale = max(1.0, 5 / size**0.5)
    axes.legend(drawn[::-1], names[::-1], frameon=False, markerscale=scale, loc="upper left", bbox_to_anchor=(1, 1))
    axes.margins(0.03)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=[], yticks=[])
    return _png(figure)


def _edges(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return width and height in inches, 8 the longer one, in which these places leave no empty margin."""
    across, up = (max(float(np.ptp(values)), 1e-9) if len(values) else 1.0 for values in (x, y))
    longer = max(across, up)
    return max(3.0, 8 * across / longer), max(3.0, 8 * up / longer)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, bbox_inches="tight")
    return out.getvalue()


def _short(name: str) -> str:
    # "$" would begin a formula
    shown = _drawable(printable(name[:25]))
    return (shown if len(shown) <= 24 else shown[:23] + "…").replace("$", r"\$")


def _drawable(text: str) -> str:
    """Return text, with what no font here has as Python writes it: its boxes are all alike."""
    if text.isascii():
        return text
    there = _characters()
    return "".join(c if ord(c) in there else c.encode("unicode_escape").decode() for c in text)


@cache
def _characters() -> frozenset[int]:
    """Return the code points that the fonts here have, and let matplotlib use those fonts."""
    installed = {font.name for font in fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in _FURTHER if name in installed)]
    matplotlib.rcParams["font.family"] = families
    found = frozenset[int]()
    for family in families:
        found |= get_font(findfont(family)).get_charmap().keys()
    return found
