"""Indexes that came along with somebody else's store, through every command that reads one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.cases import Kit
from tests.hostile.cases.indexes import INDEXES
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _verbs(kit: Kit, store: Path, out: Path) -> Sequence[Verb]:
    photo = kit.photos / "cats" / "01.jpg"
    return (("search", store, "--id", "cats/01.jpg"), ("search", store, photo), ("index", store))


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_is_used_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, INDEXES[name], _verbs, place)
