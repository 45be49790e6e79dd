from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fxengine import FeatureStore, InputError, StoreError, extract
from fxengine.backbones.spec import BackboneFile
from fxengine.heads.evaluate.interval import Interval
from fxengine.probing.probe import probe
from fxengine.train.advise import Advice, advise, backtest
from tests.conftest import run_cli

ADVICE = Advice(
    metric="accuracy",
    rows=300,
    score=Interval(0.9, 0.86, 0.93),
    expected=((300, Interval(0.91, 0.87, 0.94)), (600, Interval(0.93, 0.89, 0.96))),
    target=None,
    enough=False,
    labels_help=True,
    finetune_pays=True,
    trainable=True,
    seconds=600.0,
)


@pytest.fixture
def store(photos: Path, tiny: BackboneFile, tmp_path: Path) -> Path:
    extract(photos, tmp_path / "s", backbone=tiny.path)
    return tmp_path / "s"


def test_the_score_is_the_probes_and_the_target_decides(store: Path) -> None:
    found = advise(store, target=0.01)
    assert found.score == probe(store).score
    assert (found.rows, found.enough, found.labels_help, found.finetune_pays) == (20, True, False, False)
    assert [rows for rows, _ in found.expected] == [20, 40, 80]
    assert found.sentences()[1] == "It is enough: 1.0% was wanted."
    missed = advise(store, target=1.0)
    assert not missed.enough
    assert not missed.trainable
    assert missed.seconds is None
    assert "cannot be fine-tuned" in missed.sentences()[-1]


def test_it_speaks_in_sentences_with_numbers() -> None:
    assert ADVICE.sentences() == [
        "The head on the features reaches accuracy 90.0% (95% interval 86.0% to 93.0%) with 300 rows.",
        "More labels would help: with 600 training rows 93.0% (95% interval 89.0% to 96.0%) is to be expected.",
        "Fine-tuning may be worth a trial: over 5% are wrong, and there are enough rows a class to tell. This is no "
        "forecast: in each of the four trials that this rule suggested on photos of flowers, objects and pets, nothing "
        "was gained. It would take about 10 minutes here. What is no better is not kept.",
    ]
    little = replace(ADVICE, labels_help=False, finetune_pays=False, target=0.95)
    assert "95.0% was wanted" in little.sentences()[0]
    assert "would help little" in little.sentences()[1]
    assert "is not suggested" in little.sentences()[2]
    said = " ".join([*ADVICE.sentences(), *little.sentences()])
    assert "likely to pay" not in said


def test_bad_wishes_are_said(store: Path, photos: Path, tiny: BackboneFile, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`target` must be a number above 0 and at most 1"):
        advise(store, target=95)
    extract(photos / "cats", tmp_path / "unlabelled", backbone=tiny.path)
    with pytest.raises(StoreError, match="has a label"):
        advise(tmp_path / "unlabelled")


def test_a_backtest_is_the_same_twice(store: Path) -> None:
    opened = FeatureStore.open(store)
    expected, observed = backtest(opened, 1)
    assert backtest(opened, 1) == (expected, observed)
    assert expected.low <= expected.mean <= expected.high
    assert observed * 20 == pytest.approx(round(observed * 20))


@pytest.mark.slow
def test_the_command_prints_sentences_or_json(store: Path) -> None:
    assert "reaches accuracy" in run_cli("advise", store).stdout
    found = json.loads(run_cli("advise", store, "--json", "--target", "0.9").stdout)
    assert found["target"] == 0.9
    assert found["sentences"]
