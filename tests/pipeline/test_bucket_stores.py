"""Stores in buckets are written: the same rows as in a folder, whoever writes, and whatever ends in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fxengine import extract, words
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import FxError, StoreError, StoreLocked
from fxengine.features import lease
from fxengine.features.parts import OpenPart, list_parts, part_path, read_part, read_provenance
from fxengine.features.run_folder import notes_folder
from fxengine.features.write import rewrite_part
from fxengine.pipeline.summary import Progress
from fxengine.pipeline.unit_plan import open_plan
from fxengine.storage import Bucket, Found
from fxengine.store_files import state
from tests.buckets import NAME, Served
from tests.conftest import make_photo, wait_until
from tests.workers import same_rows, with_faults

STORE = f"s3://{NAME}/features"
PLACE = Path(f"s3:/{NAME}/features")


def test_rows_are_those_of_a_folder_through_every_update(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served
) -> None:
    folder = tmp_path / "store"
    (photos / "cats" / "bad.jpg").write_bytes(b"none")

    def update(*, retry_failed: bool = False, prune: bool = False) -> tuple[int, ...]:
        found = []
        for store in (folder, STORE):
            summary = extract(photos, store, backbone=tiny.path, part_rows=6, retry_failed=retry_failed, prune=prune)
            counted = ("extracted", "changed", "unchanged", "moved", "missing", "pruned", "relabelled")
            found.append((sum(summary.failed.values()), *(getattr(summary, name) for name in counted)))
        same_rows(PLACE, folder)
        assert [path.name for path in list_parts(PLACE)] == [path.name for path in list_parts(folder)]
        assert found[0] == found[1]
        return found[1]

    assert update() == (1, 20, 0, 0, 0, 0, 0, 0)
    assert bucket.listed() == [
        "features/.next_row",
        "features/_run/lease",
        *(f"features/part-00000{number}.parquet" for number in range(4)),
    ]
    assert bucket.client.head_object(Bucket=NAME, Key="features/_run/lease")["ContentLength"] == 0  # given back
    assert update()[3] == 21
    assert update(retry_failed=True)[0] == 1
    make_photo(photos / "dogs" / "00.jpg", 50)  # changed
    make_photo(photos / "dogs" / "new.jpg", 51)
    (photos / "cats" / "03.jpg").rename(photos / "dogs" / "renamed.jpg")
    (photos / "cats" / "05.jpg").unlink()
    assert update() == (0, 2, 1, 18, 1, 1, 0, 0)
    assert update(prune=True) == (0, 0, 0, 21, 0, 1, 1, 0)
    (photos / "cats").rename(photos / "kittens")  # other ids, other labels
    assert update()[3] >= 8


def test_texts_and_words_go_there_too(tmp_path: Path, tiny_texts: BackboneFile, bucket: Served) -> None:
    table, vectors = tmp_path / "texts.csv", tmp_path / "vectors.txt"
    table.write_text("text,label\n" + "".join(f"the {'cat' * (i % 5)} number {i},{i % 2}\n" for i in range(30)))
    vectors.write_text("".join(f"word{i} {i} {i + 1} 0.5\n" for i in range(1, 40)))
    for store in (tmp_path / "texts", f"{STORE}/texts"):
        found = extract(table, store, backbone=tiny_texts.path, label_column="label", part_rows=8)
        assert (found.extracted, found.store) == (30, str(store))
    same_rows(PLACE / "texts", tmp_path / "texts")
    for made in (tmp_path / "words", f"{STORE}/words"):
        assert words(vectors, made).added == 39
    same_rows(PLACE / "words", tmp_path / "words")
    assert words(vectors, f"{STORE}/words").added == 0


@pytest.mark.slow
def test_workers_that_die_and_changed_inputs_lose_and_double_nothing(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    extract(photos, folder, backbone=tiny.path, part_rows=5)
    with_faults(monkeypatch, tmp_path / "marks", before=[1], after=[2])
    summary = extract(photos, STORE, backbone=tiny.path, part_rows=5, workers=2)
    assert {path.name for path in (tmp_path / "marks").iterdir()} == {"before-1", "after-2"}
    assert (summary.units, summary.extracted, summary.units_open) == (4, 20, [])
    same_rows(PLACE, folder)
    monkeypatch.undo()
    for name in ("dogs/00.jpg", "cats/11.jpg"):
        make_photo(photos / name, 60)
    (photos / "dogs" / "02.jpg").rename(photos / "dogs" / "renamed.jpg")
    make_photo(photos / "dogs" / "new.jpg", 61)
    extract(photos, folder, backbone=tiny.path)
    summary = extract(photos, STORE, backbone=tiny.path, workers=1)
    assert (summary.changed, summary.moved, summary.extracted) == (2, 1, 3)
    same_rows(PLACE, folder)
    assert [key for key in bucket.listed() if "again" in key] == []
    assert open_plan(PLACE) is None


@pytest.mark.slow
def test_shares_without_a_driver_make_the_same_store(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served
) -> None:
    extract(photos, tmp_path / "store", backbone=tiny.path, part_rows=5)
    assert extract(photos, STORE, backbone=tiny.path, part_rows=5, shard="2/2").extracted == 20  # it helps the other
    bucket.delete("features/part-000001.parquet")
    with pytest.raises(StoreError, match=rf"units of the run in s3://{NAME}/features are not there yet"):
        extract(photos, STORE, backbone=tiny.path, finish=True)
    second = extract(photos, STORE, backbone=tiny.path, part_rows=5, shard="1/2")
    assert second.extracted == 5
    extract(photos, STORE, backbone=tiny.path, finish=True)
    same_rows(PLACE, tmp_path / "store")
    assert [key for key in bucket.listed() if "probe" in key or ".tmp" in key] == []
    make_photo(photos / "zoo" / "1.jpg", 70)  # an ended plan gives way to a new one
    assert extract(photos, STORE, backbone=tiny.path, workers=1).extracted == 1


@pytest.mark.slow
def test_a_driver_that_is_killed_is_followed_by_the_same_command(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served
) -> None:
    extract(photos, tmp_path / "store", backbone=tiny.path, part_rows=2)
    code = (
        "import sys\nfrom fxengine import extract\nfrom fxengine.pipeline.places import processes\n"
        "processes.COMMAND = (sys.executable, '-m', 'tests.faults.faulty_worker')\n"
        "extract(sys.argv[1], sys.argv[2], backbone=sys.argv[3], part_rows=2, workers=1)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(photos), STORE, str(tiny.path)],
        env={**os.environ, "FXENGINE_FAULTS": json.dumps({"held": [*range(3, 10)], "marks": str(tmp_path)})},
    )
    wait_until(lambda: len(list_parts(PLACE)) >= 2)
    with pytest.raises(StoreLocked, match=f"being written to by process {process.pid}"):
        extract(photos, STORE, backbone=tiny.path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list_parts(PLACE)) < 10
    (tmp_path / "go").touch()  # a worker that outlives its driver may still make a part
    assert extract(photos, STORE, backbone=tiny.path).extracted > 0  # at once: it was a process of this machine
    same_rows(PLACE, tmp_path / "store")


def first_time(act: Callable[[], None]) -> Callable[[Progress], None]:
    """Return what acts the first time that a run says how far it is."""
    waiting = [act]

    def tell(_: Progress) -> None:
        if waiting:
            waiting.pop()()

    return tell


def test_who_loses_the_lease_stops_in_a_sentence(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "TERM", 0.4)

    def steal() -> None:
        bucket.put("features/_run/lease", b"")
        time.sleep(0.5)

    with pytest.raises(StoreLocked, match=rf"Another process writes to s3://{NAME}/features by now"):
        extract(photos, STORE, backbone=tiny.path, part_rows=4, batch_size=4, progress=first_time(steal))
    there = len(list_parts(PLACE))
    assert there < 5
    extract(photos, tmp_path / "store", backbone=tiny.path, part_rows=4)
    assert extract(photos, STORE, backbone=tiny.path, part_rows=4).extracted == 20 - 4 * there
    same_rows(PLACE, tmp_path / "store")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "others"), [(None, None), (None, 1), pytest.param(1, None, marks=pytest.mark.long)]
)
def test_two_that_write_at_once_lose_and_double_nothing(
    workers: int | None,
    others: int | None,
    photos: Path,
    tmp_path: Path,
    tiny: BackboneFile,
    bucket: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One whose lease was taken over, and who does not know it, goes on in the middle of the other's run."""
    folder = tmp_path / "store"
    extract(photos, folder, backbone=tiny.path, part_rows=4)
    unknowing(monkeypatch)

    def other() -> None:
        bucket.put("features/_run/lease", b"")
        extract(photos, STORE, backbone=tiny.path, part_rows=4, workers=others)

    def both() -> None:
        # Units of a plan may be computed by any number: there the late one may as well come to its end.
        refused = pytest.raises(StoreError, match="nother process") if workers is None else suppress(StoreError)
        with refused:
            extract(
                photos,
                STORE,
                backbone=tiny.path,
                part_rows=4,
                batch_size=4,
                workers=workers,
                progress=first_time(other),
            )

    both()
    same_rows(PLACE, folder)

    make_photo(photos / "dogs" / "00.jpg", 50)
    (photos / "cats" / "03.jpg").rename(photos / "dogs" / "renamed.jpg")
    make_photo(photos / "dogs" / "new.jpg", 51)
    both()
    extract(photos, folder, backbone=tiny.path, part_rows=4)
    same_rows(PLACE, folder)


def unknowing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease._Lease, "ensure_held", lambda _: None)
    monkeypatch.setattr(lease._Lease, "keep", lambda _: None)


def test_of_many_that_write_one_part_one_does(
    photos: Path, tiny: BackboneFile, bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(photos, STORE, backbone=tiny.path, part_rows=20)
    (part,) = list_parts(PLACE)
    read, made, failed = state(part), list[str](), list[str]()

    def relabel(name: str) -> None:
        try:
            rewrite_part(part, provenance, relabel={0: (name, None)}, read=read)
            made.append(name)
        except StoreError as error:
            failed.append(str(error))

    def create(name: str) -> None:
        new = OpenPart(part_path(PLACE, 7), table.schema)
        new.write(table)
        (made if new.create() else failed).append(name)

    provenance, table = read_provenance(part), read_part(part)
    for write in (relabel, create):
        made.clear()
        failed.clear()
        threads = [threading.Thread(target=write, args=(f"by {number}",)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(made), len(failed)) == (1, 15)
        if write is relabel:
            assert read_part(part, ["label"])["label"][0].as_py() == made[0]
            assert all("Another process wrote it meanwhile" in said for said in failed)


def test_where_the_network_ends_what_was_committed_stays(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, parts = Bucket._put, list[str]()

    def ending(self: Bucket, key: str, content: bytes, mode: object) -> Found | None:
        parts.extend([key] * ("part-" in key))
        if len(parts) > 2:
            raise OSError(5, "the server cannot be reached")
        return put(self, key, content, mode)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "_put", ending)
        with pytest.raises(StoreError, match=r"Cannot write s3://.*part-000002.*cannot be reached.*the same command"):
            extract(photos, STORE, backbone=tiny.path, part_rows=4)
    assert len(list_parts(PLACE)) == 2
    assert bucket.client.head_object(Bucket=NAME, Key="features/_run/lease")["ContentLength"]  # was not given back
    assert extract(photos, STORE, backbone=tiny.path, part_rows=4).extracted == 12
    extract(photos, tmp_path / "store", backbone=tiny.path, part_rows=4)
    same_rows(PLACE, tmp_path / "store")


def test_places_that_are_no_store_are_refused(photos: Path, tiny: BackboneFile) -> None:
    for place, said in {
        "https://example.org/features": "is no store",
        "s3://name:secret@bucket/features": "holds a name or a password",
    }.items():
        with pytest.raises(FxError, match=said):
            extract(photos, place, backbone=tiny.path)


def test_what_is_being_decoded_is_noted_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    found = [notes_folder(STORE), notes_folder(PLACE), notes_folder(f"{STORE}/"), notes_folder(STORE, "1/2")]
    assert found[0] == found[1] == found[2] != found[3]
    assert all(each.is_dir() and each.parent == tmp_path / "cache" / "notes" for each in found)
    assert notes_folder(tmp_path) == tmp_path
    assert notes_folder(tmp_path, "1/2") == tmp_path / "_run" / "shard-1-of-2"
