"""Workers that die, hang or are given what kills them, and drivers that die: each row is there once.

python -m tests.faults.test_workers 200     # as many random kills as you like, by command
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fxengine import FeatureStore, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.features.parts import list_parts, read_part
from fxengine.pipeline import driver
from tests.buckets import NAME, served
from tests.conftest import make_photo, tiny_model
from tests.workers import POISON, leftovers, same_rows, with_faults

PART_ROWS = 8


@pytest.mark.slow
def test_dead_hung_and_poisoned_workers_lose_and_double_nothing(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20, 44):
        make_photo(photos / "more" / f"{i}.jpg", i)
    (photos / "more" / "30_poison.jpg").write_bytes(POISON)
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=PART_ROWS)
    # A unit apart starts eight processes one after another; the unit that hangs is doubled before.
    monkeypatch.setattr(driver, "SILENCE", 180.0)
    # By chance unit 3 is at all three deaths: as the poison's, before its answer, and begun behind unit 1.
    monkeypatch.setattr(driver, "GIVEN_UP_AFTER", 9)
    with_faults(monkeypatch, tmp_path / "marks", before=[1], after=[3], hang=[5])
    summary = extract(photos, tmp_path / "two", backbone=tiny.path, part_rows=PART_ROWS, workers=2)
    assert {path.name for path in (tmp_path / "marks").iterdir()} == {"before-1", "after-3", "hang-5"}
    assert summary.worker_deaths >= 3  # the poison, and what doubling has not saved
    assert (summary.units, summary.units_open, summary.extracted) == (6, [], 44)
    # The suspect was decoded in a process of its own, where there is no fault.
    same_rows(tmp_path / "two", tmp_path / "one")
    assert leftovers(tmp_path / "two") == []


@pytest.mark.slow
def test_a_unit_that_kills_thrice_is_left_open_for_the_next_run(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted(photos.rglob("*.jpg"))[8:]:
        path.unlink()
    extract(photos, tmp_path / "one", backbone=tiny.path, part_rows=3)
    with_faults(monkeypatch, tmp_path / "marks", always=[1])
    store = tmp_path / "two"
    summary = extract(photos, store, backbone=tiny.path, part_rows=3, workers=2)
    assert len(summary.units_open) == 1
    assert summary.units_open[0].startswith("unit 1 (3 rows): a worker was ended by SIGKILL")
    assert (summary.extracted, summary.worker_deaths) == (5, 3)
    assert len(FeatureStore.open(store)) == 5
    assert len(read_part(list_parts(store)[1])) == 0  # shuts late workers out
    monkeypatch.undo()
    again = extract(photos, store, backbone=tiny.path, part_rows=3)
    assert (again.extracted, again.unchanged) == (3, 5)
    same_rows(store, tmp_path / "one", but=("row",))
    assert FeatureStore.open(store).rows()["row"].to_pylist() == [0, 1, 2, 8, 9, 10, 6, 7]  # numbers come once


def start(photos: Path, store: Path, model: Path, marks: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys\n"
        "from fxengine import extract\n"
        "from fxengine.pipeline.places import processes\n"
        "processes.COMMAND = (sys.executable, '-m', 'tests.faults.faulty_worker')\n"
        f"extract(sys.argv[1], sys.argv[2], backbone=sys.argv[3], part_rows={PART_ROWS}, workers=2)"
    )
    faults = json.dumps({"pause": 0.15, "marks": str(marks)})
    return subprocess.Popen(
        [sys.executable, "-c", code, str(photos), str(store), str(model)],
        env={**os.environ, "FXENGINE_FAULTS": faults},
        stderr=subprocess.DEVNULL,
    )


def kill_until(kills: int, folder: Path, model: Path, seed: int, stores: Path | None = None) -> int:
    """Kill drivers and workers at random moments until `kills` have struck; return how many did.

    Args:
        kills: how many.
        folder: for the photos, and for stores unless `stores` says where they are.
        model: the backbone.
        seed: of the moments.
        stores: a folder, or a place in a bucket.
    """
    photos, chance, struck, number = folder / "photos", random.Random(seed), 0, 0
    for i in range(160):
        make_photo(photos / f"{'ab'[i % 2]}/{i:03d}.jpg", i, (48, 40))
    (photos / "a" / "bad.jpg").write_bytes(b"")
    extract(photos, folder / "one", backbone=model, part_rows=PART_ROWS)
    while struck < kills:
        store = (stores or folder) / f"store{number}"
        number += 1
        process = start(photos, store, model, folder)
        while struck < kills:  # a store has 21 units
            time.sleep(chance.uniform(0.2, 0.8))
            family = [psutil.Process(process.pid)] if process.poll() is None else []
            with suppress(psutil.Error):
                family += family[0].children() if family else []
            if len(family) < 2:
                if process.poll() is not None:
                    break
                continue
            victim = chance.choice(family)
            with suppress(psutil.Error):
                victim.kill()
                struck += 1
            if victim.pid == process.pid:
                process.wait()
                process = start(photos, store, model, folder)
        process.kill()
        process.wait()
        summary = extract(photos, store, backbone=model, part_rows=PART_ROWS)
        assert not summary.units_open
        if any(not len(read_part(path)) for path in list_parts(store)):  # a unit was at three of the deaths
            same_rows(store, folder / "one", but=("row",))
        else:
            same_rows(store, folder / "one")
        time.sleep(0.3)  # in which workers without a driver come to their end
    return struck


@pytest.mark.slow
def test_eight_random_kills_lose_and_double_nothing(tmp_path: Path, tiny: BackboneFile) -> None:
    assert kill_until(8, tmp_path, tiny.path, seed=1) >= 8


@pytest.mark.long
def test_two_hundred_random_kills_lose_and_double_nothing(tmp_path: Path, tiny: BackboneFile) -> None:
    assert kill_until(200, tmp_path, tiny.path, seed=2) >= 200


@pytest.mark.long
def test_forty_random_kills_of_what_writes_into_a_bucket(
    tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(monkeypatch, threaded=False):
        assert kill_until(40, tmp_path, tiny.path, seed=4, stores=Path(f"s3:/{NAME}")) >= 40


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "tiny.onnx"
        model.write_bytes(tiny_model().SerializeToString())
        count = kill_until(int(sys.argv[1]) if len(sys.argv) > 1 else 200, Path(temporary), model, seed=3)
        sys.stdout.write(f"{count} kills: every store ended with the rows of an uninterrupted run\n")
