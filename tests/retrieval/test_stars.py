from __future__ import annotations

import numpy as np

from fxengine.retrieval.kinds import IDENTICAL, SAME_PICTURE, SAME_SCENE
from fxengine.retrieval.stars import Stars, Verdict, make_stars


def starred(n: int, pairs: list[tuple[int, int]], same: set[tuple[int, int]], hashes: list[str] | None = None) -> Stars:
    """Group rows in their order, of which these pairs are alike, and some the same; all likeness is 0.9."""

    def judge(kept: int, other: int) -> Verdict:
        return Verdict(SAME_PICTURE if (kept, other) in same else SAME_SCENE)

    def likeness(row: int, others: np.ndarray) -> np.ndarray:
        alike = {*pairs, *((b, a) for a, b in pairs)}
        return np.array([0.9 if (row, int(other)) in alike else 0.1 for other in others], np.float32)

    keys = [f"h{i}" for i in range(n)] if hashes is None else hashes
    return make_stars(np.arange(n), keys, np.array(pairs).reshape(-1, 2), likeness, 0.5, judge)


def kinds(stars: Stars) -> list[str | None]:
    return [None if verdict is None else verdict.kind for verdict in stars.verdicts]


def test_what_is_the_same_as_a_copy_but_not_as_what_is_kept_is_kept() -> None:
    stars = starred(3, [(0, 1), (1, 2)], {(0, 1), (1, 2)})
    assert kinds(stars) == [None, SAME_PICTURE, None]
    assert stars.of.tolist() == [0, 0, 2]


def test_likeness_does_not_chain() -> None:
    stars = starred(4, [(0, 1), (1, 2), (2, 3)], set())
    assert stars.head.tolist() == [0, 0, 2, 2]
    assert kinds(stars) == [None, SAME_SCENE, None, SAME_SCENE]


def test_a_copy_of_a_copy_is_found_through_it() -> None:
    stars = starred(3, [(0, 1), (1, 2)], {(0, 1), (0, 2)})
    assert kinds(stars) == [None, SAME_PICTURE, SAME_PICTURE]
    assert stars.of.tolist() == [0, 0, 0]


def test_a_copy_of_another_picture_of_the_scene_is_of_that_one() -> None:
    stars = starred(3, [(0, 1), (1, 2), (0, 2)], {(1, 2)})
    assert stars.head.tolist() == [0, 0, 0]
    assert stars.of.tolist() == [0, 0, 1]
    assert kinds(stars) == [None, SAME_SCENE, SAME_PICTURE]


def test_equal_content_is_identical_without_a_pair() -> None:
    stars = starred(4, [(0, 2)], {(0, 2)}, ["a", "a", "b", "b"])
    assert kinds(stars) == [None, IDENTICAL, SAME_PICTURE, SAME_PICTURE]
    assert stars.of.tolist() == [0, 0, 0, 0]


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    pairs, same = rng.integers(0, 200, (150, 2)), {(int(a), int(b)) for a, b in rng.integers(0, 200, (4000, 2))}

    def judge(kept: int, other: int) -> Verdict:
        return Verdict(SAME_PICTURE if (kept, other) in same else SAME_SCENE, shows="more" if other % 2 else "")

    def likeness(row: int, others: np.ndarray) -> np.ndarray:
        return (others * row % 7 / 7).astype(np.float32)

    alone, beside = (
        make_stars(np.arange(200), [None] * 200, pairs, likeness, 0.5, judge, threads=threads) for threads in (1, 4)
    )
    assert alone.verdicts == beside.verdicts
    for name in ("order", "head", "of"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(beside, name))
    assert len(set(kinds(alone))) == 3
