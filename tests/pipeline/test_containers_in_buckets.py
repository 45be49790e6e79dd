"""Containers in a bucket: their rows are those of the same containers on a disk, wherever a row's input is read."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine import FeatureStore, duplicates, extract, predict, search, verify
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import collect, ranges
from fxengine.collect.item import Item
from fxengine.errors import InputError
from fxengine.features.parts import list_parts
from fxengine.features.texts import texts_of
from fxengine.serving.opened import Opened
from fxengine.serving.pictures import thumb
from fxengine.serving.route import Asked
from fxengine.storage import open_bucket
from tests.buckets import NAME, Served, watched
from tests.conftest import make_photo
from tests.places import MAKERS, in_parquet, in_tar, tar_of

PLACE = f"s3://{NAME}/shards"
COLUMNS = ["row", "id", "label", "split", "size", "content_hash", "width", "height", "error_code"]


def rows_of(store: Path) -> tuple[list[dict[str, object]], np.ndarray]:
    opened = FeatureStore.open(store)
    return opened.rows(COLUMNS).to_pylist(), opened.vectors()


def ensure_same(found: Path, expected: Path) -> None:
    assert rows_of(found)[0] == rows_of(expected)[0]
    np.testing.assert_array_equal(rows_of(found)[1], rows_of(expected)[1])


def facts_of(item: Item) -> tuple[object, ...]:
    return item.key, item.size, item.label, item.split


@pytest.fixture
def shards(photos: Path, tmp_path: Path) -> Path:
    """A folder of a container of each format, one of which says a split, among other files and what is no container."""
    folder = tmp_path / "shards"
    (folder / "more").mkdir(parents=True)
    for name, make in MAKERS.items():
        make(photos, folder / name)
    in_parquet(photos, folder / "more" / "train-00000-of-00001.parquet", rows=20)
    (folder / "more" / "none.zip").write_bytes(b"none")
    make_photo(folder / "a.tar-2.jpg", 50)  # sorted before what is in a.tar
    make_photo(folder / "more" / "b.jpg", 51)
    return folder


@pytest.mark.slow
def test_rows_are_those_of_the_containers_on_a_disk(
    shards: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served
) -> None:
    bucket.put_folder(shards, "shards/")
    store = tmp_path / "store"
    extract(shards, tmp_path / "folder", backbone=tiny.path, containers=True, frames=None)
    summary = extract(PLACE, store, backbone=tiny.path, containers=True)
    assert (summary.extracted, summary.failed) == (102, {"unsupported_format": 1})
    ensure_same(store, tmp_path / "folder")
    assert extract(PLACE, store, backbone=tiny.path).unchanged == 103
    rows = rows_of(store)[0]
    report = verify(store, sample=103, backbone=tiny.path)
    assert (report.sampled, report.changed, report.wrong) == (102, [], {})
    of_place, of_folder = (
        predict(each, backbone=tiny.path, top=1).predictions for each in (f"{PLACE}/a.zip", shards / "a.zip")
    )
    assert [(p.id, p.probabilities) for p in of_place] == [(p.id, p.probabilities) for p in of_folder]
    for key in ("a.tar/cats/01.jpg", "a.parquet/000000007"):
        asked = search(store, [f"{PLACE}/{key}"], backbone=tiny.path, k=1)
        assert asked.answers[0].neighbours[0].score > 0.9999
        number = next(row["row"] for row in rows if row["id"] == key)
        assert thumb(Opened(FeatureStore.open(store)), Asked({"row": str(number)})).body.startswith(b"\xff\xd8")
    assert len(search(store, [f"{PLACE}/a.tar"], backbone=tiny.path, k=1).answers) == 20
    copies = duplicates(store)
    assert copies.groups == 20  # each photo lies in each container
    assert np.bincount(copies.table["group"]).tolist()[-20:] == [5] * 20


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip", "a.parquet"])
def test_one_container_is_an_input(photos: Path, tmp_path: Path, bucket: Served, name: str) -> None:
    box = MAKERS[name](photos, tmp_path / name)
    bucket.put(f"shards/{name}", box.read_bytes())
    found, expected = collect(f"{PLACE}/{name}"), collect(box)
    items = [*found]
    assert [*map(facts_of, items)] == [*map(facts_of, expected)]
    assert {item.etag for item in items} == {open_bucket("s3", NAME).stat(f"shards/{name}").etag}
    assert [found.read(item, 10**6)[0] for item in items] == [expected.read(i, 10**6)[0] for i in expected]


def test_labels_stand_beside_the_members(tmp_path: Path, bucket: Served) -> None:
    photo = make_photo(tmp_path / "a.jpg", 1).read_bytes()
    box = tar_of(
        tmp_path / "train-000.tar",
        [("a.jpg", photo), ("a.cls", b"7"), ("b.jpg", photo), ("b.json", b'{"label": "cat"}'), ("b.txt", b"words")],
    )
    bucket.put("shards/train-000.tar", box.read_bytes())
    listing = collect(f"{PLACE}/train-000.tar")
    for _ in range(2):  # found, then kept
        assert [(item.key, item.label, item.split) for item in listing] == [
            ("train-000.tar/a.jpg", "7", "train"),
            ("train-000.tar/b.jpg", "cat", "train"),
        ]


def test_an_update_goes_by_the_etag_of_the_container(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served
) -> None:
    first, store = in_tar(photos, tmp_path / "a.tar"), tmp_path / "store"
    for name in ("a", "b"):
        bucket.put(f"shards/{name}.tar", first.read_bytes())
    assert extract(PLACE, store, backbone=tiny.path, containers=True).extracted == 40
    bucket.put_time("shards/b.tar", 1_700_000_000)  # a copy, or another clock
    assert extract(PLACE, store, backbone=tiny.path).unchanged == 40
    make_photo(photos / "cats" / "01.jpg", 99)
    bucket.put("shards/a.tar", in_tar(photos, tmp_path / "a.tar").read_bytes())
    summary = extract(PLACE, store, backbone=tiny.path)
    assert (summary.extracted, summary.unchanged) == (20, 20)
    before = {row["id"]: row["row"] for row in rows_of(store)[0]}
    bucket.put("shards/c.tar", first.read_bytes())
    bucket.put("shards/c.tar", (tmp_path / "a.tar").read_bytes())
    bucket.delete("shards/a.tar")
    assert extract(PLACE, store, backbone=tiny.path).moved == 20
    assert {row["id"]: row["row"] for row in rows_of(store)[0]}["c.tar/cats/03.jpg"] == before["a.tar/cats/03.jpg"]


def test_a_tar_is_gone_through_once_and_read_by_large_ranges(
    tmp_path: Path, bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_BLOCK", 1 << 16)
    data = np.random.default_rng(0).bytes(300_000)
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [(f"{i:02d}.jpg", data[i:]) for i in range(9)]
    bucket.put("shards/a.tar", tar_of(tmp_path / "a.tar", members).read_bytes())
    listing = collect(f"{PLACE}/a.tar")
    items = [*listing]
    with watched(bucket) as asked:
        assert [*listing] == items
        assert not any(span for _, _, span in asked)
    assert [listing.read(item, 10**6)[0] for item in items] == [content for _, content in members]
    with watched(bucket) as asked:
        assert listing.read(items[4], 10**6)[0] == members[4][1]
    assert len([span for _, _, span in asked if span]) <= 14  # 5 or 6 blocks, and 8 ahead


def test_texts_in_containers(tmp_path: Path, tiny_texts: BackboneFile, bucket: Served) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as out:
        out.writestr("pos/a.txt", "good")
        out.writestr("neg/b.txt", "bad")
        out.writestr("tables/reviews.csv", "review,stars\ngood,5\nbad,1\n")
        out.writestr("tables/reviews.jsonl", '{"text": "good"}\n')
    bucket.put("texts/t.zip", (tmp_path / "t.zip").read_bytes())
    place = f"s3://{NAME}/texts"
    for name, given in (("files", place), ("one", f"{place}/t.zip")):
        assert extract(given, tmp_path / name, backbone=tiny_texts.path, containers=name == "files").extracted == 2
        assert [(r["id"], r["label"]) for r in rows_of(tmp_path / name)[0]] == [
            ("t.zip/neg/b.txt", "neg"),
            ("t.zip/pos/a.txt", "pos"),
        ]
    store, table = tmp_path / "table", f"{place}/t.zip/tables/reviews.csv"
    assert extract(table, store, backbone=tiny_texts.path, column="review", label_column="stars").extracted == 2
    opened = FeatureStore.open(store)
    ids = opened.rows(["id"])["id"].to_pylist()
    assert texts_of(opened, ids) == dict(zip(ids, ("good", "bad"), strict=True))
    np.testing.assert_array_equal(opened.vectors(), rows_of(tmp_path / "one")[1][::-1])
    assert collect(f"{place}/t.zip/tables/reviews.jsonl", modality="text").count() == 1


def test_what_is_no_container_or_cut_short_is_a_sentence(photos: Path, tmp_path: Path, bucket: Served) -> None:
    whole = in_tar(photos, tmp_path / "a.tar").read_bytes()
    bucket.put("shards/cut.tar", whole[: len(whole) // 2])
    bucket.put("shards/none.zip", b"none")
    bucket.put("shards/both.tar", whole)
    listing = collect(f"{PLACE}/cut.tar")
    assert 0 < listing.count() < 20
    assert listing.unreadable == [f"{PLACE}/cut.tar is cut short or damaged behind its {listing.count()} first members"]
    with pytest.raises(InputError, match=r"none\.zip is no zip, or is cut short"):
        collect(f"{PLACE}/none.zip")
    bucket.put("shards/both.tar/cats/01.jpg", b"a folder, too")
    with pytest.raises(InputError, match=f"{PLACE}/both.tar is both a container and a folder: rename one"):
        [*collect(PLACE, containers=True)]


def test_lists_name_containers(photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served) -> None:
    bucket.put("shards/a.tar", in_tar(photos, tmp_path / "a.tar").read_bytes())
    bucket.put_folder(photos, "shards/")
    listing, store = tmp_path / "list.txt", tmp_path / "store"
    listing.write_text("a.tar\ncats/01.jpg\n")
    summary = extract(PLACE, store, backbone=tiny.path, listing=listing, containers=True)
    assert (summary.extracted, summary.failed) == (21, {})
    assert extract(PLACE, store, backbone=tiny.path, listing=listing).unchanged == 21
    listing.write_text("a.tar\na.tar/cats/01.jpg\n")
    with pytest.raises(InputError, match=r"names a container and a\.tar/cats/01\.jpg in it"):
        extract(PLACE, store, backbone=tiny.path, listing=listing, containers=True)


RUN = """
import os, signal, sys
from fxengine import extract
from fxengine.features.parts import OpenPart
real, done = OpenPart.commit, []
def commit(part, **asked):
    real(part, **asked)
    done.append(part)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
OpenPart.commit = commit
extract(sys.argv[1], sys.argv[2], backbone=sys.argv[3], part_rows=4)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.tar", "a.zip", "a.parquet"])
def test_kill_9_during_a_run_leaves_the_rows_of_an_uninterrupted_one(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served, name: str
) -> None:
    box, store = MAKERS[name](photos, tmp_path / name), tmp_path / "store"
    bucket.put(f"shards/{name}", box.read_bytes())
    command = [sys.executable, "-c", RUN, f"{PLACE}/{name}", str(store), str(tiny.path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(list_parts(store)) == 2
    assert extract(f"{PLACE}/{name}", store, backbone=tiny.path, part_rows=4).extracted == 12
    extract(box, tmp_path / "whole", backbone=tiny.path, part_rows=4)
    ensure_same(store, tmp_path / "whole")


@pytest.mark.slow
def test_a_network_that_ends_in_the_middle_leaves_what_was_committed(
    tmp_path: Path, tiny: BackboneFile, bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxengine.collect.remote._GONE", 3)
    monkeypatch.setattr(ranges, "_BLOCK", 1 << 12)
    photo = make_photo(tmp_path / "a.jpg", 1).read_bytes()
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [(f"{i:03d}.jpg", photo) for i in range(300)]
    bucket.put("shards/a.tar", tar_of(tmp_path / "a.tar", members).read_bytes())
    assert collect(f"{PLACE}/a.tar").count() == 300
    ranges._kept.clear()
    opened, calls = open_bucket("s3", NAME), list[int]()
    real = opened._asked

    def fail(ask: Callable[[], Any]) -> Any:
        calls.append(1)
        if len(calls) > 200:  # two for each range
            opened.unanswered += 1
            raise OSError(errno.EIO, "the server cannot be reached")
        return real(ask)

    monkeypatch.setattr(opened, "_asked", fail)
    with pytest.raises(InputError, match=r"had no answer .* run the same command again"):
        extract(f"{PLACE}/a.tar", tmp_path / "store", backbone=tiny.path, part_rows=4)
    monkeypatch.setattr(opened, "_asked", real)
    opened.unanswered = 0
    before = len(FeatureStore.open(tmp_path / "store").rows())
    assert 0 < before < 300
    extract(f"{PLACE}/a.tar", tmp_path / "store", backbone=tiny.path)
    extract(tmp_path / "a.tar", tmp_path / "disk", backbone=tiny.path)
    ensure_same(tmp_path / "store", tmp_path / "disk")
