"""scripts/: what they install and what they run, with a python that only notes how it is called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

PYTHON = '#!/usr/bin/env bash\necho "$FXENGINE_REQUIRE: $*" >> called\ncase "$*" in *usable_cores*) echo 3 ;; esac\n'

HOW = "--dist loadfile --no-loadscope-reorder --max-worker-restart 0"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("scripts", ".ci"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "judge.txt", folder / "tests" / "judge.txt")
    for name in (".venv/bin/python", ".venv/bin/ruff", ".venv/bin/mypy", ".venv-judge/bin/python"):
        program = folder / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(PYTHON if program.name == "python" else "#!/bin/sh\n")
        program.chmod(0o755)
    return folder


def run(project: Path, script: str, *arguments: str, **said: str) -> list[str]:
    """Return how a script calls python, but for asking for the cores."""
    (project / "called").unlink(missing_ok=True)
    ours = ("FXENGINE_REQUIRE", "FXENGINE_JUDGE_PYTHON")
    environment = {**{name: value for name, value in os.environ.items() if name not in ours}, **said}
    subprocess.run(["bash", project / script, *arguments], check=True, capture_output=True, env=environment)
    lines = (project / "called").read_text().splitlines() if (project / "called").exists() else []
    return [line for line in lines if "usable_cores" not in line]


def installed(calls: list[str]) -> list[str]:
    return [call.split()[-1] for call in calls if " pip install " in call]


def test_scripts_do_not_install_each_other_away(project: Path) -> None:
    assert installed(run(project, "scripts/check")) == [".[test]"]
    assert installed(run(project, "scripts/check")) == []
    assert installed(run(project, "scripts/test", "tests")) == [".[keras,test,text]"]
    assert installed(run(project, "scripts/test")) == ["tests/judge.txt"]
    for script in ("scripts/check", "scripts/test", "scripts/check"):
        assert installed(run(project, script)) == []


def test_the_judge_is_installed_where_its_tests_run(project: Path) -> None:
    run(project, "scripts/test", "tests")
    assert installed(run(project, "scripts/test", "-m", "not slow")) == []
    for named in ("", "/usr/bin/python3"):
        assert installed(run(project, "scripts/test", FXENGINE_JUDGE_PYTHON=named)) == []
    judged = "tests/backbones/sources/test_transformers.py"
    assert installed(run(project, "scripts/test", judged)) == ["tests/judge.txt"]
    (project / "tests" / "judge.txt").write_text("torch\n")
    assert installed(run(project, "scripts/test")) == ["tests/judge.txt"]


def test_another_pyproject_is_installed_with_all_that_was_there(project: Path) -> None:
    run(project, "scripts/test", "tests")
    with (project / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert installed(run(project, "scripts/check")) == [".[keras,test,text]"]


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ([], f"-m pytest -q -n 3 {HOW}"),
        (["--all"], f"-m pytest -q -n 3 {HOW} --all"),
        (["-m", "not slow"], f"-m pytest -q -n 3 {HOW} -m not slow"),
        (["tests", "-x"], f"-m pytest -q -n 0 {HOW} tests -x"),
        (["--pdb"], f"-m pytest -q -n 0 {HOW} --pdb"),
    ],
)
def test_arguments_go_to_pytest(project: Path, arguments: list[str], called: str) -> None:
    assert run(project, "scripts/test", *arguments)[-1] == f": {called}"


def test_ci_requires_everything(project: Path) -> None:
    assert run(project, ".ci/run")[-1] == f"1: -m pytest -q -n 3 {HOW}"
