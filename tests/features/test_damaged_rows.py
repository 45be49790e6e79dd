"""Stores that no version wrote: what their parts announce and hold is checked by every reader, before it is used."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine import FeatureStore, StoreError
from fxengine.features import parts
from fxengine.features.blocks import store_blocks
from fxengine.features.known import Known
from fxengine.features.schema import FEATURE, METADATA_KEY, MOST_ROWS, Dtype, Provenance, part_schema
from fxengine.repair.verify import verify
from tests.features.test_parts import provenance
from tests.stores import write_store

DIM = 8

# Every way to the vectors of a store.
READERS: dict[str, Callable[[FeatureStore], object]] = {
    "vectors": lambda store: store.vectors(),
    "selection": lambda store: store.select(ids=store.ids()[::-1]).vectors(),
    "normalised": lambda store: store.vectors(normalize=True, dtype="float64"),
    "table": lambda store: store.table(),
    "mapped": lambda store: store.vectors(mmap=True),
    "batches": lambda store: list(store.batches(5)),
    "matrix_blocks": lambda store: list(store.matrix_blocks(5)),
    "blocks": lambda store: list(store_blocks(store, store.table().rows)()),
    "verify": lambda store: _as_error(verify(store.path).bad_parts["part-000001.parquet"]),
    "whole part": lambda store: parts.read_part(store.path / "part-000001.parquet"),
}


def _as_error(problem: str) -> None:
    raise StoreError(problem)


def made(folder: Path, count: int = 20, dtype: Dtype = "float16", failed: tuple[int, ...] = (3,)) -> Path:
    """Write a store of two parts, the second one with ids from 000020 on; return the second."""
    rng = np.random.default_rng(0)
    numbers = range(count, 2 * count)
    write_store(folder, rng.normal(size=(count, DIM)), dtype=dtype)
    write_store(folder, rng.normal(size=(count, DIM)), dtype=dtype, part=1, rows=[*numbers], failed=failed,
                ids=[f"{i:06d}" for i in numbers])  # fmt: skip
    return folder / "part-000001.parquet"


def with_column(path: Path, name: str, column: pa.Array | pa.ChunkedArray, nullable: bool = True) -> None:
    """Put a column in place of a part's own, as another program could."""
    table = pq.read_table(path)
    at, metadata = table.schema.get_field_index(name), table.schema.metadata
    table = table.set_column(at, pa.field(name, column.type, nullable=nullable), column)
    pq.write_table(table.replace_schema_metadata(metadata), path)


def with_metadata(path: Path, raw: bytes) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: raw}), path)


def lists(rows: list[list[float] | None], kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(rows, kind or part_schema(provenance(dim=DIM)).field(FEATURE).type)


def shifted(rows: list[list[float] | None]) -> None:
    """One number too many in the second row, one too few in the tenth: the sum is right."""
    rows[1], rows[9] = [*rows[1], 1.0], rows[9][:-1]  # type: ignore[misc, index]


def too_long(rows: list[list[float] | None]) -> None:
    rows[1] = [*rows[1], 1.0]  # type: ignore[misc]


def empty(rows: list[list[float] | None]) -> None:
    rows[1] = []


def absent(rows: list[list[float] | None]) -> None:
    rows[1] = None


def beside_an_error(rows: list[list[float] | None]) -> None:
    rows[3] = [1.0] * DIM


def empty_beside_an_error(rows: list[list[float] | None]) -> None:
    rows[3] = []


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shifted, "the vector of '000021' has 9 numbers, not 8"),
        (too_long, "the vector of '000021' has 9 numbers, not 8"),
        (empty, "the vector of '000021' has 0 numbers, not 8"),
        (absent, "the row of '000021' has neither a vector nor an error"),
        (beside_an_error, "the row of '000023' has both a vector and an error"),
        (empty_beside_an_error, "the row of '000023' has both a vector and an error"),
    ],
)
def test_a_vector_that_is_not_as_its_row_says_is_named(
    tmp_path: Path, reader: str, change: Callable[[list[list[float] | None]], None], message: str
) -> None:
    path = made(tmp_path)
    rows = pq.read_table(path)[FEATURE].to_pylist()
    change(rows)
    with_column(path, FEATURE, lists(rows))
    with pytest.raises(StoreError, match=f"part-000001.parquet (is damaged: |announces ){message}.*--repair"):
        READERS[reader](FeatureStore.open(tmp_path))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(tmp_path: Path, reader: str, dtype: Dtype, value: float) -> None:
    path = made(tmp_path, dtype=dtype)
    table = parts.read_part(path).combine_chunks()
    vectors = parts.vector_matrix(table[FEATURE].chunk(0), DIM).copy()
    vectors[7, 2] = value
    missing = np.asarray(table["error_code"].is_valid())
    with_column(path, FEATURE, parts.vector_array(vectors, missing, table[FEATURE].type))
    with pytest.raises(StoreError, match=r"part-000001.parquet .*vector of '000027' has values that are not finite"):
        READERS[reader](FeatureStore.open(tmp_path))


@given(st.sampled_from(["float16", "float32"]), st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_finite_is_told_by_the_bits_as_numpy_tells_it(dtype: str, bits: list[int]) -> None:
    values = np.array(bits, np.uint32).view(dtype) if dtype == "float32" else np.array(bits, np.uint32).view("float16")
    assert parts._all_finite(values.reshape(-1, 1)) == bool(np.isfinite(values).all())


def test_every_float16_is_told_by_its_bits() -> None:
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    assert [parts._all_finite(values[i : i + 1]) for i in range(2**16)] == np.isfinite(values).tolist()


@given(st.lists(st.none() | st.integers(0, 6), max_size=30), st.integers(1, 5), st.integers(0, 3))
def test_a_matrix_is_made_of_rows_of_the_right_length_only(sizes: list[int | None], dim: int, begin: int) -> None:
    rows = [None if size is None else [float(i)] * size for i, size in enumerate(sizes)]
    column = lists(rows).slice(min(begin, len(rows)))
    kept = rows[begin:]
    if all(row is None or len(row) == dim for row in kept):
        expected = [[0.0] * dim if row is None else row for row in kept]
        assert parts.vector_matrix(column, dim).tolist() == expected
    else:
        with pytest.raises(StoreError, match=f"numbers, not {dim}"):
            parts.vector_matrix(column, dim)


def wrong_type(column: pa.Array, name: str) -> pa.Array:
    rows = column.to_pylist()
    element = pa.field("element", pa.float16(), nullable=False)
    return {
        "other dtype": lambda: lists(rows, pa.list_(pa.field("element", pa.float32(), nullable=False))),
        "double": lambda: lists(rows, pa.list_(pa.float64())),
        "large_list": lambda: lists(rows, pa.large_list(element)),
        "fixed_size_list": lambda: pa.array([r or [0.0] * DIM for r in rows], pa.list_(element, DIM)),
        "null numbers": lambda: lists(rows, pa.list_(pa.float16())),
        "int8": lambda: pa.array([1] * len(rows), pa.int8()),
        "text": lambda: pa.array(["x"] * len(rows)),
        "lists of lists": lambda: pa.array([[r or []] for r in rows], pa.list_(pa.list_(pa.float16()))),
    }[name]()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "kind", ["other dtype", "double", "large_list", "fixed_size_list", "null numbers", "int8", "text", "lists of lists"]
)
def test_a_column_of_vectors_of_another_type_is_refused(tmp_path: Path, reader: str, kind: str) -> None:
    path = made(tmp_path)
    with_column(path, FEATURE, wrong_type(pq.read_table(path)[FEATURE].combine_chunks(), kind))
    with pytest.raises(StoreError, match=r"part-000001.parquet is damaged \(its column 'feature' is of type"):
        READERS[reader](FeatureStore.open(tmp_path))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("row", pa.array([str(i) for i in range(20)]), "its column 'row' is of type string, not int64"),
        ("row", pa.array(np.arange(20, dtype=np.int32)), "its column 'row' is of type int32"),
        ("row", pa.array([None, *range(19)], pa.int64()), "1 rows have no 'row'"),
        ("row", pa.array([-1, *range(19)]), "its row numbers go from -1 to 18"),
        ("row", pa.array([MOST_ROWS, *range(19)]), f"its row numbers go from 0 to {MOST_ROWS}"),
        ("id", pa.array([None, *map(str, range(19))]), "1 rows have no 'id'"),
        ("id", pa.array(map(str, range(20)), pa.large_string()), "its column 'id' is of type large_string"),
        ("id", pa.array([b"\xff"] * 20).view(pa.string()), "UTF8"),
        ("size", pa.array([None] * 20, pa.int64()), "20 rows have no 'size'"),
        ("mtime_ns", pa.array([0.5] * 20), "its column 'mtime_ns' is of type double"),
        ("error_code", pa.array([1] * 20), "its column 'error_code' is of type int64"),
        ("content_hash", pa.array([b"x"] * 20), "its column 'content_hash' is of type binary"),
        ("label", pa.array([["x"]] * 20), "its column 'label' is of type list"),
    ],
)
def test_a_small_column_that_cannot_be_is_refused(tmp_path: Path, name: str, values: pa.Array, message: str) -> None:
    path = made(tmp_path)
    with_column(path, name, values)
    for read in (lambda: FeatureStore.open(tmp_path).rows(), lambda: verify_problem(path), lambda: known(path)):
        with pytest.raises(StoreError, match=rf"part-000001.parquet is damaged \(.*{message}"):
            read()
        if name not in ("row", "id", "size", "mtime_ns", "error_code", "label"):
            break  # an update does not read it


def verify_problem(path: Path) -> None:
    raise StoreError(verify(path.parent).bad_parts[path.name])


def known(path: Path) -> Known:
    return Known.read([path])


def test_a_part_without_a_column_or_with_one_twice_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["width"]), path)
    with pytest.raises(StoreError, match="it has 0 columns 'width'"):
        FeatureStore.open(tmp_path).rows()
    pq.write_table(table.append_column("width", table["width"]), path)
    with pytest.raises(StoreError, match="it has 2 columns 'width'"):
        FeatureStore.open(tmp_path).rows()


def announcing(path: Path, count: int, dim: int) -> None:
    """Write a part of rows that are all alike, so that the file is small whatever their number."""
    own = provenance(dim=dim)
    schema, chunk = part_schema(own), 1_000_000
    row = {"row": 0, "id": "a", "size": 1, "mtime_ns": 0, "error_code": "io"}
    columns = [pa.repeat(pa.scalar(row.get(f.name), f.type), min(count, chunk)) for f in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=True, write_statistics=False) as writer:
        for _ in range(max(1, count // chunk)):
            writer.write_table(table, row_group_size=chunk)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 1280])
def test_a_hundred_million_rows_in_a_small_file_are_refused_from_the_footer(tmp_path: Path, dim: int) -> None:
    announcing(tmp_path / "part-000000.parquet", 100_000_000, dim)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (
        lambda: FeatureStore.open(tmp_path),
        lambda: known(tmp_path / "part-000000.parquet"),
        lambda: parts.read_part(tmp_path / "part-000000.parquet", ["row"]),
    ):
        with pytest.raises(StoreError, match=r"it announces 100000000 rows, a part of [0-9]+ bytes can have"):
            read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_vector_column_that_announces_too_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = made(tmp_path)
    table = pq.read_table(path)
    long = pa.ListArray.from_arrays(np.arange(21, dtype=np.int32) * 500_000, np.zeros(10_000_000, np.float16))
    with_column(path, FEATURE, long.cast(table.schema.field(FEATURE).type))
    pq.write_table(pq.read_table(path), path, use_dictionary=False, compression="zstd")
    assert path.stat().st_size < 1_000_000
    before = pa.total_allocated_bytes()
    with pytest.raises(StoreError, match=r"it announces [0-9]+ bytes for 20 rows"):
        FeatureStore.open(tmp_path).vectors()
    assert pa.total_allocated_bytes() - before < 1_000_000


@pytest.mark.slow
def test_a_text_column_that_announces_too_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = made(tmp_path)
    with_column(path, "error", pa.array([chr(97 + i) * 20_000_000 for i in range(20)]))
    with pytest.raises(StoreError, match=r"it announces 400[0-9]+ bytes for 20 rows"):
        FeatureStore.open(tmp_path).rows()


READS_ALL = """
import sys
from fxengine import FeatureStore, StoreError
for read in (FeatureStore.rows, FeatureStore.vectors, lambda store: list(store.batches(5))):
    try:
        read(FeatureStore.open(sys.argv[1]))
    except StoreError as error:
        print(error)
"""


def with_wrong_statistics(path: Path, rows: int = 20) -> None:
    """Let the statistics of texts that are all null count one level, not two; pyarrow's C++ throws at that."""
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    counts = bytes([2 * rows, 0])  # of level 0 and level 1: doubled, as signed numbers are
    assert b"\x19\x26" + counts in content[footer:]
    wrong = content[footer:-8].replace(b"\x19\x26" + counts, b"\x19\x16" + counts[:1])
    path.write_bytes(content[:footer] + wrong + len(wrong).to_bytes(4, "little") + b"PAR1")


def test_wrong_statistics_of_a_column_do_not_end_the_process(tmp_path: Path) -> None:
    path = made(tmp_path, failed=())
    with_wrong_statistics(path)
    done = subprocess.run([sys.executable, "-c", READS_ALL, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = f"{path} is damaged (Definition level histogram size mismatch, size: 1, expected: 2). `fxengine verify"
    assert [line[: len(said)] for line in done.stdout.splitlines()] == [said] * 3
    assert "histogram size mismatch" in verify(tmp_path).bad_parts[path.name]


def test_a_column_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\x08mtime_ns", b"\x08\xf2time_ns"))
    with pytest.raises(StoreError, match=r"part-000001.parquet is damaged \(.*can't decode byte 0xf2"):
        FeatureStore.open(tmp_path)


@pytest.mark.parametrize("count", [0, 1, 513])
@pytest.mark.parametrize("dim", [1, 1280])
def test_the_smallest_parts_that_can_be_written_are_read(tmp_path: Path, count: int, dim: int) -> None:
    write_store(tmp_path, np.zeros((count, dim)), widths=[0] * count, hashes=[""] * count)
    assert FeatureStore.open(tmp_path).vectors().shape == (count, dim)
    write_store(tmp_path, np.zeros((count, dim)), failed=tuple(range(count)))
    assert len(FeatureStore.open(tmp_path)) == count


def test_a_part_that_is_no_file_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "part-000002.parquet").mkdir()
    with pytest.raises(StoreError, match=r"part-000002.parquet is damaged \(It is not a regular file\)"):
        FeatureStore.open(tmp_path)


def values(**changes: object) -> dict[str, object]:
    return {"format": 1, **asdict(provenance(dim=DIM)), **changes}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in values().items() if key != name}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (values(colour="red", versions={"fxengine": "9.9"}), "was written by fxengine 9.9 and says 'colour' of itself"),
        (values(colour="red", versions=[]), "fxengine of unknown version and says 'colour' of itself.*update fxengine"),
        (without("space"), "'space' is missing"),
        (without("dtype"), "'dtype' is missing"),
        (values(format=2), "is of another format version: update fxengine"),
        (without("format"), "is of another format version: update fxengine"),
        (values(dim="8"), "'dim' cannot be '8'"),
        (values(dim=True), "'dim' cannot be True"),
        (values(dim=8.0), "'dim' cannot be 8.0"),
        (values(dim=0), "0 is no count of a vector's numbers"),
        (values(dim=2**31), "2147483648 is no count"),
        (values(layers={"a": -1}), "-1 is no count"),
        (values(layers=["a"]), r"'layers' cannot be \['a'\]"),
        (values(dtype="float64"), "'dtype' cannot be 'float64'"),
        (values(space=None), "'space' cannot be None"),
        (values(space="\x1b[31m"), r"'space' cannot be '\\x1b\[31m'"),
        (values(space="s" * 65), "'space' cannot be 's{59}\\. "),
        (values(root=["/"]), r"'root' cannot be \['/'\]"),
        (values(precision=1), "'precision' cannot be 1"),
        (values(next_row=-1), "'next_row' cannot be -1"),
        (values(next_row=2**63), "'next_row' cannot be 9223372036854775808"),
        (values(next_row="5"), "'next_row' cannot be '5'"),
        (values(versions={"numpy": 2}), "'versions.numpy' cannot be 2"),
        (values(tried=[1]), "'tried' cannot be 1"),
        (values(recipe={"a": [float("nan")]}), "what it says of itself is not JSON"),
        (b'{"dim": 1e400}', "what it says of itself is not JSON"),
        (b'{"dim": ' + b"9" * 5000 + b"}", "what it says of itself is not JSON"),
        (values(recipe={"a": json.loads("[" * 40 + "]" * 40)}), "what it says of itself is nested more than 32 deep"),
        (values(limits={"max_pixels": 1}), "'limits' cannot be {'max_pixels': 1}"),
        (values(limits={"max_pixels": 0, "max_bytes": 1}), "'limits' cannot be {'max_pixels': 0"),
        (values(recipe="none"), "'recipe' cannot be 'none'"),
        ([1], "what it says of itself is no JSON object"),
        ("text", "what it says of itself is no JSON object"),
        (b"{", "what it says of itself is not JSON"),
        (b"", "what it says of itself is not JSON"),
        (b"\xff\xfe{", "what it says of itself is not JSON"),
        (b'{"root": "\\ud800"}', "what it says of itself is not JSON"),
        (b"[" * 100_000, "what it says of itself is not JSON"),
    ],
)
def test_metadata_that_this_version_did_not_write_is_refused_in_a_sentence(
    tmp_path: Path, raw: object, message: str
) -> None:
    path = made(tmp_path)
    with_metadata(path, raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    with pytest.raises(StoreError, match=f"part-000001.parquet.*{message}"):
        FeatureStore.open(tmp_path)
    with pytest.raises(StoreError, match=message):
        known(path)
    assert list(verify(tmp_path).bad_parts) == ["part-000001.parquet"]


def test_metadata_without_what_came_later_is_read(tmp_path: Path) -> None:
    path = made(tmp_path)
    old = {key: value for key, value in values().items() if key not in ("int8", "tried", "layers", "next_row")}
    with_metadata(path, json.dumps({**old, "space": "s" * 64}).encode())
    assert parts.read_provenance(path) == provenance(dim=DIM)
    assert len(FeatureStore.open(tmp_path)) == 40


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(st.recursive(scalars, st.lists, max_leaves=3), st.sampled_from(sorted(provenance().to_dict())))
def test_no_value_of_the_metadata_is_another_error(value: object, name: str) -> None:
    raw = json.dumps(values(**{name: value})).encode()
    try:
        read = Provenance.from_schema(pa.schema([], metadata={METADATA_KEY: raw}), "part")
    except StoreError as error:
        assert str(error).startswith("part is damaged: ")  # noqa: PT017
    else:
        assert part_schema(read).metadata == read.to_metadata()
