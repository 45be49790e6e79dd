"""Fine-tuning for texts by Keras itself, in one process for all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine import FeatureStore, extract, finetune
from fxengine.backbones.cache import read_backbone
from fxengine.backbones.graph.run import open_plain
from fxengine.heads.file import Head
from fxengine.train import tuned
from fxengine.train.report import FinetuneReport
from fxengine.train.word_nets import word_net
from tests.backbones.sources.test_from_keras import needs_keras
from tests.texts import write_table
from tests.word_vectors import write_vectors

pytestmark = [needs_keras, pytest.mark.slow]
Done = tuple[FinetuneReport, dict[str, Any], Path]


def order_decides(path: Path, rows: int = 240) -> Path:
    """Write texts of two classes that differ in the order of their words alone."""
    rng = np.random.default_rng(1)
    texts = []
    for i in range(rows):
        before, after = (" ".join(f"w{n}" for n in rng.integers(0, 30, rng.integers(0, 3))) for _ in range(2))
        texts.append((i, f"{before} {'good not bad' if i % 2 else 'bad not good'} {after}".strip(), i % 2))
    return write_table(path, texts)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One training process: checks of its parts, then a whole run on texts whose order decides."""
    folder = tmp_path_factory.mktemp("tuned")
    words = ["good", "bad", "not", *(f"w{n}" for n in range(30))]
    glove = write_vectors(folder / "glove.txt", words, np.random.default_rng(0).normal(size=(len(words), 8)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuned, "CHILD", Path(__file__).with_name("checks_texts_child.py"))
        patch.setenv("CHECKS", str(folder / "checks.json"))
        report = finetune(
            order_decides(folder / "order.csv"), folder / "net.onnx", backbone=f"vectors:{glove}", id_column="id",
            column="text", label_column="label", units=16, rate=2e-2, epochs=12, patience=12, batch=16,
        )  # fmt: skip
    return report, json.loads((folder / "checks.json").read_text()), folder


def test_a_net_that_reads_the_order_gains_over_the_mean_and_is_kept(done: Done) -> None:
    report, _, folder = done
    assert report.kept == "tuned"
    assert report.tuned.test.mean >= report.probe.test.mean + 0.05
    assert report.tuned.validation.mean >= 0.9
    assert report.trained_layers == 1
    assert report.differences["relative"] <= 1e-4
    head, net = Head.load(Path(report.head)), read_backbone(Path(report.output))
    assert (net.facts.dim, net.fingerprint) == (32, report.space)
    store = folder / "store"
    extract(folder / "order.csv", store, backbone=net.path, column="text", id_column="id", label_column="label")
    opened = FeatureStore.open(store)
    said = head.answers(opened.vectors(dtype="float32")).argmax(axis=1)
    right = np.mean([head.facts.classes[i] == label for i, label in zip(said, opened.labels(), strict=True)])
    assert right >= 0.9
    assert {path.name for path in Path(report.run).iterdir()} >= {"features", "run.json", "tensorboard"}


@pytest.mark.parametrize("net", ["bilstm", "average"])
def test_the_graph_computes_what_keras_does(done: Done, net: str) -> None:
    with np.load(done[2] / f"{net}.npz") as arrays:
        left = dict(arrays)
    session = open_plain(word_net(net, left))
    rows = [left["tokens"][a:b][None] for a, b in zip(left["starts"][:-1], left["starts"][1:], strict=True)]
    found = [
        session.run(["features"], {"tokens": row, "lengths": np.array([row.size], np.int32)})[0][0] for row in rows
    ]
    np.testing.assert_allclose(found[1:], left["together"][1:], atol=1e-5)
    np.testing.assert_allclose(left["features"], left["together"][left["sample"]], atol=1e-5)
    assert np.isfinite(left["together"][0]).all()  # of a text of which no word is known


def test_frozen_vectors_stay_and_others_move(done: Done) -> None:
    nets = done[1]["nets"]
    assert [found["trained"] for found in nets.values()] == [["lstm"], ["words", "dense"]]
    moved = {name: found["moved"] for name, found in nets.items()}
    assert moved["bilstm"].pop("table") == 0
    assert all(value > 1e-3 for found in moved.values() for value in found.values())


def test_a_stopped_training_goes_on(done: Done) -> None:
    found = done[1]["resume"]
    assert (found["epochs"], found["same_history"]) == (3, True)
    assert found["distance"] < 1e-6
