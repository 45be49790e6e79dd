"""Files of word vectors that somebody else made, and folders of model2vec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.cases import Kit
from tests.hostile.cases.words import FILES, FOLDERS
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _verbs(kit: Kit, vectors: Path, out: Path) -> Sequence[Verb]:
    return [("words", vectors, "--quiet", "-o", out / "words")]


def _folder_verbs(kit: Kit, vectors: Path, out: Path) -> Sequence[Verb]:
    extract = ("extract", kit.photos, "--column", "text", "--backbone", f"vectors:{vectors}", "--precision", "fp32")
    return [*_verbs(kit, vectors, out), (*extract, "--quiet", "-o", out / "s")]


@pytest.mark.parametrize("name", FILES)
def test_word_vectors_are_read_or_refused_in_a_sentence(name: str, server: Server, text_kit: Kit, place: Path) -> None:
    check(server, text_kit, FILES[name], _verbs, place)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_them_is_too(name: str, server: Server, text_kit: Kit, place: Path) -> None:
    check(server, text_kit, FOLDERS[name], _folder_verbs, place)
