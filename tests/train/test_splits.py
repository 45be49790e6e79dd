from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine import StoreError
from fxengine.train.splits import TEST, TRAIN, VALIDATION, split_rows

SIDES = (TRAIN, VALIDATION, TEST)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.integers(12, 40), st.integers(0, 1000))
def test_groups_stay_on_one_side_and_classes_on_every_side(classes: int, each: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), each)
    groups = np.arange(len(y))
    twins = rng.choice(len(y) // 2, 5, replace=False) * 2  # of one class, as near-duplicates mostly are
    groups[twins + 1] = groups[twins]
    split = split_rows([None] * len(y), y, groups, 0.2, 0.2, seed)
    assert (split[twins] == split[twins + 1]).all()
    for side in SIDES:
        assert set(y[split == side]) == set(range(classes))
    shares = [np.mean(split == side) for side in SIDES]
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.1)


def test_given_splits_are_kept() -> None:
    names = ["train"] * 20 + ["val"] * 10 + ["test"] * 10
    y = np.arange(40) % 2
    split = split_rows(names, y, np.arange(40), 0.2, 0.2, 0)
    assert split.tolist() == [TRAIN] * 20 + [VALIDATION] * 10 + [TEST] * 10


@pytest.mark.parametrize(
    ("name", "side"),
    [("training", TRAIN), ("Train", TRAIN), ("valid", VALIDATION), ("validation", VALIDATION), ("VAL", VALIDATION),
     ("testing", TEST), ("other", TRAIN)],
)  # fmt: skip
def test_every_name_of_a_split_is_known(name: str, side: int) -> None:
    names = [name] * 4 + ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    split = split_rows(names, np.arange(16) % 2, np.arange(16), 0.2, 0.2, 0)
    assert split.tolist() == [side] * 4 + [TRAIN] * 4 + [VALIDATION] * 4 + [TEST] * 4


def test_without_a_test_folder_the_validation_rows_are_halved() -> None:
    names = ["train"] * 20 + ["val"] * 20
    y = np.arange(40) % 2
    split = split_rows(names, y, np.arange(40), 0.2, 0.2, 0)
    assert (split[:20] == TRAIN).all()
    assert [(split[20:] == side).sum() for side in (VALIDATION, TEST)] == [10, 10]


def test_a_side_without_a_picture_is_said() -> None:
    with pytest.raises(StoreError, match="No picture is left to select on"):
        split_rows([None] * 4, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 0.2, 0.2, 0)
