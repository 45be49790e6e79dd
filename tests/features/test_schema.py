from __future__ import annotations

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
