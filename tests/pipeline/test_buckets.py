"""Photos and texts in a bucket, served by moto, through everything that reads a row's input, and through faults."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fxengine import FeatureStore, apply, duplicates, extract, finetune, info, predict, search, verify
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import FxError, InputError, StoreError
from fxengine.features.parts import list_parts
from fxengine.features.texts import texts_of
from fxengine.serving.opened import Opened
from fxengine.serving.pictures import thumb
from fxengine.serving.route import Asked
from fxengine.storage import open_bucket
from fxengine.ui.pages.html import stored_inputs
from tests.buckets import KEY, NAME, SECRET, Served, served
from tests.conftest import PATIENCE, make_photo

PLACE = f"s3://{NAME}/photos"
COLUMNS = ["row", "id", "label", "split", "size", "content_hash", "width", "height", "error_code"]


@pytest.fixture(scope="module")
def _server() -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch, served(patch) as found:
        yield found


@pytest.fixture
def bucket(_server: Served) -> Iterator[Served]:
    """A bucket that is empty."""
    yield _server
    for each in _server.client.list_objects_v2(Bucket=NAME).get("Contents", ()):
        _server.delete(each["Key"])


def rows_of(store: Path) -> tuple[list[dict[str, object]], np.ndarray]:
    opened = FeatureStore.open(store)
    return opened.rows(COLUMNS).to_pylist(), opened.vectors()


@pytest.mark.slow
def test_many_workers_read_a_bucket(photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served) -> None:
    bucket.put_folder(photos, "photos/")
    extract(PLACE, tmp_path / "one", backbone=tiny.path, part_rows=6)
    summary = extract(PLACE, tmp_path / "many", backbone=tiny.path, part_rows=6, workers=2)
    assert (summary.extracted, summary.units) == (20, 4)
    one, many = rows_of(tmp_path / "one"), rows_of(tmp_path / "many")
    assert one[0] == many[0]
    np.testing.assert_array_equal(one[1], many[1])
    again = extract(PLACE, tmp_path / "many", backbone=tiny.path, workers=2)
    assert (again.extracted, again.unchanged) == (0, 20)


@pytest.mark.slow
def test_rows_are_those_of_the_folder_and_are_read_again_everywhere(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served
) -> None:
    (photos / "cats" / "bad é #1?.jpg").write_bytes(b"none")
    (photos / ".hidden.jpg").write_bytes(b"none")
    bucket.put_folder(photos, "photos/")
    bucket.put("photos/cats/", b"")  # as consoles make folders
    bucket.put("photos/empty/", b"")
    store = tmp_path / "store"
    extract(photos, tmp_path / "folder", backbone=tiny.path)
    summary = extract(PLACE, store, backbone=tiny.path)
    assert (summary.extracted, summary.failed) == (20, {"unsupported_format": 1})
    expected, found = rows_of(tmp_path / "folder"), rows_of(store)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    assert FeatureStore.open(store).provenance.root == PLACE
    assert PLACE in str(info(store).to_dict())
    again = extract(PLACE, store, backbone=tiny.path)
    assert (again.unchanged, again.extracted, again.missing) == (21, 0, 0)

    key = str(found[0][3]["id"])
    report = verify(store, sample=21, backbone=tiny.path)
    assert (report.sampled, report.changed, report.wrong) == (20, [], {})
    asked = search(store, [f"{PLACE}/{key}"], backbone=tiny.path, k=1)
    assert (asked.answers[0].query, asked.answers[0].neighbours[0].id) == (f"{PLACE}/{key}", key)
    assert len(search(store, [f"{PLACE}/dogs"], backbone=tiny.path, k=1).answers) == 10
    assert search(store, plus=[f"{PLACE}/{key}"], backbone=tiny.path, k=1).answers[0].neighbours[0].id == key
    answers, of_folder = (predict(each, backbone=tiny.path, top=1).predictions for each in (PLACE, photos))
    assert [(p.id, p.probabilities) for p in answers] == [(p.id, p.probabilities) for p in of_folder]
    served_row = Asked({"row": str(found[0][3]["row"])})
    assert thumb(Opened(FeatureStore.open(store)), served_row).body.startswith(b"\xff\xd8")
    assert "base64," in stored_inputs(str(store), PLACE, [key]).draw(key, "a photo")
    assert extract(f"{PLACE}/{key}", tmp_path / "one", backbone=tiny.path).extracted == 1
    assert extract(Path(PLACE), store, backbone=tiny.path, limit=3).unchanged == 3
    table = tmp_path / "decisions.csv"
    table.write_text(f"id,decision\n{key},drop\n")
    with pytest.raises(StoreError, match="on disks alone"):
        apply(store, table, move=tmp_path / "to")
    stored = b"".join(path.read_bytes() for path in store.iterdir() if path.is_file())
    assert not any(secret.encode() in stored for secret in (KEY, SECRET, "127.0.0.1"))


def test_a_damaged_part_is_mended_from_the_bucket(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served
) -> None:
    bucket.put_folder(photos, "photos/")
    store = tmp_path / "store"
    extract(PLACE, store, backbone=tiny.path)
    expected, (part,) = rows_of(store), list_parts(store)
    content = bytearray(part.read_bytes())
    content[100:600] = bytes(500)
    part.write_bytes(content)
    assert verify(store, repair=True, backbone=tiny.path).bad_parts.keys() == {part.name}
    numbers = [row.pop("row") for each in (rows_of(store)[0], expected[0]) for row in each]
    assert len(set(numbers)) == len(numbers)  # what the part held is not known any more: no number comes again
    assert [{**row, "row": 0} for row in rows_of(store)[0]] == [{**row, "row": 0} for row in expected[0]]
    np.testing.assert_array_equal(rows_of(store)[1], expected[1])
    assert extract(PLACE, store, backbone=tiny.path).unchanged == 20


def test_copies_are_proved_by_their_pixels(photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served) -> None:
    (photos / "cats" / "copy.jpg").write_bytes((photos / "cats" / "01.jpg").read_bytes())
    bucket.put_folder(photos, "photos/")
    extract(PLACE, tmp_path / "store", backbone=tiny.path)
    assert duplicates(tmp_path / "store").kinds["identical"] == 1


def test_an_update_goes_by_size_and_etag(photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served) -> None:
    bucket.put_folder(photos, "photos/")
    store, renamed = tmp_path / "store", (photos / "dogs" / "02.jpg").read_bytes()
    extract(PLACE, store, backbone=tiny.path)
    before = {row["id"]: row for row in rows_of(store)[0]}
    for i in range(20):  # a clock that is off
        bucket.put_time(f"photos/{'dogs' if i % 2 == 0 else 'cats'}/{i:02d}.jpg", 1_000_000 + i)
    assert extract(PLACE, store, backbone=tiny.path).unchanged == 20

    bucket.put("photos/cats/01.jpg", make_photo(tmp_path / "new.jpg", 77).read_bytes())
    bucket.put("photos/cats/99.jpg", make_photo(tmp_path / "new.jpg", 99).read_bytes())
    bucket.delete("photos/cats/03.jpg")
    bucket.delete("photos/dogs/02.jpg")
    bucket.put("photos/dogs/renamed.jpg", renamed)
    summary = extract(PLACE, store, backbone=tiny.path, prune=True)
    assert (summary.changed, summary.moved, summary.pruned, summary.extracted) == (1, 1, 1, 2)
    assert summary.unchanged == 17
    after = {row["id"]: row for row in rows_of(store)[0]}
    assert after["dogs/renamed.jpg"]["row"] == before["dogs/02.jpg"]["row"]
    assert after["cats/01.jpg"]["content_hash"] != before["cats/01.jpg"]["content_hash"]
    assert extract(PLACE, store, backbone=tiny.path).unchanged == 20


def test_lists_name_keys(photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served) -> None:
    bucket.put_folder(photos, "photos/")
    listing = tmp_path / "list.csv"
    listing.write_text(f"path\ncats/01.jpg\n{PLACE}/dogs/02.jpg\n./cats/01.jpg\ncats/gone.jpg\n")
    summary = extract(PLACE, tmp_path / "store", backbone=tiny.path, listing=listing)
    assert (summary.extracted, summary.failed) == (2, {"vanished": 1})
    assert [row["id"] for row in rows_of(tmp_path / "store")[0]] == ["cats/01.jpg", "cats/gone.jpg", "dogs/02.jpg"]
    assert extract(PLACE, tmp_path / "store", backbone=tiny.path, listing=listing).unchanged == 2
    listing.write_text("s3://another/a.jpg\n")
    with pytest.raises(InputError, match=f"does not lie in {PLACE}: give what all of it lies in"):
        extract(PLACE, tmp_path / "store", backbone=tiny.path, listing=listing)


def test_boxes_in_pictures_of_a_bucket(photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served) -> None:
    bucket.put_folder(photos, "photos/")
    boxes, store = tmp_path / "boxes.csv", tmp_path / "store"
    boxes.write_text("path,x,y,width,height,label\ncats/01.jpg,2,2,30,30,ear\ndogs/02.jpg,0,0,20,20,nose\n")
    assert extract(PLACE, store, backbone=tiny.path, boxes=boxes).extracted == 2
    extract(photos, tmp_path / "folder", backbone=tiny.path, boxes=boxes)
    np.testing.assert_array_equal(rows_of(store)[1], rows_of(tmp_path / "folder")[1])
    assert extract(PLACE, store, backbone=tiny.path).unchanged == 2
    assert verify(store, sample=2, backbone=tiny.path).sampled == 2


def test_texts_in_a_bucket(tmp_path: Path, tiny_texts: BackboneFile, bucket: Served) -> None:
    bucket.put("reviews.csv", b"review,stars\ngood,5\nbad,1\n")
    place = f"s3://{NAME}/reviews.csv"
    summary = extract(place, tmp_path / "store", backbone=tiny_texts.path, column="review", label_column="stars")
    assert summary.extracted == 2
    opened = FeatureStore.open(tmp_path / "store")
    assert opened.provenance.root == place
    ids = opened.rows(["id"])["id"].to_pylist()
    assert ids == ["reviews.csv#000000000", "reviews.csv#000000001"]
    assert texts_of(opened, ids) == dict(zip(ids, ("good", "bad"), strict=True))
    assert verify(tmp_path / "store", sample=2, backbone=tiny_texts.path).sampled == 2
    bucket.put("texts/pos/a.txt", b"good")
    bucket.put("texts/neg/b.txt", b"bad")
    bucket.put("texts/neg/c.jpg", b"no text")
    summary = extract(f"s3://{NAME}/texts", tmp_path / "files", backbone=tiny_texts.path)
    assert (summary.extracted, summary.failed) == (2, {})
    rows, vectors = rows_of(tmp_path / "files")
    assert [(row["id"], row["label"]) for row in rows] == [("neg/b.txt", "neg"), ("pos/a.txt", "pos")]
    np.testing.assert_array_equal(vectors, opened.vectors()[::-1])


def test_what_cannot_be_read_is_a_sentence_and_nothing_is_left(
    tmp_path: Path, tiny: BackboneFile, bucket: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(make_photo(tmp_path / "a.jpg", 1), tmp_path / "one", backbone=tiny.path)
    for place, said in (
        ("s3://no-such-bucket/photos", "there is no bucket s3://no-such-bucket. Look at its name"),
        (f"s3://{NAME}/nothing", "There is nothing in s3://"),
        ("s3://", "names no bucket"),
        (f"s3://me:secretword@{NAME}/photos", "holds a name or a password"),
        (f"s3://{NAME}/photos?X-Amz-Signature=secretword", "has a query, which is never kept"),
        ("http://example.com/a.jpg", "give https://"),
        ("https://example.com", "cannot be listed: name the addresses in a file, as `listing`"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            extract(place, tmp_path / "store", backbone=tiny.path)
        assert "secretword" not in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(FxError) as caught_of_query:
            search(tmp_path / "one", plus=[place], backbone=tiny.path)
        assert "secretword" not in str(caught_of_query.value)
    bucket.put("odd//a.jpg", b"x")
    with pytest.raises(InputError, match='keys with "//"'):
        extract(f"s3://{NAME}/odd", tmp_path / "store", backbone=tiny.path)
    bucket.put("a.tar", b"x")
    with pytest.raises(InputError, match=f"s3://{NAME}/a.tar is no tar that can be read"):
        extract(f"s3://{NAME}/a.tar", tmp_path / "store", backbone=tiny.path)
    with pytest.raises(InputError, match=f"copy {PLACE} to one"):
        finetune(PLACE, tmp_path / "tuned.onnx")
    monkeypatch.setitem(sys.modules, "obstore", None)
    open_bucket.cache_clear()
    with pytest.raises(InputError, match=r"pip install 'fxengine\[cloud\]'"):
        extract(PLACE, tmp_path / "store", backbone=tiny.path)
    open_bucket.cache_clear()
    assert list_parts(tmp_path / "store") == []


def test_a_local_folder_that_is_called_so_is_a_folder(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s3:").mkdir()
    photos.rename(tmp_path / "s3:" / "photos")
    monkeypatch.chdir(tmp_path)
    assert extract("s3:/photos", "store", backbone=tiny.path).extracted == 20
    assert FeatureStore.open("store").provenance.root == str(tmp_path / "s3:" / "photos")


RUN = (
    "import sys; from fxengine import extract\n"
    "print('ready', flush=True)\n"
    "extract(sys.argv[1], sys.argv[2], backbone=sys.argv[3], part_rows=4, decoders=1)"
)


@pytest.mark.slow
def test_kill_9_during_a_run_leaves_the_rows_of_an_uninterrupted_one(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served
) -> None:
    bucket.put_folder(photos, "photos/")
    extract(PLACE, tmp_path / "whole", backbone=tiny.path, part_rows=4)
    expected, store, struck = rows_of(tmp_path / "whole"), tmp_path / "store", 0
    for again in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, PLACE, str(store), str(tiny.path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        before, end = len(list_parts(store)) if store.exists() else 0, time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < end:
            if store.exists() and len(list_parts(store)) > before:
                break
            time.sleep(0.002)
        process.kill()
        struck += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if again and struck:
            break
        if not struck:  # this process was held up until the run was over
            shutil.rmtree(store)
    assert struck
    extract(PLACE, store, backbone=tiny.path, part_rows=4)
    found = rows_of(store)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.slow
def test_a_network_that_ends_leaves_what_was_committed(
    tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fxengine.collect import remote

    monkeypatch.setattr(remote, "_GONE", 3)
    monkeypatch.setattr("fxengine.storage._RETRIES", 0)
    with served(monkeypatch) as bucket:
        for i in range(60):
            bucket.put(f"photos/{i:02d}.jpg", make_photo(tmp_path / "a.jpg", i).read_bytes())
        calls = []
        opened = open_bucket("s3", NAME)
        real = opened.get

        def get(key: str) -> object:
            calls.append(key)
            if len(calls) == 40:
                bucket.server.shutdown()
                bucket.server.server_close()
            return real(key)

        monkeypatch.setattr(opened, "get", get)
        with pytest.raises(InputError, match=r"had no answer .* run the same command again"):
            extract(PLACE, tmp_path / "store", backbone=tiny.path, part_rows=4)
    assert 0 < len(FeatureStore.open(tmp_path / "store").rows()) < 60
