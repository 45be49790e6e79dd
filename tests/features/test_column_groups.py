"""Groups of further columns: in a store where they were asked for, and kept from then on."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxengine.collect.item import Item
from fxengine.errors import InputError, StoreError
from fxengine.features import parts, schema
from fxengine.features.dump import dump
from fxengine.features.known import Known, Plan, make_plan, new_items
from fxengine.features.parts import Row, read_provenance
from fxengine.features.read import FeatureStore
from fxengine.features.row_numbers import renumber
from fxengine.features.schema import COLUMN_GROUPS, FEATURE, METADATA_KEY, Provenance, part_schema, united_groups
from fxengine.features.update import Movable, StoreUpdate
from fxengine.features.write import check_fits, rewrite_part
from fxengine.neighbours.index import Index
from fxengine.reduce.fit import pca
from tests.features.test_parts import provenance

# What the version before groups wrote for `provenance()`.
BEFORE = (
    b'{"decoder": "d", "dim": 4, "dtype": "float16", "engine": "e", "format": 1, "int8": "", "layers": {}, '
    b'"limits": {}, "next_row": 0, "precision": "fp32", "provider": "p", "recipe": {}, "root": "/photos", '
    b'"source": "tiny", "space": "' + b"s" * 64 + b'", "tried": [], "versions": {}}'
)
TEXT = (pa.field("tokens", pa.int32()), pa.field("truncated", pa.bool_()))
QUALITY = (pa.field("sharpness", pa.float32()),)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that knows two groups, in this order."""
    monkeypatch.setitem(COLUMN_GROUPS, "text", TEXT)
    monkeypatch.setitem(COLUMN_GROUPS, "quality", QUALITY)


def values(content: int) -> dict[str, object]:
    return {"tokens": content, "truncated": content % 2 == 0, "sharpness": content / 4}


def computed(number: int, item: Item, wanted: list[str]) -> Row:
    """The row of an input, whose size says its content; the content 1 cannot be read."""
    content = item.size
    if content == 1:
        return Row(number, item, f"hash{content}", None, None, "corrupt", "It is broken.")
    names = [each.name for group in wanted for each in COLUMN_GROUPS[group]]
    further = {name: values(content)[name] for name in names}
    return Row(number, item, f"hash{content}", 6, 4, None, None, further)


def vector(row: Row) -> dict[str, np.ndarray] | None:
    return None if row.error_code else {FEATURE: np.full(4, row.item.size, np.float16)}


def run(folder: Path, inputs: dict[str, int], asked: tuple[str, ...] = (), stop: int | None = None) -> Plan:
    """Bring a store up to date as `extract` does; with `stop`, be interrupted after so many rows."""
    folder.mkdir(exist_ok=True)
    items = [Item(key, "", content, content) for key, content in sorted(inputs.items())]
    known = Known.read(parts.list_parts(folder))
    wanted = united_groups(map(read_provenance, known.paths), asked)
    plan = make_plan(known, items, groups=wanted)
    update = StoreUpdate(folder, provenance(groups=wanted), plan, known.next_row, part_rows=3)
    movable = Movable(plan.missing, folder / "nothing is here")
    again = [(part, row, item) for part, rows in plan.again.items() for row, item in rows]
    for part, number, item in again[:stop]:
        row = computed(number, item, wanted)
        update.replace(part, row, vector(row))
    if stop is not None:
        update.commit()
        return plan
    for item in new_items(known, items):
        digest = f"hash{item.size}"
        moved = movable.stored(digest) if digest in movable else None
        claimed = movable.claim(digest) if digest in movable else None
        row = computed(claimed[1] if claimed else update.next_row, item, wanted)
        update.append(row._replace(further=moved.further) if moved else row, moved.vectors if moved else vector(row))
        if claimed is not None:
            update.drop(claimed[0], [claimed[1]])
    for part, number in known.superseded:
        update.drop(part, [number])
    update.finish()
    return plan


def stored(folder: Path, *columns: str) -> dict[str, tuple[object, ...]]:
    """Return the values of columns by id."""
    rows = FeatureStore.open(folder).rows(["id", *columns]).to_pylist()
    return {row["id"]: tuple(row[name] for name in columns) for row in rows}


INPUTS = {"a": 2, "b": 1, "c": 3, "d": 4, "e": 5}


def test_a_store_without_groups_is_what_it_was(tmp_path: Path, groups: None) -> None:
    assert provenance().to_metadata() == {METADATA_KEY: BEFORE}
    assert part_schema(provenance()).names[-2:] == ["error", FEATURE]
    run(tmp_path, INPUTS)
    opened = FeatureStore.open(tmp_path)
    assert opened.groups == ()
    assert opened.rows().column_names == part_schema(provenance()).names[:-1]
    assert b"groups" not in pq.read_schema(opened._parts[0]).metadata[METADATA_KEY]


def test_columns_stand_at_the_end_in_the_order_of_the_table(tmp_path: Path, groups: None) -> None:
    made = provenance(groups=["quality", "text"], layers={"early": 2})
    added = part_schema(made)
    assert added.names[-5:] == [FEATURE, "feature@early", "tokens", "truncated", "sharpness"]
    assert [added.field(name).nullable for name in added.names[-3:]] == [True] * 3
    rows = [computed(i, Item(key, "", content, 0), ["text"]) for i, (key, content) in enumerate(INPUTS.items())]
    vectors = {FEATURE: np.zeros((5, 4), np.float16), "feature@early": np.zeros((5, 2), np.float16)}
    path = parts.part_path(tmp_path, 0)
    parts.write_part(parts.part_table(rows, vectors, made), path)
    read = parts.read_part(path)
    assert read.schema.equals(added)
    assert read_provenance(path) == made
    assert read["tokens"].to_pylist() == [2, None, 3, 4, 5]  # one could not be read
    assert read["sharpness"].null_count == 5  # was not given
    assert parts.read_part(path, ["truncated", "id"]).column_names == ["truncated", "id"]


def test_a_group_that_is_added_computes_fine_rows_again(tmp_path: Path, groups: None) -> None:
    run(tmp_path, INPUTS)
    assert run(tmp_path, INPUTS).widened == 0
    plan = run(tmp_path, {**INPUTS, "a": 6}, ("text",))
    assert (plan.changed, plan.widened, plan.unchanged, plan.new) == (1, 3, 1, 0)
    assert FeatureStore.open(tmp_path).groups == ("text",)
    assert stored(tmp_path, "row", "tokens", "truncated") == {
        "a": (0, 6, True), "b": (1, None, None), "c": (2, 3, False), "d": (3, 4, True), "e": (4, 5, False),
    }  # fmt: skip
    plan = run(tmp_path, INPUTS, ("quality",))  # "a" is what it was, and the text is kept
    assert (plan.changed, plan.widened) == (1, 3)
    assert FeatureStore.open(tmp_path).groups == ("text", "quality")
    assert stored(tmp_path, "tokens", "sharpness")["d"] == (4, 1.0)


def test_an_interrupted_run_is_resumed_row_by_row(tmp_path: Path, groups: None) -> None:
    run(tmp_path, INPUTS)  # parts of 3 and 2
    assert run(tmp_path, INPUTS, ("text",), stop=1).widened == 4
    assert [read_provenance(path).groups for path in parts.list_parts(tmp_path)] == [["text"], []]
    assert stored(tmp_path, "tokens") == {"a": (2,), "b": (None,), "c": (None,), "d": (None,), "e": (None,)}
    for path in parts.list_parts(tmp_path):
        check_fits(read_provenance(path), provenance(groups=["text"]), tmp_path)
    plan = run(tmp_path, INPUTS)  # nobody asks any more: the store has the group
    assert plan.widened == 3
    assert stored(tmp_path, "tokens") == {"a": (2,), "b": (None,), "c": (3,), "d": (4,), "e": (5,)}
    assert run(tmp_path, INPUTS).again == {}


def test_an_earlier_group_that_is_added_later_stands_before(tmp_path: Path, groups: None) -> None:
    run(tmp_path, INPUTS, ("quality",))
    run(tmp_path, INPUTS, ("text",), stop=1)
    first = parts.read_part(parts.list_parts(tmp_path)[0])
    assert first.schema.equals(part_schema(provenance(groups=["text", "quality"])))
    assert first.select(["tokens", "sharpness"]).to_pydict() == {
        "tokens": [2, None, None], "sharpness": [0.5, None, 0.75],
    }  # fmt: skip


def test_rewrites_keep_what_they_do_not_compute(tmp_path: Path, groups: None) -> None:
    run(tmp_path, INPUTS, ("text",))
    path = parts.list_parts(tmp_path)[0]
    rewrite_part(path, provenance(), relabel={0: ("cats", "train")}, drop=[1])
    assert parts.read_part(path, ["id", "label", "tokens"]).to_pydict() == {
        "id": ["a", "c"], "label": ["cats", None], "tokens": [2, 3],
    }  # fmt: skip
    # By a writer that gives no values (of an older plan), and so for another content: null, not what it was.
    row = computed(2, Item("c", "", 9, 9), [])
    rewrite_part(path, provenance(), again={2: (row, vector(row))})
    assert parts.read_part(path, ["id", "tokens"]).to_pydict() == {"id": ["a", "c"], "tokens": [2, None]}
    assert read_provenance(path).groups == ["text"]
    assert parts.read_part(path).schema.equals(part_schema(read_provenance(path)))
    assert run(tmp_path, {**INPUTS, "c": 9}).widened == 1


def test_a_moved_row_takes_its_values_along(tmp_path: Path, groups: None) -> None:
    run(tmp_path, INPUTS, ("text", "quality"))
    moved = {**{key: content for key, content in INPUTS.items() if key != "d"}, "z": 4}
    run(tmp_path, moved)
    assert stored(tmp_path, "row", "tokens", "truncated", "sharpness")["z"] == (3, 4, True, 1.0)
    assert "d" not in stored(tmp_path)


def test_a_row_that_moves_before_it_was_widened_is_widened_later(tmp_path: Path, groups: None) -> None:
    run(tmp_path, INPUTS)
    moved = {**{key: content for key, content in INPUTS.items() if key != "d"}, "z": 4}
    run(tmp_path, moved, ("text",))
    assert stored(tmp_path, "row", "tokens")["z"] == (3, None)
    assert run(tmp_path, moved).widened == 1
    assert stored(tmp_path, "row", "tokens")["z"] == (3, 4)


def test_new_numbers_keep_the_columns(tmp_path: Path, groups: None) -> None:
    run(tmp_path, INPUTS, ("text",))
    run(tmp_path / "other", {"x": 7}, ("text",))
    parts.list_parts(tmp_path / "other")[0].replace(parts.part_path(tmp_path, 9))
    renumber(parts.list_parts(tmp_path))
    assert stored(tmp_path, "tokens")["x"] == (7,)
    assert stored(tmp_path, "row")["x"] != (0,)


def test_a_group_that_a_version_does_not_know_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setitem(COLUMN_GROUPS, "sound", TEXT)
        made = provenance(groups=["sound"], versions={"fxengine": "9.9"})
        row = computed(0, Item("a", "", 2, 2), ["sound"])
        path = parts.part_path(tmp_path, 0)
        parts.write_part(parts.part_table([row], {FEATURE: np.ones((1, 4), np.float16)}, made), path)
    for read in (lambda: FeatureStore.open(tmp_path), lambda: Known.read([path]), lambda: parts.read_part(path)):
        with pytest.raises(StoreError, match=r"written by fxengine 9.9 and has the column group 'sound', which this"):
            read()


@pytest.mark.parametrize("broken", ["text", [1], {"text": 1}, None])
def test_groups_that_are_no_list_of_names_are_broken(broken: object, groups: None) -> None:
    raw = json.dumps({**json.loads(BEFORE), "groups": broken}).encode()
    with pytest.raises(StoreError, match="part is damaged: 'groups' cannot be"):
        Provenance.from_schema(pa.schema([], metadata={METADATA_KEY: raw}), "part")


def test_a_column_of_a_group_that_is_not_there_or_of_another_type_is_damage(tmp_path: Path, groups: None) -> None:
    path = parts.part_path(tmp_path, 0)
    run(tmp_path, {"a": 2}, ("text",))
    table = parts.read_part(path)
    for changed, problem in (
        (table.drop_columns(["tokens"]), "it has 0 columns 'tokens'"),
        (table.set_column(12, "tokens", pa.array(["2"])), "column 'tokens' is of type string, not int32"),
    ):
        pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path, write_page_checksum=True)
        with pytest.raises(StoreError, match=problem):
            parts.read_part(path)


def test_a_column_of_a_group_that_the_part_does_not_name_is_damage(tmp_path: Path, groups: None) -> None:
    path = parts.part_path(tmp_path, 0)
    run(tmp_path, {"a": 2}, ("text",))
    table = parts.read_part(path)
    facts = {**json.loads(table.schema.metadata[METADATA_KEY]), "groups": []}
    pq.write_table(
        table.replace_schema_metadata({METADATA_KEY: json.dumps(facts).encode()}), path, write_page_checksum=True
    )
    with pytest.raises(StoreError, match="it has a column 'tokens', and does not say of which group"):
        parts.read_part(path, ["id", "tokens"])
    assert parts.read_part(path, ["id"])["id"].to_pylist() == ["a"]


def test_the_union_of_groups(groups: None) -> None:
    made = [provenance(groups=["quality"]), provenance()]
    assert united_groups(made) == ["quality"]
    assert united_groups(made, ["text"]) == ["text", "quality"]
    assert united_groups([]) == []
    with pytest.raises(InputError, match=r"There is no column group 'x'. Available: text, kept_text, quality\."):
        united_groups(made, ["x"])


def test_a_version_without_groups_says_so() -> None:
    message = rf"There is no column group 'x'. Available: {', '.join(COLUMN_GROUPS) or 'none in this version'}\."
    with pytest.raises(InputError, match=message):
        united_groups([], ["x"], knows_words=True, remote=True)


def check_table() -> None:
    names = [*part_schema(provenance()).names, "part", "at"]  # the last two are what readers append
    for columns in COLUMN_GROUPS.values():
        assert columns
        for column in columns:
            assert column.nullable
            assert not pa.types.is_nested(column.type)
            assert not schema.is_vector_column(column.name)
            names.append(column.name)
    assert len(set(names)) == len(names)


def test_every_group_keeps_the_rules(monkeypatch: pytest.MonkeyPatch, groups: None) -> None:
    check_table()
    for bad in (pa.field("x", pa.int32(), nullable=False), pa.field("x", pa.list_(pa.int8())), pa.field("id", "str")):
        monkeypatch.setitem(COLUMN_GROUPS, "bad", (bad,))
        with pytest.raises(AssertionError):
            check_table()


def test_any_parquet_reader_opens_parts_with_and_without_the_columns(tmp_path: Path, groups: None) -> None:
    run(tmp_path, INPUTS)
    run(tmp_path, INPUTS, ("text",), stop=2)
    found = duckdb.execute(
        f"select id, tokens from read_parquet('{tmp_path}/part-*.parquet', union_by_name=true) order by id"
    ).fetchall()
    assert found == [("a", 2), ("b", None), ("c", 3), ("d", None), ("e", None)]
    files = [str(path) for path in parts.list_parts(tmp_path)]
    joined = ds.dataset(files, schema=pa.unify_schemas([pq.read_schema(file) for file in files]))
    assert joined.to_table(columns=["id", "tokens"]).to_pydict()["tokens"] == [2, None, 3, None, None]
    plain = duckdb.execute(f"select id, feature from '{tmp_path}/part-*.parquet'").fetchall()
    assert len(plain) == 5  # what is in all of them needs no union


def test_readers_and_filters_name_the_columns(tmp_path: Path, groups: None) -> None:
    run(tmp_path, INPUTS)
    run(tmp_path, INPUTS, ("text",), stop=3)
    opened = FeatureStore.open(tmp_path)
    assert opened.rows(["id", "truncated"]).to_pylist()[0] == {"id": "a", "truncated": True}
    assert opened.rows().column_names[-3:] == ["error", "tokens", "truncated"]
    query = np.ones((1, 4), np.float32)
    near = Index.exact(opened).search(query, 4, where="tokens >= 3")
    assert near.ids == [["c", "d"]]
    assert sorted(Index.exact(opened).search(query, 4, where="tokens is None").ids[0]) == ["e"]
    dump(tmp_path, tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet")["id"].to_pylist() == ["a", "c", "d", "e"]


def test_a_reduced_store_keeps_the_columns(tmp_path: Path, groups: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        fingerprint = "r" * 64

    monkeypatch.setattr("fxengine.reduce.fit.load_backbone", lambda _: Found)
    run(tmp_path / "store", INPUTS)
    run(tmp_path / "store", INPUTS, ("text",), stop=2)  # one part has the group, the other not yet
    pca(tmp_path / "store", tmp_path / "pca.onnx", dim=1, reduced=tmp_path / "reduced")
    assert stored(tmp_path / "reduced", "tokens") == stored(tmp_path / "store", "tokens")


inputs_of_a_run = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 6), min_size=1)
asked_groups = st.sampled_from([(), ("text",), ("quality",)])
stops = st.none() | st.integers(0, 4)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(inputs_of_a_run, asked_groups, stops), min_size=1, max_size=6))
def test_no_sequence_of_runs_loses_or_mixes_values(
    steps: list[tuple[dict[str, int], tuple[str, ...], int | None]],
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        patch.setitem(COLUMN_GROUPS, "text", TEXT)
        patch.setitem(COLUMN_GROUPS, "quality", QUALITY)
        (first, asked, _), *others = steps
        run(Path(name), first, asked)
        before = state(Path(name))
        for inputs, asked, stop in others:
            run(Path(name), inputs, asked, stop)
            now = state(Path(name))
            check_step(before, now)
            before = now
        last = steps[-1][0]
        for _ in range(2):  # the second for rows that the first one moved
            run(Path(name), last)
        has = FeatureStore.open(Path(name)).provenance.further
        for row in state(Path(name)).values():
            if row["id"] in last and row["error_code"] is None:
                assert [row[each.name] for each in has] == [values(row["size"])[each.name] for each in has]


def state(folder: Path) -> dict[int, dict[str, Any]]:
    """Return a store's rows by number; every part has the columns that it says."""
    for path in parts.list_parts(folder):
        assert parts.read_part(path).schema.equals(part_schema(read_provenance(path)))
    rows = FeatureStore.open(folder).rows().to_pylist()
    found = {row["row"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def check_step(before: dict[int, dict[str, Any]], now: dict[int, dict[str, Any]]) -> None:
    """Every value is that of its row's content, and none went away while the content stayed."""
    for number, row in now.items():
        for column in values(1).keys() & row.keys():
            assert row[column] in (None, values(row["size"])[column] if row["error_code"] is None else None)
            old = before.get(number)
            if old is not None and old["size"] == row["size"]:
                assert old.get(column) in (None, row[column])
