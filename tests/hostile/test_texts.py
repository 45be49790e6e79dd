"""Tables and folders of texts, and stores of them, that somebody else made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.cases import Kit
from tests.hostile.cases.texts import STORES, TABLES
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _verbs(kit: Kit, table: Path, out: Path) -> Sequence[Verb]:
    predict = ("predict", table, "--model", kit.head, "--backbone", kit.backbone, "--quiet")
    return (
        ("extract", table, "--backbone", kit.backbone, "--precision", "fp32", "--quiet", "-o", out / "s"),
        (*predict, "-o", out / "predictions.csv"),
    )


def _id_verbs(kit: Kit, table: Path, out: Path) -> Sequence[Verb]:
    columns = ("--column", "text", "--id-column", "id", "--label-column", "label")
    extract = ("extract", table, *columns, "--backbone", kit.backbone, "--precision", "fp32", "--keep-text", "--quiet")
    return (
        (*extract, "-o", out / "s"),
        ("search", out / "s", "--text", "good", "--report", out / "search.html"),
        ("predict", table, *columns[:4], "--model", kit.head, "--backbone", kit.backbone, "--limit", 20),
    )


def _store_verbs(kit: Kit, store: Path, out: Path) -> Sequence[Verb]:
    columns = ("--column", "text", "--id-column", "id", "--label-column", "label")
    extract = ("extract", kit.photos, *columns, "--backbone", kit.backbone, "--precision", "fp32", "--quiet", "-o")
    return (
        ("info", store),
        ("verify", store),
        ("verify", store, "--sample", 3),
        ("probe", store, "--head", "ridge", "-o", out / "head.onnx"),
        ("search", store, "--id", "r01", "--report", out / "search.html"),
        ("search", store, "--text", "good"),
        ("duplicates", store),
        ("cluster", store, "-k", 2, "--report", out / "cluster.html"),
        ("predict", store, "--model", kit.head),
        ("mislabeled", store, "--head", "ridge", "--folds", 2),
        ("bundle", kit.backbone, kit.head, "--store", store, "-o", out / "bundle.onnx"),
        (*extract, store),
        ("verify", store, "--repair"),
    )


@pytest.mark.parametrize("name", TABLES)
def test_texts_are_read_or_refused_in_a_sentence(name: str, server: Server, text_kit: Kit, place: Path) -> None:
    check(server, text_kit, TABLES[name], _verbs, place)


@pytest.mark.parametrize("name", [name for name in TABLES if name.startswith(("ids", "an id", "script", "control"))])
def test_ids_and_labels_of_texts_are_too(name: str, server: Server, text_kit: Kit, place: Path) -> None:
    check(server, text_kit, TABLES[name], _id_verbs, place)


@pytest.mark.parametrize("name", STORES)
def test_a_store_of_texts_is_too(name: str, server: Server, text_kit: Kit, place: Path) -> None:
    check(server, text_kit, STORES[name], _store_verbs, place)
