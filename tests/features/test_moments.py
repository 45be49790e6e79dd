from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_info

from fxengine.features.moments import Block, Blocks, Statistics, collect, eigh, principal_components
from fxengine.heads.classes import one_hot


def blocks_of(x: np.ndarray, *sizes: int) -> Blocks:
    """Return the rows of x in blocks of these sizes, the last one taking the rest."""

    def read() -> Iterator[Block]:
        for rows in np.split(np.arange(len(x)), np.cumsum(sizes)):
            if len(rows):
                yield Block(x[rows], rows)

    return read


def positive(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return rows like those of a net that ends in a ReLU: positive, some numbers of large mean and small spread."""
    rng = np.random.default_rng(seed)
    return (rng.gamma(2, 1, (rows, dim)) * rng.uniform(0.01, 3, dim) + 20 * rng.random(dim)).astype(np.float32)


def exact(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, ...]:
    x = x.astype(np.float64)
    mean, target_mean = (w @ x) / w.sum(), (w @ y) / w.sum()
    c, t = x - mean, y - target_mean
    return mean, target_mean, (c * w[:, None]).T @ c, (t * w[:, None]).T @ c


@pytest.mark.parametrize("weighted", [False, True])
def test_the_error_against_float64_is_below_a_millionth(weighted: bool) -> None:
    x = positive(20_000, 96)
    rng = np.random.default_rng(1)
    y = rng.normal(size=(len(x), 3))
    w = rng.uniform(0.2, 4, len(x)) if weighted else np.ones(len(x))
    found = collect(blocks_of(x, 8192, 5000), y, weights=w if weighted else None).centred()
    mean, target_mean, scatter, cross = exact(x, y, w)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.target_mean, target_mean, rtol=1e-6)
    diagonal = np.sqrt(np.outer(np.diag(scatter), np.diag(scatter)))
    assert (np.abs(found.scatter - scatter) <= 1e-6 * diagonal).all()
    lengths = np.sqrt(np.outer((w[:, None] * (y - target_mean) ** 2).sum(0), np.diag(scatter)))
    assert (np.abs(found.cross - cross) <= 1e-6 * lengths).all()


def test_one_hot_targets_give_counts_and_class_sums() -> None:
    x, rng = positive(500, 7), np.random.default_rng(2)
    y = rng.integers(0, 4, len(x))
    found = collect(blocks_of(x, 100), one_hot(y, 4))
    np.testing.assert_array_equal(found.targets[0], np.bincount(y, minlength=4))
    sums = np.stack([(x[y == i].astype(np.float64) - found.shift).sum(0) for i in range(4)])
    np.testing.assert_allclose(found.cross[0], sums, atol=2e-3)


def test_a_fold_left_out_equals_the_statistics_of_the_others() -> None:
    x, rng = positive(900, 6), np.random.default_rng(3)
    y, fold = rng.normal(size=(len(x), 2)), rng.integers(0, 4, 900)
    found = collect(blocks_of(x, 300, 1), y, fold, 4)
    for number in range(4):
        rest = fold != number
        mean, _, scatter, cross = exact(x[rest], y[rest], np.ones(rest.sum()))
        left = found.without(number).centred()
        np.testing.assert_allclose(left.mean, mean, rtol=1e-6)
        np.testing.assert_allclose(left.scatter, scatter, rtol=1e-5, atol=1e-2)
        np.testing.assert_allclose(left.cross, cross, rtol=1e-5, atol=1e-2)


def assert_same(a: Statistics, b: Statistics) -> None:
    b = b.shifted_to(a.shift)
    for name in ("weight", "sums", "gram", "targets", "cross"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-5, atol=1e-2)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 119), st.integers(1, 60), st.integers(1, 3))
def test_merging_equals_collecting_at_once(cut: int, size: int, folds: int) -> None:
    x, rng = positive(120, 5, seed=cut), np.random.default_rng(size)
    y, fold = rng.normal(size=(120, 2)), rng.integers(0, folds, 120)
    whole = collect(blocks_of(x, size), y, fold, folds)
    first = collect(blocks_of(x[:cut]), y[:cut], fold[:cut], folds)
    second = collect(blocks_of(x[cut:], size), y[cut:], fold[cut:], folds)
    assert_same(whole, first.merge(second))
    assert_same(whole, second.merge(first))


def test_variances_and_components_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 24)) @ rng.normal(size=(24, 24)) + 3
    centred = x - x.mean(0)
    variances, components = principal_components(centred.T @ centred, len(x))
    reference = PCA(svd_solver="full").fit(x)
    np.testing.assert_allclose(variances, reference.explained_variance_, rtol=1e-9)
    signs = np.sign((components * reference.components_).sum(1))[:, None]
    np.testing.assert_allclose(components, reference.components_ * signs, atol=1e-7)


def test_equal_variances_are_compared_by_their_subspace() -> None:
    rng = np.random.default_rng(1)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    matrix = basis @ np.diag([9.0, 4, 4, 4, 1, 1]) @ basis.T
    _, components = principal_components(matrix, 2)
    for group in (slice(0, 1), slice(1, 4), slice(4, 6)):
        kept = components[group]
        np.testing.assert_allclose(kept.T @ kept, basis[:, group] @ basis[:, group].T, atol=1e-8)


def test_the_sign_of_a_component_is_that_of_its_largest_entry() -> None:
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=(30, 5))
        _, components = principal_components(np.cov(x, rowvar=False) * 29, 30)
        assert (components[np.arange(5), np.abs(components).argmax(1)] > 0).all()


def test_a_single_row_has_no_variance() -> None:
    moments = collect(blocks_of(np.array([[3, 4]], np.float32))).without(None).centred()
    variances, components = principal_components(moments.scatter, 1)
    np.testing.assert_array_equal(variances, [0, 0])
    np.testing.assert_allclose(components @ components.T, np.eye(2), atol=1e-12)


def test_eigenvectors_are_found_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    found = np.linalg.eigh

    def watched(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        threads.extend(each["num_threads"] for each in threadpool_info())
        return found(matrix)

    monkeypatch.setattr(np.linalg, "eigh", watched)
    values, _ = eigh(np.diag([3.0, 1.0, 2.0]))
    assert values.tolist() == [1, 2, 3]
    assert set(threads) == {1}
