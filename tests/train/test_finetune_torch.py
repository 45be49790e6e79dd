"""Nets of PyTorch are trained as those of Keras are; one process does all of it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image, ImageDraw

from fxengine import FeatureStore, InputError, extract
from fxengine.backbones.cache import read_backbone
from fxengine.heads.file import Head
from fxengine.train import data as rows_of
from fxengine.train import outcome, tuned
from fxengine.train.children import changes
from fxengine.train.finetune import finetune
from fxengine.train.options import FinetuneOptions
from fxengine.train.report import FinetuneReport
from tests.backbones.sources.test_transformers import judge
from tests.conftest import make_photo
from tests.train import changed_by_scipy

SIDE = 48
OPTIONS = FinetuneOptions(rate=1e-3, epochs=2, batch=8, augment="flip", validation=0.25, test=0.25, unfreeze="2")
NET = f"""
import json, sys
from pathlib import Path
import torch, transformers as tf
torch.manual_seed(0)
folder = Path(sys.argv[1])
config = tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
tf.ResNetModel(config).save_pretrained(folder)
(folder / "preprocessor_config.json").write_text(json.dumps({{
    "do_resize": True, "size": {{"height": {SIDE}, "width": {SIDE}}}, "resample": 2, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25],
}}))
"""
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "movie", "very", "the", "a", "food", "was", "service"]
BERT = f"""
import sys
import torch, transformers as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
torch.manual_seed(0)
words = {WORDS!r}
known = Tokenizer(models.WordPiece({{word: i for i, word in enumerate(words)}}, unk_token="[UNK]"))
known.normalizer, known.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
known.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
names = {{"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}}
tf.PreTrainedTokenizerFast(tokenizer_object=known, model_max_length=32, **names).save_pretrained(sys.argv[1])
config = tf.BertConfig(
    vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=64, pad_token_id=0,
)
tf.BertModel(config, add_pooling_layer=False).save_pretrained(sys.argv[1])
"""

pytestmark = pytest.mark.slow
Done = tuple[FinetuneReport, dict[str, Any], Path]


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 32 pictures in two classes: with a white disc, and without."""
    folder = tmp_path_factory.mktemp("photos") / "marked"
    for i in range(32):
        path = make_photo(folder / ("disc" if i % 2 else "plain") / f"{i:02d}.jpg", i, (64, 64))
        if i % 2:
            with Image.open(path) as image:
                ImageDraw.Draw(image).ellipse((16, 16, 44, 44), fill="white")
                image.save(path)
    return folder


@pytest.fixture(scope="module")
def done(marked: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Checks of the parts, then a whole run."""
    python, folder = judge(), tmp_path_factory.mktemp("tuned")
    subprocess.run([python, "-c", NET, folder / "net"], check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FXENGINE_TORCH_PYTHON", python)
        patch.setattr(tuned, "TORCH_CHILD", Path(__file__).with_name("checks_torch_child.py"))
        patch.setenv("CHECKS", str(folder / "checks.json"))
        patch.setattr(outcome, "_is_better", lambda gain, found: True)  # else a perfect probe is kept
        patch.setattr(rows_of, "nothing_to_gain", lambda *_: "")  # and nothing trained
        backbone = f"torch-hf:{folder / 'net'}"
        report = finetune(marked, folder / "net.onnx", backbone=backbone, **asdict(OPTIONS))
    return report, json.loads((folder / "checks.json").read_text()), folder


def test_the_tuned_net_is_an_ordinary_backbone(done: Done, marked: Path, tmp_path: Path) -> None:
    report, _, _ = done
    file = read_backbone(Path(report.output))
    assert report.kept == "tuned"
    assert report.trained_layers == 1  # of the last two the second is a batch norm
    assert report.differences["relative"] <= 1e-4
    assert file.facts.name == "net-tuned"
    assert file.fingerprint == report.space
    onnx.checker.check_model(file.path)
    extract(marked, tmp_path / "s", backbone=file.path, dtype="float32")
    store = FeatureStore.open(tmp_path / "s")
    head = Head.load(Path(report.head))
    said = [head.facts.classes[i] for i in head.answers(store.vectors()).argmax(axis=1)]
    assert np.mean([a == b for a, b in zip(said, store.labels(), strict=True)]) >= 0.5
    record = json.loads((Path(report.run) / "run.json").read_text())
    assert {"torch", "transformers"} <= set(record["versions"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_a_stopped_training_ends_as_a_whole_one_to_the_bit(done: Done, optimizer: str) -> None:
    found = done[1]["resume"]
    assert found["each"][optimizer] == [3, 0.0, True]
    assert found["moved"] > 1e-3
    assert found["norm_frozen"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_it_trains_as_a_loop_that_is_written_out(done: Done, optimizer: str) -> None:
    found = done[1]["plain"][optimizer]
    theirs, ours = found["losses"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert found["distance"] < 1e-6


def test_memory_that_runs_out_halves_the_batch(done: Done) -> None:
    assert done[1]["memory"] == {"batch": 4, "accumulate": 2, "epochs": 2}


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_labels_and_numbers_are_learned(done: Done, kind: str) -> None:
    found = done[1]["kinds"][kind]
    z, y = np.array(found["z"]), np.array(found["y"])
    middle = 0.5 if kind == "numbers" else 0.0
    right = ((z > middle) == (y > 0.5)).mean()
    assert right > 0.8


def test_a_class_of_weight_zero_is_not_learned(done: Done) -> None:
    assert set(done[1]["kinds"]["first class only"]) == {0}


def test_layers_are_chosen_by_number(done: Done) -> None:
    found = done[1]["choice"]
    assert found["names"] == ["0", "1", "3", "7"]
    assert found["all"] == ["0", "3", "7"]
    assert found["1"] == ["7"]
    assert found["3"] == ["3", "7"]
    assert found["frozen"] == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_every_change_together_is_the_resampling_that_scipy_does(done: Done) -> None:
    found = done[1]["augmentation"]
    wanted = changed_by_scipy(np.array(found["pictures"]), changes.drawn(4, 5, 0))
    np.testing.assert_allclose(found["changed"], wanted, atol=0.05)  # levels


def test_a_layer_that_is_not_there_is_said_with_the_nearest(
    done: Done, marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FXENGINE_TORCH_PYTHON", judge())
    monkeypatch.setattr(rows_of, "nothing_to_gain", lambda *_: "")
    with pytest.raises(InputError, match=r"no layer 'encoderr' to unfreeze from; the nearest are .*encoder"):
        finetune(marked, tmp_path / "x.onnx", backbone=f"torch-hf:{done[2] / 'net'}", unfreeze="encoderr", rate=1e-3)


@pytest.fixture(scope="module")
def of_texts(tmp_path_factory: pytest.TempPathFactory) -> FinetuneReport:
    """A tiny BERT that learns which of two words comes first, of which its random features say nothing."""
    python, folder = judge(), tmp_path_factory.mktemp("texts")
    subprocess.run([python, "-c", BERT, folder / "net"], check=True, capture_output=True)
    rng, rows = np.random.default_rng(1), ["text,label"]
    for i in range(300):
        words = list(rng.choice(WORDS[6:], rng.integers(2, 9)))
        first, second = sorted(rng.choice(len(words) + 2, 2, replace=False))
        words.insert(first, ("good", "bad")[i % 2])
        words.insert(second, ("bad", "good")[i % 2])
        rows.append(f"{' '.join(words)},{i % 2}")
    (folder / "order.csv").write_text("\n".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FXENGINE_TORCH_PYTHON", python)
        return finetune(
            folder / "order.csv",
            folder / "net.onnx",
            backbone=f"torch-hf:{folder / 'net'}",
            label_column="label",
            kind="classes",
            pooling="avg",
            epochs=16,
            patience=16,
            rate=3e-3,
            validation=0.3,
        )


def test_a_net_of_texts_learns_what_its_frozen_features_do_not_tell(of_texts: FinetuneReport, tmp_path: Path) -> None:
    assert of_texts.kept == "tuned"
    assert of_texts.tuned.validation.mean >= of_texts.probe.validation.mean + 0.05
    assert of_texts.differences["relative"] <= 1e-4
    assert of_texts.trained_layers == 21
    folder = Path(of_texts.output).parent
    extract(folder / "order.csv", tmp_path / "s", backbone=of_texts.output, dtype="float32", label_column="label")
    store, head = FeatureStore.open(tmp_path / "s"), Head.load(Path(of_texts.head))
    said = [head.facts.classes[i] for i in head.answers(store.vectors()).argmax(axis=1)]
    right = np.mean([a == b for a, b in zip(said, store.labels(), strict=True)])
    assert right >= of_texts.tuned.test.mean - 0.1


def test_what_it_takes_must_be_there(
    of_texts: FinetuneReport, marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = f"torch-hf:{Path(of_texts.output).parent / 'net'}"
    monkeypatch.setenv("FXENGINE_TORCH_PYTHON", judge())
    with pytest.raises(InputError, match=r"holds pictures, and .* takes texts"):
        finetune(marked, tmp_path / "x.onnx", backbone=net, pooling="avg")
