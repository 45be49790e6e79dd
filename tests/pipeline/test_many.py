"""Plans, units and shares: whoever computes a unit, and how often, the store is that of one process."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from fxengine import DeviceError, FeatureStore, InputError, StoreError, StoreLocked, Summary, extract
from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.features.lock import locked
from fxengine.features.parts import list_parts, read_part, read_provenance
from fxengine.features.schema import Provenance
from fxengine.pipeline import extract as extracting
from fxengine.pipeline import many
from fxengine.pipeline.driver import Outcome
from fxengine.pipeline.many import finish_plan, rows_of_a_unit, shut, workers_of
from fxengine.pipeline.run_state import run_facts
from fxengine.pipeline.shards import shard_of
from fxengine.pipeline.unit_plan import UnitPlan, open_plan, plan_path
from fxengine.pipeline.unit_runner import Asked, News, UnitRunner, from_list
from fxengine.pipeline.unit_sink import UnitResult
from fxengine.pipeline.unit_worker import open_runner
from fxengine.ui.info import info
from tests.conftest import make_photo, tiny_model
from tests.workers import leftovers, same_rows

PART_ROWS = 6


class Stop(Exception):
    """Stands in for a driver that dies once its plan is written."""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The driver dies as soon as there is a plan, until it is undone."""

    def die(*_: object) -> None:
        raise Stop

    monkeypatch.setattr(extracting, "run_plan", die)
    return monkeypatch


def planned(photos: Path, store: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch, **options: Any) -> UnitPlan:
    """Return the plan that a driver left which died at once."""
    with pytest.raises(Stop):
        extract(photos, store, backbone=tiny.path, part_rows=PART_ROWS, workers=2, **options)
    dying.undo()
    return UnitPlan(store)


def run_units(plan: UnitPlan, *units: int, decoders: int = 2) -> list[tuple[int, bool]]:
    """Compute units in this process; return of each whether it was made here."""
    runner = UnitRunner(plan, decoders)
    done = [(each.unit, each.made) for each in runner.run(from_list(map(Asked, units)), News())]
    runner.close()
    return done


def test_a_plan_says_everything_before_anything_is_computed(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    plan = planned(photos, store, tiny, dying)
    assert plan.rows == [6, 6, 6, 2]
    assert (plan.facts.first_part, plan.facts.next_row, plan.facts.again) == (0, 20, ())
    assert plan.facts.provenance.precision == "fp32"
    assert [plan.target(number).name for number in range(4)] == [f"part-{n:06d}.parquet" for n in range(4)]
    tasks = [task for number in range(4) for task in plan.unit(number).tasks]
    assert [task.row for task in tasks] == list(range(20))
    assert [task.item.key for task in tasks] == sorted(
        (str(path.relative_to(photos)) for path in photos.rglob("*.jpg")), key=str.encode
    )
    assert (store / ".next_row").read_text() == "20\n"
    assert list_parts(store) == []


@pytest.mark.parametrize(
    ("count", "workers", "rows"),
    [
        (1_000_000, 8, 8192),  # 123 units, fifteen for each
        (10_000, 2, 625),  # sixteen, not one of 8,192 and one of 1,808
        (10_000, 1, 8192),
        (10_000, 0, 8192),  # a cluster has as many as it has
        (1000, 2, 167),  # six of 128 rows at least, three for each, where seven would be four and three
        (500, 8, 167),  # a worker takes as long to start as for some of them
        (100, 8, 100),
        (0, 2, 1),
    ],
)
def test_units_are_small_enough_for_every_worker_to_have_some(count: int, workers: int, rows: int) -> None:
    assert rows_of_a_unit(count, workers, 8192) == rows
    assert rows_of_a_unit(count, workers, 5) <= 5  # as a person wished


def test_a_run_of_few_rows_has_a_unit_for_each_worker_and_the_same_rows(
    tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch, photos: Path
) -> None:
    extract(photos, tmp_path / "one", backbone=tiny.path)
    store = tmp_path / "two"
    dying.setattr(many, "_FEWEST_ROWS", 5)
    with pytest.raises(Stop):
        extract(photos, store, backbone=tiny.path, workers=2)
    plan = UnitPlan(store)
    assert plan.rows == [5, 5, 5, 5]
    run_units(plan, 3, 1, 0, 2)
    finish_plan(plan)
    same_rows(store, tmp_path / "one")


def test_an_unfinished_plan_is_taken_up_before_anything_new_is_planned(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=PART_ROWS)
    store = tmp_path / "s"
    plan = planned(photos, store, tiny, dying)
    assert run_units(plan, 2, 0) == [(2, True), (0, True)]
    late = UnitRunner(plan, 2)  # of the driver that died
    make_photo(photos / "a_new.jpg", 99)
    (photos / "dogs" / "18.jpg").unlink()  # planned, and gone
    summary = extract(photos, store, backbone=tiny.path, part_rows=PART_ROWS)
    assert summary.units == 2
    assert (summary.extracted, summary.failed) == (8, {"vanished": 1})
    assert [each.made for each in late.run(from_list(map(Asked, range(4))), News())] == [False] * 4
    assert list_parts(store)[-1].name == "part-000004.parquet"
    assert open_plan(store) is None
    rows = {row["id"]: row for row in FeatureStore.open(store).rows().to_pylist()}
    assert rows["a_new.jpg"]["row"] == 20
    assert rows["dogs/18.jpg"]["error_code"] == "vanished"
    expected = {row["id"]: row["row"] for row in FeatureStore.open(tmp_path / "one").rows().to_pylist()}
    assert {key: row["row"] for key, row in rows.items() if key != "a_new.jpg"} == expected
    assert leftovers(store) == []


def test_each_part_says_which_run_and_unit_made_it(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    plan = planned(photos, tmp_path / "s", tiny, dying)
    run_units(plan, 0, 1, 2, 3)
    made = [read_provenance(path).made_in for path in list_parts(tmp_path / "s")]
    assert made == [{"run": plan.facts.run, "unit": number} for number in range(4)]
    finish_plan(plan)
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=PART_ROWS)
    assert "made_in" not in read_provenance(list_parts(tmp_path / "one")[0]).to_dict()
    same_rows(tmp_path / "s", tmp_path / "one")


def test_who_comes_second_takes_what_the_first_made(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(photos, tmp_path / "s", tiny, dying)
    assert run_units(plan, 1) == [(1, True)]
    before = plan.target(1).stat().st_ino
    assert run_units(plan, 1) == [(1, False)]
    monkeypatch.setattr(UnitPlan, "is_done", lambda *_: False)  # both began before either was done
    assert run_units(plan, 1) == [(1, False)]
    assert plan.target(1).stat().st_ino == before


def test_a_part_of_another_run_is_never_taken_for_a_units(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=PART_ROWS)
    plan = planned(photos, tmp_path / "s", tiny, dying)
    os.link(tmp_path / "one" / "part-000001.parquet", plan.target(1))
    with pytest.raises(StoreError, match="was made by no run of many workers, not by unit 1 of run"):
        run_units(plan, 1)
    with pytest.raises(StoreError, match="another process writes"):
        extract(photos, tmp_path / "s", backbone=tiny.path)


def test_changed_and_renamed_rows_end_as_those_of_one_process(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    for store in ("s", "one"):
        with pytest.MonkeyPatch.context() as patch:  # `dying` is for the second run
            patch.setattr(extracting, "run_plan", many.run_plan)
            extract(photos, tmp_path / store, backbone=tiny.path, part_rows=PART_ROWS)
    make_photo(photos / "cats" / "03.jpg", 103)
    make_photo(photos / "dogs" / "16.jpg", 116)
    (photos / "cats" / "05.jpg").rename(photos / "cats" / "zz.jpg")
    (photos / "dogs" / "02.jpg").unlink()
    make_photo(photos / "dogs" / "new.jpg", 120)
    plan = planned(photos, tmp_path / "s", tiny, dying)
    assert (plan.rows, plan.facts.again) == ([1, 1, 1], (0, 3))  # the renamed one is no work
    assert [name[:6] for name in (path.name for path in [plan.target(0), plan.target(1)])] == ["again-", "again-"]
    assert run_units(plan, 1, 0) == [(1, True), (0, True)]
    summary = extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=PART_ROWS)
    assert (summary.units, summary.moved, summary.missing) == (1, 1, 1)
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=PART_ROWS)
    same_rows(tmp_path / "s", tmp_path / "one")
    assert run_units(plan, 0) == [(0, True)]  # of a late worker: a file that nobody reads
    assert extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=PART_ROWS).unchanged == 20
    same_rows(tmp_path / "s", tmp_path / "one")


def test_merging_twice_is_as_merging_once(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extracting, "run_plan", many.run_plan)
        extract(photos, store, backbone=tiny.path, part_rows=PART_ROWS)
    make_photo(photos / "cats" / "03.jpg", 103)
    plan = planned(photos, store, tiny, dying)
    run_units(plan, 0)
    with monkeypatch.context() as patch:  # it dies between merging and removing the plan
        patch.setattr(UnitPlan, "remove", lambda _: None)
        finish_plan(plan)
    extract(photos, store, backbone=tiny.path, part_rows=PART_ROWS)
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=PART_ROWS)
    same_rows(store, tmp_path / "one")
    assert open_plan(store) is None


def test_a_late_worker_is_shut_out_of_a_unit_that_was_given_up(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    plan = planned(photos, store, tiny, dying)
    late = UnitRunner(plan, 2)
    run_units(plan, 0, 2, 3)
    finish_plan(plan, given_up=[1])
    assert len(FeatureStore.open(store)) == 14
    assert [each.made for each in late.run(from_list([Asked(1)]), News())] == [False]
    summary = extract(photos, store, backbone=tiny.path, part_rows=PART_ROWS)
    assert (summary.extracted, summary.unchanged) == (6, 14)
    assert len(FeatureStore.open(store)) == 20
    shut(plan, 1)  # once more harms nothing


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "bf16"}, "computes in bf16 on CPU.*, this worker cannot: ONNX Runtime computes in fp32"),
        ({"engine": "onnxruntime 0.1"}, "runtime is onnxruntime .*, that of the run .* is onnxruntime 0.1"),
        ({"versions": {"fxengine": "9.9"}}, r"fxengine is .*, that of the run .* is 9\.9"),
        ({"decoder": "libjpeg 0"}, "decoder is .*, that of the run .* is libjpeg 0"),
        ({"space": "0" * 64}, "backbone .* is .*, that of the run .* is 000000000000"),
    ],
)
def test_a_worker_that_would_make_other_rows_is_refused_with_both_sides_named(
    change: dict[str, Any],
    words: str,
    photos: Path,
    tmp_path: Path,
    tiny: BackboneFile,
    dying: pytest.MonkeyPatch,
) -> None:
    plan = planned(photos, tmp_path / "s", tiny, dying)
    provenance: Provenance = replace(plan.facts.provenance, **change)
    plan.facts = replace(plan.facts, provenance=provenance)
    with pytest.raises((StoreError, DeviceError), match=words):
        UnitRunner(plan, 1)


def test_a_worker_that_does_not_see_the_folder_or_its_run_says_so(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Exception, match=r"finds no plan in .*share"):
        open_runner(tmp_path / "elsewhere", "0" * 16, 1)
    planned(photos, tmp_path / "s", tiny, dying)
    with pytest.raises(Exception, match=r"has the plan of run .*, not of 0000000000000000"):
        open_runner(tmp_path / "s", "0" * 16, 1)


def test_a_unit_that_the_driver_cannot_see_is_told(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(photos, tmp_path / "s", tiny, dying)
    monkeypatch.setattr(many, "_SEEN_WITHIN", 0.2)
    with pytest.raises(StoreError, match=r"part-000002.parquet is there, and for this process it is not"):
        many.ensure_seen(plan, UnitResult(2, True, {"extracted": 6, "failed": {}}))


def test_a_plan_of_another_backbone_or_root_is_refused(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    planned(photos, tmp_path / "s", tiny, dying)
    write_backbone(tiny_model(2.0), tmp_path / "other.onnx")
    with pytest.raises(StoreError, match="holds features of another space"):
        extract(photos, tmp_path / "s", backbone=read_backbone(tmp_path / "other.onnx").path)
    with pytest.raises(StoreError, match=r"was made from .*photos, asked for"):
        extract(photos / "cats", tmp_path / "s", backbone=tiny.path)


def test_a_damaged_plan_is_said_in_a_sentence(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    run = planned(photos, tmp_path / "s", tiny, dying).facts.run
    path = plan_path(tmp_path / "s")
    whole = path.read_bytes()
    wrong = {
        b'"first_part": 0': b'"first_part": x',
        b'"first_part": 0,': b'"first_part":-5,',
        b'"batch_size": ': b'"batch_size":-',
        run.encode(): b"../../../victims",  # files are called by it, read, made and removed
    }
    for content in (b"", whole[: len(whole) // 2], *(whole.replace(old, new) for old, new in wrong.items())):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"plan.parquet is .*delete it"):
            extract(photos, tmp_path / "s", backbone=tiny.path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(StoreError, match="is no plan of fxengine"):
        extract(photos, tmp_path / "s", backbone=tiny.path)
    path.unlink()
    assert extract(photos, tmp_path / "s", backbone=tiny.path).extracted == 20


def test_shares_make_the_store_of_one_process(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=PART_ROWS)
    store = tmp_path / "s"

    def share(text: str) -> Summary:
        return extract(photos, store, backbone=tiny.path, part_rows=PART_ROWS, shard=text)

    plan_only(photos, store, tiny)
    with pytest.raises(StoreError, match=r"4 of 4 units of the run .* are not there yet"):
        extract(photos, store, backbone=tiny.path, finish=True)
    assert run_facts(store)["units_left"] == 4
    first = share("2/2")
    assert first.extracted == 20  # nobody else is there: it helps with the others' units
    assert share("1/2").extracted == 0
    assert run_facts(store)["state"] == "done, to be finished"
    summary = extract(photos, store, backbone=tiny.path, finish=True)
    assert (summary.extracted, summary.unchanged) == (0, 20)
    same_rows(store, tmp_path / "one")
    assert leftovers(store) == []


def plan_only(photos: Path, store: Path, tiny: BackboneFile) -> None:
    """Let a share make the plan and go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extracting, "run_shard", lambda *_: Outcome())
        extract(photos, store, backbone=tiny.path, part_rows=PART_ROWS, shard="1/2")


def test_shares_compute_new_inputs_and_the_run_behind_them_the_rest(
    photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    for store in ("s", "one"):
        extract(photos, tmp_path / store, backbone=tiny.path, part_rows=PART_ROWS)
    make_photo(photos / "cats" / "03.jpg", 103)
    (photos / "cats" / "05.jpg").rename(photos / "cats" / "zz.jpg")
    make_photo(photos / "dogs" / "new.jpg", 120)
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=PART_ROWS)
    share = extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=PART_ROWS, shard="1/3")
    assert (share.extracted, share.changed, share.moved) == (1, 0, 0)
    last = extract(photos, tmp_path / "s", backbone=tiny.path, part_rows=PART_ROWS, finish=True)
    assert (last.changed, last.moved, last.unchanged) == (1, 1, 19)
    same_rows(tmp_path / "s", tmp_path / "one")


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "a/b", "1/0", "-1/4", "3/4/5", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="`shard` must be a share such as 3/16"):
        shard_of(text)


@pytest.mark.parametrize("value", [0, -1, "0", "two", "ray:", "http://a", 1.5, True, 5000])
def test_what_is_no_number_of_workers_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="`workers` must be a number"):
        workers_of(value)


def test_what_a_share_leaves_to_others_is_refused(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    for options in ({"prune": True}, {"retry_failed": True}, {"finish": True}, {"workers": 2}):
        with pytest.raises(InputError, match=f"leave `{next(iter(options))}` for the run behind it"):
            extract(photos, tmp_path / "s", backbone=tiny.path, shard="1/2", **options)


def test_a_second_driver_is_locked_out_and_harmless_without_the_lock(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    plan = planned(photos, store, tiny, dying)
    with locked(store), pytest.raises(StoreLocked):
        extract(photos, store, backbone=tiny.path, workers=2)
    # Where no lock holds, as between two machines of some shares, each takes the same plan up.
    monkeypatch.setattr(extracting, "locked", lambda _: nullcontext())
    other = UnitPlan(store)
    runner = UnitRunner(other, 2)
    units = runner.run(from_list(map(Asked, range(4))), News())
    first = next(units)
    assert run_units(plan, 3, 2, 1, 0)[0] == (3, True)
    assert {first.unit, *(each.unit for each in units)} == {0, 1, 2, 3}
    extract(photos, store, backbone=tiny.path, part_rows=PART_ROWS)
    monkeypatch.undo()
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=PART_ROWS)
    same_rows(store, tmp_path / "one")


def test_info_says_how_far_a_run_is(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    plan = planned(photos, store, tiny, dying)
    told = info(store).facts
    assert (told["rows"], told["workers_run"]["state"]) == (0, "unfinished")
    run_units(plan, 0, 3)
    told = info(store).facts["workers_run"]
    assert (told["run"], told["units"], told["units_done"], told["units_left"]) == (plan.facts.run, 4, 2, 2)
    extract(photos, store, backbone=tiny.path)
    told = info(store).facts["workers_run"]
    assert (told["state"], told["units_given_up"], told["workers"]) == ("ended", [], 0)
    extract(photos, tmp_path / "one", backbone=tiny.path)
    assert "workers_run" not in info(tmp_path / "one").facts


def test_a_reader_of_all_parquet_files_sees_no_plan(
    photos: Path, tmp_path: Path, tiny: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    plan = planned(photos, store, tiny, dying)
    run_units(plan, 0)
    assert ds.dataset(store, format="parquet").count_rows() == 6
    found = duckdb.sql(f"select count(*) from '{store}/*.parquet'")
    assert found is not None
    assert found.fetchall() == [(6,)]
    assert len(FeatureStore.open(store)) == 6


def test_a_table_of_texts_is_read_by_each_worker(
    tmp_path: Path, tiny_texts: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("id,text\n" + "".join(f"{n:02d},word number {n}\n" for n in range(20)) + "99,\n")
    options = {"column": "text", "id_column": "id", "keep_text": True}
    extract(table, tmp_path / "one", backbone=tiny_texts.path, part_rows=PART_ROWS, **options)  # type: ignore[arg-type]
    plan = planned(table, tmp_path / "s", tiny_texts, dying, **options)
    run_units(plan, 3, 1)
    extract(table, tmp_path / "s", backbone=tiny_texts.path, part_rows=PART_ROWS, **options)  # type: ignore[arg-type]
    same_rows(tmp_path / "s", tmp_path / "one")
    one, two = (read_part(folder / "part-000001.parquet") for folder in (tmp_path / "one", tmp_path / "s"))
    assert one.equals(two)  # a row's bits depend on its own text alone


def test_a_table_that_was_written_anew_gives_no_text_the_hash_of_another(
    tmp_path: Path, tiny_texts: BackboneFile, dying: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("id,text\n" + "".join(f"{n:02d},word number {n}\n" for n in range(12)))
    plan = planned(table, tmp_path / "s", tiny_texts, dying, column="text", id_column="id")
    table.write_text("id,text\n" + "".join(f"{n:02d},word number {n + (n == 7)}\n" for n in range(12)))
    run_units(plan, 0, 1)
    rows = FeatureStore.open(tmp_path / "s").rows().to_pylist()
    assert [row["id"] for row in rows if row["error_code"] == "vanished"] == ["07"]
    extract(table, tmp_path / "s", backbone=tiny_texts.path, column="text", id_column="id")
    extract(table, tmp_path / "one", backbone=tiny_texts.path, column="text", id_column="id")
    same_rows(tmp_path / "s", tmp_path / "one", but=("mtime_ns",))
