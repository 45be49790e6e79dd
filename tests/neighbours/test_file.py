from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest

from fxengine.errors import StoreError
from fxengine.neighbours import file
from fxengine.neighbours.choose import Wanted
from fxengine.neighbours.file import IndexFacts, read_facts, read_index, write_index
from fxengine.neighbours.tune import Recall, Trial

TRIAL = Trial("Flat", {"nprobe": 3}, Recall(1.0, 0.95, 0.94, 0.96), 100.0, 0.5, 1.0, 2.0, 4)
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
    index, rows = read_index(folder, facts)
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
        read_index(folder, facts)


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
        ({"wanted": {"metric": "dot"}}, r"index.json is damaged: There is no metric 'dot'"),
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
    hashes = {**facts.hashes, "index.faiss": file._sha256(path)}
    lying = IndexFacts.from_dict({**facts.to_dict(), "hashes": hashes})
    with pytest.raises(StoreError, match="cannot be read"):
        read_index(folder, lying)


def test_a_full_disk_keeps_the_index_that_was_there(
    written: tuple[Path, IndexFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, facts = written
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    index, rows = read_index(folder, facts)

    def full(*_: object) -> None:
        raise RuntimeError("Error: 'ret == (size)' failed: write error: No space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(StoreError, match="No space left"):
        write_index(folder, index, rows, FACTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["_index"]


def test_size_is_that_of_the_file(written: tuple[Path, IndexFacts]) -> None:
    folder, facts = written
    assert file.size(read_index(folder, facts)[0]) == (folder / "index.faiss").stat().st_size
