from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine.features.fingerprint import store_fingerprint
from tests.stores import write_store

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
IDS, HASHES = ["a", "b", "c", "d"], ["w", "x", "y", "z"]


def fingerprint(folder: Path, **changes: Any) -> str:
    return store_fingerprint(write_store(folder, VECTORS, **{"ids": IDS, "hashes": HASHES, **changes}))


def test_it_is_pinned(tmp_path: Path) -> None:
    assert fingerprint(tmp_path)[:16] == "4424694e1adc55d7"


@pytest.mark.parametrize(
    "changes", [{"ids": ["a", "b", "c", "e"]}, {"labels": ["x", None, "y", "y"]}, {"part": 3}, {"widths": [1, 2, 3, 4]}]
)
def test_names_labels_and_parts_do_not_count(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b", **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"hashes": ["w", "x", "y", "v"]},
        {"rows": [0, 1, 2, 4]},
        {"failed": (2,)},
        {"space": "t" * 64},
        {"dtype": "float32"},
    ],
)
def test_content_errors_space_and_type_count(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b", **changes)


def test_the_order_of_the_ids_does_not_count(tmp_path: Path) -> None:
    one = store_fingerprint(write_store(tmp_path / "a", VECTORS[:2], ids=["a", "b"], hashes=["p", "q"], rows=[0, 1]))
    two = store_fingerprint(write_store(tmp_path / "b", VECTORS[:2], ids=["a", "b"], hashes=["q", "p"], rows=[1, 0]))
    assert one == two
