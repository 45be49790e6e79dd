from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fxengine import InputError
from fxengine.train.runs import list_runs, run_settings
from fxengine.ui.info import info
from tests.conftest import run_cli

RUNNING = {
    "status": "running",
    "backbone": "efficientnet_lite0",
    "data": "f" * 64,
    "settings": {"unfreeze": "all", "augment": "light", "rate": None},
}
SCORE = {"mean": 0.9, "low": 0.8, "high": 0.95}
FINISHED = {
    **RUNNING,
    "status": "finished",
    "rate": 1e-4,
    "history": [{}, {}],
    "metric": "accuracy",
    "probe": {"test": {**SCORE, "mean": 0.85}},
    "tuned": {"test": SCORE},
    "kept": "tuned",
    "seconds": 12.5,
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name, record in (("a.run", RUNNING), ("b.run", FINISHED)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    return tmp_path


def test_runs_are_compared(runs: Path) -> None:
    first, second = info(runs).facts["runs"]
    assert (first["run"], first["status"], first["tuned"]) == ("a.run", "running", None)
    assert (second["probe"], second["tuned"], second["rate"], second["epochs"]) == (0.85, 0.9, 1e-4, 2)
    assert info(runs / "b.run").facts["runs"] == [second]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "is damaged: 'status' is missing. It should be the record of a fine-tuning"),
        ("[]", "is damaged: what it says of itself is no JSON object"),
        ("[" * 5000, "is damaged: what it says of itself is not JSON"),
        (json.dumps({**RUNNING, "settings": 7}), "is damaged: 'settings' cannot be 7"),
        (json.dumps({**RUNNING, "data": [1]}), r"is damaged: 'data' cannot be \[1\]"),
        (json.dumps({**FINISHED, "history": 2}), "is damaged: 'history' cannot be 2"),
        (json.dumps({**FINISHED, "tuned": {"test": {"mean": 1}}}), "is damaged: it says no score of the test pictures"),
        (json.dumps({**FINISHED, "seconds": "long"}), "is damaged: 'seconds' cannot be 'long'"),
    ],
    ids=range(8),
)
def test_a_damaged_record_is_named(text: str, says: str, runs: Path) -> None:
    (runs / "a.run" / "run.json").write_text(text)
    with pytest.raises(InputError, match=rf"a\.run/run\.json {says}"):
        info(runs)
    with pytest.raises(InputError, match=r"a\.run/run\.json is damaged"):
        run_settings(runs / "a.run")


def test_what_is_no_file_is_not_waited_for(runs: Path) -> None:
    (runs / "a.run" / "run.json").unlink()
    os.mkfifo(runs / "a.run" / "run.json")
    with pytest.raises(
        InputError, match=r"Cannot read .*a\.run/run\.json, the record of a fine-tuning: It is not a reg"
    ):
        list_runs(runs)


def test_the_settings_of_a_run(runs: Path) -> None:
    assert run_settings(runs / "b.run") == FINISHED["settings"]
    with pytest.raises(InputError, match=r"Cannot read .*c\.run/run\.json, the record of a fine-tuning: No such file"):
        run_settings(runs / "c.run")


@pytest.mark.slow
def test_the_command_prints_a_table(runs: Path) -> None:
    shown = run_cli("info", runs).stdout
    assert "b.run" in shown
    assert "0.0001" in shown
