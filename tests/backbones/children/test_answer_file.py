from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fxengine.backbones.children import answer_file
from fxengine.backbones.children.answer_file import is_full, leave, no_room, take_room
from tests.conftest import PATIENCE

LIMITED = """
import resource, runpy, sys
from pathlib import Path
answers, path = runpy.run_path(sys.argv[1]), Path(sys.argv[2])
answers["take_room"](path)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # in place of a full disk
answers["leave"](path, {"ok": True, "long": "x" * int(sys.argv[3])})
"""


def left(path: Path, length: int) -> dict[str, object]:
    """Return the answer that a program leaves where no file may be over 20,000 bytes."""
    command = [sys.executable, "-c", LIMITED, answer_file.__file__, str(path), str(length)]
    subprocess.run(command, check=True, timeout=PATIENCE)
    answer: dict[str, object] = json.loads(path.read_text())
    return answer


def test_an_answer_is_left_whole_or_says_that_there_is_no_room(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    for answer in ({"ok": True}, {"ok": True, "history": [1.5] * 10_000}):  # shorter and longer than the room
        take_room(path)
        leave(path, answer)
        assert json.loads(path.read_text()) == answer
    assert left(path, 100) == {"ok": True, "long": "x" * 100}
    assert left(path, 30_000) == {"ok": False, "refused": no_room(tmp_path)}
    assert [file.name for file in tmp_path.iterdir()] == ["answer.json"]


def test_an_answer_that_was_not_finished_is_none(tmp_path: Path) -> None:
    take_room(tmp_path / "answer.json")
    assert not (tmp_path / "answer.json").exists()


def test_a_full_disk_is_known_by_the_systems_words() -> None:
    assert is_full(OSError(28, "No space left on device"))
    assert is_full(RuntimeError("tf2onnx: OSError: [Errno 28] No space left on device: 'net.onnx'"))
    assert is_full(OSError(27, "File too large"))
    assert not is_full(OSError(2, "No such file or directory"))
