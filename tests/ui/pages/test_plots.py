"""The map's picture: no empty margins, a colour a class, and nothing grey without a word."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from fxengine.ui.pages import plots


def lab(color: str) -> np.ndarray:
    """Return CIELAB under D65."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ linear / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def drawn(monkeypatch: pytest.MonkeyPatch, labels: Sequence[str | None]) -> dict[str, tuple[str, int]]:
    """Return legend entry -> (colour, points) in the legend's order."""
    kept: list[Figure] = []
    monkeypatch.setattr(plots, "_png", kept.append)
    rng = np.random.default_rng(0)
    plots.plane(rng.normal(size=len(labels)), rng.normal(size=len(labels)), labels)
    axes = kept[0].axes[0]
    legend = axes.get_legend()
    assert legend is not None
    points = {
        str(dots.get_label()): (to_hex(np.asarray(dots.get_facecolor())[0]), len(np.asarray(dots.get_offsets())))
        for dots in axes.collections
    }
    return {text.get_text(): points[text.get_text()] for text in legend.get_texts()}


def test_twenty_classes_have_twenty_colours_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    found = drawn(monkeypatch, [f"class {i % 20}" for i in range(100)])
    assert list(found) == [f"class {i}" for i in range(20)]
    colors = [color for color, _ in found.values()]
    places = np.array([lab(color) for color in (*colors, plots._GREY, plots._PALE)])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)[~np.eye(len(places), dtype=bool)]
    assert apart.min() > 18
    assert np.linalg.norm(places - lab("white"), axis=1).min() > 18


def test_what_is_grey_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [f"class {i}" for i in range(23) for _ in range(30 - i)] + [None] * 5
    found = drawn(monkeypatch, labels)
    assert list(found)[:2] == ["class 0", "class 1"]  # the most frequent first
    assert list(found)[-2:] == ["3 further classes", "without a label"]
    assert found["3 further classes"] == (plots._GREY, 10 + 9 + 8)
    assert found["without a label"] == (plots._PALE, 5)
    assert sum(count for _, count in found.values()) == len(labels)


def test_a_store_without_labels_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, [None] * 4) == {"without a label": (plots._PALE, 4)}


@pytest.mark.parametrize(("across", "up"), [(1, 1), (9, 1), (1, 9), (0, 0)])
def test_the_picture_has_no_empty_margins(across: float, up: float) -> None:
    x, y = np.random.default_rng(0).uniform(size=(2, 500)) * [[across], [up]]
    pixels: np.ndarray = np.asarray(Image.open(io.BytesIO(plots.plane(x, y, ["a"] * 500))).convert("L"))
    height, width = pixels.shape
    inside = pixels[20:-20, 20 : width - 120] < 250  # without the frame and the legend beside it
    assert np.flatnonzero((pixels < 250).any(axis=1))[[0, -1]] == pytest.approx([0, height - 1], abs=15)
    if across:
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        assert np.ptp(columns) > 0.85 * inside.shape[1] or across < up
        assert np.ptp(rows) > 0.85 * inside.shape[0] or up < across
        assert 3 * 110 <= min(height, width) <= max(height, width) < 8 * 110 + 200


def figure_of(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], object]) -> Figure:
    kept: list[Figure] = []
    with monkeypatch.context() as patch:
        patch.setattr(plots, "_png", kept.append)
        draw()
    return kept[0]


@pytest.mark.parametrize("epochs", [1, 2, 15])
def test_epochs_are_whole_and_no_accuracy_is_above_one(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    history = [{"train_loss": 0.5, "validation_loss": 0.6, "validation_accuracy": 1.0}] * epochs
    figure = figure_of(monkeypatch, lambda: plots.training(history))
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == int(tick) for tick in ticks)
    assert 1 < figure.axes[1].get_ylim()[1] <= 1.02


def test_a_dot_at_the_edge_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figure_of(monkeypatch, lambda: plots.reliability([(0.5, 0.5, 0.2), (1.0, 1.0, 0.8)]))
    assert not figure.axes[0].collections[0].get_clip_on()


def test_a_name_in_a_plot_is_short_and_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plots._short("a\x1b\n$" + "b" * 1_000_000) == "a\\x1b\\n\\$" + "b" * 15 + "…"
    assert list(drawn(monkeypatch, ["a\nb"])) == ["a\\nb"]


def test_what_no_font_has_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_FURTHER", ())
    plots._characters.cache_clear()
    kept: list[Figure] = []
    names = ["cat", "Gänse", "собака", "猫", "犬$", "😀"]
    with monkeypatch.context() as patch:
        patch.setattr(plots, "_png", kept.append)
        plots.confusion(np.eye(6, dtype=int).tolist(), names)
    labels = [label.get_text() for label in kept[0].axes[0].get_xticklabels()]
    assert labels == ["cat", "Gänse", "собака", "\\u732b", "\\u72ac\\$", labels[5]]
    assert labels[5] in ("😀", "\\U0001f600")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that a glyph is missing
        assert plots.confusion(np.eye(6, dtype=int).tolist(), names).startswith(b"\x89PNG")
    plots._characters.cache_clear()
