from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fxengine import InputError
from fxengine.heads.evaluate.interval import Interval
from fxengine.probing.probe import probe
from fxengine.train import layout
from fxengine.train.gain import Gain
from fxengine.train.report import FinetuneReport, Side
from fxengine.trust import note_named
from fxengine.ui.pages.finetune import write_run
from tests.conftest import make_photo
from tests.stores import write_store
from tests.ui.pages.reader import read
from tests.ui.pages.test_html import NASTY

GAIN = Gain(Interval(0.25, 0.125, 0.375), "exact test of McNemar", real=True)
SIDE = Side(Interval(0.9, 0.8, 0.95), Interval(0.91, 0.8, 0.95))
EPOCH = {"train_loss": 1.5, "validation_loss": 2.25, "validation_accuracy": 0.4, "seconds": 1.0}


@pytest.fixture
def report(tmp_path: Path, two_classes: Path) -> FinetuneReport:
    run = tmp_path / "net.run"
    run.mkdir()
    settings = {"rate": None, "epochs": 3, "augment": NASTY.replace("\udce9", "")}
    record = {"status": "running", "backbone": "net", "data": "d" * 64, "settings": settings}
    (run / layout.RECORD).write_text(json.dumps(record))
    return FinetuneReport(
        output="net.onnx", head="net.head.onnx", run=str(run), backbone="net", space="s" * 64, kept="tuned",
        why=str(GAIN), gain=GAIN, kind="classes", metric="accuracy", classes=("a", "b"),
        rows={"train": 3, "validation": 2, "test": 2}, probe=SIDE, tuned=SIDE, rate=1e-4, batch=16, best_epoch=1,
        history=(EPOCH, EPOCH), trained_layers=3, differences={}, details=probe(two_classes), notes=(NASTY,),
    )  # fmt: skip


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """A store of two classes that are told apart but for one row each, whose pictures are there."""
    x = np.random.default_rng(0).normal(0, 0.3, (20, 4)) + np.repeat([[2, 0, 0, 0], [0, 2, 0, 0]], 10, axis=0)
    x[0], x[19] = x[19], x[0].copy()
    ids = [f"{i:02d}.jpg" for i in range(20)]
    for i, name in enumerate(ids):
        make_photo(tmp_path / "photos" / name, i)
    note_named("root", str(tmp_path / "photos"))
    labels: list[str | None] = [label for label in "ab" for _ in range(10)]
    return write_store(tmp_path / "store", x, ids=ids, labels=labels, root=str(tmp_path / "photos")).path


def test_the_page_shows_what_a_run_gained(report: FinetuneReport, tmp_path: Path) -> None:
    page = write_run(report)
    assert page == Path(report.run) / "report.html"
    assert [(page.with_name(name)).read_bytes()[:4] for name in ("curves.png", "confusion.png")] == [b"\x89PNG"] * 2
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 3  # curves, confusion, reliability
    assert text.count("data:image/jpeg;base64,") == 2  # the two mistakes
    shown = read(text)
    assert "script" not in shown.tags
    assert "3 train, 2 validation, 2 test pictures; rate 0.0001; best after epoch 1 of 2" in shown.shown
    assert "+0.250 (95% interval +0.125 to +0.375, exact test of McNemar)" in shown.shown
    assert "00.jpg" in shown.shown
    assert '<td class="number">2.2500</td>' in text
    assert '<td>epochs</td><td class="number">3</td>' in text


def test_a_run_without_its_record_has_no_page(report: FinetuneReport, tmp_path: Path) -> None:
    (Path(report.run) / layout.RECORD).unlink()
    with pytest.raises(InputError, match=r"Cannot read .*run\.json, the record of a fine-tuning: No such file"):
        write_run(report)
