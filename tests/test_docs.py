"""What README and docs show is run: Python as it stands, commands through the command line in this very process."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fxengine
from fxengine.ui.cli import build_parser, main
from fxengine.ui.commands import COMMANDS
from fxengine.ui.exit_codes import FINE
from tests.conftest import ROOT, make_photo
from tests.places import in_tar, in_zip
from tests.videos import video_of

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What is in a line that is parsed, and not run.
LINES_NOT_RUN = {
    "--workers": "takes processes, or a cluster; tests/pipeline",
    "--shard": "one of several; tests/pipeline",
    "/shared": "a folder that is not here",
    "finetune": "trains for minutes, and needs Keras",
    "fit": "may train",
    "calibrate": "compares for half a minute",
    "doctor": "times the machine",
    "serve ": "serves until it is interrupted; tests/serving",
    "advise": "times the machine, after a learning curve",
    "probe.html": "draws a learning curve",
    "compare": "times the machine; docs/python.md calls it",
    "bundle": "takes long; docs/python.md calls it",
    "info .": "no run was made",
    "keras:": "needs Keras",
    "onnx:": "a net that is not here",
    "hf:": "a net that is not here",
    "timm": "needs PyTorch",
    "torchvision:": "needs PyTorch",
    "torch-hf:": "needs PyTorch and a network",
    "clip": "a pair that is not here",
    "tfhub:": "needs Keras and a network",
    "classifier.onnx": "a net that is not here",
    "cats_dogs": "what a run over real photos printed",
    "imagenet_500": "what a run over real photos printed",
    "uci_": "what a run over real reviews printed",
    "IVF1024": "wants thousands of rows",
    "--dim 256": "wants hundreds of rows",
    "s3://": "a bucket; tests/pipeline/test_buckets.py",
    "gs://": "a bucket",
    "https:": "a network; tests/collect/test_web.py",
}
# What is in a block that is compiled, and not run.
BLOCKS_NOT_RUN = {
    "fxengine.finetune(": "trains for minutes, and needs Keras; the others there time the machine",
    "import polars": "no dependency",
    "hf:Xenova/clip": "a pair that is not here",
}
# Flags in the text that are those of other programs, of bench/ and of scripts/.
FOREIGN = {"--embedding_column_name", "--file_format", "--vector", "--seeds", "--splits"}


def fenced(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def commands_of(path: Path) -> list[str]:
    """Return the lines of code of a page that call fxengine, without their comments."""
    lines = re.findall(r"^    (?:\$ )?(fxengine .*)$", path.read_text(), re.MULTILINE)
    for block in (*fenced(path, "sh"), *fenced(path, "console")):
        lines += re.findall(r"^(?:\$ )?(fxengine .*)$", block, re.MULTILINE)
    return [shlex.join(word.rstrip("/") for word in shlex.split(line, comments=True)) for line in lines]


def is_run(line: str) -> bool:
    return not any(re.search(rf"(?<![\w-]){re.escape(word)}", line) for word in LINES_NOT_RUN)


LINES = sorted({line for page in PAGES for line in commands_of(page)})
BLOCKS = [pytest.param(page, id=page.name) for page in PAGES if fenced(page, "python")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the photos, texts, stores, heads and queries that the pages name."""
    folder = tmp_path_factory.mktemp("docs")
    for i in range(1, 13):
        for name in ("cats", "dogs"):
            make_photo(folder / "photos" / name / f"{i:02d}.jpg", i + 20 * (name == "dogs"), (520, 260))
    for number, name in enumerate(("query", "cat", "snow", "photo"), 3):
        shutil.copy(folder / "photos" / "cats" / f"{number:02d}.jpg", folder / f"{name}.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fxengine.extract("photos", "features")
        shutil.copytree("features", "others")
        for name in ("reviews", "new"):
            shutil.copy(ROOT / "scripts" / "demo_texts.csv", f"{name}.csv")
            Path(f"{name}.csv").write_text(Path(f"{name}.csv").read_text().replace("text,about", "review,stars", 1))
        fxengine.extract("reviews.csv", "reviews", column="review", label_column="stars")
        fxengine.probe("reviews", "stars.onnx")
        fxengine.probe("features", "head.onnx", near=2)
        fxengine.bundle("efficientnet_lite0", "head.onnx", "model.onnx")
        vectors = fxengine.FeatureStore.open("features").vectors(dtype="float32")
        write_word_vectors(Path("glove.6B.50d.txt"), Path("reviews.csv").read_text())
        fxengine.words("glove.6B.50d.txt", "words")
    for name in ("vectors", "typical"):
        np.save(folder / f"{name}.npy", vectors)
    ids = [f"{name}/{i:02d}.jpg" for name in ("cats", "dogs") for i in range(1, 13)]
    rows = [f"{key},{'red' if i % 2 else 'blue'}" for i, key in enumerate(ids)]
    (folder / "labels.csv").write_text("\n".join(["id,color", *rows]) + "\n")
    write_places(folder)
    (folder / "features.review").mkdir()
    shutil.copy(folder / "labels.csv", folder / "features.review" / "labels.csv")
    (folder / "features.review" / "decisions.csv").write_text("id,decision\ncats/01.jpg,keep\n")
    return folder


def write_places(folder: Path) -> None:
    """Write the containers, the videos and the boxes that the pages name."""
    (folder / "clips").mkdir()
    for clip in (folder / "clip.mp4", folder / "clips" / "a.mp4"):
        video_of(folder / "photos", clip, [0, 6.24, 12.48])
    (folder / "shards").mkdir()
    in_tar(folder / "photos", folder / "shard-000012.tar")
    in_tar(folder / "photos", folder / "shards" / "shard-000000.tar")
    in_zip(folder / "photos", folder / "photos.zip")
    with zipfile.ZipFile(folder / "reviews.zip", "w") as out:
        out.write(folder / "reviews.csv", "2024/reviews.csv")
    boxes = [{"id": 0, "image_id": 0, "category_id": 0, "bbox": [10, 10, 100, 80]}]
    images, classes = [{"id": 0, "file_name": "cats/01.jpg"}], [{"id": 0, "name": "ear"}]
    (folder / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": classes})
    )


def write_word_vectors(path: Path, texts: str) -> None:
    """Write a file as GloVe's with the words of the texts, and those that the pages ask for."""
    asked = ["king", "queen", "man", "woman", "paris", "france", "germany", "berlin", "a", "small", "dog"]
    known = dict.fromkeys([*asked, *re.findall(r"\w+", texts.lower())])
    table = np.random.default_rng(0).standard_normal((len(known), 50))
    lines = (" ".join([word, *(f"{value:.4f}" for value in row)]) for word, row in zip(known, table, strict=True))
    path.write_text("\n".join(lines) + "\n")


def test_the_pages_hold_what_is_run_here() -> None:
    assert len(BLOCKS) >= 4
    assert {line.split()[1] for line in LINES} >= set(COMMANDS) - {"cluster"}
    assert sum(map(is_run, LINES)) >= 20


def test_every_command_is_one() -> None:
    parser = build_parser()
    for line in LINES:
        words = shlex.split(line)[1:]
        assert parser.parse_args(words, argparse.Namespace()).command == words[0], line


@pytest.mark.slow
@pytest.mark.usefixtures("there")
def test_the_commands_run(capfd: pytest.CaptureFixture[str]) -> None:
    for line in filter(is_run, LINES):
        assert main(shlex.split(line)[1:]) == FINE, (line, capfd.readouterr().err)


@pytest.mark.slow
@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("page", BLOCKS)
def test_the_python_runs(page: Path) -> None:
    names: dict[str, Any] = {}
    for block in fenced(page, "python"):
        code = compile(block, page.name, "exec")
        if not any(word in block for word in BLOCKS_NOT_RUN):
            exec(code, names)


def test_python_that_is_not_run_calls_what_there_is() -> None:
    for page in PAGES:
        for name in re.findall(r"\bfxengine\.([A-Za-z_]+)\(", "".join(fenced(page, "python"))):
            assert name in fxengine.__all__, (page.name, name)


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_flag_that_is_named_is_one(page: Path) -> None:
    flags = dict(flags_by_command())
    every = set().union(*flags.values()) | FOREIGN
    for code in re.findall(r"`([^`\n]+)`", page.read_text()):
        if code.startswith(("python -m", "scripts/", "pip ", "tensorboard ", "embedding-atlas ")):
            continue  # theirs
        command = code.split()[1] if code.startswith("fxengine ") and len(code.split()) > 1 else ""
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code))
        assert named <= flags.get(command, every), f"{page.name}: {code}"


def flags_by_command() -> Iterator[tuple[str, set[str]]]:
    """Yield each command with the flags that its help shows."""
    parser = build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        shown = [action for action in command._actions if action.help != argparse.SUPPRESS]
        yield name, {flag for action in shown for flag in action.option_strings}
