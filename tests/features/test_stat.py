"""Size and time of a file, as file systems give them: none ends a run, and an unchanged file is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fxengine import extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect.folder import list_folder
from fxengine.collect.item import Filters, Item, stamp
from fxengine.collect.local import read_input
from fxengine.collect.paths import PathListing
from fxengine.features import parts
from fxengine.features.known import Known, make_plan
from fxengine.features.schema import FEATURE
from fxengine.repair.verify import verify
from tests.features.test_parts import provenance, table
from tests.pipeline.test_extract import rows

SECOND = 1_000_000_000
YEAR = 31_556_952 * SECOND


class Status:
    """A stat result with any numbers."""

    def __init__(self, size: int, mtime_ns: int) -> None:
        self.st_size, self.st_mtime_ns = size, mtime_ns


anything = st.integers(-(2**70), 2**70)


@given(anything, anything)
@example(2**63 - 1, 2**63 - 1)
@example(2**63, 2**63)
@example(-(2**63), -(2**63))
@example(-(2**63) - 1, -(2**63) - 1)
@example(0, -1)
def test_any_size_and_time_is_stored_and_compares_equal_in_the_next_run(size: int, mtime_ns: int) -> None:
    status = Status(size, mtime_ns)
    kept = stamp(status)  # type: ignore[arg-type]
    assert kept == stamp(Status(*kept))  # type: ignore[arg-type]
    for given_number, number in zip((size, mtime_ns), kept, strict=True):
        assert number == given_number or abs(given_number) >= 2**63
    item = Item("a", "", *kept)
    made = parts.part_table(
        [parts.Row(0, item, "h", 1, 1, None, None)], {FEATURE: table(1, failed=None)[1]}, provenance()
    )
    known = Known(made.append_column("part", pa.array([0], pa.int32())), [Path("p")], [], 1)
    again = Item("a", "", *stamp(status))  # type: ignore[arg-type]
    plan = make_plan(known, [again])
    assert plan.changed == 0
    assert plan.unchanged == (size >= 0)  # without a size it counts as missing


TIMES = [330 * YEAR, 700 * YEAR, -10 * SECOND, -100 * YEAR, -400 * YEAR, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 0]


def touch(path: Path, mtime_ns: int) -> int:
    """Set a file's time; return what the file system made of it."""
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path.stat().st_mtime_ns


def test_files_of_any_time_are_extracted_and_then_skipped(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    paths = sorted(photos.rglob("*.jpg"))
    got = {touch(path, time) for path, time in zip(paths, TIMES, strict=False)}
    if max(got) < 2**63:
        pytest.skip("this file system has no times after 2262")
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"{path.relative_to(photos)}\n" for path in paths))
    store = tmp_path / "s"
    assert extract(photos, store, backbone=tiny.path).extracted == 20
    for again in (
        extract(photos, store, backbone=tiny.path),
        extract(photos, store, backbone=tiny.path, listing=listing),
    ):
        assert (again.unchanged, again.changed, again.extracted) == (20, 0, 0)
    stored = {key: (values["size"], values["mtime_ns"]) for key, values in rows(store).items()}
    for items in (list_folder(photos, Filters()), PathListing(photos, [str(path) for path in paths])):
        assert {item.key: item[2:4] for item in items} == stored
        assert {item.key: read_input(item, 1 << 30)[1][2:4] for item in items} == stored
    touch(paths[0], 331 * YEAR)  # both are beyond: told apart by nothing but the size
    assert extract(photos, store, backbone=tiny.path).unchanged == 20
    touch(paths[0], 20 * YEAR)
    assert extract(photos, store, backbone=tiny.path).changed == 1


def test_repair_takes_files_of_any_time_for_unchanged(photos: Path, tmp_path: Path, tiny: BackboneFile) -> None:
    for path, time in zip(sorted(photos.rglob("*.jpg")), TIMES, strict=False):
        touch(path, time)
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path, part_rows=10)
    path = parts.list_parts(store)[1]
    kept = parts.read_part(path)
    codes = ["no such code", *kept["error_code"].to_pylist()[1:]]
    vectors = [None, *kept[FEATURE].to_pylist()[1:]]
    at, where = kept.schema.get_field_index("error_code"), kept.schema.get_field_index(FEATURE)
    broken = kept.set_column(at, kept.schema.field(at), pa.array(codes))
    broken = broken.set_column(where, kept.schema.field(where), pa.array(vectors, kept.schema.field(where).type))
    parts.write_part(broken, path, replace=True)
    assert verify(store).bad_parts == {path.name: "It has unknown error codes: ['no such code']."}
    report = verify(store, repair=True, backbone=tiny.path)
    assert report.repair is not None
    assert (report.repair.extracted, report.repair.unchanged, report.repair.changed) == (10, 10, 0)
    assert verify(store, sample=20, backbone=tiny.path).fine
