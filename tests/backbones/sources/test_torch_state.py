from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine.backbones.sources.efficientnet_lite import weights_path
from fxengine.backbones.sources.torch_state import read_state
from fxengine.errors import InputError

MAGIC = 0x1950A86A20F9469CFC6C


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def write(path: Path, *values: object) -> Path:
    path.write_bytes(b"".join(pickle.dumps(value, 2) for value in values))
    return path


@pytest.mark.parametrize("place", range(5))
def test_a_pickle_that_runs_a_command_is_refused_and_not_run(tmp_path: Path, place: int) -> None:
    values: list[object] = [MAGIC, 1001, {}, OrderedDict(), []]
    values[place] = {"weight": Evil(tmp_path / "ran")}
    path = write(tmp_path / "evil.pth", *values)
    with pytest.raises(InputError, match=r"asks for (posix|nt)\.system, which is no tensor: refused"):
        read_state(path)
    assert not (tmp_path / "ran").exists()
    # The same bytes do run in an ordinary unpickler: the test would notice.
    pickle.loads(pickle.dumps(values[place], 2))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.getattr", "torch._utils._rebuild_tensor", "torch.load"])
def test_every_other_name_is_refused(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    path = tmp_path / "names.pth"
    path.write_bytes(b"c" + module.encode() + b"\n" + attribute.encode() + b"\n.")
    with pytest.raises(InputError, match=f"asks for {name}, which is no tensor"):
        read_state(path)


@pytest.mark.parametrize("part", [0.0, 0.00001, 0.0005, 0.002, 0.5, 0.999999])
def test_a_truncated_copy_is_refused(tmp_path: Path, part: float) -> None:
    data = weights_path().read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=r"damaged"):
        read_state(path)


def test_a_copy_cut_between_two_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    path.write_bytes(weights_path().read_bytes()[:-4])
    with pytest.raises(InputError, match="damaged"):
        read_state(path)


def archive() -> bytes:
    """A file in the format of torch 1.6 and later."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("archive/data.pkl", pickle.dumps({}))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"hello", b"\x89PNG\r\n\x1a\n", pickle.dumps(7), pickle.dumps(MAGIC), archive()],
    ids=["text", "png", "other number", "only the magic", "zip"],
)
def test_another_format_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_state(path)


@pytest.mark.parametrize("tree", [{"epoch": 5}, {"name": "text"}, 7, [1, 2]])
def test_a_state_that_holds_anything_but_tensors_is_refused(tmp_path: Path, tree: object) -> None:
    path = write(tmp_path / "state.pth", MAGIC, 1001, {}, tree, [])
    with pytest.raises(InputError):
        read_state(path)


def state_file(path: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int, stored: int) -> Path:
    """Write a legacy state file of one tensor "x" over a storage of 0, 1, 2, ..."""

    def number(value: int) -> bytes:
        return bytes(pickle.dumps(value, 2)[2:-1])

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    def text(value: str) -> bytes:
        return pickle.dumps(value, 2)[2:-3]  # without the memo and the stop

    persistent = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(stored) + b"tQ"
    arguments = b"(" + persistent + number(offset) + numbers(size) + numbers(stride) + b"t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
    tree = b"\x80\x02}" + text("x") + tensor + b"s."
    start: tuple[object, ...] = (MAGIC, 1001, {})
    head = b"".join(pickle.dumps(value, 2) for value in start)
    data = stored.to_bytes(8, "little") + np.arange(stored, dtype="<f4").tobytes()
    path.write_bytes(head + tree + pickle.dumps(["0"], 2) + data)
    return path


def test_size_stride_and_offset_are_honoured(tmp_path: Path) -> None:
    state = read_state(state_file(tmp_path / "a.pth", (2, 3), (1, 2), 1, 7))
    np.testing.assert_array_equal(state["x"], np.array([[1, 3, 5], [2, 4, 6]], np.float32))
    assert state["x"].flags.c_contiguous
    assert state["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((8,), (1,), 0), ((7,), (1,), 1), ((2,), (7,), 0), ((2,), (1,), -1), ((2,), (-1,), 3), ((-2,), (1,), 0)],
)
def test_a_tensor_outside_its_storage_is_refused(
    tmp_path: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    with pytest.raises(InputError):
        read_state(state_file(tmp_path / "a.pth", size, stride, offset, 7))


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return read_state(weights_path())


def test_the_real_file_has_the_tensors_of_the_net(state: dict[str, np.ndarray]) -> None:
    assert len(state) == 296
    expected = {
        "_conv_stem.weight": (32, 3, 3, 3),
        "_bn0.running_var": (32,),
        "_blocks.0._depthwise_conv.weight": (32, 1, 3, 3),
        "_blocks.0._project_conv.weight": (16, 32, 1, 1),
        "_blocks.1._expand_conv.weight": (96, 16, 1, 1),
        "_blocks.15._project_conv.weight": (320, 1152, 1, 1),
        "_conv_head.weight": (1280, 320, 1, 1),
        "_fc.weight": (1000, 1280),
        "_fc.bias": (1000,),
    }
    assert {name: state[name].shape for name in expected} == expected
    assert all(array.dtype == np.float32 for name, array in state.items() if "num_batches" not in name)
    assert all(state[name].dtype == np.int64 for name in state if name.endswith("num_batches_tracked"))


def test_the_real_numbers_are_plausible(state: dict[str, np.ndarray]) -> None:
    assert all(np.isfinite(array).all() for array in state.values())
    assert all(array.min() >= 0 for name, array in state.items() if name.endswith("running_var"))
    assert all(0.005 < array.std() < 5 for name, array in state.items() if name.endswith("conv.weight"))
