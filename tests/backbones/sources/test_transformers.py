"""Repositories as the Hub has them give what transformers gives, its inputs prepared by its own processors."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fxengine
from fxengine import Backbone, InputError
from fxengine.backbones import load_backbone
from fxengine.backbones.cache import write_backbone
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import from_torch_hf
from tests.conftest import ROOT, make_photo

PYTHON_VARIABLE = "FXENGINE_JUDGE_PYTHON"
CHILD = Path(__file__).with_name("transformers_child.py")
SIDE = 32
SIZES = ((60, 48), (33, 97), (500, 333), (31, 40), (32, 47), (1200, 901), (20, 17))
WORDS = [
    "a",
    "photo",
    "of",
    "the",
    "red",
    "dog",
    "cat",
    "running",
    "on",
    "beach",
    "under",
    "blue",
    "sky",
    "with",
    "some",
    "people",
    "and",
    "we",
    "went",
    "to",
    "her",
    "company",
]
TEXTS = (
    "Caf\u00e9 na\u00efve \u6771\u4eac \U0001f600, good.bad!",
    "Anna Smith's dog isn't in London; it's 'ere.",
    "a",
    "  spaces\tand\nlines  ",
    "the dog " * 40,
    " ".join(WORDS).upper(),
)

pytestmark = pytest.mark.slow


def judge() -> str:
    """Return the python that has transformers; it is another one than this."""
    named = os.environ.get(PYTHON_VARIABLE)
    path = str(ROOT / ".venv-judge" / "bin" / "python") if named is None else named
    if not os.access(path, os.X_OK):
        pytest.skip(f"transformers is not here: `scripts/test` installs it, or {PYTHON_VARIABLE} names its python")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of repositories with what transformers gives in each."""
    python, root = judge(), tmp_path_factory.mktemp("transformers")
    rng = np.random.default_rng(0)
    many = [" ".join(rng.choice(WORDS, rng.integers(2, 15))) for _ in range(100)]
    (root / "texts.json").write_text(json.dumps({"few": [*many[:6], *TEXTS], "many": many}))
    for name, sizes in (("exact", [(SIDE, SIDE)] * 100), ("odd", SIZES)):
        for i, size in enumerate(sizes):
            make_photo(root / name / f"{i:03d}.png", i, size)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}
    done = subprocess.run(
        [python, CHILD, root], capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return root


def load(folder: Path, **said: Any) -> Backbone:
    return Backbone.load(load_backbone(f"hf:{folder}", ExportOptions(**said)).path)


def texts_of(made: Path, name: str = "few") -> list[str]:
    return list(json.loads((made / "texts.json").read_text())[name])


def expected(folder: Path, name: str) -> np.ndarray:
    return np.asarray(np.load(folder / "expected.npz")[name])


def check(found: np.ndarray, wanted: np.ndarray) -> None:
    """Check that vectors are the same but for rounding, where different inputs give different ones."""
    assert found.shape == wanted.shape
    assert np.ptp(wanted, axis=0).max() > 0.1 * np.abs(wanted).max()
    assert (np.abs(found - wanted).max(axis=1) <= 1e-4 * np.abs(wanted).max(axis=1)).all()


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("clip", {"tower": "image"}),
        ("siglip", {"tower": "image"}),
        ("siglip2", {"tower": "image"}),
        ("dinov2", {}),
        ("vit", {"pooling": "cls"}),
    ],
)
def test_pictures(made: Path, name: str, said: dict[str, Any]) -> None:
    """Of odd sizes they go through other code that resizes: Pillow's there, ours here."""
    net = load(made / name, **said)
    check(net.embed(sorted((made / "exact").iterdir())), expected(made / name, "exact"))
    found, wanted = net.embed(sorted((made / "odd").iterdir())), expected(made / name, "odd")
    assert (unit(found) * unit(wanted)).sum(axis=1).min() >= 0.999


def test_a_classifier_of_pictures(made: Path) -> None:
    logits = expected(made / "vit_classifier", "exact")
    found = fxengine.predict(made / "exact", backbone=f"hf:{made / 'vit_classifier'}", top=7)
    names = json.loads((made / "vit_classifier" / "config.json").read_text())["id2label"]
    for prediction, row in zip(found, logits, strict=True):
        order = np.argsort(-row, kind="stable")
        assert prediction.labels == tuple(names[str(i)] for i in order)
        np.testing.assert_allclose(prediction.probabilities, softmax(row)[order], rtol=0, atol=1e-5)


def softmax(row: np.ndarray) -> np.ndarray:
    shares = np.exp(row - row.max())
    return np.asarray(shares / shares.sum())


@pytest.mark.parametrize(
    ("name", "said", "key"),
    [
        ("clip", {"tower": "text"}, "texts"),
        ("siglip", {"tower": "text"}, "texts"),
        ("siglip2", {"tower": "text"}, "texts"),
        ("bert", {}, "texts"),
        ("minilm", {}, "texts"),
        ("roberta", {}, "texts"),
        ("e5", {}, "texts"),
        ("e5", {"prompt": "query"}, "query"),
        ("e5", {"prompt": "passage"}, "passage"),
    ],
)
def test_texts(made: Path, name: str, said: dict[str, Any], key: str) -> None:
    check(load(made / name, **said).embed(texts_of(made)), expected(made / name, key))


def test_a_classifier_of_texts(made: Path) -> None:
    logits = expected(made / "sentiment", "logits")
    found = fxengine.predict(text=texts_of(made), backbone=f"hf:{made / 'sentiment'}")
    for prediction, row in zip(found, logits, strict=True):
        shares = dict(zip(("NEGATIVE", "POSITIVE"), softmax(row), strict=True))
        assert prediction.labels[0] == max(shares, key=lambda name: shares[name])
        wanted = [shares[name] for name in prediction.labels]
        np.testing.assert_allclose(prediction.probabilities, wanted, rtol=0, atol=1e-5)


def test_spans(made: Path) -> None:
    """Those of transformers' own pipeline, of the strategy "first"."""
    wanted = json.loads((made / "ner" / "expected.json").read_text())
    found = fxengine.predict(text=texts_of(made), backbone=f"hf:{made / 'ner'}", spans=True)
    assert sum(map(len, wanted)) > 12
    for prediction, spans in zip(found, wanted, strict=True):
        told = [(span.start, span.end, span.label) for span in prediction.spans]
        assert told == [(span["start"], span["end"], span["entity_group"]) for span in spans]
        scores = [span["score"] for span in spans]
        np.testing.assert_allclose([span.score for span in prediction.spans], scores, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2"])
def test_a_texts_pictures_are_in_transformers_order(made: Path, name: str) -> None:
    """100 texts x 100 pictures; those whose likeness to a text is the same but for rounding may change places."""
    pictures = load(made / name, tower="image").embed(sorted((made / "exact").iterdir()))
    texts = load(made / name, tower="text").embed(texts_of(made, "many"))
    cosines, logits = unit(texts) @ unit(pictures).T, expected(made / name, "logits_per_text")
    ordered = np.take_along_axis(cosines, np.argsort(-logits), axis=1)
    assert np.diff(ordered).max() <= 1e-6


def test_pictures_of_any_size_are_refused(made: Path) -> None:
    (made / "naflex" / "model.onnx").write_bytes((made / "siglip2" / "onnx" / "vision_model.onnx").read_bytes())
    with pytest.raises(InputError, match=r"no fixed size \(NaFlex\)"):
        load(made / "naflex")


# Exported by PyTorch itself: (repository, options, what transformers gives).
OF_TORCH: list[tuple[str, dict[str, Any], str]] = [
    *((name, {"tower": "image"}, "exact") for name in ("clip", "siglip")),
    *((name, {"tower": "text"}, "texts") for name in ("clip", "siglip")),
    ("vit", {"pooling": "cls"}, "exact"),
    *((name, {}, "exact") for name in ("dinov2", "convnext", "resnet", "swin")),
    *((name, {}, "texts") for name in ("bert", "distilbert", "roberta", "mpnet", "e5", "modernbert")),
    ("vit_classifier", {"logits": True}, "exact"),
    ("sentiment", {"logits": True}, "logits"),
]


@pytest.fixture(scope="module")
def of_torch(made: Path) -> list[Path]:
    """The backbone files of `OF_TORCH`, from one process."""
    root = made / "of_torch"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FXENGINE_TORCH_PYTHON", judge())
        models = from_torch_hf.export_many([(str(made / name), ExportOptions(**said)) for name, said, _ in OF_TORCH])
    files = [root / f"{i}.onnx" for i in range(len(models))]
    for model, file in zip(models, files, strict=True):
        write_backbone(model, file)
    return files


@pytest.mark.parametrize("i", range(len(OF_TORCH)), ids=[f"{name}-{key}" for name, _, key in OF_TORCH])
def test_exports_of_torch(made: Path, of_torch: list[Path], i: int) -> None:
    name, said, key = OF_TORCH[i]
    net, wanted = Backbone.load(of_torch[i]), expected(made / name, key)
    inputs = texts_of(made) if key in ("texts", "logits") else sorted((made / "exact").iterdir())
    if "logits" not in said:
        check(net.embed(inputs), wanted)
        return
    asked: dict[str, Any] = {"text": inputs} if key == "logits" else {"inputs": made / "exact"}
    names = json.loads((made / name / "config.json").read_text())["id2label"]
    for prediction, row in zip(fxengine.predict(**asked, backbone=of_torch[i], top=7), wanted, strict=True):
        shares = {names[str(j)]: share for j, share in enumerate(softmax(row))}
        np.testing.assert_allclose(prediction.probabilities, [shares[each] for each in prediction.labels], atol=1e-5)
        assert prediction.labels[0] == max(shares, key=lambda label: shares[label])
