"""Repositories of Hugging Face that somebody else made, as folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.cases import Kit
from tests.hostile.cases.repositories import PICTURES, REPOSITORIES
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _verbs(kit: Kit, repository: Path, out: Path) -> Sequence[Verb]:
    extract = ("extract", kit.photos, "--column", "text", "--backbone", f"hf:{repository}", "--precision", "fp32")
    return [(*extract, "--quiet", "-o", out / "s")]


def _picture_verbs(kit: Kit, repository: Path, out: Path) -> Sequence[Verb]:
    return [("export", f"hf:{repository}", "-o", out / "net.onnx")]


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_repository_is_used_or_refused_in_a_sentence(name: str, server: Server, text_kit: Kit, place: Path) -> None:
    check(server, text_kit, REPOSITORIES[name], _verbs, place)


@pytest.mark.parametrize("name", PICTURES)
def test_one_of_pictures_is_too(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, PICTURES[name], _picture_verbs, place)
