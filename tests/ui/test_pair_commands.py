"""What the command line prints of pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fxengine.ui.cli import main
from fxengine.ui.exit_codes import FINE, MISTAKE
from tests.conftest import make_photo
from tests.pairs import Layout, write_pair


@pytest.fixture
def here(tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    return there


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with photos and a text."""
    for i in range(4):
        make_photo(tmp_path / "photos" / f"{i}.jpg", i)
    (tmp_path / "texts.txt").write_text("good dog\nbad cat\n")
    return tmp_path


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("clip", "the two are a pair: softmax of 54.6 x cosine (model.safetensors)"),
        ("siglip", "the two are a pair: sigmoid of 54.6 x cosine -9.5 (model.safetensors)"),
        ("immich", "the two are a pair: softmax; by what cosines are scaled is stated in no file that is here"),
    ],
)
def test_an_export_says_both_and_the_pair(
    here: Path, layout: Layout, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(here / "net", layout)
    assert main(["export", "hf:./net", "-o", "clip"]) == FINE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("clip")] == ["clip.image.onnx", "clip.text.onnx"]
    assert lines[-1] == said


def run(line: str) -> int:
    return main(line.split())


def test_from_a_repository_to_answers(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_pair(here / "net")
    assert run("extract photos -o p --backbone hf:./net --tower image") == FINE
    assert run("search p --text good") == MISTAKE
    said = capfd.readouterr().err
    assert "ask with a picture, a .npy or an --id, not with --text. Texts can only ask one tower of a pair" in said
    assert run("export hf:./net -o clip --quiet") == FINE
    assert run("extract texts.txt -o t --backbone clip.text.onnx --quiet") == FINE
    assert run("info t --json") == FINE
    told = json.loads(capfd.readouterr().out)
    assert (told["pair"]["tower"], told["pair"]["text"]) == ("text", told["space"])
    assert main(["search", "p", "--text", "good", "--json"]) == FINE
    assert len(json.loads(capfd.readouterr().out)["answers"][0]["neighbours"]) == 4
    assert run("search t photos/0.jpg -k 1") == FINE
    assert "nearest to photos/0.jpg among 2 rows" in capfd.readouterr().out
    assert run("search p --plus photos/0.jpg --plus-text dog --minus-text bad -k 1") == FINE
    assert 'nearest to +photos/0.jpg +"dog" -"bad" among 4 rows' in capfd.readouterr().out
    assert run("search p --text good --metric l2") == MISTAKE
    assert "--text asks p through a pair's other tower, by cosine: leave --metric away." in capfd.readouterr().err
