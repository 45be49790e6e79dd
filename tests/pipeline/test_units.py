"""Units: one a part, their rows numbered before anything is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine import FeatureStore, Summary, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import collect
from fxengine.collect.item import Item
from fxengine.decode import preparer_for
from fxengine.execute import open_session
from fxengine.features.known import Plan
from fxengine.features.update import StoreUpdate
from fxengine.pipeline.plan import Asked, plan_run
from fxengine.pipeline.run import run
from fxengine.pipeline.sink import Sink
from fxengine.pipeline.summary import Watch
from fxengine.pipeline.threads import Pipeline, Steps
from fxengine.pipeline.units import Move, NewRows, Unit, make_units, tasks_of

STORE = Path("/nowhere")


def item(number: int) -> Item:
    return Item(f"{number:05d}", f"/photos/{number}", 10, 20)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 100), st.sets(st.integers(0, 39)))
def test_new_rows_fill_parts_and_are_numbered_without_a_gap(
    count: int, part_rows: int, first: int, moved: set[int]
) -> None:
    old = STORE / "part-000000.parquet"
    moves = {item(i).key: Move(item(i)._replace(size=11), "hash", old, 1000 + i) for i in moved if i < count}
    made = [*make_units(STORE, Plan(), NewRows(map(item, range(count)), moves, first, part_rows))]
    units, tasks = [unit.part.name for unit in made], [unit.tasks for unit in made]
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


@pytest.mark.parametrize("order", [1, -1])
def test_units_run_each_by_itself_make_the_store_of_one_run(
    photos: Path, tmp_path: Path, tiny: BackboneFile, order: int
) -> None:
    """Each in a store's folder of its own, as on another machine, first to last or last to first."""
    extract(photos, tmp_path / "whole", backbone=tiny.path, part_rows=8, dtype="float32")
    expected = FeatureStore.open(tmp_path / "whole")
    made = plan_run(tiny, collect(photos), tmp_path / "none", Asked(tiny.path, "float32", None, None, False))
    units = [*make_units(tmp_path / "none", made.plan, NewRows(made.new_items(), {}, 0, 8))][::order]
    assert len(units) == 3
    found: list[tuple[dict[str, object], np.ndarray]] = []
    for unit in units:
        folder = tmp_path / unit.part.stem
        folder.mkdir()
        tasks = tuple(task._replace(part=folder / "part-000000.parquet") for task in unit.tasks)
        session = open_session(tiny.path, "cpu")
        wanted = replace(made.provenance, precision="fp32", engine="e", provider="p", decoder="d")
        update = StoreUpdate(folder, wanted, Plan(), tasks[0].row, 8)
        sink = Sink(update, made.movable, Plan(new=len(tasks)), Summary("s", "b"), made.columns, "float32")
        steps = Steps(made.inputs.read, made.limits.max_bytes, preparer_for(tiny.recipe), session, tuple(made.columns))
        run([Unit(folder / "part-000000.parquet", tasks)], Pipeline(steps, 2), sink, Watch())
        store = FeatureStore.open(folder)
        found += zip(store.rows(["row", "id", "content_hash"]).to_pylist(), store.vectors(), strict=True)
    found.sort(key=lambda pair: str(pair[0]["id"]))
    assert [row for row, _ in found] == expected.rows(["row", "id", "content_hash"]).to_pylist()
    np.testing.assert_allclose(np.stack([vector for _, vector in found]), expected.vectors(), rtol=1e-5, atol=1e-6)
