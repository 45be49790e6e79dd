"""A store's files, on a disk and in a bucket: what is made once, replaced, read in ranges and named, is the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fxengine import store_files
from fxengine.storage import Bucket, Found
from tests.buckets import NAME, served


@pytest.fixture(scope="module", params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path_factory.mktemp("store")
        return
    with pytest.MonkeyPatch.context() as patch, served(patch, threaded=False):
        yield Path(f"s3:/{NAME}/store")


def write(path: Path, content: bytes) -> None:
    with store_files.making(path) as made:
        made.write_bytes(content)


def test_what_is_made_is_read_named_and_removed(folder: Path) -> None:
    path, content = folder / "a.bin", os.urandom(3 << 20)
    assert "a.bin" not in store_files.names(folder)
    assert not store_files.is_there(path)
    write(path, content)
    assert store_files.is_there(path)
    assert "a.bin" in store_files.names(folder)
    with store_files.open_file(path) as opened:
        assert store_files.size_of(opened) == len(content)
        opened.seek(-100, os.SEEK_END)
        assert opened.read() == content[-100:]
        opened.seek(5)
        assert opened.read(1_500_000) == content[5:1_500_005]
        opened.seek(0)
        assert opened.read() == content
    before = store_files.stamp(path)
    assert before == store_files.stamp(path)
    write(path, content[::-1])
    assert before != store_files.stamp(path)
    with pytest.raises(OSError, match="longer than 1,000 bytes"):
        store_files.read_short(path, 1000)
    assert store_files.read_short(path, 1 << 22) == content[::-1]
    store_files.delete(path)
    store_files.delete(path)
    assert not store_files.is_there(path)
    with pytest.raises(FileNotFoundError):
        store_files.open_file(path)
    assert store_files.names(folder / "nothing") == []


def test_of_many_that_make_one_file_one_does(folder: Path) -> None:
    path, won = folder / "once.bin", list[bool]()

    def make(content: bytes) -> None:
        with closing(store_files.make(path)) as made:
            made.path.write_bytes(content)
            won.append(made.create())

    threads = [threading.Thread(target=make, args=(bytes([number]) * 1000,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 15 + [True]
    assert len(set(store_files.read_short(path, 1000))) == 1


def test_in_a_bucket_of_two_that_replace_one_object_one_fails() -> None:
    with pytest.MonkeyPatch.context() as patch, served(patch, threaded=False):
        path = Path(f"s3:/{NAME}/store/a.bin")
        write(path, b"one")
        with closing(store_files.make(path)) as late:
            write(path, b"two")
            late.path.write_bytes(b"three")
            with pytest.raises(OSError, match="Another process wrote it meanwhile"):
                late.commit()
        assert store_files.read_short(path, 9) == b"two"
        write(path, bytes(1 << 18))  # more than comes when it is opened
        with store_files.open_file(path) as opened:
            write(path, b"other")
            with pytest.raises(OSError, match="it was written anew meanwhile"):
                opened.read()


@pytest.fixture
def remote() -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch, served(patch, threaded=False):
        yield Path(f"s3:/{NAME}/store/a.bin")


def test_in_a_bucket_what_was_read_is_replaced_and_nothing_else(remote: Path) -> None:
    write(remote, b"one")
    read = store_files.state(remote)
    assert store_files.states(remote.parent) == {"a.bin": read}
    write(remote, b"two")
    with closing(store_files.make(remote, read)) as made:
        made.path.write_bytes(b"three")
        with pytest.raises(OSError, match="Another process wrote it"):
            made.commit()
    assert store_files.read_short(remote, 9) == b"two"
    with closing(store_files.make(remote, store_files.state(remote))) as made:
        made.path.write_bytes(b"three")
        made.commit()
    assert store_files.read_short(remote, 9) == b"three"


def test_in_a_bucket_what_was_ended_counts_as_none(remote: Path) -> None:
    def create(content: bytes) -> bool:
        with closing(store_files.make(remote)) as made:
            made.path.write_bytes(content)
            return made.create()

    assert create(b"one")
    first = store_files.state(remote)
    assert not create(b"two")
    store_files.end(remote, first)
    assert store_files.sizes([remote]) == [0]
    assert create(b"two")
    store_files.end(remote, first)  # late: another one is there
    assert store_files.read_short(remote, 9) == b"two"


@pytest.mark.parametrize("old", [b"", b"old"])
def test_in_a_bucket_a_lost_answer_is_no_failure(old: bytes, remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Bucket._put
    if old:
        write(remote, old)

    def forgetful(self: Bucket, key: str, content: bytes, mode: object) -> Found | None:
        put(self, key, content, mode)  # and what comes back is the refusal of a second try
        return put(self, key, content, mode)

    monkeypatch.setattr(Bucket, "_put", forgetful)
    write(remote, b"new")
    assert store_files.read_short(remote, 9) == b"new"


def test_on_a_disk_there_is_no_state_but_the_lock(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert (store_files.state(tmp_path / "a"), store_files.states(tmp_path)) == (None, {})
    store_files.end(tmp_path / "a", None)
    assert store_files.names(tmp_path) == []
