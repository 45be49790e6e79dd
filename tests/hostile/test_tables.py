"""Tables of labels that somebody else made, and filters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.cases import Case, Kit
from tests.hostile.cases.tables import LABELS, WHERE
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _label_verbs(kit: Kit, table: Path, out: Path) -> Sequence[Verb]:
    return (
        ("probe", kit.store, "--labels", table, "--head", "ridge", "-o", out / "head.onnx"),
        ("probe", kit.store, "--labels", f"{table}:label", "--head", "ridge", "--report", out / "probe.html"),
        ("mislabeled", kit.store, "--labels", table, "--head", "ridge", "--folds", 2),
    )


def _list_verbs(kit: Kit, table: Path, out: Path) -> Sequence[Verb]:
    return [("extract", kit.photos, "--list", table, "--backbone", kit.backbone, "--quiet", "-o", out / "s")]


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_read_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, LABELS[name], _label_verbs, place)


@pytest.mark.parametrize("name", LABELS)
def test_paths_are_read_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, Case(LABELS[name].build), _list_verbs, place)  # may be sound but for its labels


@pytest.mark.parametrize("name", WHERE)
def test_a_filter_is_read_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    where, refused = WHERE[name]
    case = Case(lambda kit, _: kit.store, "where", refused)
    check(server, kit, case, lambda *_: [("search", kit.store, "--id", "cats/01.jpg", "--where", where)], place)
