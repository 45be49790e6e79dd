"""Reads files of safetensors: a header of JSON that says where each tensor is, then their bytes; nothing is run."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.errors import InputError, explained

_MOST_HEADER = 1 << 24
_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}


def read_tensors(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return those tensors of a file that have one of these names, mapped; bfloat16 as uint16, see `as_float32`.

    Raises:
        InputError: it cannot be read, is no safetensors file, or is damaged.
    """
    with explained(f"{path} cannot be read", kind=InputError):
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    length = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or not 2 <= length <= min(_MOST_HEADER, len(data) - 8):
        raise InputError(f"{path} is no safetensors file, or is cut. Fetch it again.")
    body = data[8 + length :]
    try:
        header = json.loads(data[8 : 8 + length].tobytes())
        return {name: _tensor(body, facts) for name, facts in header.items() if name in names}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is a safetensors file that is damaged or cut: {error}. Fetch it again.") from error


def as_float32(values: np.ndarray) -> np.ndarray:
    """Return numbers that were read as float32."""
    if values.dtype == np.uint16:  # bfloat16: the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def _tensor(body: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    if facts["dtype"] not in _KINDS:
        raise ValueError(f"numbers of the type {facts['dtype']}")
    kind, shape = np.dtype(_KINDS[facts["dtype"]]), tuple(int(edge) for edge in facts["shape"])
    start, end = facts["data_offsets"]
    if (
        not 0 <= start <= end <= len(body)
        or min(shape, default=1) < 1
        or end - start != math.prod(shape) * kind.itemsize
    ):
        raise ValueError("a tensor is not where its header says")
    return np.ndarray(shape, kind, body, start)
