from __future__ import annotations

import re

import pytest

import fxengine
from tests.conftest import ROOT


def test_every_public_name_loads_and_is_listed() -> None:
    assert sorted(fxengine.__all__) == sorted(fxengine._PUBLIC)
    for name in fxengine.__all__:
        assert getattr(fxengine, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fxengine.nothing


def test_changelog_package_and_project_name_the_same_version() -> None:
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert changelog is not None
    assert project is not None
    assert changelog[1] == project[1] == fxengine.__version__
