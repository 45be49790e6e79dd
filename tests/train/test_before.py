from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fxengine import FeatureStore, StoreError
from fxengine.backbones.spec import BackboneFile, PictureRecipe
from fxengine.heads.evaluate.scores import Problem
from fxengine.train.before import nothing_to_gain, too_few_mistakes
from fxengine.train.data import TrainingData, load_training_data, write_samples
from fxengine.train.options import FinetuneOptions
from fxengine.train.splits import TEST, TRAIN, VALIDATION
from tests.stores import write_store

pytestmark = pytest.mark.filterwarnings("error")  # what a library warns of is no sentence


def store_of(folder: Path, counts: list[int], splits: list[str | None] | None = None) -> FeatureStore:
    """Write random vectors, so many of each class."""
    labels: list[str | None] = [f"c{i:03d}" for i, count in enumerate(counts) for _ in range(count)]
    vectors = np.random.default_rng(0).normal(size=(len(labels), 64))
    return write_store(folder / "s", vectors, labels=labels, splits=splits)


def loaded(store: FeatureStore, **options: float) -> TrainingData:
    return load_training_data(store, None, FinetuneOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (
            [2] * 200,
            r"No class has 3 pictures that are no copies .* does with two: `fxengine probe .*/s -o head\.onnx`",
        ),
        ([60], r"All 60 pictures with a label are of one class \('c000'\).* `fxengine search` finds what is like"),
        ([1, 30, 30], r"Class 'c000' has one picture; fine-tuning needs 3 of each class.* `fxengine search` finds"),
        ([1] * 10, r"Class 'c000' has one picture \(so have 9 others\); fine-tuning needs 3"),
        ([30, 1, 1], r"Class 'c001' has one picture \(so has 1 other\); fine-tuning needs 3"),
    ],
)
def test_too_few_of_a_class_are_told_with_what_works(tmp_path: Path, counts: list[int], words: str) -> None:
    with pytest.raises(StoreError, match=words) as told:
        loaded(store_of(tmp_path, counts))
    assert not re.search("validat|fold|split", str(told.value))


@pytest.mark.parametrize(
    ("counts", "sides"), [([4] * 3, [6, 3, 3]), ([3] * 10, [10, 10, 10]), ([5, 5], [6, 2, 2]), ([3, 3], [2, 2, 2])]
)
def test_three_of_a_class_are_enough(tmp_path: Path, counts: list[int], sides: list[int]) -> None:
    data = loaded(store_of(tmp_path, counts))
    assert np.bincount(data.split).tolist() == sides
    for side in (TRAIN, VALIDATION, TEST):
        assert set(data.problem.y[data.split == side]) == set(range(len(counts)))


def test_a_class_of_two_is_trained_on_and_told(tmp_path: Path) -> None:
    data = loaded(store_of(tmp_path, [2, 30, 30]))
    assert data.split[:2].tolist() == [TRAIN, TRAIN]
    assert data.labelled.notes[0] == (
        "1 of 3 classes have fewer than 3 pictures, such as 'c000': they are trained on, and how well they are told is "
        "not known."
    )


def test_given_sides_need_no_three(tmp_path: Path) -> None:
    data = loaded(store_of(tmp_path, [3, 3], ["train", "val", "test"] * 2))
    assert data.split.tolist() == [TRAIN, VALIDATION, TEST] * 2
    with pytest.raises(StoreError, match=r"'c001' is left to train on: all of them, or copies .* Put some on the side"):
        loaded(store_of(tmp_path, [4, 4], ["train", "train", "val", "test", "val", "val", "test", "test"]))


def test_copies_between_the_sides_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    train, test = rng.normal(size=(40, 64)), rng.normal(size=(20, 64))
    test[:7] = train[:7]  # the same file
    test[7:12] = train[7:12] + rng.normal(0, 0.02, (5, 64))  # nearly the same
    hashes = [f"h{i}" for i in range(60)]
    hashes[40:47] = hashes[:7]
    labels: list[str | None] = ["a", "b"] * 30
    sides: list[str | None] = [*["train"] * 32, *["val"] * 8, *["test"] * 20]
    store = write_store(tmp_path / "s", np.concatenate([train, test]), hashes=hashes, labels=labels, splits=sides)
    told = [note for note in loaded(store).labelled.notes if "also among" in note]
    assert told == [
        "12 of 20 pictures to report on are also among those to train on (7 the same file, 5 nearly the same, by "
        "`near`), such as '000040': the score says less of new ones. Take them out of one side."
    ]
    assert not any("also among" in note for note in loaded(store_of(tmp_path, [20, 20])).labelled.notes)


def test_nothing_can_be_gained_over_a_perfect_probe_and_little_over_a_good_one() -> None:
    problem = Problem("classes", ("a", "b"), np.arange(60) % 2, np.arange(60))
    answers = np.eye(2, dtype=np.float32)[problem.y]
    assert nothing_to_gain(problem, answers, "picture").startswith("The probe is right on all 60 pictures to select on")
    assert too_few_mistakes(problem, answers, "picture") == ()
    wrong = answers.copy()
    wrong[:5] = 1 - wrong[:5]
    assert nothing_to_gain(problem, wrong, "picture") == ""
    assert too_few_mistakes(problem, wrong, "picture")[0].startswith("The probe is wrong on 5 of 60 pictures")
    wrong[5] = 1 - wrong[5]  # six without a loss: McNemar's exact test gives 2 / 2**6 = 0.031
    assert too_few_mistakes(problem, wrong, "picture") == ()


def test_the_sheet_of_changes_has_every_class(tmp_path: Path, tiny: BackboneFile) -> None:
    recipe = tiny.recipe
    assert isinstance(recipe, PictureRecipe)

    def shown(counts: dict[str, int], broken: str = "") -> list[int]:
        """Return which colour each picture on the sheet has."""
        folder = tmp_path / "-".join(counts)
        for number, (name, count) in enumerate(counts.items()):
            for i in range(count):
                path = folder / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40, 40), (10 * number, 0, 0)).save(path)
        if broken:
            (folder / broken).write_bytes(b"no picture")
        write_samples(folder, recipe, tmp_path)
        return [round(int(image[5, 5, 0]) / 10) for image in np.load(tmp_path / "images.npy")]

    assert shown({"a": 9, "b": 9}) == [0, 1, 0, 1, 0, 1]
    assert shown({"a": 9, "b": 1, "c": 2}, broken="c/0.png") == [0, 1, 2, 0, 0, 0]
    assert shown({f"{i:02d}": 2 for i in range(8)}) == [*range(8)]
    assert shown({f"c{i:02d}": 1 for i in range(25)}) == [*range(24)]
