from __future__ import annotations

from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine.errors import InputError
from fxengine.features.where import matching

TABLE = pa.table(
    {
        "id": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
        "label": ["cats", "dogs", None, "cats"],
        "width": pa.array([100, 600, 700, None], pa.int32()),
        "height": pa.array([600, 600, 10, 5], pa.int32()),
    }
)


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("label == 'cats'", [0, 3]),
        ("label != 'cats'", [1]),
        ("label is None", [2]),
        ("label is not None and width > 500", [1]),
        ("not label == 'cats'", [1]),
        ("width > 500 or label == 'cats' and height < 10", [1, 2, 3]),
        ("100 < width <= 600", [1]),
        ("width < height", [0]),
        ("id in ('a.jpg', 'd.jpg', 'z.jpg')", [0, 3]),
        ("id not in ['a.jpg', 'd.jpg']", [1, 2]),
        ("width >= -5.5", [0, 1, 2]),
        ("  width == 600  ", [1]),
    ],
)
def test_a_filter_lets_through_what_it_says(where: str, wanted: list[int]) -> None:
    assert np.flatnonzero(matching(TABLE, where)).tolist() == wanted


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("colour == 'red'", r"there is no column 'colour'. There is: id, label, width, height"),
        ("label = 'cats'", "is no expression"),
        ("", "is no expression"),
        ("width + 1 > 5", r"'width \+ 1' may not stand there"),
        ("__import__('os').system('true')", "may not stand there"),
        ("label.upper() == 'CATS'", "may not stand there"),
        ("label", "'label' may not stand there"),
        ("label is 'cats'", "may not stand there"),
        ("label in id", "'id' may not stand there"),
        ("width > True", "'True' may not stand there"),
        ("label > -'a'", "may not stand there"),
        ("[x for x in ()] == 1", "may not stand there"),
        ("label == 5", "compares what cannot be compared"),
        ("(" * 500 + "width" + ")" * 500 + " > 1", "is no expression"),
        ("width > 99999999999999999999999", "compares what cannot be compared"),
        ("width in (1, 99999999999999999999999)", "compares what cannot be compared"),
        ("width in (1, 'a')", "compares what cannot be compared"),
        (r"label == '\ud800'", "compares what cannot be compared"),
    ],
)
def test_everything_else_is_refused_with_what_is_allowed(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        matching(TABLE, where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (" and ".join(["width > 1"] * 20_000), "holds more than 1000 conditions"),
        (" or ".join(["width > 1"] * 20_000), "holds more than 1000 conditions"),
        ("1 < " * 20_000 + "width", "holds more than 1000 conditions"),
        ("(" * 10_000 + "width > 1" + ")" * 10_000, "is no expression"),
        ("not " * 10_000 + "width > 1", "is no expression"),
        ("not " * 500 + "width > 1", "more than 100 deep"),
        ("(width > 1 and " * 150 + "width > 1" + ")" * 150, "more than 100 deep"),
        ("width > " + "-" * 5000 + "1", "is no expression"),
        ("width" + ".a" * 20_000 + " > 1", "is no expression"),
    ],
    ids=lambda text: text[:20],
)
def test_a_filter_may_neither_be_deep_nor_long(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        matching(TABLE, where)
    assert len(str(refused.value)) < 600


def test_a_filter_may_hold_a_thousand_conditions_and_many_values() -> None:
    assert matching(TABLE, " and ".join(["width > 1"] * 1000)).tolist() == [True, True, True, False]
    assert matching(TABLE, "not " * 90 + "width > 500").tolist() == [False, True, True, False]
    assert matching(TABLE, f"width in {tuple(range(20_000))}").tolist() == [True, True, True, False]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30))
def test_no_text_gets_past_the_list(where: str) -> None:
    with suppress(InputError):
        matching(TABLE, where)
