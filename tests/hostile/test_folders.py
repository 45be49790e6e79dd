"""Folders of photos that somebody else made, and lists of paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.cases import Kit
from tests.hostile.cases.folders import FOLDERS, LISTS
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _verbs(kit: Kit, photos: Path, out: Path) -> Sequence[Verb]:
    store = out / "s"
    return (
        ("extract", photos, "--backbone", kit.backbone, "--precision", "fp32", "-o", store),
        ("extract", photos, "--backbone", kit.backbone, "--precision", "fp32", "--quiet", "-o", store),
        ("duplicates", store, "--html", out / "duplicates.html", "-o", out / "duplicates.csv"),
        ("search", kit.store, photos),
        ("predict", photos, "--model", kit.head, "--backbone", kit.backbone, "-o", out / "predictions.csv"),
        ("predict", photos, "--model", kit.head, "--backbone", kit.backbone),
    )


def _list_verbs(kit: Kit, listing: Path, out: Path) -> Sequence[Verb]:
    return (
        ("extract", kit.photos, "--list", listing, "--backbone", kit.backbone, "--quiet", "-o", out / "s"),
        ("duplicates", out / "s"),
    )


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, FOLDERS[name], _verbs, place)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_read_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, LISTS[name], _list_verbs, place)
