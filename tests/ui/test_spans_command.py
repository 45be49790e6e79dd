"""`fxengine predict --spans`, as somebody types it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from fxengine import predict
from fxengine.ui.cli import main
from fxengine.ui.exit_codes import FINE, MISTAKE
from tests.backbones.sources.hf_nets import tagger


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a net of named entities, and texts."""
    folder = tmp_path_factory.mktemp("spans")
    tagger(folder / "net", ("PER", "O", "LOC"))
    lines = [{"text": text} for text in ("good caf\u00e9 bad\nabc", "", "good bad " * 20)]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def run(command: str) -> int:
    return main(shlex.split(command))


@pytest.mark.usefixtures("there")
def test_a_table_of_spans(capfd: pytest.CaptureFixture[str]) -> None:
    found = predict("texts.jsonl", backbone="hf:./net", spans=True)
    assert found.spans
    assert run("predict texts.jsonl --backbone hf:./net --spans") == FINE
    shown = capfd.readouterr().out
    assert re.search(r"┃ id +┃ +start ┃ +end ┃ text +┃ label ┃ +score ┃", shown)
    for each in found:
        for span in each.spans:
            text = re.escape(span.text.replace("\n", "\\n"))
            cells = rf"│ {each.id} │ +{span.start} │ +{span.end} │ {text} +│ {span.label} +│ {span.score:.4f} │"
            assert re.search(cells, shown), cells
    assert "failed: The text is empty." in shown
    assert shown.endswith(
        f"{found.spans} spans in 3 texts (1 failed)\n1 of 3 texts were cut: the net took only their first tokens\n"
    )


@pytest.mark.usefixtures("there")
def test_spans_as_json_and_in_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    found = predict("texts.jsonl", backbone="hf:./net", spans=True)
    assert run("predict texts.jsonl --backbone hf:./net --spans --json") == FINE
    assert json.loads(capfd.readouterr().out) == found.to_dict()["predictions"]
    assert run("predict texts.jsonl --backbone hf:./net --spans -o out.json") == FINE
    assert f"{found.spans} spans in 3 texts (1 failed) written to out.json\n1 of 3 texts" in capfd.readouterr().err
    assert json.loads(Path("out.json").read_text()) == found.to_dict()["predictions"]
    assert run("predict texts.jsonl --backbone hf:./net --spans -o out.csv --json") == FINE
    told = {"output": "out.csv", "count": 3, "failed": 1, "truncated": 1, "spans": found.spans}
    assert json.loads(capfd.readouterr().out) == told


@pytest.mark.usefixtures("there")
def test_texts_by_themselves(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("predict --text 'good bad' --text abc --backbone hf:./net --spans --json") == FINE
    rows = json.loads(capfd.readouterr().out)
    assert rows
    assert all(row["id"][row["start"] : row["end"]] == row["text"] for row in rows)


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            "predict texts.jsonl --spans",
            "minilm_l6 says nothing of tokens: --spans want a net of named entities as --b",
        ),
        ("predict texts.jsonl --backbone hf:./net --model head.onnx --spans", "leave it, or --spans, away."),
        (
            "predict texts.jsonl --backbone hf:./net",
            "net has no classes of its own: train a head (fxengine probe), give",
        ),
    ],
)
def test_what_finds_no_spans_is_a_sentence(command: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(command) == MISTAKE
    shown = capfd.readouterr()
    assert says in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)
