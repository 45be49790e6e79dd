"""Stores in buckets are written: the same rows as in a folder, whoever writes, and whatever ends in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fxengine import extract
from fxengine.backbones.spec import BackboneFile
from fxengine.features.parts import list_parts
from tests.buckets import NAME, Served, served
from tests.conftest import make_photo
from tests.workers import same_rows

STORE = f"s3://{NAME}/features"
PLACE = Path(f"s3:/{NAME}/features")


@pytest.fixture(scope="module")
def _server() -> Iterator[Served]:
    # Its threaded server lets two writers win one key.
    with pytest.MonkeyPatch.context() as patch, served(patch, threaded=False) as found:
        yield found


@pytest.fixture
def bucket(_server: Served) -> Iterator[Served]:
    """A bucket that is empty."""
    yield _server
    for key in keys(_server):
        _server.delete(key)


def keys(bucket: Served) -> list[str]:
    return [each["Key"] for each in bucket.client.list_objects_v2(Bucket=NAME).get("Contents", ())]


def test_rows_are_those_of_a_folder_through_every_update(
    photos: Path, tmp_path: Path, tiny: BackboneFile, bucket: Served
) -> None:
    folder = tmp_path / "store"
    (photos / "cats" / "bad.jpg").write_bytes(b"none")

    def update(**how: bool) -> tuple[int, ...]:
        found = []
        for store in (folder, STORE):
            summary = extract(photos, store, backbone=tiny.path, part_rows=6, **how)
            counted = ("extracted", "changed", "unchanged", "moved", "missing", "pruned", "relabelled")
            found.append((sum(summary.failed.values()), *(getattr(summary, name) for name in counted)))
        same_rows(PLACE, folder)
        assert [path.name for path in list_parts(PLACE)] == [path.name for path in list_parts(folder)]
        assert found[0] == found[1]
        return found[1]

    assert update() == (1, 20, 0, 0, 0, 0, 0, 0)
    assert keys(bucket) == [
        "features/.next_row",
        "features/_run/lease",
        *(f"features/part-00000{number}.parquet" for number in range(4)),
    ]
    assert bucket.client.head_object(Bucket=NAME, Key="features/_run/lease")["ContentLength"] == 0  # given back
    assert update()[2] == 21
    assert update(retry_failed=True)[0] == 1
    make_photo(photos / "dogs" / "00.jpg", 50)  # changed
    make_photo(photos / "dogs" / "new.jpg", 51)
    (photos / "cats" / "03.jpg").rename(photos / "dogs" / "renamed.jpg")
    (photos / "cats" / "05.jpg").unlink()
    assert update() == (0, 2, 1, 18, 1, 1, 0, 0)
    assert update(prune=True) == (0, 0, 0, 21, 0, 1, 1, 0)
    (photos / "cats").rename(photos / "kittens")  # other ids, other labels
    assert update()[3] >= 8
