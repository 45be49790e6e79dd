from __future__ import annotations

from dataclasses import replace

import pytest

from fxengine.errors import StoreError
from tests.features.test_parts import provenance


def test_columns_and_dims_of_layers() -> None:
    made = provenance(layers={"early": 2})
    assert made.columns == {"feature": 4, "feature@early": 2}
    assert (made.dim_of(None), made.dim_of("early")) == (4, 2)
    with pytest.raises(StoreError, match=r"The store has no layer 'late'. There is: 'early'\."):
        made.dim_of("late")
    with pytest.raises(StoreError, match="There is: none but the default"):
        provenance().dim_of("early")


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("read_columns", {"foo": "x"}),
        ("read_columns", {"id": "key"}),
        ("read_columns", {"text": "a", "other": "b"}),
        ("run", {"a": 1}),
        ("run", {"tokens": 128}),
        ("run", {"tokens": 0, "threads": 1}),
    ],
)
def test_what_a_part_says_of_its_texts_is_checked(entry: str, value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"'{entry}' cannot be"):
        replace(provenance(), **{entry: value})  # type: ignore[arg-type]
