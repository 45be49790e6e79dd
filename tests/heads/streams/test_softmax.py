from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from fxengine.collect import memory
from fxengine.errors import StoreError
from fxengine.features.moments import Block, Blocks, collect
from fxengine.heads.evaluate.scores import Problem
from fxengine.heads.streams import softmax, streamed
from fxengine.heads.streams.closed_form import Linear, Targets

Made = tuple[np.ndarray, np.ndarray, np.ndarray]


def made(rows: int, dim: int, classes: int, noise: float = 0.05) -> Made:
    """Return rows of length 1, classes whose shares fall, some of them wrong, and folds."""
    rng = np.random.default_rng(3)
    shares = 1 / np.arange(1, classes + 1)
    y = np.concatenate(
        [np.repeat(np.arange(classes), 5), rng.choice(classes, rows - 5 * classes, p=shares / shares.sum())]
    )
    x = rng.normal(0, 0.6, (classes, dim))[y] + rng.normal(0, 1, (rows, dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    wrong = rng.random(rows) < noise
    y[wrong] = rng.integers(0, classes, wrong.sum())
    return x.astype(np.float32), y, rng.integers(0, 3, rows)


def blocks_of(x: np.ndarray, size: int, order: np.ndarray | None = None, began: list[int] | None = None) -> Blocks:
    places = np.arange(len(x)) if order is None else order

    def read() -> Iterator[Block]:
        if began is not None:
            began.append(1)
        for start in range(0, len(x), size):
            yield Block(x[places[start : start + size]], places[start : start + size])

    return read


def fitted(
    given: Made,
    strength: float,
    blocks: Blocks | None = None,
    weights: np.ndarray | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Linear]:
    """Return the models without each of three folds, and that of all rows."""
    x, y, fold = given
    weights = np.ones(len(x)) if weights is None else weights
    blocks = blocks or blocks_of(x, 1000)
    targets = Targets(y, int(y.max()) + 1).matrix()
    sums = collect(lambda: (Block(b.copy(), at) for b, at in blocks()), targets, fold, 3, weights)
    moments = [(without, sums.without(without).centred()) for without in (0, 1, 2, None)]
    rows = softmax.Rows(blocks, y, weights, fold, Block(x[::2], np.arange(len(x))[::2]))
    return softmax.fit(rows, moments, strength, progress=say)


def scores(model: Linear, x: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities."""
    return np.asarray(log_softmax(x @ model.weights.T + model.bias, axis=1))


def objective(model: Linear, given: Made, strength: float) -> float:
    x, y, _ = given
    return float(-scores(model, x)[np.arange(len(y)), y].sum() + np.square(model.weights).sum() / 2 / strength)


def test_it_is_scikit_learns_at_the_same_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "_ENOUGH", 1e-8)
    given = made(20_000, 64, 20)
    x, y, _ = given
    model = fitted(given, 1.0)[3]
    reference = LogisticRegression(C=1.0, tol=1e-6, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(model.weights, reference.coef_, atol=0.01 * np.abs(reference.coef_).max())
    np.testing.assert_allclose(np.exp(scores(model, x)), reference.predict_proba(x), atol=3e-3)


def test_it_soon_stops_near_the_least_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    given, began, said = made(4000, 32, 10), list[int](), list[str]()
    x, y, _ = given
    early = fitted(given, 10.0, blocks_of(x, 1000, began=began), say=said.append)[3]
    assert len(began) < 15  # one of them for the moments
    assert len(said) == len(began) - 2  # after the last pass nothing is left
    assert said[0].startswith("logistic: 1 passes downwards, 4 of 4 models go on; the next lowers the loss by up to ")
    assert "inf" not in "".join(said)
    assert said[-1].endswith(" s left")
    monkeypatch.setattr(softmax, "_ENOUGH", 0.0)
    least = fitted(given, 10.0)[3]
    assert objective(least, given, 10.0) <= objective(early, given, 10.0) * (1 + 1e-9)
    assert objective(early, given, 10.0) < 1.005 * objective(least, given, 10.0)
    assert abs((scores(early, x).argmax(1) == y).mean() - (scores(least, x).argmax(1) == y).mean()) < 0.003


def test_neither_blocks_nor_the_rows_order_matter() -> None:
    given = made(3000, 16, 8)
    x, y, _ = given
    plain = fitted(given, 10.0)
    sorted_by_class = np.argsort(y, kind="stable")
    for blocks in (blocks_of(x, 7), blocks_of(x, 5000), blocks_of(x, 500, sorted_by_class)):
        for one, other in zip(plain, fitted(given, 10.0, blocks), strict=True):
            np.testing.assert_allclose(other.weights, one.weights, atol=1e-3 * np.abs(one.weights).max())
            np.testing.assert_allclose(other.bias, one.bias, atol=1e-2)


def test_a_fold_is_not_seen_by_its_model() -> None:
    x, y, fold = made(1500, 16, 5)
    changed = np.where(fold == 1, (y + 1) % 5, y)
    one, other = fitted((x, y, fold), 10.0), fitted((x, changed, fold), 10.0)
    np.testing.assert_array_equal(one[1].weights, other[1].weights)
    assert np.abs(one[0].weights - other[0].weights).max() > 0.1


@pytest.mark.parametrize("strength", [1.0, 1e4])
def test_it_ends_where_classes_are_apart_and_where_one_has_a_single_row(strength: float) -> None:
    rng = np.random.default_rng(0)
    y = np.append(np.arange(600) % 6, 6)
    x = np.eye(7, 12)[y] + 0.02 * rng.normal(size=(601, 12))
    given = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y, np.arange(601) % 3
    began: list[int] = []
    found = fitted(given, strength, blocks_of(given[0], 100, began=began))
    assert len(began) < softmax._PASSES
    assert all(np.isfinite(model.weights).all() and np.isfinite(model.bias).all() for model in found)
    assert (scores(found[3], given[0]).argmax(1)[:-1] == y[:-1]).all()


def test_rows_of_no_weight_are_as_if_they_were_not_there() -> None:
    x, y, fold = made(4000, 16, 5)
    known = np.random.default_rng(1).random(4000) < 0.1
    weights = known.astype(float)
    one = fitted((x, y, fold), 10.0, weights=weights)[3]
    other = fitted((x[known], y[known], fold[known]), 10.0)[3]
    assert objective(one, (x[known], y[known], fold), 10.0) == pytest.approx(
        objective(other, (x[known], y[known], fold), 10.0), rel=3e-3
    )


def test_memory_that_will_not_do_is_told_before_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, fold = made(600, 16, 5)
    problem = Problem("classes", tuple("abcde"), y, np.arange(600))
    monkeypatch.setattr(memory, "_ASKED_FROM", 1)
    monkeypatch.setattr(memory, "available", lambda: 1000)
    monkeypatch.setattr(streamed, "collect", lambda *_: pytest.fail("It was read."))
    with pytest.raises(StoreError, match=r"^Logistic regression of 5 classes in 3 folds takes .* Fewer `folds` "):
        streamed.fit("logistic", blocks_of(x, 100), problem, fold)
