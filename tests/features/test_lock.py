from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fxengine.errors import StoreError, StoreLocked
from fxengine.features.lock import locked

HOLD = "import sys, time; from pathlib import Path; from fxengine.features.lock import locked\n" \
       "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(600)"  # fmt: skip


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_refused_with_who_holds_the_lock(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        begin = time.monotonic()
        with pytest.raises(StoreLocked, match=f"written to by process {process.pid} on .* since 20"), locked(tmp_path):
            pass
        assert time.monotonic() - begin < 60
    finally:
        process.kill()
        process.wait()


def test_the_lock_of_a_killed_writer_is_free(tmp_path: Path) -> None:
    process = holder(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with locked(tmp_path):
        pass
    assert not (tmp_path / ".lock.holder").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Cannot write to .*file/store"), locked(tmp_path / "file" / "store"):
        pass


def test_an_error_inside_is_not_mistaken_for_a_lock_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="inside"), locked(tmp_path):
        raise OSError("inside")


def test_a_lock_that_is_another_file_too_is_refused(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("kept")
    (tmp_path / "store").mkdir()
    os.link(private, tmp_path / "store" / ".lock")
    said = "It is a file that has another name, too: delete this one"
    with pytest.raises(StoreError, match=said), locked(tmp_path / "store"):
        pass
    assert private.read_text() == "kept"
