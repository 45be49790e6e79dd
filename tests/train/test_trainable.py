from __future__ import annotations

import re
from pathlib import Path

import pytest

from fxengine import InputError
from fxengine.backbones import load_backbone
from fxengine.backbones.options import ExportOptions
from fxengine.train.trainable import is_trainable, load_trainable

NOT = ("tiny.onnx", "onnx:net.onnx", "pca:p.onnx", "keras", "keras:", "/tmp/efficientnet_lite0", "nonsense")


@pytest.mark.parametrize(
    "source",
    ["efficientnet_lite0", "keras:ResNet50", "keras:own.keras", "keras:saved/", "timm:resnet18", "torch-hf:org/net"],
)
def test_nets_of_frameworks_and_the_embedded_one_can_be_trained(source: str) -> None:
    assert is_trainable(source)


@pytest.mark.parametrize("source", NOT)
def test_nothing_else_can_be_trained_or_is_loaded(source: str, tmp_path: Path) -> None:
    assert not is_trainable(source)
    with pytest.raises(InputError, match="cannot be trained: nets of Keras can"):
        load_trainable(source, ExportOptions(), tmp_path)


def test_a_keras_model_without_its_kind_is_recognised(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").touch()
    (tmp_path / "own.keras").touch()
    for source in (f"{tmp_path}/own.keras", str(saved)):
        for load in (load_backbone, lambda name: load_trainable(name, ExportOptions(), tmp_path)):
            with pytest.raises(InputError, match=re.escape(f"Did you mean keras:{source}?")):
                load(source)


def test_what_a_net_wants_of_pixels_is_asked_for_in_words_that_a_training_takes(tmp_path: Path) -> None:
    (tmp_path / "own.keras").touch()
    source = f"keras:{tmp_path}/own.keras"
    with pytest.raises(InputError, match=r'give a JSON file as `preprocess`, such as \{"scale": 1\}') as told:
        load_trainable(source, ExportOptions(), tmp_path)
    assert not re.search("`(scale|mean|std|channels)`", str(told.value))
    (tmp_path / "pixels.json").write_text('{"scale": 1}')
    with pytest.raises(InputError, match=r"own\.keras is no \.keras file"):  # so it is looked at now
        load_trainable(source, ExportOptions(preprocess=tmp_path / "pixels.json"), tmp_path)
