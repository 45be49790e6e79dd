from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fxengine.collect.item import Item
from fxengine.features import parts
from fxengine.features.known import Known, make_plan, new_items
from fxengine.features.parts import Row
from fxengine.features.schema import ETAG_GROUP, FEATURE
from tests.features.test_parts import provenance


def store(folder: Path, groups: list[list[Row]], next_row: int = 100) -> Known:
    for number, rows in enumerate(groups):
        vectors = np.ones((len(rows), 4), np.float16)
        parts.write_part(
            parts.part_table(rows, {FEATURE: vectors}, provenance(next_row=next_row)), parts.part_path(folder, number)
        )
    return Known.read(parts.list_parts(folder))


def known_row(number: int, key: str, error_code: str | None = None, label: str | None = None) -> Row:
    return Row(number, Item(key, "", 10, 20, label), "h", 1, 1, error_code, "why" if error_code else None)


def test_each_input_gets_its_verdict(tmp_path: Path) -> None:
    known = store(tmp_path, [
        [known_row(0, "a"), known_row(1, "b"), known_row(2, "c", "corrupt"), known_row(3, "d", "io")],
        [known_row(4, "A"), known_row(5, "gone"), known_row(6, "moved-label", label="old")],
    ])  # fmt: skip
    listing = [
        Item("A", "", 10, 20), Item("a", "", 10, 20), Item("b", "", 10, 21), Item("c", "", 10, 20),
        Item("d", "", 10, 20), Item("moved-label", "", 10, 20, "new"), Item("z", "", 1, 1),
    ]  # fmt: skip
    plan = make_plan(known, listing)
    first, second = known.paths
    assert (plan.new, plan.unchanged, plan.changed, plan.retried) == (1, 4, 1, 1)
    assert [(row, item.key) for row, item in plan.again[first]] == [(1, "b"), (3, "d")]
    assert plan.relabel == {second: {6: ("new", None)}}
    assert plan.missing == {second: [5]}
    assert [item.key for item in new_items(known, listing)] == ["z"]
    retried = make_plan(known, listing, retry_failed=True)
    assert [item.key for _, item in retried.again[first]] == ["b", "c", "d"]


def test_an_etag_decides_where_both_have_one(tmp_path: Path) -> None:
    rows = [replace_etag(known_row(i, key), etag) for i, (key, etag) in enumerate([("a", "1"), ("b", "1"), ("c", "")])]
    made = provenance(groups=[ETAG_GROUP])
    parts.write_part(parts.part_table(rows, {FEATURE: np.ones((3, 4), np.float16)}, made), parts.part_path(tmp_path, 0))
    known = Known.read(parts.list_parts(tmp_path))
    later = [Item("a", "", 10, 99, etag="1"), Item("b", "", 10, 20, etag="2"), Item("c", "", 10, 20, etag="3")]
    plan = make_plan(known, later, groups=[ETAG_GROUP])
    assert [item.key for _, item in plan.again[known.paths[0]]] == ["b"]
    assert (plan.unchanged, plan.changed, plan.widened) == (2, 1, 0)
    without = [Item("a", "", 10, 99, etag=""), Item("b", "", 11, 20, etag="1"), Item("c", "", 10, 21, etag="")]
    assert make_plan(known, without, groups=[ETAG_GROUP]).changed == 3


def replace_etag(row: Row, etag: str) -> Row:
    return row._replace(further={ETAG_GROUP: etag})


def test_the_older_half_of_a_rename_is_superseded(tmp_path: Path) -> None:
    known = store(tmp_path, [[known_row(0, "old"), known_row(1, "x")], [known_row(0, "new")]])
    assert known.table["id"].to_pylist() == ["new", "x"]
    assert known.superseded == [(known.paths[0], 0)]


def test_an_empty_store_knows_nothing(tmp_path: Path) -> None:
    known = Known.read([])
    assert (len(known), known.next_row) == (0, 0)
    assert make_plan(known, [Item("a", "", 1, 1)]).new == 1


def test_next_row_is_the_highest_that_any_part_saw(tmp_path: Path) -> None:
    assert store(tmp_path, [[known_row(3, "a")]], next_row=42).next_row == 42


names = st.lists(st.text("aAé/.\\𝄞", min_size=1, max_size=4), unique=True, max_size=12)


@given(names, names)
def test_the_merge_splits_into_known_new_and_missing(stored: list[str], listed: list[str]) -> None:
    import pyarrow as pa

    ordered = sorted(stored, key=str.encode)
    rows = [known_row(i, key) for i, key in enumerate(ordered)]
    table = parts.part_table(rows, {FEATURE: np.ones((len(rows), 4), np.float16)}, provenance())
    table = table.append_column("part", pa.array(np.zeros(len(rows), np.int32)))
    known = replace(Known.read([]), table=table, paths=[Path("p")])
    listing = [Item(key, "", 10, 20) for key in sorted(listed, key=str.encode)]
    plan = make_plan(known, listing)
    assert plan.new == len(set(listed) - set(stored))
    assert plan.unchanged == len(set(listed) & set(stored))
    assert {ordered[row] for row in plan.missing.get(Path("p"), [])} == set(stored) - set(listed)
    assert {item.key for item in new_items(known, listing)} == set(listed) - set(stored)
