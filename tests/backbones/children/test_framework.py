"""A framework's interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fxengine.backbones.children import framework, torch_env


def test_a_path_from_here_holds_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FXENGINE_TORCH_PYTHON", "bin/python")
    assert framework.python(torch_env.TORCH) == str(tmp_path / "bin" / "python")
