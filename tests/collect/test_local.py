from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fxengine.collect.item import Item
from fxengine.collect.local import read_input
from fxengine.errors import DecodeError
from fxengine.features.schema import ERROR_CODES
from tests.conftest import PATIENCE


@pytest.fixture
def item(tmp_path: Path) -> Item:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(5, 1_700_000_000_000_000_007))
    return Item("a.jpg", str(path), 10, 1_700_000_000_000_000_007, "cats", "val")


def failure(item: Item, max_bytes: int = 1000) -> DecodeError:
    with pytest.raises(DecodeError) as raised:
        read_input(item, max_bytes)
    assert raised.value.code in ERROR_CODES
    assert str(raised.value).endswith(".")
    return raised.value


def open_handles() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_the_bytes_and_the_item_come_back(item: Item) -> None:
    assert read_input(item, 10) == (b"0123456789", item)


def test_the_item_gets_the_size_and_time_of_what_was_read(item: Item) -> None:
    stale = item._replace(size=-1, mtime_ns=0)
    assert read_input(stale, 1000) == (b"0123456789", item)


def test_an_empty_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    data, read = read_input(Item("empty", str(tmp_path / "empty"), 0, 0), 1000)
    assert (data, read.size) == (b"", 0)


def test_a_file_that_is_gone(item: Item, tmp_path: Path) -> None:
    assert failure(item._replace(source=str(tmp_path / "gone.jpg"))).code == "vanished"
    assert failure(item._replace(source=item.source + "/inside.jpg")).code == "vanished"
    (tmp_path / "link").symlink_to("nowhere")
    assert failure(item._replace(source=str(tmp_path / "link"))).code == "vanished"


def test_a_file_that_may_not_be_read(item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        error = failure(item)
    assert (error.code, str(error)) == ("permission", "This user may not read the file.")


def test_a_folder_is_no_file(item: Item, tmp_path: Path) -> None:
    error = failure(item._replace(source=str(tmp_path)))
    assert (error.code, str(error)) == ("not_a_file", "It is a folder, a pipe or a device, not a file.")


def test_a_device_is_no_file(item: Item) -> None:
    assert failure(item._replace(source="/dev/zero")).code == "not_a_file"


def test_a_pipe_without_a_writer_does_not_block(item: Item, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    codes: list[str] = []
    work = threading.Thread(target=lambda: codes.append(failure(item._replace(source=str(pipe))).code), daemon=True)
    work.start()
    work.join(timeout=PATIENCE)
    assert codes == ["not_a_file"]


def test_a_file_over_the_limit(item: Item) -> None:
    error = failure(item, max_bytes=9)
    assert (error.code, str(error)) == ("too_large", "10 bytes; `max_bytes` allows 9.")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_disk_that_fails(item: Item, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", fail)
        error = failure(item)
    assert (error.code, str(error)) == ("io", f"Reading failed: {os.strerror(number)}.")


def test_a_machine_without_memory(item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", fail)
        error = failure(item)
    assert error.code == "out_of_memory"


def growing(path: str, times: int) -> Callable[[int, int], bytes]:
    """Return an os.read under which the file grows by one byte the first `times` times."""
    read = os.read
    left = [times]

    def read_and_grow(handle: int, count: int) -> bytes:
        data = read(handle, count)
        if left[0] and data:
            left[0] -= 1
            with Path(path).open("ab") as file:
                file.write(b"+")
        return data

    return read_and_grow


def test_a_file_that_changes_once_is_read_again(item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", growing(item.source, 1))
        data, read = read_input(item, 1000)
    assert data == b"0123456789+"
    assert (read.size, read.mtime_ns) == (11, Path(item.source).stat().st_mtime_ns)


def test_a_file_that_goes_on_changing_is_tried_another_day(item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", growing(item.source, 99))
        error = failure(item)
    assert (error.code, str(error)) == ("io", "It changed while it was being read, twice.")


def test_short_reads_are_put_together(item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Any = os.read
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", lambda handle, count: read(handle, min(count, 3)))
        assert read_input(item, 1000)[0] == b"0123456789"


def test_no_handle_stays_open(item: Item, tmp_path: Path) -> None:
    before = open_handles()
    for _ in range(3):
        read_input(item, 1000)
        failure(item, max_bytes=9)
        failure(item._replace(source=str(tmp_path)))
    assert open_handles() == before
