from __future__ import annotations

from pathlib import Path

import pytest

from fxengine import InputError
from fxengine.backbones.options import ExportOptions
from fxengine.train.trainable import is_trainable, load_trainable

NOT = ("tiny.onnx", "onnx:net.onnx", "pca:p.onnx", "keras", "keras:", "/tmp/efficientnet_lite0", "nonsense")


@pytest.mark.parametrize("source", ["efficientnet_lite0", "keras:ResNet50", "keras:own.keras", "keras:saved/"])
def test_keras_and_the_embedded_net_can_be_trained(source: str) -> None:
    assert is_trainable(source)


@pytest.mark.parametrize("source", NOT)
def test_nothing_else_can_be_trained_or_is_loaded(source: str, tmp_path: Path) -> None:
    assert not is_trainable(source)
    with pytest.raises(InputError, match="cannot be trained: only Keras nets can"):
        load_trainable(source, ExportOptions(), tmp_path)
