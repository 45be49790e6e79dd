from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fxengine
from tests.conftest import ROOT


def test_every_public_name_loads_and_is_listed() -> None:
    assert sorted(fxengine.__all__) == sorted(fxengine._PUBLIC)
    for name in fxengine.__all__:
        assert getattr(fxengine, name).__name__ == name
    assert set(fxengine.__all__) < set(dir(fxengine))


@pytest.mark.slow
def test_every_public_name_works_where_every_module_is_loaded(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.uses_public_names", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    package = ROOT / "fxengine"
    files = [path for path in package.rglob("*.py") if path.parent.name != "children"]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    assert names <= set(done.stdout.split())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fxengine.nothing


def test_changelog_package_and_project_name_the_same_version() -> None:
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert changelog is not None
    assert project is not None
    assert changelog[1] == project[1] == fxengine.__version__
