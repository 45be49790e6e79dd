from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from fxengine.heads import Kind
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.scores import Problem
from fxengine.probing.report import Answered, Mistake, ProbeReport, describe

SCORE = Interval(0.75, 0.5, 0.9)


def report(kind: Kind, names: tuple[str, ...], y: object, answers: object) -> ProbeReport:
    truth, said = np.asarray(y), np.asarray(answers, np.float32)
    ids = [f"{i}.jpg" for i in range(len(truth))]
    rows = Answered(Problem(kind, names, truth, np.arange(len(truth))), said, ids)
    return describe(rows, head="ridge", score=SCORE, evaluation="here", trained_on=9)


def test_classes_are_described_one_by_one() -> None:
    found = report("classes", ("a", "b"), [0, 0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.25, 0.75], [0.4, 0.6]])
    assert list(found.per_class) == ["a", "b"]
    assert list(asdict(found.per_class["a"]).values()) == pytest.approx([3, 1.0, 2 / 3, 0.8])
    assert list(asdict(found.per_class["b"]).values()) == pytest.approx([1, 0.5, 1.0, 2 / 3])
    assert found.confusion == [[2, 1], [0, 1]]
    assert found.mistakes == [Mistake("2.jpg", "a", "b", 0.75)]
    assert (found.metric, found.chance, found.rows, found.trained_on) == ("accuracy", 0.75, 4, 9)
    assert found.scores["accuracy"] == 0.75
    assert sum(share for _, _, share in found.reliability) == 1


def test_labels_have_no_confusion_and_numbers_no_classes() -> None:
    labels = report("labels", ("p", "q"), [[1, 0], [0, 1], [1, 1]], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.9]])
    assert {name: each.rows for name, each in labels.per_class.items()} == {"p": 2, "q": 2}
    assert labels.per_class["p"].recall == 0.5
    assert labels.chance == pytest.approx(2 / 3)
    assert (labels.confusion, labels.mistakes, labels.reliability) == ([], [], [])
    numbers = report("numbers", ("size",), [[1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0]])
    assert (numbers.metric, numbers.chance, numbers.scores["r2"], numbers.per_class) == ("r2", 0.0, 1.0, {})


def test_the_score_stands_first_under_its_own_name() -> None:
    said = report("numbers", ("size",), [[1.0], [2.0]], [[1.0], [2.0]]).to_dict()
    assert list(said)[:4] == ["r2", "head", "kind", "metric"]
    assert said["r2"] == said["score"] == {"mean": 0.75, "low": 0.5, "high": 0.9}
