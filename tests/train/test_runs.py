from __future__ import annotations

import json
from pathlib import Path

import pytest

from fxengine import InputError
from fxengine.train.runs import run_settings
from fxengine.ui.info import describe
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
    first, second = describe(runs)["runs"]
    assert (first["run"], first["status"], first["tuned"]) == ("a.run", "running", None)
    assert (second["probe"], second["tuned"], second["rate"], second["epochs"]) == (0.85, 0.9, 1e-4, 2)
    assert describe(runs / "b.run")["runs"] == [second]


def test_a_damaged_record_is_named(runs: Path) -> None:
    (runs / "a.run" / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"a\.run/run\.json is no record"):
        describe(runs)


def test_the_settings_of_a_run(runs: Path) -> None:
    assert run_settings(runs / "b.run") == FINISHED["settings"]
    with pytest.raises(InputError, match=r"c\.run/run\.json is no record"):
        run_settings(runs / "c.run")


@pytest.mark.slow
def test_the_command_prints_a_table(runs: Path) -> None:
    shown = run_cli("info", runs).stdout
    assert "b.run" in shown
    assert "0.0001" in shown
