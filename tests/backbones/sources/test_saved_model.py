from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxengine.backbones.graph.run import run_model
from fxengine.backbones.sources.saved_model import class_names, input_size, with_logits
from fxengine.errors import InputError
from tests.saved_models import CLASSES, FEATURES, classifier, signature


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (signature(-1, 224, 192, 3), (224, 192)),
        (signature(-1, -1, 32, 3), (None, 32)),
        (signature(1, 0, 1 << 20, 3), (None, None)),
        (signature(-1, 224), (None, None)),
        (signature(-1, 224, 192, 3, name="predict"), (224, 192)),  # the only one
        (signature(-1, 224, 192, 3, name="__saved_model_init_op"), (None, None)),
        (b"", (None, None)),
    ],
)
def test_the_size_is_read_from_the_signature(
    content: bytes, size: tuple[int | None, int | None], tmp_path: Path
) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    assert input_size(tmp_path) == size


@given(st.integers(1, 400))
def test_a_file_cut_short_is_damaged_or_says_nothing(tmp_path_factory: pytest.TempPathFactory, gone: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "saved_model.pb").write_bytes(signature(-1, 224, 192, 3)[:-gone])
    with pytest.raises(InputError, match=r"saved_model\.pb is damaged"):
        input_size(folder)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"saved_model\.pb cannot be read"):
        input_size(tmp_path)


def test_classes_are_the_lines_of_a_file(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\ufeffbackground\r\n tench \nGänse\n\n", "utf-8")
    assert class_names(labels, None, 3) == ("background", "tench", "Gänse")
    assert class_names(None, None, 3) == ()
    with pytest.raises(InputError, match="names 3 classes, and the net has 4: see `labels`"):
        class_names(labels, None, 4)
    labels.write_text("tench\n" * 1000)
    with pytest.raises(InputError, match=r"names 1000 classes, and the net has 1001 \(of ImageNet"):
        class_names(labels, None, 1001)
    labels.write_bytes(b"\xff\xfe")
    for wrong in (labels, tmp_path / "none.txt"):
        with pytest.raises(InputError, match=f"{wrong.name} cannot be read"):
            class_names(wrong, None, 1)


def test_a_saved_models_own_labels_count_where_one_file_fits(tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    assert class_names(None, tmp_path, 2) == ("0", "1")
    (assets / "labels.txt").write_text("cat\ndog\n")
    (assets / "vocabulary.txt").write_text("one\ntwo\nthree\n")
    (assets / "broken.txt").write_bytes(b"\xff\n\xff")
    assert class_names(None, tmp_path, 2) == ("cat", "dog")
    (assets / "others.txt").write_text("a\nb")
    assert class_names(None, tmp_path, 2) == ("0", "1")  # which of the two is not guessed


def test_features_stand_before_the_classifier_and_logits_before_its_softmax() -> None:
    net = classifier()
    pictures = np.random.default_rng(1).random((3, 9, 7, 3), np.float32)
    made, cut = with_logits(net, "net", "avg", pictures)
    onnx.checker.check_model(made, full_check=True)
    found, shares = run_model(made, pictures), run_model(net, pictures)["features"]
    assert (cut, list(found)) == ("pooled", ["features", "logits"])
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in net.graph.initializer}
    assert found["features"].shape == (3, FEATURES)
    np.testing.assert_allclose(found["features"] @ weights["top"], found["logits"], rtol=1e-5, atol=1e-6)
    exp = np.exp(found["logits"])
    assert exp.shape == (3, CLASSES)
    np.testing.assert_allclose(exp / exp.sum(1, keepdims=True), shares, rtol=1e-5)


def test_a_net_without_a_classifier_has_no_logits() -> None:
    net = classifier()
    del net.graph.node[4:]
    net.graph.node[3].output[0] = "features"
    net.graph.output[0].type.tensor_type.shape.dim[1].dim_value = FEATURES
    with pytest.raises(InputError, match="does not end in a classifier that can be told apart"):
        with_logits(net, "net", "avg", np.zeros((1, 9, 7, 3), np.float32))
