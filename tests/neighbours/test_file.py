from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fxengine.errors import StoreError
from fxengine.files import open_regular
from fxengine.neighbours import faiss_file, file
from fxengine.neighbours.choose import Wanted
from fxengine.neighbours.file import IndexFacts, read_facts, read_index, read_rows, write_index
from fxengine.neighbours.tune import Recall, Trial

TRIAL = Trial("Flat", {}, Recall(1.0, 0.95, 0.94, 0.96), 100.0, 0.5, 1.0, 2.0, 4)
FACTS = IndexFacts("space", "store", Wanted(layer="block2", memory=7), "4 held-out rows", (TRIAL, TRIAL), added=2)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, IndexFacts]:
    index = faiss.IndexFlatL2(3)
    index.add(np.eye(3, dtype=np.float32))
    rows = pa.table({"row": [5, 6, 9], "id": ["a", "b", "c"], "content_hash": ["x", "y", None], "living": [True] * 3})
    return tmp_path / "_index", write_index(tmp_path / "_index", index, rows, FACTS)


def test_what_is_written_is_read_back(written: tuple[Path, IndexFacts]) -> None:
    folder, facts = written
    assert read_facts(folder) == facts
    assert facts.trial == TRIAL
    index, rows = read_index(folder, facts, 3)
    np.testing.assert_array_equal(faiss.downcast_index(index).reconstruct_n(0, 3), np.eye(3))
    assert rows["row"].to_pylist() == [5, 6, 9]
    assert sorted(path.name for path in folder.iterdir()) == ["index.faiss", "index.json", "rows.parquet"]
    assert [path.name for path in folder.parent.iterdir()] == ["_index"]


def test_no_index_is_none(tmp_path: Path) -> None:
    assert read_facts(tmp_path / "_index") is None


@pytest.mark.parametrize("name", ["index.faiss", "rows.parquet"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone", "foreign"])
def test_a_damaged_or_foreign_file_is_never_read(
    written: tuple[Path, IndexFacts], name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, facts = written
    path = folder / name
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": bytes(data[:-7]), "foreign": b"IxF2" + b"\xff" * 60}.get(how, bytes(data)))
    if how == "gone":
        path.unlink()
    monkeypatch.setattr(faiss, "read_index", lambda *_: pytest.fail("it was read"))
    with pytest.raises(StoreError, match=rf"{name} is damaged, or is not the file .* --rebuild"):
        read_index(folder, facts, 3)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "trials": []}'])
def test_damaged_facts_are_refused(written: tuple[Path, IndexFacts], text: str) -> None:
    (written[0] / "index.json").write_text(text)
    with pytest.raises(StoreError, match=r"index.json is damaged"):
        read_facts(written[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"added": "2"}, r"index.json is damaged: 'added' cannot be '2'. `fxengine index .* --rebuild`"),
        ({"wanted": {"metric": 3}}, r"'wanted.metric' cannot be 3"),
        ({"wanted": {"metric": "dot"}}, r"index.json is damaged: There is no `metric` 'dot'"),
        ({"trials": [{"factory": "Flat"}]}, r"'trials.parameters' is missing"),
        ({"shards": 4, "versions": {"fxengine": "9.0"}}, r"was written by fxengine 9.0 and says 'shards' of itself"),
    ],
)
def test_wrong_and_unknown_facts_are_named(
    written: tuple[Path, IndexFacts], change: dict[str, object], says: str
) -> None:
    path = written[0] / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StoreError, match=says):
        read_facts(written[0])


def test_a_memory_in_fractions_is_read_back(written: tuple[Path, IndexFacts]) -> None:
    path = written[0] / "index.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "wanted": {**values["wanted"], "memory": 2e9}}))
    facts = read_facts(written[0])
    assert facts is not None
    assert facts.wanted.memory == 2e9


def test_another_format_is_refused(written: tuple[Path, IndexFacts]) -> None:
    path = written[0] / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(StoreError, match="another format"):
        read_facts(written[0])


def test_a_hostile_file_with_a_right_hash_cannot_ask_for_more_memory_than_it_has(
    written: tuple[Path, IndexFacts],
) -> None:
    folder, facts = written
    path = folder / "index.faiss"
    data = bytearray(path.read_bytes())
    at = data.rindex(np.uint64(9).tobytes())  # how many numbers follow
    data[at : at + 8] = np.uint64(2**33).tobytes()
    path.write_bytes(data)
    hashes = {**facts.hashes, "index.faiss": file._sha256_of(path)}
    lying = IndexFacts.from_dict({**facts.to_dict(), "hashes": hashes})
    with pytest.raises(StoreError, match=r"index.faiss is damaged: it has 34359738368 bytes where 36 must be"):
        read_index(folder, lying, 3)


@pytest.mark.parametrize("named", [True, False])
def test_what_takes_a_file_s_place_after_it_was_hashed_is_not_read(
    written: tuple[Path, IndexFacts], named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, facts = written

    def look(*given: Any) -> None:
        for name in ("index.faiss", "rows.parquet"):
            (folder / name).unlink()
            (folder / name).symlink_to(folder / "index.json")
        faiss_file.look(*given)

    monkeypatch.setattr(file, "look", look)
    if not named:
        monkeypatch.setattr(file, "_OPENED", folder)
    index, rows = read_index(folder, facts, 3)
    np.testing.assert_array_equal(faiss.downcast_index(index).reconstruct_n(0, 3), np.eye(3))
    assert rows["row"].to_pylist() == [5, 6, 9]


def test_each_file_is_opened_once(written: tuple[Path, IndexFacts], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opening(path: Path) -> BufferedReader:
        opened.append(path.name)
        return open_regular(path)

    monkeypatch.setattr(file, "open_regular", opening)
    read_index(*written, 3)
    assert sorted(opened) == ["index.faiss", "rows.parquet"]
    opened.clear()
    read_rows(*written)
    assert opened == ["rows.parquet"]


@pytest.mark.parametrize(
    ("factory", "parameters", "small", "numbers"),
    [
        ("IVF64,PQ3x4", {"nprobe": 4}, 1, 0),
        ("IVF64,PQ3x4", {"nprobe": 4}, 1 << 26, 64 * 3 * 16),
        ("L2norm,IVF64,PQ3x4,RFlat", {"nprobe": 4, "k_factor": 2}, 1 << 26, 64 * 3 * 16),
    ],
)
def test_a_table_larger_than_the_file_is_not_made_and_the_same_is_found_without(
    tmp_path: Path, factory: str, parameters: dict[str, int], small: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    index = faiss.index_factory(3, factory)
    index.train(vectors)
    index.add(vectors)
    n, trial = len(vectors), replace(TRIAL, parameters=parameters)
    rows = pa.table(
        {
            "row": range(n),
            "id": [str(i) for i in range(n)],
            "content_hash": pa.nulls(n, pa.string()),
            "living": [True] * n,
        }
    )
    facts = write_index(tmp_path / "_index", index, rows, replace(FACTS, wanted=Wanted(metric="l2"), trials=(trial,)))
    monkeypatch.setattr(file, "_SMALL", small)
    read, _ = read_index(tmp_path / "_index", facts, 3)
    assert faiss.downcast_index(faiss.extract_index_ivf(read)).precomputed_table.size() == numbers
    np.testing.assert_array_equal(read.search(vectors, 1)[1], index.search(vectors, 1)[1])


def test_the_limits_of_faiss_are_the_process_s_own_again(written: tuple[Path, IndexFacts]) -> None:
    if hasattr(faiss, "set_deserialization_vector_byte_limit"):
        faiss.set_deserialization_vector_byte_limit(1 << 40)
        faiss.set_deserialization_loop_limit(0)
    before = limits()
    read_index(*written, 3)
    assert limits() == before


def limits() -> list[int]:
    """Return what FAISS may allocate; 1.12 has but the last."""
    names = ("get_deserialization_vector_byte_limit", "get_deserialization_loop_limit")
    found = [getattr(faiss, name)() for name in names if hasattr(faiss, name)]
    return [*found, faiss.cvar.precomputed_table_max_bytes]


def test_a_full_disk_keeps_the_index_that_was_there(
    written: tuple[Path, IndexFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, facts = written
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    index, rows = read_index(folder, facts, 3)

    def full(*_: object) -> None:
        raise RuntimeError("Error: 'ret == (size)' failed: write error: No space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(StoreError, match="No space left"):
        write_index(folder, index, rows, FACTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["_index"]


def test_size_is_that_of_the_file(written: tuple[Path, IndexFacts]) -> None:
    folder, facts = written
    assert file.size(read_index(folder, facts, 3)[0]) == (folder / "index.faiss").stat().st_size


def mended(folder: Path, **changes: object) -> IndexFacts:
    """Return the facts after other files were put into the folder, with hashes that fit, as who sends it has them."""
    data = json.loads((folder / "index.json").read_text())
    hashes = {name: file._sha256_of(folder / name) for name in ("index.faiss", "rows.parquet")}
    (folder / "index.json").write_text(json.dumps({**data, "hashes": hashes, **changes}))
    facts = read_facts(folder)
    assert facts is not None
    return facts


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"added": -1}, "-1 rows were added to it and 0 removed"),
        ({"removed": 2**40}, "2 rows were added to it and 1099511627776 removed"),
        ({"trials": []}, "it names 0 trials"),
        ({"queries": "\x1b[2J"}, "a text of it is none that can be printed"),
        ({"space": "s" * 300}, "a text of it is none that can be printed"),
        ({"hashes": {"../../secret": "0" * 64}}, "'../../secret' is no file of it, or has no hash"),
        ({"hashes": {"index.faiss": "xyz"}}, "'index.faiss' is no file of it, or has no hash"),
        ({"wanted": {"memory": -5}}, "`memory` must be a number above 0. Got -5"),
        ({"wanted": {"latency_ms": 0}}, "`latency` must be a number above 0. Got 0"),
        ({"wanted": {"recall": 1.5}}, "`recall` must be between 0 and 1. Got 1.5"),
        ({"wanted": {"factory": "IVF99999999,Flat"}}, "The index 'IVF99999999,Flat' is too large"),
        ({"wanted": {"factory": "Flat\n\x1b[31m"}}, "FAISS has no index"),
    ],
)
def test_facts_out_of_range_are_refused(written: tuple[Path, IndexFacts], change: dict[str, object], says: str) -> None:
    path = written[0] / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StoreError, match=re.escape(f"index.json is damaged: {says}")):
        read_facts(written[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recall": {"at_1": 1.0, "at_10": 7.0, "low": 0.9, "high": 1.0}}, "a recall is a share, between 0 and 1"),
        ({"rows": -4}, "a trial has a rate, a time or a size below 0"),
        ({"latency_ms": -0.5}, "a trial has a rate, a time or a size below 0"),
        ({"parameters": {"threads": 900}}, "no index has the parameters 'threads'"),
        ({"factory": "PQ8x24"}, "The index 'PQ8x24' is too large"),
    ],
)
def test_a_trial_out_of_range_is_refused(
    written: tuple[Path, IndexFacts], change: dict[str, object], says: str
) -> None:
    path = written[0] / "index.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "trials": [{**data["trials"][0], **change}]}))
    with pytest.raises(StoreError, match=f"index.json is damaged: {says}"):
        read_facts(written[0])


@pytest.mark.parametrize("parameters", [{"nprobe": 1}, {"k_factor": 4}])
def test_parameters_of_another_kind_of_index_are_refused(
    written: tuple[Path, IndexFacts], parameters: dict[str, int]
) -> None:
    folder, facts = written
    facts = replace(facts, trials=(replace(TRIAL, parameters=parameters),))
    with pytest.raises(StoreError, match=r"index.json is damaged: its parameters are not those of the index"):
        read_index(folder, facts, 3)


@pytest.mark.parametrize("name", ["index.json", "index.faiss", "rows.parquet"])
@pytest.mark.parametrize("how", ["link", "pipe", "folder"])
def test_no_link_is_followed_and_no_pipe_waited_for(written: tuple[Path, IndexFacts], name: str, how: str) -> None:
    folder, facts = written
    path = folder / name
    path.rename(folder.parent / name)
    if how == "link":
        path.symlink_to(folder.parent / name)
    elif how == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    why = "It is a link, and links are not followed" if how == "link" else "It is not a regular file"
    with pytest.raises(StoreError, match=rf"{name} cannot be read: {why}: .*--rebuild` makes it anew"):
        read_index(folder, read_facts(folder) or facts, 3)


def test_a_long_index_json_is_not_read(written: tuple[Path, IndexFacts]) -> None:
    with (written[0] / "index.json").open("r+b") as opened:
        opened.truncate(2**33)
    with pytest.raises(StoreError, match=r"index.json cannot be read: It is longer than 16,777,216 bytes"):
        read_facts(written[0])


ROWS = pa.table({"row": [5, 6, 9], "id": ["a", "b", "c"], "content_hash": ["x", "y", None], "living": [True] * 3}).cast(
    file.ROWS_SCHEMA
)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (ROWS.slice(1), r"index.faiss is damaged: it holds 3 vectors where there must be 2"),
        (ROWS.drop(["id"]), r"rows.parquet is damaged: its columns are not those of an index"),
        (ROWS.set_column(0, "row", pa.array(["5", "6", "9"])), "its columns are not those of an index"),
        (ROWS.set_column(3, "living", pa.array([True, None, True])), "its columns are not those of an index"),
        (pa.concat_tables([ROWS.slice(0, 2), ROWS.slice(0, 1)]), "rows.parquet is damaged: a row of it is there twice"),
        (pa.concat_tables([ROWS] * 200_000), r"it announces 600000 rows in \d+ bytes"),
    ],
)
def test_rows_that_are_not_the_index_s_are_refused(written: tuple[Path, IndexFacts], rows: pa.Table, says: str) -> None:
    folder, _ = written
    pq.write_table(rows, folder / "rows.parquet", compression="zstd")
    with pytest.raises(StoreError, match=says):
        read_index(folder, mended(folder), 3)


def test_rows_that_are_no_parquet_are_refused_in_a_sentence(written: tuple[Path, IndexFacts]) -> None:
    folder, _ = written
    (folder / "rows.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(StoreError, match=r"_index cannot be read: .*\. `fxengine index .* --rebuild` makes it anew"):
        read_index(folder, mended(folder), 3)


def test_a_column_s_name_that_is_no_text_is_told(written: tuple[Path, IndexFacts]) -> None:
    folder, _ = written
    path = folder / "rows.parquet"
    path.write_bytes(path.read_bytes().replace(b"living", b"\x80iving"))
    with pytest.raises(StoreError, match=r"rows\.parquet is damaged: a name in it is no text\. "):
        read_index(folder, mended(folder), 3)


def test_a_text_that_a_file_keeps_once_is_not_repeated_in_memory_for_every_row(
    written: tuple[Path, IndexFacts],
) -> None:
    folder, _ = written
    n = 20_000
    text = pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array(["x" * 5_000]))
    schema = file.ROWS_SCHEMA.set(1, pa.field("id", text.type, nullable=False))
    rows = pa.table([np.arange(n), text, pa.nulls(n, pa.string()), np.ones(n, bool)], schema=schema)
    pq.write_table(rows, folder / "rows.parquet", store_schema=False)
    facts, usual = mended(folder), pa.default_memory_pool()
    counted = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counted)
    try:
        with pytest.raises(StoreError, match=r"rows.parquet is damaged: its column 'id' takes 100000000 bytes"):
            read_rows(folder, facts)
    finally:
        pa.set_memory_pool(usual)
    gc.collect()  # the error, in a cycle with its traceback, keeps the columns: they must not outlive their pool
    assert counted.bytes_allocated() == 0
    assert counted.max_memory() < 10_000_000


def test_all_rows_are_read_back_and_old_ones_with_a_dictionary(written: tuple[Path, IndexFacts]) -> None:
    folder, facts = written
    assert read_rows(folder, facts).equals(ROWS)
    pq.write_table(ROWS, folder / "rows.parquet")
    assert read_rows(folder, mended(folder)).equals(ROWS)


def test_a_dim_that_is_not_the_store_s_is_refused(written: tuple[Path, IndexFacts]) -> None:
    with pytest.raises(StoreError, match=r"index.faiss is damaged: vectors of 3 numbers where they must have 4"):
        read_index(*written, 4)


@pytest.mark.parametrize("name", ["write_index", "serialize"])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError("std::bad_alloc"), "there is not enough memory"),
        (OSError(30, "Read-only file system", "/x"), "Read-only file system: /x"),
        (pa.ArrowInvalid("no such type"), "no such type"),
    ],
)
def test_what_others_raise_while_an_index_is_written_becomes_a_sentence_and_keeps_the_old_one(
    written: tuple[Path, IndexFacts], name: str, error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, facts = written
    index, _ = read_index(folder, facts, 3)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(*((faiss, "write_index") if name == "write_index" else (pq, "write_table")), fail)
    with pytest.raises(StoreError, match=f"Cannot write the index .*: {says}. The one before, if any, is kept."):
        write_index(folder, index, ROWS, FACTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["_index"]


_FULL = """
import resource, signal, sys
from pathlib import Path
import faiss, numpy as np
from fxengine import StoreError
from fxengine.neighbours.file import read_facts, read_index, read_rows, write_index

folder = Path(sys.argv[1])
facts = read_facts(folder)
rows = read_rows(folder, facts)
index = faiss.IndexFlatL2(3)
index.add(np.zeros((int(sys.argv[2]), 3), np.float32))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    write_index(folder, index, rows, facts)
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize(("vectors", "most"), [(100_000, 65_536), (3, 400)], ids=["in FAISS's file", "in Arrow's"])
def test_a_disk_that_fills_up_keeps_the_index_that_was_there(
    written: tuple[Path, IndexFacts], vectors: int, most: int
) -> None:
    """The size of files is limited in a child process: writing then fails as it does on a full disk."""
    folder, _ = written
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ran = subprocess.run(
        [sys.executable, "-c", _FULL, str(folder), str(vectors), str(most)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.fullmatch(r"Cannot write the index .*File too large.*\. The one before, if any, is kept\.\n", ran.stdout)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["_index"]
