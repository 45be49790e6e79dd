"""Stores that somebody else made, through every command that reads one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.cases import Kit
from tests.hostile.cases.holders import HELD
from tests.hostile.cases.stores import STORES
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _verbs(kit: Kit, store: Path, out: Path) -> Sequence[Verb]:
    photo = kit.photos / "cats" / "01.jpg"
    return (
        ("info", store),
        ("verify", store),
        ("verify", store, "--sample", 3),
        ("probe", store, "--head", "ridge", "-o", out / "head.onnx"),
        ("search", store, "--id", "cats/01.jpg"),
        ("search", store, photo),
        ("duplicates", store),
        ("predict", store, "--model", kit.head),
        ("dump", store, "-o", out / "vectors.npy"),
        ("pca", store, "--dim", 2, "-o", out / "pca.onnx"),
        ("bundle", kit.backbone, kit.head, "--store", store, "-o", out / "bundle.onnx"),
        *_writing(kit, store, out),
    )


def _writing(kit: Kit, store: Path, _: Path) -> Sequence[Verb]:
    extract = ("extract", kit.photos, "-o", store, "--backbone", kit.backbone, "--precision", "fp32", "--quiet")
    return (("index", store, "--factory", "Flat"), extract, ("verify", store, "--repair"))


@pytest.mark.parametrize("name", STORES)
def test_a_store_is_read_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, STORES[name], _verbs, place)


@pytest.mark.parametrize("name", HELD)
def test_who_holds_a_store_is_told_whatever_its_note_says(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, HELD[name], lambda *made: _writing(*made)[1:], place)
