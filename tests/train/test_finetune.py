from __future__ import annotations

import errno
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image, ImageDraw
from sklearn.metrics import log_loss, mean_squared_error

from fxengine import FeatureStore, InputError, StoreError, extract
from fxengine.backbones import load_backbone
from fxengine.backbones.cache import read_backbone
from fxengine.backbones.children import keras_env
from fxengine.backbones.report import differences
from fxengine.backbones.spec import FEATURE_OUTPUT, BackboneFile
from fxengine.execute import open_session
from fxengine.heads.evaluate.scores import Problem
from fxengine.heads.file import Head
from fxengine.probing.targets import Labelled
from fxengine.train import data as rows_of
from fxengine.train import finetune as task
from fxengine.train import outcome, tuned
from fxengine.train.children import changes
from fxengine.train.data import TrainingData, head_weights, load_training_data, with_weights
from fxengine.train.finetune import finetune
from fxengine.train.options import AUGMENTATIONS, FinetuneOptions
from fxengine.train.report import FinetuneReport
from fxengine.train.splits import TEST, TRAIN, VALIDATION
from fxengine.train.tuned import Tuned
from fxengine.ui.commands.finetune import show
from fxengine.ui.pages.finetune import write_run
from tests.backbones.sources.test_from_keras import needs_keras
from tests.conftest import make_photo
from tests.train import changed_by_scipy, checks_child_path

OPTIONS = FinetuneOptions(rate=1e-4, epochs=2, batch=8, augment="flip", validation=0.25, test=0.25)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 32 pictures in two classes: with a white disc, and without."""
    folder = tmp_path_factory.mktemp("photos") / "marked"
    for i in range(32):
        path = make_photo(folder / ("disc" if i % 2 else "plain") / f"{i:02d}.jpg", i, (160, 160))
        if i % 2:
            with Image.open(path) as image:
                ImageDraw.Draw(image).ellipse((40, 40, 110, 110), fill="white")
                image.save(path)
    (folder / "disc" / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def done(marked: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FinetuneReport, dict[str, Any]]:
    """One training process: checks of its parts, then a whole run."""
    folder = tmp_path_factory.mktemp("tuned")
    rows = [f"{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(marked.rglob("[0-9]*.jpg"))]
    (folder / "t.csv").write_text("\n".join(["id,label", *rows, "gone.jpg,disc"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuned, "CHILD", checks_child_path())
        patch.setenv("CHECKS", str(folder / "checks.json"))
        patch.setattr(outcome, "_is_better", lambda gain, found: True)  # else the perfect probe is kept
        patch.setattr(rows_of, "nothing_to_gain", lambda *_: "")  # and nothing trained
        report = finetune(marked, folder / "net.onnx", labels=str(folder / "t.csv"), **asdict(OPTIONS))
    return report, json.loads((folder / "checks.json").read_text())


@needs_keras
@pytest.mark.slow
def test_the_tuned_net_is_an_ordinary_backbone(
    done: tuple[FinetuneReport, dict[str, Any]], marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, _ = done
    file = read_backbone(Path(report.output))
    lite = load_backbone("efficientnet_lite0")
    assert file.fingerprint == report.space != lite.fingerprint
    assert file.recipe == lite.recipe
    assert report.differences["relative"] <= 1e-4
    tuned = file.facts.notes["tuned"]
    assert (tuned["from"], tuned["pictures"], tuned["accuracy"]["mean"]) == ("efficientnet_lite0", 32, 1.0)
    assert report.failed == 1
    (note,) = report.to_dict()["notes"]
    assert note.endswith("1 of 33 labels match no row, such as 'gone.jpg'; 0 of 32 rows have no label.")
    show(report, Path("report.html"))
    assert note in capsys.readouterr().out.splitlines()
    assert report.rows == {"train": 16, "validation": 8, "test": 8}
    assert extract(marked, tmp_path / "s", backbone=file.path).extracted == 32
    with pytest.raises(StoreError, match="space"):
        extract(marked, tmp_path / "s")
    head = Head.load(Path(report.head))
    store = FeatureStore.open(tmp_path / "s")
    assert head.facts.space == file.fingerprint
    said = head.answers(store.vectors(dtype="float32")).argmax(axis=1)
    assert np.mean([head.facts.classes[i] == label for i, label in zip(said, store.labels(), strict=True)]) > 0.9
    run = json.loads((Path(report.run) / "run.json").read_text())
    assert (run["status"], run["settings"]["epochs"], len(run["history"])) == ("finished", 2, 2)
    assert sorted(path.name for path in Path(report.run).iterdir() if not path.name.startswith(".")) == [
        "features",
        "run.json",
        "tensorboard",
    ]


@needs_keras
@pytest.mark.slow
def test_the_net_that_is_trained_is_the_embedded_one(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    with np.load(Path(done[0].output).with_name("lite0.npz")) as arrays:
        photos, features = arrays["photos"], arrays["features"]
    session = open_session(load_backbone("efficientnet_lite0").path, "cpu")
    ours = np.concatenate(
        [session.run({"images": photos[i : i + 1]}, (FEATURE_OUTPUT,))[FEATURE_OUTPUT] for i in range(len(photos))]
    )
    assert np.linalg.norm(ours - features, axis=1).max() <= 1e-4 * np.linalg.norm(features, axis=1).min()


@needs_keras
@pytest.mark.slow
def test_a_stopped_training_goes_on(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["resume"]
    assert (found["stopped_after"], found["epochs"], found["same_history"]) == (2, 3, True)
    assert found["distance"] < 1e-6 < 1e-3 < found["moved"]
    assert found["norm_frozen"]


@needs_keras
@pytest.mark.slow
def test_memory_that_runs_out_halves_the_batch(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    assert done[1]["memory"] == {"batch": 4, "accumulate": 2, "steps": 2}


@needs_keras
@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["disk"]
    assert "No space left on device" in found["words"]
    assert (found["kept"], found["files"]) == (1, ["checkpoint.npz"])
    words = "there is no room left on the disk of FOLDER. Make room, and give the same command again."
    assert found["answer"] == {"ok": False, "refused": words, "tried": ["saving"]}


@needs_keras
@pytest.mark.slow
def test_a_damaged_checkpoint_is_said(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["damage"]
    assert found.keys() == {"empty", "half", "words", "other"}
    for words in found.values():
        assert words.startswith("the checkpoint PATH is damaged (")
        assert words.endswith("). Delete it to begin anew.")


@needs_keras
@pytest.mark.slow
def test_a_cut_checkpoint_is_said_and_the_one_before_it_used(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["resume"]["cut"]
    assert (found["before"], found["epochs"]) == (1, 3)
    assert found["distance"] < 1e-6
    (note,) = found["notes"]
    assert note.startswith("The checkpoint PATH is damaged (BadZipFile: ")
    assert note.endswith("): training went on from the one before, of epoch 1.")


@needs_keras
@pytest.mark.slow
def test_a_seed_gives_the_same_losses_to_the_bit(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    first, again = done[1]["seed"]["twice"]
    assert first == again
    assert len(first) == 4
    assert all(a != b for a, b in zip(first, done[1]["seed"]["another"], strict=True))


@needs_keras
@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_training_in_words(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["divergence"]
    assert found["words"].startswith("the loss of epoch 1 is no finite number at the rate 1e+30, and no epoch before")
    assert not found["checkpoint"]
    assert found["later"] == [2, 1, 1]


@needs_keras
@pytest.mark.slow
def test_layers_are_chosen_by_number_and_name(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["choice"]
    assert found["all"] == ["first", "second", "head"]
    assert found["1"] == ["head"]
    assert found["second"] == ["second", "head"]
    assert "the nearest are second" in found["wrong"]


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_labels_and_numbers_are_learned_by_every_optimizer(
    done: tuple[FinetuneReport, dict[str, Any]], kind: str, optimizer: str
) -> None:
    found = done[1]["kinds"][f"{kind} {optimizer}"]
    z, y, losses = np.array(found["z"]), np.array(found["y"]), found["losses"]
    loss = log_loss(y.ravel(), 1 / (1 + np.exp(-z.ravel()))) if kind == "labels" else mean_squared_error(y, z)
    assert min(losses) == pytest.approx(loss, rel=1e-4)  # the best epoch's weights are those that are left
    assert min(losses) < 0.8 * losses[0]


@needs_keras
@pytest.mark.slow
def test_a_class_of_weight_zero_is_not_learned(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    assert set(done[1]["kinds"]["first class only"]) == {0}


@needs_keras
@pytest.mark.slow
def test_the_rate_with_the_least_loss_after_an_epoch_is_taken(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["rates"]
    assert set(found["losses"]) == {"1e-05", "0.0001", "0.001"}
    assert found["losses"][str(found["rate"])] == min(found["losses"].values())
    assert found["first"] == pytest.approx(min(found["losses"].values()), rel=1e-5)  # it begins anew from the same net
    assert set(found["of"]) == {4 * 2}  # three trials and an epoch, of two steps each
    assert found["steps"] == sorted(set(found["steps"]))
    assert {(step - 1) // 2 for step in found["steps"]} == {0, 1, 2, 3}


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("source", ["application", "keras", "savedmodel"])
def test_every_keras_source_is_trained_as_it_is(done: tuple[FinetuneReport, dict[str, Any]], source: str) -> None:
    found = done[1]["sources"][source]
    assert found["difference"] <= 1e-5 * found["scale"]
    assert found["moved"] > 1e-3 * found["scale"]


@needs_keras
@pytest.mark.slow
def test_every_augmentation_changes_pictures_and_nothing_else(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["augmentation"]
    assert (found["none"], found["flip"], found["alone"]) == (0, 0, True)
    assert set(found["each"]) == set(AUGMENTATIONS)
    for name, (shape, low, high, change) in found["each"].items():
        assert shape == [4, 12, 12, 3], name
        assert 0 <= low < high <= 255, name
        assert change > 0.1, name


@needs_keras
@pytest.mark.slow
def test_every_change_together_is_the_resampling_that_scipy_does(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["augmentation"]
    wanted = changed_by_scipy(np.array(found["pictures"]), changes.drawn(4, 5, 0))
    np.testing.assert_allclose(found["changed"], wanted, atol=0.05)  # levels


@needs_keras
@pytest.mark.slow
def test_the_rate_of_every_framework_is_that_of_keras(done: tuple[FinetuneReport, dict[str, Any]]) -> None:
    found = done[1]["schedule"]
    np.testing.assert_allclose(found["ours"], found["keras"], rtol=1e-5)


def test_the_probe_head_takes_other_weights(marked: Path, tmp_path: Path) -> None:
    extract(marked, tmp_path / "s", dtype="float32")
    data = load_training_data(FeatureStore.open(tmp_path / "s"), None, OPTIONS)
    assert [(data.split == side).sum() for side in (TRAIN, VALIDATION, TEST)] == [16, 8, 8]
    weights, bias = head_weights(data.head)
    assert weights.shape == (2, 1280)
    changed = with_weights(data.head, 2 * weights, bias + 1)
    np.testing.assert_array_equal(head_weights(changed)[0], 2 * weights)
    np.testing.assert_array_equal(head_weights(data.head)[1], bias)
    onnx.checker.check_model(changed)
    vectors = FeatureStore.open(tmp_path / "s").vectors(dtype="float32")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    logits = unit @ weights.T + bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert differences(powers / powers.sum(axis=1, keepdims=True), data.answers)["relative"] < 1e-4


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        ("onnx:net.onnx", r"cannot be trained: nets of Keras can \(efficientnet_lite0, keras:NAME"),
        ("nonsense", "cannot be trained"),
    ],
)
def test_what_cannot_be_trained_says_what_can(marked: Path, tmp_path: Path, backbone: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        finetune(marked, tmp_path / "net.onnx", backbone=backbone)


def test_a_missing_keras_is_said_with_the_command(
    marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FXENGINE_KERAS_PYTHON", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'fxengine\[keras\]'"):
        finetune(marked, tmp_path / "net.onnx")


@pytest.mark.usefixtures("no_training")
def test_a_perfect_probe_ends_the_run_at_once(marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = list[str]()
    report = finetune(marked, tmp_path / "net.onnx", tell=told.append, **asdict(OPTIONS))
    assert report.why.startswith(
        "The probe is right on all 8 pictures to select on, so no net could be seen to do better"
    )
    assert (report.kept, report.history, report.tuned, report.best_epoch) == ("probe", (), report.probe, 0)
    lite = load_backbone("efficientnet_lite0")
    assert read_backbone(tmp_path / "net.onnx").fingerprint == report.space == lite.fingerprint
    head = Head.load(tmp_path / "net.head.onnx")
    store = FeatureStore.open(tmp_path / "net.run" / "features")
    said = head.answers(store.vectors(dtype="float32")).argmax(axis=1)
    assert [head.facts.classes[i] for i in said] == store.labels()
    assert json.loads((tmp_path / "net.run" / "run.json").read_text())["status"] == "finished"
    assert (report.details.head, head.facts.kind) == ("logistic", "logistic")
    assert told == list(report.notes)
    page = write_run(report)
    assert "right on all 8 pictures" in page.read_text()
    show(report, page)
    shown = capsys.readouterr().out
    assert "right on all 8 pictures" in shown
    assert "tuned, test" not in shown


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("keep", "words"), [(("plain",), "has a label"), (("plain", "disc/01.jpg"), "has one picture; fine-tuning needs 3")]
)
def test_too_little_to_learn_from_is_said(marked: Path, tmp_path: Path, keep: tuple[str, ...], words: str) -> None:
    for name in keep:
        for path in (marked / name).rglob("*.jpg") if (marked / name).is_dir() else [marked / name]:
            target = tmp_path / "photos" / path.relative_to(marked)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    with pytest.raises(StoreError, match=words):
        finetune(tmp_path / "photos", tmp_path / "net.onnx")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that Keras is installed; a training would fail."""
    monkeypatch.setattr(keras_env, "versions", lambda: {"keras": "3.15.1"})
    monkeypatch.setattr(keras_env, "python", lambda: "nowhere")


@pytest.mark.usefixtures("no_training")
def test_another_run_that_was_not_finished_is_not_taken_over(
    marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_of, "nothing_to_gain", lambda *_: "")
    with pytest.raises(OSError, match="nowhere"):
        finetune(marked, tmp_path / "net.onnx", **asdict(OPTIONS))
    (tmp_path / "net.run" / "work" / "checkpoint.npz").write_bytes(b"")
    with pytest.raises(InputError, match="holds a run that was not finished, of another settings"):
        finetune(marked, tmp_path / "net.onnx", **{**asdict(OPTIONS), "rate": 1e-3})
    assert not (tmp_path / "net.onnx").exists()


def test_a_training_that_cannot_begin_leaves_no_folder(
    marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_env, "versions", dict)
    with pytest.raises(InputError, match=r"onnx:net\.onnx cannot be trained"):
        finetune(marked, tmp_path / "out.onnx", backbone="onnx:net.onnx")
    assert not list(tmp_path.iterdir())
    (tmp_path / "out.run").mkdir()
    (tmp_path / "out.run" / "mine.txt").touch()
    with pytest.raises(InputError, match=r"onnx:net\.onnx cannot be trained"):
        finetune(marked, tmp_path / "out.onnx", backbone="onnx:net.onnx")
    assert (tmp_path / "out.run" / "mine.txt").exists()


def test_a_head_that_cannot_be_written_leaves_no_net_alone(
    tiny: BackboneFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    rows = np.arange(6)
    problem = Problem("classes", ("a", "b"), rows % 2, rows)
    labelled = Labelled(rows, [str(i) for i in rows], problem, [None] * 6, [None] * 6)
    answers = np.eye(2, dtype=np.float32)[problem.y]
    split = np.repeat([TRAIN, VALIDATION, TEST], 2)
    data = TrainingData(tmp_path, labelled, split, answers, onnx.ModelProto())
    found = Tuned(onnx.ModelProto(), tiny.facts, onnx.ModelProto(), rows, answers, {}, [], changed=True, differences={})
    monkeypatch.setattr(outcome, "save_head", full)
    with pytest.raises(InputError, match=r"Cannot write .*net\.onnx: No space left .* Run the same command again"):
        outcome.finish(tmp_path / "net.onnx", tiny, data, found)
    assert not list(tmp_path.glob("*.onnx*"))


def test_a_checkpoint_of_a_finished_run_is_not_gone_on_with(tmp_path: Path, tiny: BackboneFile) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "checkpoint.npz").touch()
    (tmp_path / "run.json").write_text(json.dumps({"status": "finished"}))
    data: Any = SimpleNamespace(fingerprint=lambda: "x")
    assert task._begin(tmp_path, tiny, data, OPTIONS, {})["status"] == "running"
    assert not (tmp_path / "work" / "checkpoint.npz").exists()
    assert json.loads((tmp_path / "run.json").read_text()) == {"status": "finished"}  # until the next one is
    assert json.loads((tmp_path / "work" / "run.json").read_text())["data"] == "x"


def test_a_damaged_record_of_an_unfinished_run_is_said(tmp_path: Path, tiny: BackboneFile) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "checkpoint.npz").touch()
    (tmp_path / "run.json").write_text("[]")
    data: Any = SimpleNamespace(fingerprint=lambda: "x")
    with pytest.raises(InputError, match=r"run\.json is damaged: what it says of itself is no JSON object"):
        task._begin(tmp_path, tiny, data, OPTIONS, {})
