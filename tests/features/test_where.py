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
    ],
)
def test_everything_else_is_refused_with_what_is_allowed(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        matching(TABLE, where)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30))
def test_no_text_gets_past_the_list(where: str) -> None:
    with suppress(InputError):
        matching(TABLE, where)
