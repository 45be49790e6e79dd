"""Fine-tuning for texts with a stand-in for the training process; tests/train/test_finetune_texts.py trains."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine import FeatureStore, InputError, StoreError, bundle, extract, finetune, predict
from fxengine.backbones.cache import read_backbone
from fxengine.backbones.children import keras_env
from fxengine.backbones.tokenizer import tokenizer_in
from fxengine.backbones.words.rule import RULES
from fxengine.backbones.words.vocabulary import Vocabulary
from fxengine.heads.file import Head
from fxengine.train import data, outcome, texts
from fxengine.train.report import FinetuneReport
from fxengine.ui.commands.finetune import show
from fxengine.ui.pages.finetune import write_run
from tests.conftest import make_photo
from tests.lstm import bilstm_features, random_lstm
from tests.texts import write_table
from tests.word_vectors import write_vectors

UNITS = 3
THINGS = ("tent", "film", "pan", "shoe", "bag", "lamp", "sock")
SPLITS = ("train", "train", "train", "val", "test")
HEADER = ("id", "review", "stars", "side")


def rows() -> list[tuple[str, str, str, str]]:
    """Reviews whose words say their stars; of the tests alone, `zyx`, and of none of the vectors, `grumble`."""
    made = []
    for i in range(70):
        side, good = SPLITS[i % 5], i // 5 % 2
        text = f"a {'Good' if good else 'bad'} {THINGS[i % 7]} {THINGS[i // 10]}"
        text += " grumble" if i == 0 else " zyx" if side == "test" else ""
        made.append((f"r{i:02d}", text, "5" if good else "1", side))
    return [*made, ("r98", "zyx", "5", "test"), ("r99", "qqqq", "5", "train")]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, str]:
    """A table of reviews, and word vectors as a source."""
    words = ["good", "bad", "a", "zyx", *THINGS]
    vectors = np.random.default_rng(3).normal(size=(len(words), 6))
    glove = write_vectors(tmp_path / "glove.txt", words, vectors)
    return write_table(tmp_path / "reviews.csv", rows(), HEADER), f"vectors:{glove}"


class Process:
    """Stands in for the training process: random weights, and answers that are right, or all alike."""

    def __init__(self, right: bool) -> None:
        self.right = right
        self.order: dict[str, Any] = {}
        self.arrays: dict[str, np.ndarray] = {}

    def __call__(
        self, name: str, work: Path, order: dict[str, Any], progress: object, kind: str
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        self.order = order
        with np.load(work / "arrays.npz") as arrays:
            self.arrays = {**arrays, "table": np.load(work / "table.npy")}
        tokens, starts, targets = (self.arrays[name] for name in ("tokens", "starts", "targets"))
        rng = np.random.default_rng(5)
        sides = [random_lstm(rng, self.arrays["table"].shape[1], UNITS) for _ in range(2)]
        taught = np.flatnonzero(self.arrays["split"] > 0)
        sample = np.array([0, 5, len(targets) - 1])
        parts = ("kernel", "recurrent", "bias")
        made = {f"{side}_{part}": getattr(lstm, part) for side, lstm in zip(("forward", "backward"), sides, strict=True)
                for part in parts}  # fmt: skip
        logits = 9 * targets[taught] if self.right else np.zeros_like(targets[taught])
        vectors = [self.arrays["table"][tokens[starts[i] : starts[i + 1]]] for i in sample]
        features = np.stack([bilstm_features(each, *sides) for each in vectors])
        head = rng.normal(size=(targets.shape[1], 2 * UNITS)).astype(np.float32)
        left = {**made, "table": self.arrays["table"], "rows": taught, "logits": logits, "sample": sample,
                "features": features, "head_weights": head, "head_bias": head[:, 0]}  # fmt: skip
        row = {"train_loss": 1.0, "validation_loss": 1.0, "seconds": 1.0}
        state = {"rate": 1e-3, "batch": 16, "best_epoch": 1, "history": [row]}
        return {"state": state, "trained": ["lstm"], "changed": True}, left


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    """The stand-in; it is right about everything, and so kept, although the probe is, too."""
    made = Process(right=True)
    monkeypatch.setattr(data, "nothing_to_gain", lambda *_: "")
    monkeypatch.setattr(outcome, "_is_better", lambda gain, found: made.right)
    monkeypatch.setattr(texts, "run_training", made)
    monkeypatch.setattr(keras_env, "versions", lambda: {"keras": "3.15.1"})
    return made


def tuned(files: tuple[Path, str], folder: Path, **changes: Any) -> FinetuneReport:
    given = {"column": "review", "id_column": "id", "label_column": "stars", "split_column": "side", "units": UNITS}
    return finetune(files[0], folder / "net.onnx", **{"backbone": files[1], **given, **changes})


def test_the_vocabulary_is_the_words_of_the_training_rows(
    files: tuple[Path, str], tmp_path: Path, process: Process
) -> None:
    report = tuned(files, tmp_path)
    assert (report.kept, report.modality, report.failed) == ("tuned", "text", 1)  # `qqqq` alone is known to nobody
    assert report.rows == {"train": 42, "validation": 14, "test": 15}
    found = read_backbone(Path(report.output))
    words = Vocabulary.from_bytes(tokenizer_in(found))
    assert words.words[0] == "a"  # the most frequent first
    assert set(words.words) == {"a", "good", "bad", "grumble", *THINGS}  # and not `zyx`
    table = dict(zip(words.words, process.arrays["table"], strict=True))
    assert not table["grumble"].any()
    assert all(table[word].any() for word in words.words if word != "grumble")
    assert report.notes[-2:] == (
        "The vocabulary is the 11 words of the texts to train on; 10 of them have a vector, the others are zeros.",
        "1 of the texts to select or to report on have no word of the vocabulary: the tuned net answers them here as "
        "if they were empty, and gives such texts no vector later.",
    )
    assert process.order["net"] == {"kind": "words", "net": "bilstm", "units": UNITS, "frozen": True}
    assert process.order["settings"]["augmentations"] == ()


def test_the_tuned_net_is_an_ordinary_backbone_of_texts(
    files: tuple[Path, str], tmp_path: Path, process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tuned(files, tmp_path)
    found = read_backbone(Path(report.output))
    facts = found.facts
    assert (facts.name, facts.dim, facts.recipe.modality) == ("glove-tuned", 2 * UNITS, "text")
    assert facts.notes["tuned"]["texts"] == 71
    assert report.differences["relative"] < 1e-4
    args: dict[str, Any] = {"column": "review", "id_column": "id", "label_column": "stars", "dtype": "float32"}
    done = extract(files[0], tmp_path / "store", backbone=found.path, precision="fp32", **args)
    assert (done.extracted, done.failed) == (70, {"no_known_word": 2})
    store, head = FeatureStore.open(tmp_path / "store"), Head.load(Path(report.head))
    assert head.facts.space == found.fingerprint
    made = bundle(found.path, report.head, tmp_path / "bundle.onnx", store=store.path)
    assert made.agreement is not None
    assert (made.agreement.same, made.agreement.modality) == (1.0, "text")
    answers = predict(text=["a Good tent"], model=report.head, backbone=found.path)
    assert answers.predictions[0].labels[0] in ("1", "5")
    assert write_run(report).read_text().count("glove, trained further") > 0
    show(report, Path("report.html"))
    shown = capsys.readouterr().out
    assert "glove trained further on 42 train, 14 validation, 15 test texts; 1 have no word that is known" in shown


def test_a_net_that_gains_nothing_is_not_kept(files: tuple[Path, str], tmp_path: Path, process: Process) -> None:
    process.right = False
    report = tuned(files, tmp_path)
    assert report.kept == "probe"
    assert report.probe.validation.mean == 1.0
    found = read_backbone(Path(report.output))
    assert (found.facts.name, found.facts.dim, found.fingerprint) == ("glove", 6, report.space)
    assert Head.load(Path(report.head)).facts.kind == "logistic"


def test_a_second_run_replaces_no_better_net_unless_forced(
    files: tuple[Path, str], tmp_path: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tuned(files, tmp_path)
    kept = {path: path.read_bytes() for path in (tmp_path / "net.onnx", tmp_path / "net.head.onnx")}
    record = (tmp_path / "net.run" / "run.json").read_text()
    monkeypatch.setattr(outcome, "_is_better", lambda gain, found: True)
    process.right = False
    with pytest.raises(InputError, match=r"did better on the texts to select on \(accuracy 1\.000; now .*Give `force`"):
        tuned(files, tmp_path, epochs=3)
    assert {path: path.read_bytes() for path in kept} == kept
    assert (tmp_path / "net.run" / "run.json").read_text() == record
    (tmp_path / "net.run" / "work" / "checkpoint.npz").write_bytes(b"")
    with pytest.raises(InputError, match="a run that was not finished, of another settings"):
        tuned(files, tmp_path, epochs=4, force=True)
    second = tuned(files, tmp_path, epochs=3, force=True)
    assert second.tuned.validation.mean < first.tuned.validation.mean
    assert read_backbone(tmp_path / "net.onnx").fingerprint == second.space
    assert not (tmp_path / "net.run" / "work").exists()
    other = tuned(files, tmp_path, split_column=None)
    assert "so that the two could not be compared" in other.notes[-1]


def test_what_gains_by_chance_alone_or_left_its_weights_is_not_kept(
    files: tuple[Path, str], tmp_path: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(data, "nothing_to_gain", lambda *_: "")
    monkeypatch.setattr(keras_env, "versions", lambda: {"keras": "3.15.1"})
    monkeypatch.setattr(texts, "run_training", process)
    stars = np.random.default_rng(0).permutation([row[2] for row in rows()])
    noise = write_table(tmp_path / "noise.csv", [(r[0], r[1], stars[i], r[3]) for i, r in enumerate(rows())],
                        HEADER)  # fmt: skip
    report = tuned((noise, files[1]), tmp_path)
    assert report.gain.real
    assert report.kept == "tuned"
    assert (
        report.why
        == f"On the texts to select on the tuned net gains {report.gain} of accuracy: more than chance explains."
    )

    def unchanged(*arguments: Any) -> Any:
        answer, left = process(*arguments)
        return {**answer, "changed": False}, left

    monkeypatch.setattr(texts, "run_training", unchanged)
    again = tuned((noise, files[1]), tmp_path, force=True)
    assert again.gain.real
    assert again.kept == "probe"
    assert again.why.startswith("Training left the weights as they were")
    record = json.loads((tmp_path / "net.run" / "run.json").read_text())
    assert record["gain"]["difference"] == asdict(again.gain.difference)
    assert record["why"] == again.why


def test_trained_vectors_begin_at_random_where_there_is_none(
    files: tuple[Path, str], tmp_path: Path, process: Process
) -> None:
    report = tuned(files, tmp_path, unfreeze="all")
    assert process.order["net"]["frozen"] is False
    assert all(row.any() for row in process.arrays["table"])
    assert "have a vector, the others began as small random numbers." in report.notes[-2]


def test_the_rule_of_words_and_the_weights_of_the_mean_are_those_that_are_asked_for(
    files: tuple[Path, str], tmp_path: Path, process: Process
) -> None:
    report = tuned(files, tmp_path, tokens="keras", word_weights="sif", words=9)
    assert report.backbone == "glove+sif"
    words = Vocabulary.from_bytes(tokenizer_in(read_backbone(Path(report.output))))
    assert words.rule == RULES["keras"]
    assert not process.arrays["table"][words.number("lamp")].any()  # the tenth of the file
    with pytest.raises(InputError, match="`word_weights`"):
        finetune(tmp_path, tmp_path / "other.onnx", word_weights="sif")


def test_texts_are_cut_behind_the_first_words(files: tuple[Path, str], tmp_path: Path, process: Process) -> None:
    report = tuned(files, tmp_path, max_words=4)
    assert "1 of 71 texts were cut behind their first 4 known words." in report.notes
    assert np.diff(process.arrays["starts"]).max() == 4
    assert read_backbone(Path(report.output)).recipe.max_tokens == 4  # type: ignore[union-attr]


def test_numbers_are_learned_at_their_own_scale_and_given_back(
    files: tuple[Path, str], tmp_path: Path, process: Process
) -> None:
    table = [(key, 1000.0 + 5 * i) for i, (key, *_) in enumerate(rows())]
    write_table(tmp_path / "prices.csv", table, ("id", "price"))
    report = tuned(files, tmp_path, labels=f"{tmp_path / 'prices.csv'}:price")
    assert report.kind == "numbers"
    learned = process.arrays["targets"][process.arrays["split"] == 0]
    assert (abs(learned.mean()) < 1e-5, learned.std()) == (True, pytest.approx(1, abs=1e-5))
    answers = Head.load(Path(report.head)).answers(np.zeros((1, 2 * UNITS), np.float32))
    assert 0 < answers[0, 0] < 3000
    assert answers[0, 0] == pytest.approx(1000, abs=900)


def test_whole_numbers_are_targets_where_that_is_asked_for(
    files: tuple[Path, str], tmp_path: Path, process: Process
) -> None:
    report = tuned(files, tmp_path, kind="numbers")
    assert (report.kind, report.metric, report.classes) == ("numbers", "r2", ("label",))
    learned = process.arrays["targets"][process.arrays["split"] == 0]
    assert (learned.shape[1], abs(learned.mean()) < 1e-5) == (1, True)
    assert json.loads((tmp_path / "net.run" / "run.json").read_text())["settings"]["kind"] == "numbers"
    with pytest.raises(InputError, match="There is no `kind` 'number'"):
        tuned(files, tmp_path, kind="number")


def test_another_process_that_computes_something_else_is_found_out(
    files: tuple[Path, str], tmp_path: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(*arguments: Any) -> Any:
        answer, left = process(*arguments)
        return answer, {**left, "forward_bias": left["forward_bias"][::-1]}

    monkeypatch.setattr(texts, "run_training", swapped)
    with pytest.raises(InputError, match="does not compute what Keras does, so nothing is kept"):
        tuned(files, tmp_path)
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"backbone": "minilm_l6"},
            r"reviews\.csv holds texts: give `backbone` vectors:FILE, over which a net is trained",
        ),
        ({"backbone": "efficientnet_lite0"}, "or torch-hf:NAME instead of efficientnet_lite0"),
        ({"augment": "strong"}, "`augment` changes pictures; there are no changes of texts"),
        ({"unfreeze": "3"}, "`unfreeze` '3': .* give none or all"),
        ({"net": "gru"}, "There is no `net` 'gru'. .*bilstm, average"),
        ({"units": 0}, "`units` must be between 1 and 4096"),
        ({"max_words": 2}, "`max_words` must be between 4 and"),
        ({"weights": "random"}, "leave `weights` away"),
        ({"column": None}, "`column`"),
        ({"column": "text"}, "has no column 'text'. There is: 'id', 'review', 'stars', 'side'"),
        ({"label_column": None}, "No row of .* has a label"),
    ],
)
def test_what_cannot_be_is_said(files: tuple[Path, str], tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises((InputError, StoreError), match=words):
        tuned(files, tmp_path, **changes)
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.usefixtures("process")
def test_too_little_to_learn_from_is_said(files: tuple[Path, str], tmp_path: Path) -> None:
    given = {"column": "review", "id_column": "id", "label_column": "stars", "backbone": files[1]}
    for i, (kept, words) in enumerate([
        ([row for row in rows() if row[2] == "5"], r"are of one class \('5'\)"),
        (rows()[:2], "of one class"),
        (rows()[4:6], "has one text"),
    ]):  # fmt: skip
        table = write_table(tmp_path / f"{i}.csv", kept, HEADER)
        with pytest.raises(StoreError, match=words):
            finetune(table, tmp_path / f"{i}.onnx", **given)  # type: ignore[arg-type]
    table = write_table(tmp_path / "unknown.csv", [(str(i), "qqqq", str(i % 2), "") for i in range(9)], HEADER)
    with pytest.raises(InputError, match="word"):
        finetune(table, tmp_path / "unknown.onnx", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"net": "bilstm"}, {"units": 8}, {"max_words": 99}])
def test_what_is_about_texts_is_refused_for_pictures(tmp_path: Path, changes: dict[str, Any]) -> None:
    make_photo(tmp_path / "photos" / "a.jpg", 1)
    with pytest.raises(
        InputError, match=f"`{next(iter(changes))}` is about nets over word vectors, and efficientnet_lite0"
    ):
        finetune(tmp_path / "photos", tmp_path / "net.onnx", **changes)


@pytest.mark.usefixtures("process")
def test_pictures_are_refused_for_word_vectors(files: tuple[Path, str], tmp_path: Path) -> None:
    make_photo(tmp_path / "photos" / "a.jpg", 1)
    with pytest.raises(InputError, match=r"There is no \.txt file to extract from in .*photos"):
        finetune(tmp_path / "photos", tmp_path / "net.onnx", backbone=files[1])


def test_another_run_that_was_not_finished_is_not_taken_over(
    files: tuple[Path, str], tmp_path: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(texts, "run_training", killed)
    with pytest.raises(KeyboardInterrupt):
        tuned(files, tmp_path)
    (tmp_path / "net.run" / "work" / "checkpoint.npz").write_bytes(b"")
    monkeypatch.setattr(texts, "run_training", process)
    with pytest.raises(InputError, match="of another settings: give its very command"):
        tuned(files, tmp_path, net="average")
    assert tuned(files, tmp_path).kept == "tuned"
    record = json.loads((tmp_path / "net.run" / "run.json").read_text())
    assert (record["status"], record["settings"]["net"], record["settings"]["unfreeze"]) == (
        "finished",
        "bilstm",
        "none",
    )
