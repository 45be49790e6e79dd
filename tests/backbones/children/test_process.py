from __future__ import annotations

import json
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from fxengine.backbones.children import process
from fxengine.backbones.children.process import Program, check_answer, run_program
from fxengine.errors import InputError
from tests.conftest import PATIENCE

ANSWERS = """
import json, os, sys
order = json.load(open(sys.argv[1]))
print("says", order["word"], os.environ["COLOUR"], os.environ["PYTHONSAFEPATH"], os.getcwd())
json.dump({"ok": True}, open("answer.json", "w"))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))


def program(folder: Path, text: str) -> Program:
    file = folder / "program.py"
    file.write_text(text)
    return Program(sys.executable, file, "painter", {"COLOUR": "red"})


def test_it_is_given_its_order_and_leaves_a_log(tmp_path: Path) -> None:
    log, ended = run_program(program(tmp_path, ANSWERS), {"word": "hello"}, tmp_path, seconds=PATIENCE)
    assert ended == "the child process ended with exit status 0"
    assert log.parent == tmp_path / "cache" / "logs"
    assert log.name.startswith("painter-")
    assert log.read_text() == f"says hello red 1 {tmp_path}\n"
    check_answer("it", tmp_path, log, ended)


def test_it_is_watched_and_ended_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    slow = program(tmp_path, "import time; time.sleep(600)")
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=count(0, 0.3).__next__, strftime=time.strftime))
    log, ended = run_program(slow, {}, tmp_path, seconds=1, watch=lambda: seen.append(1))
    assert ended == "the child process ran past its time limit of 1 s and was ended"
    assert len(seen) >= 2
    with pytest.raises(InputError, match="it could not be painted: the child process ran past its time limit"):
        check_answer("it", tmp_path, log, ended, "painted")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"ok": False, "refused": "no red."}, r"^it: no red\.$"),
        ({"ok": False, "error": "ValueError: 3"}, r"^it could not be exported: ValueError: 3\. The log is .*\n  two$"),
        ({"ok": False, "error": "no", "tried": ["a", "b"]}, r"exported: no\. Tried: a, b\. The log"),
    ],
)
def test_what_failed_is_said_in_the_childs_words(answer: dict[str, object], words: str, tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    log = tmp_path / "log"
    log.write_text("one\n" * 20 + "two\n")
    with pytest.raises(InputError, match=words.replace(".*", "(.|\n)*")) as caught:
        check_answer("it", tmp_path, log, "ended")
    assert str(caught.value).count("one") <= 11


def test_half_an_answer_is_none(tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text('{"ok": tr')
    (tmp_path / "log").write_text("last words")
    with pytest.raises(InputError, match="it could not be exported: it died"):
        check_answer("it", tmp_path, tmp_path / "log", "it died")


def test_an_order_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot write to .*gone: No such file or directory: .* Make room"):
        run_program(program(tmp_path, ANSWERS), {"word": "hello"}, tmp_path / "gone", seconds=PATIENCE)
