"""Disks that are full, read-only, slow or failing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fxengine import FeatureStore, StoreError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import local
from fxengine.features.parts import list_parts
from tests.conftest import make_photo
from tests.pipeline.test_extract import rows, same

LIMITED = (
    "import resource, signal, sys; from fxengine import extract, StoreError\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))\n"
    "try: extract(sys.argv[1], sys.argv[2], backbone=sys.argv[3], part_rows=int(sys.argv[5]))\n"
    "except StoreError as error: print(error)"
)


def test_a_full_disk_is_a_clear_error_and_the_run_goes_on_later(tmp_path: Path, tiny: BackboneFile) -> None:
    """A limit on the size of a file stands in for the full disk: parts of 16 rows fit, one of 1000 does not."""
    photos, store = tmp_path / "photos", tmp_path / "s"
    for i in range(40):
        make_photo(photos / f"{i:02d}.jpg", i)
    extract(photos, store, backbone=tiny.path, part_rows=16, limit=16)
    before = rows(store)
    size = list_parts(store)[0].stat().st_size
    command = [sys.executable, "-c", LIMITED, str(photos), str(store), str(tiny.path), str(size // 2), "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "Cannot write" in done.stdout
    assert "Committed parts are intact" in done.stdout
    assert [p.name for p in store.iterdir() if "tmp" in p.name] == []
    same(before, rows(store))
    assert extract(photos, store, backbone=tiny.path).extracted == 24


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_small_disk_fills_between_two_parts(tmp_path: Path, tiny: BackboneFile) -> None:
    photos, store = tmp_path / "photos", tmp_path / "s"
    for i in range(64):
        make_photo(photos / f"{i:02d}.jpg", i)
    store.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", store], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this sandbox allows no mounts")
    try:
        with pytest.raises(StoreError, match=r"No space left on device.*free some space"):
            extract(photos, store, backbone=tiny.path, part_rows=16)
        kept = rows(store)
        assert 16 <= len(kept) < 64
        subprocess.run(["mount", "-o", "remount,size=10m", store], check=True)
        assert extract(photos, store, backbone=tiny.path, part_rows=16).extracted == 64 - len(kept)
        extract(photos, tmp_path / "fresh", backbone=tiny.path)
        same(rows(store), rows(tmp_path / "fresh"))
    finally:
        subprocess.run(["umount", store], check=True)


def test_a_read_only_folder_is_refused_before_the_model_loads(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxengine.pipeline.plan.load_backbone", None)  # calling it would be another error
    (tmp_path / "file").write_text("")
    begin = time.monotonic()
    with pytest.raises(StoreError, match=r"Cannot write to .*Choose another with -o"):
        extract(photos, tmp_path / "file" / "s", backbone=tiny.path)
    if Path("/proc/version").exists():  # root may write to read-only modes, but not here
        with pytest.raises(StoreError, match="Cannot write to /proc"):
            extract(photos, Path("/proc/fxengine-store"), backbone=tiny.path)
    assert time.monotonic() - begin < 1


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="the failing file is one of Linux")
def test_an_input_that_fails_to_read_is_a_row_and_is_tried_again(
    photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    bad = photos / "cats" / "failing.jpg"
    bad.symlink_to("/proc/self/mem")  # reading its first byte is an I/O error
    summary = extract(photos, tmp_path / "s", backbone=tiny.path)
    assert (summary.extracted, summary.failed) == (20, {"io": 1})
    assert FeatureStore.open(tmp_path / "s").errors()[0]["error"] == "Reading failed: Input/output error."
    bad.unlink()
    make_photo(bad, 77)
    assert extract(photos, tmp_path / "s", backbone=tiny.path).extracted == 1


def test_a_slow_file_holds_up_nothing_but_itself(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, finished = local._read_all, []

    def slow(handle: int, size: int) -> bytes:
        if str(Path(f"/proc/self/fd/{handle}").readlink()).endswith("cats/01.jpg"):
            time.sleep(1.0)
        finished.append(time.monotonic())
        return original(handle, size)

    monkeypatch.setattr(local, "_read_all", slow)
    begin = time.monotonic()
    extract(photos, tmp_path / "s", backbone=tiny.path, batch_size=2)
    assert sum(moment - begin < 0.9 for moment in finished) >= 8
    monkeypatch.undo()
    extract(photos, tmp_path / "fresh", backbone=tiny.path)
    same(rows(tmp_path / "s"), rows(tmp_path / "fresh"))


def test_inputs_that_vanish_or_change_while_the_run_goes(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, done = os.open, set[str]()
    gone, grown = photos / "dogs" / "18.jpg", photos / "dogs" / "16.jpg"

    def opened(path: str, *flags: int) -> int:
        if str(path) == str(gone) and "gone" not in done:
            done.add("gone")
            gone.unlink()
        if str(path) == str(grown) and "grown" not in done:
            done.add("grown")
            make_photo(grown, 555, (90, 50))
        return original(path, *flags)

    monkeypatch.setattr(os, "open", opened)
    summary = extract(photos, tmp_path / "s", backbone=tiny.path)
    assert done == {"gone", "grown"}
    assert (summary.extracted, summary.failed) == (19, {"vanished": 1})
    monkeypatch.undo()
    assert rows(tmp_path / "s")["dogs/16.jpg"]["width"] == 90
    assert rows(tmp_path / "s")["dogs/16.jpg"]["size"] == grown.stat().st_size
    again = extract(photos, tmp_path / "s", backbone=tiny.path)
    assert (again.extracted, again.missing) == (0, 1)


def test_a_file_that_keeps_changing_is_a_passing_error(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, original = photos / "cats" / "05.jpg", local._read_all

    def growing(handle: int, size: int) -> bytes:
        data = original(handle, size)
        if str(Path(f"/proc/self/fd/{handle}").readlink()).endswith("cats/05.jpg"):
            with busy.open("ab") as file:
                file.write(b"more")
        return data

    monkeypatch.setattr(local, "_read_all", growing)
    assert extract(photos, tmp_path / "s", backbone=tiny.path).failed == {"io": 1}
    monkeypatch.undo()
    assert extract(photos, tmp_path / "s", backbone=tiny.path).extracted == 1


def test_a_clock_set_back_harms_nothing(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path, limit=10)
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    old = make_photo(photos / "cats" / "01.jpg", 400)
    os.utime(old, ns=(1000, 1000))  # changed, and yet older than what the store knows
    summary = extract(photos, store, backbone=tiny.path)
    assert (summary.changed, summary.extracted, summary.unchanged) == (1, 11, 9)
    extract(photos, tmp_path / "fresh", backbone=tiny.path)
    same(rows(store), rows(tmp_path / "fresh"))
