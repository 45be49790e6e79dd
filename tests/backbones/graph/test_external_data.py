from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fxengine.backbones.graph import external_data
from fxengine.backbones.graph.external_data import data_files, load_model
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import from_onnx
from fxengine.errors import InputError

VALUES = np.arange(24, dtype=np.float32).reshape(2, 12)


def save(folder: Path, location: str = "weights.bin", offset: object = 0, length: object = 96) -> Path:
    """Write a model whose one weight, and a Constant of 4 numbers, lie in `location`."""
    folder.mkdir(exist_ok=True)
    weight = numpy_helper.from_array(VALUES, "w")
    constant = numpy_helper.from_array(VALUES[0, :4], "inner")
    for tensor, start, size in ((weight, offset, length), (constant, 0, 16)):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", start), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
    nodes = [helper.make_node("Constant", [], ["c"], value=constant), helper.make_node("MatMul", ["x", "w"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", dim]) for name, dim in (("x", 2), ("y", 12))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    path = folder / "net.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def write(path: Path) -> Path:
    path.write_bytes(VALUES.tobytes())
    return path


def test_it_is_merged(tmp_path: Path) -> None:
    path = save(tmp_path)
    write(tmp_path / "weights.bin")
    model = load_model(path)
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), VALUES)
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.node[0].attribute[0].t), VALUES[0, :4])
    assert not model.graph.initializer[0].external_data
    assert data_files(path) == [tmp_path / "weights.bin"]


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    path = save(tmp_path)
    write(tmp_path / "blob")
    (tmp_path / "weights.bin").symlink_to("blob")
    np.testing.assert_array_equal(numpy_helper.to_array(load_model(path).graph.initializer[0]), VALUES)


@pytest.mark.parametrize(
    "location", ["../secret", "sub/weights", "/etc/passwd", "C:\\x", "a\\b", "..", ".", "", "a\0b"]
)
def test_only_plain_names(tmp_path: Path, location: str) -> None:
    write(tmp_path / "secret")
    with pytest.raises(InputError, match="no plain file name"):
        load_model(save(tmp_path / "model", location))


def test_links_to_outside(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret")
    path = save(tmp_path / "model")
    (path.parent / "weights.bin").symlink_to(secret)
    with pytest.raises(InputError, match="a link to outside"):
        load_model(path)
    with pytest.raises(InputError, match="a link to outside"):
        from_onnx.identity(str(path), ExportOptions())
    (path.parent / "weights.bin").unlink()
    os.link(secret, path.parent / "weights.bin")
    with pytest.raises(InputError, match="second hard link"):
        load_model(path)


def test_no_regular_file(tmp_path: Path) -> None:
    path = save(tmp_path)
    with pytest.raises(InputError, match="not beside it"):
        load_model(path)
    (tmp_path / "weights.bin").mkdir()
    with pytest.raises(InputError, match="no regular file"):
        load_model(path)
    if hasattr(os, "mkfifo"):
        (tmp_path / "weights.bin").rmdir()
        os.mkfifo(tmp_path / "weights.bin")
        with pytest.raises(InputError, match="no regular file"):
            load_model(path)


@pytest.mark.parametrize(
    ("offset", "length", "message"),
    [
        (4, 96, "wants bytes 4 to 100 of weights.bin, which has 96"),
        (-4, 96, "wants bytes"),
        (0, -1, "wants bytes"),
        (0, 2**62, "wants bytes"),
        ("x", 96, "no readable offset"),
        (0, 92, "needs 96 bytes, but its external data are 92"),
    ],
)
def test_ranges(tmp_path: Path, offset: object, length: object, message: str) -> None:
    path = save(tmp_path, offset=offset, length=length)
    write(tmp_path / "weights.bin")
    with pytest.raises(InputError, match=message):
        load_model(path)


def test_the_total_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path)
    write(tmp_path / "weights.bin")
    monkeypatch.setattr(external_data, "MAX_BYTES", path.stat().st_size + 100)
    with pytest.raises(InputError, match="over 2 GB"):
        load_model(path)


def test_the_identity_depends_on_the_data(tmp_path: Path) -> None:
    path = save(tmp_path)
    data = write(tmp_path / "weights.bin")
    before = from_onnx.identity(str(path), ExportOptions())
    data.write_bytes(data.read_bytes()[::-1])
    assert from_onnx.identity(str(path), ExportOptions()) != before


def test_an_exchanged_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path)
    target = write(tmp_path / "weights.bin")
    ranged = external_data._range

    def exchange(tensor: onnx.TensorProto, model: Path, find: None) -> tuple[Path, int, int]:
        found = ranged(tensor, model, find)
        target.unlink()
        target.symlink_to("/dev/zero")
        return found

    monkeypatch.setattr(external_data, "_range", exchange)
    with pytest.raises(InputError, match="cannot be read"):
        load_model(path)


def test_graphs_that_lie_deep_in_each_other_are_refused(tmp_path: Path) -> None:
    def field(number: int, data: bytes) -> bytes:
        size, length = len(data), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    graph = field(2, b"innermost")
    for _ in range(2000):
        body = field(1, b"body") + field(6, graph) + b"\xa0\x01\x05"  # an attribute, its type a graph
        graph = field(1, field(4, b"Loop") + field(5, body)) + field(2, b"outer")
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x08\x08" + field(8, b"\x10\x11") + field(7, graph))
    with pytest.raises(InputError, match=r"deep\.onnx is not a readable ONNX file"):
        load_model(path)


def test_data_that_somebody_else_finds(tmp_path: Path) -> None:
    path, kept = save(tmp_path), write(tmp_path / "elsewhere.bin")
    asked: list[str] = []

    def find(name: str) -> Path:
        asked.append(name)
        return kept

    assert load_model(path, find).graph.initializer[0].raw_data
    assert set(asked) == {"weights.bin"}
