from __future__ import annotations

import os
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fxengine.collect.item import Item, escape_path, unescape_path
from fxengine.errors import StoreError
from fxengine.features import footer, parts
from fxengine.features.parts import Row
from fxengine.features.schema import FEATURE, Dtype, Provenance


def provenance(dtype: Dtype = "float16", dim: int = 4, **changes: object) -> Provenance:
    values: dict[str, object] = {
        "space": "s" * 64, "source": "tiny", "recipe": {}, "root": "/photos", "dim": dim, "dtype": dtype,
        "precision": "fp32", "engine": "e", "provider": "p", "decoder": "d",
    }  # fmt: skip
    return Provenance(**{**values, **changes})  # type: ignore[arg-type]


def row(number: int, key: str = "", error_code: str | None = None, label: str | None = None) -> Row:
    item = Item(key or f"{number:04d}.jpg", "", 10, 20, label)
    error = "It is broken." if error_code else None
    return Row(number, item, f"hash{number}", 6, 4, error_code, error)


def table(count: int = 3, dtype: Dtype = "float16", failed: int | None = 1) -> tuple[pa.Table, np.ndarray]:
    vectors = np.arange(count * 4, dtype=dtype).reshape(count, 4)
    rows = [row(i, error_code="corrupt" if i == failed else None) for i in range(count)]
    return parts.part_table(rows, {FEATURE: vectors}, provenance(dtype)), vectors


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_part_reads_back_as_it_was_written(tmp_path: Path, dtype: Dtype) -> None:
    made, vectors = table(dtype=dtype)
    path = parts.part_path(tmp_path, 0)
    parts.write_part(made, path)
    read = parts.read_part(path)
    assert read.equals(made)
    assert parts.read_provenance(path) == provenance(dtype)
    matrix = parts.vector_matrix(read[FEATURE].combine_chunks(), 4)
    assert matrix.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(matrix[[0, 2]], vectors[[0, 2]])
    assert read[FEATURE].to_pylist()[1] is None


def test_the_vector_column_is_a_list_without_null_numbers(tmp_path: Path) -> None:
    path = parts.part_path(tmp_path, 0)
    parts.write_part(table()[0], path)
    kind = pq.read_schema(path).field(FEATURE).type
    assert kind.value_type == pa.float16()
    assert not kind.value_field.nullable
    column = pq.ParquetFile(path).metadata.row_group(0).column(11)
    assert column.compression == "ZSTD"
    assert "RLE_DICTIONARY" not in column.encodings


def test_a_slice_of_a_column_keeps_its_rows() -> None:
    made, vectors = table(5, failed=None)
    sliced = made[FEATURE].combine_chunks().slice(2, 2)
    np.testing.assert_array_equal(parts.vector_matrix(sliced, 4), vectors[2:4])


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = parts.part_path(tmp_path, 0)
    parts.write_part(table(200)[0], path)
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(11)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"part-000000.parquet is damaged .* --repair"):
        parts.read_part(path)


@pytest.mark.parametrize("keep", [0, 3, 100])
def test_a_part_cut_short_is_noticed(tmp_path: Path, keep: int) -> None:
    path = parts.part_path(tmp_path, 0)
    parts.write_part(table()[0], path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match="is damaged"):
        parts.read_provenance(path)


def test_foreign_parquet_is_named(tmp_path: Path) -> None:
    path = parts.part_path(tmp_path, 0)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(StoreError, match="was not written by fxengine"):
        parts.read_provenance(path)


def test_a_failed_write_leaves_nothing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"Cannot write .*No space left on device.*Committed parts are intact"):
        parts.write_part(table()[0], parts.part_path(tmp_path, 0))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_be_called_as_an_address_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run:1").mkdir()
    path = parts.part_path(Path("run:1"), 0)
    parts.write_part(table()[0], path)
    assert parts.read_part(path).equals(table()[0])


def test_a_part_is_never_overwritten_unless_asked(tmp_path: Path) -> None:
    path = parts.part_path(tmp_path, 0)
    parts.write_part(table()[0], path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="appeared while it was being written"):
        parts.write_part(table(5)[0], path)
    assert path.read_bytes() == before
    parts.write_part(table(5)[0], path, replace=True)
    assert parts.read_part(path).num_rows == 5


def test_what_takes_a_parts_place_while_it_is_read_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = table()
    path = parts.part_path(tmp_path, 0)
    parts.write_part(made, path)
    real = footer.footer_of

    def swapping(opened: BufferedReader, at: Path, columns: Sequence[str] | None) -> footer.Footer:
        found = real(opened, at, columns)
        path.unlink()
        os.mkfifo(path)  # whoever opened it would wait for ever
        return found

    monkeypatch.setattr(parts, "footer_of", swapping)
    assert parts.read_part(path).equals(made)


def test_leftovers_are_removed_and_parts_listed_by_number(tmp_path: Path) -> None:
    for number in (10, 9, 1_000_000):
        parts.write_part(table()[0], parts.part_path(tmp_path, number))
    (tmp_path / ".part-000011.parquet.tmp-123").write_bytes(b"half")
    for name in ("part-x.parquet", "part-\x1b[31mpart-1.parquet", "part-7.parquet", "part-000001.parquet\n"):
        (tmp_path / name).write_bytes(b"not a part")
    parts.remove_leftovers(tmp_path)
    assert not list(tmp_path.glob(".part*"))
    assert [parts.part_number(p) for p in parts.list_parts(tmp_path)] == [9, 10, 1_000_000]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("a\\b.jpg", "a\\\\b.jpg"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xe9.jpg"),
        ("café\n.jpg", "café\n.jpg"),
        ("\\x41", "\\\\x41"),
    ],
)
def test_paths_are_escaped_without_loss(path: str, key: str) -> None:
    assert escape_path(path) == key
    assert unescape_path(key) == path
    key.encode()
