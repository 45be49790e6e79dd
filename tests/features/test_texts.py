from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fxengine import FeatureStore, StoreError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.text_table import TextTable
from fxengine.features import parts, texts
from fxengine.features.texts import beginning, beginnings, source_is_named, text_store, texts_of, with_texts
from fxengine.trust import note_named
from tests.stores import write_store
from tests.texts import write_table

ROWS = {"a": "good. good", "b": "bad, ü and\nmore", "c": "x" * 600, "d": "4"}


@pytest.fixture(autouse=True)
def _own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def made(tmp_path: Path, tiny_texts: BackboneFile) -> Callable[..., FeatureStore]:
    """Return what extracts from a table or folder into a store and opens it."""

    def make(source: Path, **options: Any) -> FeatureStore:
        extract(source, tmp_path / "store", backbone=tiny_texts.path, precision="fp32", **options)
        return FeatureStore.open(tmp_path / "store")

    return make


def table_of(rows: dict[str, str], path: Path) -> Path:
    return write_table(path, [(key, text, "yes") for key, text in rows.items()])


def forget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be somebody who has named nothing."""
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "other cache"))


def with_provenance(store: FeatureStore, **changes: Any) -> FeatureStore:
    """Rewrite a store so that it says something else of itself."""
    for path in parts.list_parts(store.path):
        changed = replace(parts.read_provenance(path), **changes)
        parts.write_part(parts.read_part(path).replace_schema_metadata(changed.to_metadata()), path, replace=True)
    return FeatureStore.open(store.path)


def test_texts_of_a_table_by_their_ids(tmp_path: Path, made: Callable[..., FeatureStore]) -> None:
    store = made(table_of(ROWS, tmp_path / "t.csv"), column="text", id_column="id")
    assert texts_of(store, [*ROWS, "a", "none"]) == ROWS
    assert texts_of(store, ["c"]) == {"c": ROWS["c"]}
    assert texts_of(store, []) == {}
    assert beginnings(store, ["a", "c"]) == {"a": ROWS["a"], "c": "x" * 500 + "..."}


def test_ids_without_a_column_are_places_in_the_table(tmp_path: Path, made: Callable[..., FeatureStore]) -> None:
    store = made(table_of(ROWS, tmp_path / "t.csv"), column="text")
    assert texts_of(store, store.ids()) == {f"t.csv#{i:09d}": text for i, text in enumerate(ROWS.values())}


def test_lines_of_a_txt(tmp_path: Path, made: Callable[..., FeatureStore]) -> None:
    (tmp_path / "lines.txt").write_text("good\nbad\n")
    store = made(tmp_path / "lines.txt")
    assert texts_of(store, store.ids()) == {"lines.txt#000000000": "good", "lines.txt#000000001": "bad"}


def test_files_of_a_folder_in_their_encodings(tmp_path: Path, made: Callable[..., FeatureStore]) -> None:
    contents = {"no/a.txt": b"good", "no/b.txt": "b\u00e4d".encode("utf-16"), "yes/c.txt": b"\xef\xbb\xbfgood."}
    for name, content in contents.items():
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(content)
    store = made(tmp_path / "files")
    assert texts_of(store, store.ids()) == {"no/a.txt": "good", "no/b.txt": "b\u00e4d", "yes/c.txt": "good."}
    (tmp_path / "files" / "no" / "a.txt").write_text("another")
    (tmp_path / "files" / "no" / "b.txt").unlink()
    assert texts_of(store, store.ids()) == {"yes/c.txt": "good."}


def test_what_is_another_text_now_is_left_out(tmp_path: Path, made: Callable[..., FeatureStore]) -> None:
    table = table_of(ROWS, tmp_path / "t.csv")
    store = made(table, column="text", id_column="id")
    table_of({**ROWS, "b": "changed", "e": "new"} | {"d": "5"}, table)
    assert texts_of(store, [*ROWS, "e"]) == {"a": ROWS["a"], "c": ROWS["c"]}


@pytest.mark.parametrize(
    "content", [None, b"", b"id,words\na,good\n", b"id,text\na,good\na,good\n", b"\xff\xfe\x00\x01"]
)
def test_a_table_that_is_gone_or_another_gives_nothing(
    content: bytes | None, tmp_path: Path, made: Callable[..., FeatureStore]
) -> None:
    table = table_of(ROWS, tmp_path / "t.csv")
    store = made(table, column="text", id_column="id")
    table.unlink()
    if content is not None:
        table.write_bytes(content)
    assert texts_of(store, [*ROWS]) == {}
    assert source_is_named(store, "a")


def test_only_sources_that_this_user_named_are_opened(
    tmp_path: Path, made: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(table_of(ROWS, tmp_path / "t.csv"), column="text", id_column="id")
    forget(monkeypatch, tmp_path)
    opened: list[object] = []
    monkeypatch.setattr(texts, "TextTable", lambda *args: opened.append(args))
    assert texts_of(store, [*ROWS]) == {}
    assert not source_is_named(store, "a")
    assert opened == []
    monkeypatch.undo()
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "third cache"))
    note_named("root", str(tmp_path))  # the folder that the table is in
    assert texts_of(store, [*ROWS]) == ROWS


def test_ids_of_a_folder_do_not_climb_out_of_what_was_named(
    tmp_path: Path, made: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all" / "mine").mkdir(parents=True)
    (tmp_path / "all" / "secret.txt").write_text("good")
    (tmp_path / "all" / "mine" / "a.txt").write_text("good")
    store = made(tmp_path / "all")
    forget(monkeypatch, tmp_path)
    note_named("root", str(tmp_path / "all" / "mine"))
    assert texts_of(store, store.ids()) == {"mine/a.txt": "good"}
    deep = "a/" * 30_000 + "b.txt"
    assert not source_is_named(store, deep)
    assert not source_is_named(store, "../all/secret.txt")


@pytest.mark.parametrize("root", ["{}/t.csv", "{}", "{}/none.jsonl", "{}/t.exe", "", "{}/pipe.csv"])
def test_a_store_that_names_what_is_no_table_of_texts_gives_nothing(
    root: str, tmp_path: Path, made: Callable[..., FeatureStore]
) -> None:
    store = made(table_of(ROWS, tmp_path / "t.csv"), column="text", id_column="id")
    note_named("root", str(tmp_path))
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "t.exe").write_text("id,text\na,good. good\n")
    lying = with_provenance(store, root=root.format(tmp_path), read_columns={"text": "no", "id": "id"})
    assert texts_of(lying, [*ROWS]) == {}


def test_kept_texts_need_no_table(
    tmp_path: Path, made: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {f"{i:04d}": f"good {i}" for i in range(1100)}  # two parts, one of two row groups
    table = table_of(rows, tmp_path / "t.csv")
    store = made(table, column="text", id_column="id", keep_text=True, part_rows=700)
    table.unlink()
    forget(monkeypatch, tmp_path)
    assert texts_of(store, list(rows)) == rows
    few = [f"{i:04d}" for i in (1099, 0, 511, 512, 700, 699, 31, 32)]
    assert texts_of(store, few) == {key: rows[key] for key in few}


def test_a_table_is_read_once_for_many_rows(
    tmp_path: Path, made: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {f"{i:03d}": f"good {i}" for i in range(100)}
    store = made(table_of(rows, tmp_path / "t.csv"), column="text", id_column="id", part_rows=30)
    opened: list[Path] = []

    def counted(path: Path, *args: Any) -> TextTable:
        opened.append(path)
        return TextTable(path, *args)

    monkeypatch.setattr(texts, "TextTable", counted)
    assert texts_of(store, list(rows)) == rows
    assert opened == [tmp_path / "t.csv"]


def test_a_damaged_part_is_told(tmp_path: Path, made: Callable[..., FeatureStore]) -> None:
    store = made(table_of(ROWS, tmp_path / "t.csv"), column="text", id_column="id", keep_text=True)
    [part] = parts.list_parts(store.path)
    group = pq.read_metadata(part).row_group(0)
    column = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == "text")
    content = bytearray(part.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 8] ^= 0xFF
    part.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        texts_of(store, ["a"])


def test_rows_with_their_texts(tmp_path: Path, made: Callable[..., FeatureStore]) -> None:
    store = made(table_of(ROWS, tmp_path / "t.csv"), column="text", id_column="id")
    rows = [{"id": "c", "n": 1}, {"id": "none", "n": 2}]
    wanted = [{"id": "c", "n": 1, "text": "x" * 500 + "..."}, {"id": "none", "n": 2, "text": None}]
    assert with_texts(rows, store.path) == wanted
    assert rows == [{"id": "c", "n": 1}, {"id": "none", "n": 2}]
    assert with_texts([{"medoid": "a"}], str(store.path), "medoid") == [{"medoid": "a", "text": ROWS["a"]}]
    assert json.dumps(with_texts(rows, store.path))


def test_a_store_of_pictures_and_none_have_no_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[..., FeatureStore]
) -> None:
    pictures = write_store(tmp_path / "pictures", np.ones((2, 4)), ids=["a", "b"])
    assert texts_of(pictures, ["a"]) == {}
    made(table_of(ROWS, tmp_path / "t.csv"), column="text", id_column="id")
    monkeypatch.chdir(tmp_path / "store")
    assert text_store(".") is not None
    for path in (pictures.path, tmp_path / "none", ""):
        assert text_store(path) is None
        assert with_texts([{"id": "a"}], path) == [{"id": "a"}]


def test_the_beginning_of_a_text() -> None:
    assert beginning("abc", 3) == "abc"
    assert beginning("abcd", 3) == "abc..."
    assert beginning("a   bcd", 3) == "a..."
    assert beginning("") == ""


def test_kept_texts_are_read_only_where_they_are_asked_for(
    tmp_path: Path, tiny_texts: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {f"t{i}": f"text number {i}" for i in range(7)}
    table = tmp_path / "t.csv"
    table.write_text("key,text\n" + "".join(f"{key},{text}\n" for key, text in kept.items()))
    extract(
        table, tmp_path / "s", backbone=tiny_texts.path, column="text", id_column="key", keep_text=True, part_rows=3
    )
    read, asked = parts.read_part, list[str]()

    def noted(path: Path, columns: list[str] | None = None) -> Any:
        asked.extend(columns or ["all"])
        return read(path, columns)

    monkeypatch.setattr(parts, "read_part", noted)
    store = FeatureStore.open(tmp_path / "s")
    assert store.ids() == list(kept)
    assert "text" not in store.rows().column_names
    assert not {"text", "all"} & {*asked}
    assert dict(zip(*store.rows(["id", "text"]).to_pydict().values(), strict=True)) == kept
