"""Units: one a part, their rows numbered before anything is computed."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fxengine.collect.item import Item
from fxengine.features.known import Plan
from fxengine.pipeline.units import Move, NewRows, make_units, tasks_of

STORE = Path("/nowhere")


def item(number: int) -> Item:
    return Item(f"{number:05d}", f"/photos/{number}", 10, 20)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 100), st.sets(st.integers(0, 39)))
def test_new_rows_fill_parts_and_are_numbered_without_a_gap(
    count: int, part_rows: int, first: int, moved: set[int]
) -> None:
    old = STORE / "part-000000.parquet"
    moves = {item(i).key: Move(item(i)._replace(size=11), "hash", old, 1000 + i) for i in moved if i < count}
    units, tasks = [], []
    for unit in make_units(STORE, Plan(), NewRows(map(item, range(count)), moves, first, part_rows)):
        units.append(unit.part.name)
        tasks.append([*unit.tasks])
    assert units == [f"part-{i:06d}.parquet" for i in range(-(-count // part_rows))]
    assert all(len(each) == part_rows for each in tasks[:-1])
    flat = [task for each in tasks for task in each]
    assert [task.item.key for task in flat] == [item(i).key for i in range(count)]
    fresh = [task for task in flat if task.move is None]
    assert [task.row for task in fresh] == list(range(first, first + len(fresh)))
    for task in flat:
        if task.move is not None:
            assert (task.row, task.item) == (task.move.row, task.move.item)
    assert {task.part.name for each, name in zip(tasks, units, strict=True) for task in each if task.part} == set(units)


def test_rows_of_the_store_come_before_new_ones() -> None:
    old = STORE / "part-000003.parquet"
    plan = Plan(new=1, again={old: [(7, item(1)), (9, item(2))]})
    found = [*tasks_of(make_units(STORE, plan, NewRows([item(0)], {}, 20, 8)))]
    assert [(task.item.key, task.row, task.part) for task in found] == [
        ("00001", 7, old), ("00002", 9, old), ("00000", 20, STORE / "part-000000.parquet"),
    ]  # fmt: skip
