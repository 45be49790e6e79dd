"""The way from a net of timm or torchvision to a backbone; the child is a stand-in.

The child itself runs in test_transformers.py, with these libraries in bench/export_torch.py.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from fxengine.backbones import load_backbone
from fxengine.backbones.children import torch_env
from fxengine.backbones.graph.run import run_model
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import from_timm
from fxengine.errors import InputError
from tests import torch_stand_in
from tests.torch_stand_in import NAMES, classifier

RUN = torch_env.run
PICTURES = np.random.default_rng(1).integers(0, 256, (3, 24, 24, 3), np.uint8)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch_env, "versions", torch_stand_in.versions)
    monkeypatch.setattr(torch_env, "run", torch_stand_in.run)


def right(pictures: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    ready = ((pictures / 255 - mean) / std).transpose(0, 3, 1, 2)
    return run_model(classifier(), np.ascontiguousarray(ready, np.float32))["features"]


@pytest.mark.usefixtures("child")
@pytest.mark.parametrize(("kind", "kernel", "length"), [("timm", "bicubic", 32), ("torchvision", "bilinear", 29)])
def test_the_makers_own_preprocessing_is_in_front(kind: str, kernel: str, length: int) -> None:
    found = load_backbone(f"{kind}:net")
    recipe = found.picture_recipe
    assert (recipe.height, recipe.width, recipe.edge, recipe.size) == (24, 24, "short", length)
    assert (recipe.kernel, recipe.rounding) == (kernel, "torchvision")
    wanted = right(PICTURES, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    np.testing.assert_allclose(run_model(onnx.load(found.path), PICTURES)["features"], wanted, rtol=1e-4)
    assert found.facts.notes["preprocessing"] == f"{kind}'s own"


@pytest.mark.usefixtures("child")
def test_what_the_user_states_of_pixels_comes_first() -> None:
    found = load_backbone("timm:net", ExportOptions(mean=(0.1, 0.2, 0.3), size=(24, 24)))
    wanted = right(PICTURES, [0.1, 0.2, 0.3], [0.2, 0.3, 0.4])
    np.testing.assert_allclose(run_model(onnx.load(found.path), PICTURES)["features"], wanted, rtol=1e-4)
    assert found.facts.notes["preprocessing"] == "flags over timm's own"


@pytest.mark.usefixtures("child")
def test_its_facts_say_what_it_is(tmp_path: Path) -> None:
    facts = load_backbone("timm:net", ExportOptions(logits=True)).facts
    assert (facts.name, facts.licence, facts.pooling, facts.dim) == ("timm:net", "apache-2.0", "avg", 6)
    assert facts.source == "timm net (tag) (torch 2, onnxscript 0, timm 1)"
    assert facts.classes == NAMES
    assert (facts.notes["seconds"], facts.notes["peak_megabytes"]) == (1.5, 300)
    weights, labels = tmp_path / "own.safetensors", tmp_path / "labels.txt"
    weights.write_bytes(b"")
    labels.write_text("a\nb\nc\nd\n")
    own = load_backbone("timm:net", ExportOptions(logits=True, weights=str(weights), labels=labels)).facts
    assert (own.licence, own.classes) == ("that of the given weights", ("a", "b", "c", "d"))
    weights.write_bytes(b"other")
    options = ExportOptions(weights=str(weights))
    assert from_timm.identity("net", options) != from_timm.identity("net", ExportOptions())


@pytest.mark.usefixtures("child")
def test_features_that_depend_on_their_neighbours_are_refused() -> None:
    with pytest.raises(InputError, match=r"timm:batch_net gives a picture another vector in another batch"):
        load_backbone("timm:batch_net")


@pytest.mark.usefixtures("child")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ExportOptions(weights="none.pth"), r"Weights 'none.pth': give imagenet \(its own\), random, or a file"),
        (ExportOptions(labels=Path("labels.txt")), "keep that by `logits`"),
        (ExportOptions(pooling="last"), "`pooling` last is for the tokens of a net of texts"),
        (ExportOptions(prompt="query"), "is in no repository of models"),
    ],
)
def test_what_cannot_be_is_said(options: ExportOptions, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_backbone("torchvision:net", options)


def test_a_missing_torch_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FXENGINE_TORCH_PYTHON", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs torch, .*timm: pip install 'fxengine\[torch\]' .*whl/cpu"):
        load_backbone("timm:resnet18")


def test_an_interpreter_without_torch_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FXENGINE_TORCH_PYTHON", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no interpreter"):
        torch_env.versions("timm")
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without what is installed
    bare.chmod(0o755)
    monkeypatch.setenv("FXENGINE_TORCH_PYTHON", str(bare))
    with pytest.raises(InputError, match="has no torch, onnxscript, safetensors, torchvision: install torch "):
        torch_env.versions("torchvision")


@pytest.mark.usefixtures("child")
def test_a_child_that_is_killed_says_what_it_took(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "child.py"
    program.write_text("import os; block = bytearray(1 << 28); os.kill(os.getpid(), 9)")
    monkeypatch.setattr(torch_env, "CHILD", program)
    monkeypatch.setattr(torch_env, "python", lambda kind: sys.executable)
    monkeypatch.setattr(torch_env, "run", RUN)
    with pytest.raises(InputError, match="timm:net could not be exported: the child process was killed, most likely"):
        load_backbone("timm:net")
