"""Reads the weights out of a PyTorch state file without PyTorch and without running anything that is in it."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.errors import InputError

# torch/serialization.py, "legacy" format: magic number, protocol, system facts, the pickled tree, the list of
# storage keys, then for each key its length (int64) and its raw numbers.
_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _Storage:
    """A run of numbers that tensors look into; filled after the tree is read."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.values = np.empty(0, dtype)


class _Tensor:
    """Where one tensor lies in its storage."""

    def __init__(self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def to_array(self) -> np.ndarray:
        """Return the tensor as a contiguous array."""
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        if min((self.offset, *self.size, *self.stride)) < 0 or last >= len(self.storage.values):
            raise InputError("The weights file points outside its own data: it is damaged.")
        strides = [s * self.storage.values.itemsize for s in self.stride]
        view = np.lib.stride_tricks.as_strided(self.storage.values[self.offset :], self.size, strides)
        return np.ascontiguousarray(view)


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that can build dictionaries of tensors and nothing else."""

    _ALLOWED: dict[tuple[str, str], Callable[..., object] | str] = {  # noqa: RUF012
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        **{("torch", name): dtype for name, dtype in _STORAGES.items()},
    }

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise InputError(f"The weights file asks for {module}.{name}, which is no tensor: refused.")
        return self._ALLOWED[module, name]

    def persistent_load(self, pid: Sequence[str]) -> _Storage:
        kind, dtype, key = pid[:3]
        if kind != "storage" or dtype not in _STORAGES.values():
            raise InputError("The weights file holds something that is no tensor: refused.")
        return self.storages.setdefault(key, _Storage(dtype))


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return name -> array of a legacy PyTorch state file.

    Raises:
        InputError: the file is of another format, is damaged, or holds anything but tensors.
    """
    try:
        with path.open("rb") as file:
            tree = _read_tree(file)
        return {name: tensor.to_array() for name, tensor in tree.items()}
    except InputError:
        raise
    except Exception as error:  # an unpickler fails in as many ways as there are damaged files
        raise InputError(f"{path} is damaged or not a PyTorch state file: {error}") from error


def _read_tree(file: io.BufferedReader) -> dict[str, _Tensor]:
    if _TensorUnpickler(file).load() != _MAGIC:
        raise InputError(f"{file.name} is not a PyTorch state file.")
    _TensorUnpickler(file).load()
    _TensorUnpickler(file).load()
    reader = _TensorUnpickler(file)
    tree = reader.load()
    if not isinstance(tree, dict) or not all(isinstance(tensor, _Tensor) for tensor in tree.values()):
        raise InputError(f"{file.name} holds something that is no table of tensors: refused.")
    for key in _TensorUnpickler(file).load():
        storage = reader.storages[key]
        count = int.from_bytes(file.read(8), "little")
        storage.values = np.frombuffer(file.read(count * np.dtype(storage.dtype).itemsize), storage.dtype)
    return tree
