"""Files that a store which somebody else made brings along: links, pipes and notes of gigabytes beside its parts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fxengine import FeatureStore, StoreError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import StoreLocked
from fxengine.features.crash_note import CrashNote, read_suspects
from fxengine.features.lock import locked
from fxengine.features.parts import list_parts, remove_leftovers
from fxengine.features.row_numbers import noted_next_row
from fxengine.repair.verify import verify
from tests.conftest import ROOT
from tests.features.test_lock import holder

NOTES = (".decoding", ".lock.holder", ".next_row")
PRECIOUS = b"of the user: " + bytes(range(32)) * 40


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_bytes(PRECIOUS)
    return path


@pytest.fixture
def store(photos: Path, tmp_path: Path, tiny: BackboneFile) -> Path:
    extract(photos, tmp_path / "s", backbone=tiny.path, limit=6)
    return tmp_path / "s"


def link(path: Path, precious: Path) -> None:
    path.symlink_to(precious)


def hard_link(path: Path, precious: Path) -> None:
    os.link(precious, path)


def dangling(path: Path, precious: Path) -> None:
    path.symlink_to(precious.with_name("not there"))


def pipe(path: Path, precious: Path) -> None:
    os.mkfifo(path)


def huge(path: Path, precious: Path) -> None:
    path.touch()
    os.truncate(path, 3 << 30)


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("make", [link, hard_link, dangling, pipe, huge])
def test_nothing_beside_the_parts_is_followed_waited_for_or_read_whole(
    store: Path, photos: Path, tiny: BackboneFile, precious: Path, name: str, make: Callable[[Path, Path], None]
) -> None:
    (store / name).unlink(missing_ok=True)
    make(store / name, precious)
    assert read_suspects(store) == frozenset() or make is hard_link
    assert extract(photos, store, backbone=tiny.path).extracted == 14
    assert precious.read_bytes() == PRECIOUS
    assert not precious.with_name("not there").exists()
    assert (store / name).is_symlink() is False
    assert noted_next_row(store) == 20
    assert [path.name for path in store.iterdir() if path.name in NOTES] == [".next_row"]


@pytest.mark.parametrize(("name", "message"), [(".decoding", "Is a directory"), (".lock.holder", "Is a directory")])
def test_a_folder_in_the_place_of_a_note_is_told(
    store: Path, photos: Path, tiny: BackboneFile, name: str, message: str
) -> None:
    (store / name / "inside").mkdir(parents=True)
    with pytest.raises(StoreError, match=rf"Cannot write to {store}: {message}: .*{re.escape(name)}"):
        extract(photos, store, backbone=tiny.path)
    (store / name / "inside").rmdir()
    (store / name).rmdir()
    assert extract(photos, store, backbone=tiny.path).extracted == 14


@pytest.mark.parametrize("make", [link, dangling, pipe])
def test_a_lock_that_is_no_file_is_told(
    store: Path, photos: Path, tiny: BackboneFile, precious: Path, make: Callable[[Path, Path], None]
) -> None:
    (store / ".lock").unlink(missing_ok=True)
    make(store / ".lock", precious)
    with pytest.raises(StoreError, match=r"Cannot write to .*: It is not a regular file, delete it: .*/\.lock\."):
        extract(photos, store, backbone=tiny.path)
    assert precious.read_bytes() == PRECIOUS
    (store / ".lock").unlink()
    (store / ".lock").mkdir()
    with pytest.raises(StoreError, match="It is not a regular file"):
        extract(photos, store, backbone=tiny.path)


@pytest.mark.parametrize(
    ("note", "holding"),
    [
        ({"since": 1e300}, r"another process \(\.lock\.holder is damaged: 'since' cannot be 1e\+300\)"),
        ({"since": -1}, "'since' cannot be -1"),
        ({"pid": [1]}, r"'pid' cannot be \[1\]"),
        ({"pid": -5}, "'pid' cannot be -5"),
        ({"pid": None}, "'pid' cannot be None"),
        ({"host": "a\x1b]0;b\a"}, r"'host' cannot be 'a\\x1b\]0;b\\x07'"),
        ({"host": ["a"]}, r"'host' cannot be \['a'\]"),
        ({"more": 1}, "says 'more' of itself, which this version does not know"),
        ({"format": 2}, "is of another format version"),
        (b'{"pid": NaN}', "is not JSON"),
        (b'{"pid": ' + b"[" * 900 + b"]" * 900 + b"}", "is nested more than 32 deep"),
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"{}" * 3000, "another process"),
    ],
)
def test_what_a_lock_says_of_its_holder_is_looked_at(tmp_path: Path, note: object, holding: str) -> None:
    process = holder(tmp_path)
    try:
        fine = json.loads((tmp_path / ".lock.holder").read_text())
        raw = note if isinstance(note, bytes) else json.dumps({**fine, **note}).encode()  # type: ignore[dict-item]
        (tmp_path / ".lock.holder").write_bytes(raw)
        with pytest.raises(StoreLocked, match=f"is being written to by .*{holding}.*Wait for it") as raised:
            locked(tmp_path).__enter__()
        assert str(raised.value).isprintable()
        (tmp_path / ".lock.holder").unlink()
        os.mkfifo(tmp_path / ".lock.holder")
        with pytest.raises(StoreLocked, match="is being written to by another process"):
            locked(tmp_path).__enter__()
    finally:
        process.kill()
        process.wait()


def test_the_note_of_a_crash_is_begun_anew_also_on_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fxengine import StoreError\n"
        "from fxengine.features.crash_note import CrashNote\n"
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "try: CrashNote(Path(sys.argv[1]), 8)\n"
        "except StoreError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == (f"Cannot write to {tmp_path}: File too large.\n", "")
    note = CrashNote(tmp_path, 2)
    with note.decoding(1, "a.jpg"):
        assert len(read_suspects(tmp_path)) == 1
    note.close()
    assert list(tmp_path.iterdir()) == []


def to_file(path: Path, store: Path) -> None:
    path.symlink_to(store.with_name("blob"))


def in_a_circle(path: Path, store: Path) -> None:
    path.symlink_to(path.name)


def to_pipe(path: Path, store: Path) -> None:
    os.mkfifo(store.with_name("pipe"))
    path.symlink_to(store.with_name("pipe"))


def to_device(path: Path, store: Path) -> None:
    path.symlink_to("/dev/zero")


def to_secret(path: Path, store: Path) -> None:
    store.with_name("secret.parquet").write_bytes(PRECIOUS)
    path.symlink_to(store.with_name("secret.parquet"))


@pytest.mark.parametrize("make", [in_a_circle, to_pipe, to_device, to_secret, to_file])
def test_a_part_that_leads_elsewhere_is_no_part(store: Path, make: Callable[[Path, Path], None]) -> None:
    begin = time.monotonic()
    make(store / "part-000007.parquet", store)
    with pytest.raises(StoreError, match=r"part-000007.parquet is damaged"):
        FeatureStore.open(store)
    assert list(verify(store).bad_parts) == ["part-000007.parquet"]
    assert time.monotonic() - begin < 60


def test_a_part_that_is_a_link_to_one_is_read_and_never_written_through(
    store: Path, photos: Path, tiny: BackboneFile
) -> None:
    """As a download lies in the caches of hubs, and in git-annex."""
    (part,) = list_parts(store)
    blob = part.replace(store.with_name("blob"))
    part.symlink_to(blob)
    before = blob.read_bytes()
    assert len(FeatureStore.open(store).ids()) == 6
    assert verify(store).bad_parts == {}
    os.utime(photos / "cats" / "01.jpg", ns=(1, 1))
    assert extract(photos, store, backbone=tiny.path).changed == 1
    assert blob.read_bytes() == before
    assert not part.is_symlink()


def test_a_folder_named_like_a_leftover_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / ".part-000000.parquet.tmp-0").mkdir()
    (tmp_path / ".next_row.tmp-0").touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".part-000000.parquet.tmp-0"]
