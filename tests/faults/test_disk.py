"""Disks that are full, read-only, slow or failing."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fxengine import FeatureStore, InputError, StoreError, extract, finetune
from fxengine.backbones.children import keras_env
from fxengine.backbones.spec import BackboneFile
from fxengine.collect import local
from fxengine.features.dump import dump
from fxengine.features.parts import list_parts
from fxengine.train import data as rows_of
from tests.conftest import PATIENCE, ROOT, make_photo
from tests.pipeline.test_extract import rows, same
from tests.unprivileged import no_file_over_100_bytes, permissions_bind

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
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "Cannot write" in done.stdout
    assert "Committed parts are intact" in done.stdout
    assert [p.name for p in store.iterdir() if "tmp" in p.name] == []
    same(before, rows(store))
    assert extract(photos, store, backbone=tiny.path).extracted == 24


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a disk of this size, in the words of tmpfs."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}"]
    if subprocess.run(["mount", *options, "tmpfs", folder], capture_output=True, check=False).returncode:
        pytest.skip("this sandbox allows no mounts")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


needs_mounts = pytest.mark.skipif(
    not Path("/dev/full").exists() or os.geteuid() != 0, reason="mounting a small disk needs root"
)


@needs_mounts
def test_a_small_disk_fills_between_two_parts(tmp_path: Path, tiny: BackboneFile) -> None:
    photos, store = tmp_path / "photos", tmp_path / "s"
    for i in range(64):
        make_photo(photos / f"{i:02d}.jpg", i)
    with small_disk(store, "24k"):
        with pytest.raises(StoreError, match=r"No space left on device.*free some space"):
            extract(photos, store, backbone=tiny.path, part_rows=16)
        kept = rows(store)
        assert 16 <= len(kept) < 64
        subprocess.run(["mount", "-o", "remount,size=10m", store], check=True)
        assert extract(photos, store, backbone=tiny.path, part_rows=16).extracted == 64 - len(kept)
        extract(photos, tmp_path / "fresh", backbone=tiny.path)
        same(rows(store), rows(tmp_path / "fresh"))


MAPPED = """
import sys; from pathlib import Path; from fxengine.train.room import mapped
mapped(Path(sys.argv[1]), (40, 64, 64, 3), '40 pictures')[:] = 7
"""


@needs_mounts
def test_pictures_to_train_on_have_room_or_are_refused(tmp_path: Path) -> None:
    """A mapped file without room would end the process by SIGBUS, without a word."""
    with small_disk(tmp_path / "work", "400k"):
        command = [sys.executable, "-c", MAPPED, str(tmp_path / "work" / "images.npy")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 1
        assert re.search(
            r"InputError: 40 pictures take 491,520 bytes in .*/work, where 409,600 are free: No space left on device",
            done.stderr,
        )
        assert not list((tmp_path / "work").iterdir())


@needs_mounts
@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("10m", r"Cannot write to .*/net\.run/work: .*No space left on device.* Make room, or choose another `output`"),
        ("21m", r"24 pictures at 224 x 224 pixels take 3,612,672 bytes in .*/work, where [0-9,]+ are free: No space"),
    ],
)
def test_a_training_without_room_is_told_before_it_begins(
    size: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(24):
        make_photo(tmp_path / "photos" / "ab"[i % 2] / f"{i:02d}.jpg", i // 2)
    monkeypatch.setattr(keras_env, "versions", lambda: {"keras": "3.15.1"})
    monkeypatch.setattr(rows_of, "nothing_to_gain", lambda *_: "")
    with small_disk(tmp_path / "disk", size), pytest.raises(InputError, match=words):
        finetune(tmp_path / "photos", tmp_path / "disk" / "net.onnx", near=1.5)


def test_a_read_only_folder_is_refused_before_the_model_loads(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxengine.pipeline.plan.load_backbone", None)  # calling it would be another error
    (tmp_path / "file").write_text("")
    begin = time.monotonic()
    with pytest.raises(StoreError, match=r"Cannot write to .*Choose another as `output`"):
        extract(photos, tmp_path / "file" / "s", backbone=tiny.path)
    if Path("/proc/version").exists():  # root may write to read-only modes, but not here
        with pytest.raises(StoreError, match="Cannot write to /proc"):
            extract(photos, Path("/proc/fxengine-store"), backbone=tiny.path)
    assert time.monotonic() - begin < 60


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


WRITERS = (
    "extract PHOTOS -o OUT/s --backbone NET",
    "dump STORE -o OUT/d.npy",
    "dump STORE -o OUT/d.csv",
    "dump STORE -o OUT/d.parquet",
    "pca STORE --dim 2 -o OUT/p.onnx",
    "pca STORE --dim 2 -o ELSEWHERE/p.onnx --reduced OUT/r",
    "pca STORE --dim 2 -o ELSEWHERE/p.onnx --plot OUT/p.png",
    "probe STORE -o OUT/h.onnx",
    "predict PHOTOS --backbone NET -o OUT/p.csv",
    "predict PHOTOS --backbone NET -o OUT/p.parquet",
    "search STORE --id cats/01.jpg -k 5 -o OUT/s.csv",
    "search STORE --id cats/01.jpg -k 5 --report OUT/s.html",
    "map STORE --method pca -o OUT/m.parquet",
    "map STORE --method pca --png OUT/m.png",
    "verify OUT/damaged --repair --backbone NET",
)
EACH = (
    "import json, subprocess, sys; from fxengine.ui.cli import main\n"
    "for line in json.load(sys.stdin):\n"
    "    print(f'>>> {line}', file=sys.stderr, flush=True)\n"
    "    print(main(line.split()), file=sys.stderr, flush=True)"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"), [(permissions_bind, "Permission denied"), (no_file_over_100_bytes, "File too large")]
)
def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing_half(
    fault: Callable[[], None], reason: str, photos: Path, tmp_path: Path, tiny: BackboneFile
) -> None:
    places = {
        "PHOTOS": photos,
        "STORE": tmp_path / "store",
        "NET": tiny.path,
        "OUT": tmp_path / "out",
        "ELSEWHERE": tmp_path,
    }
    extract(photos, places["STORE"], backbone=tiny.path)
    extract(photos, places["OUT"] / "damaged", backbone=tiny.path, part_rows=12)
    part = list_parts(places["OUT"] / "damaged")[0]
    part.write_bytes(b"PAR1" + part.read_bytes()[4:-4])
    before = sorted(places["OUT"].rglob("*"))
    if fault is permissions_bind:
        part.parent.chmod(0o500)
        places["OUT"].chmod(0o500)
    lines = [re.sub("[A-Z]{3,}", lambda found: str(places[found[0]]), line) for line in WRITERS]
    done = subprocess.run(
        [sys.executable, "-c", EACH],
        input=json.dumps(lines), preexec_fn=fault, capture_output=True, text=True, timeout=PATIENCE, check=True,
        cwd=ROOT,
    )  # fmt: skip
    for wrote, line in zip(done.stderr.split(">>> ")[1:], lines, strict=True):
        complaints = [each for each in wrote.splitlines() if each.startswith("fxengine: ")]
        assert complaints, wrote
        assert reason in complaints[-1], wrote
        assert wrote.splitlines()[-1] == "1", wrote
        assert "Traceback" not in wrote, line
    made = {path.name for path in places["OUT"].rglob("*") if path not in before}
    # The folder of a store, its lock, and the part that was set aside, whole.
    assert made <= {"s", ".lock", f"{part.name}.damaged"}, made


def test_a_disk_that_fails_is_a_sentence_and_leaves_nothing_half(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    extract(photos, store, backbone=tiny.path, part_rows=12, limit=12)

    def fail(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=r"Cannot write .*: Input/output error"):
        extract(photos, store, backbone=tiny.path)
    with pytest.raises(InputError, match=r"Cannot write .*d\.npy: Input/output error"):
        dump(store, tmp_path / "d.npy")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "photos") == ["s"]
    assert sorted(path.name for path in store.iterdir()) == [".lock", ".next_row", "part-000000.parquet"]


def test_a_slow_file_holds_up_nothing_but_itself(
    photos: Path, tmp_path: Path, tiny: BackboneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, finished, eight = local._read_all, [], threading.Event()

    def slow(handle: int, size: int) -> bytes:
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        if name == "01.jpg":
            eight.wait(PATIENCE)
        finished.append(name)
        if len(finished) == 8:
            eight.set()
        return original(handle, size)

    monkeypatch.setattr(local, "_read_all", slow)
    extract(photos, tmp_path / "s", backbone=tiny.path, batch_size=2)
    assert eight.is_set()
    assert finished.index("01.jpg") >= 8
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
