"""The reader of safetensors; `words/test_static.py` reads tables of every kind of number by it, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fxengine.backbones.safetensors import as_float32, read_tensors
from fxengine.errors import InputError
from tests.backbones.sources.hf_nets import safetensors


def test_only_the_tensors_that_are_asked_for_are_read(tmp_path: Path) -> None:
    first, second = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"linear.weight": first, "linear.bias": second}))
    found = read_tensors(path, ("linear.weight", "other"))
    assert list(found) == ["linear.weight"]
    np.testing.assert_array_equal(found["linear.weight"], first)


def test_bfloat16_is_the_upper_half() -> None:
    np.testing.assert_array_equal(as_float32(np.array([0x3F80, 0xC000], np.uint16)), [1, -2])


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]"])
def test_what_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match="safetensors file"):
        read_tensors(path, ("linear.weight",))
