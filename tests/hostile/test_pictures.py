"""Pictures that somebody else made: a row each, with a vector or a reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fxengine import FeatureStore
from tests.hostile.cases import Kit
from tests.hostile.cases.pictures import PICTURES
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _verbs(kit: Kit, photos: Path, out: Path) -> Sequence[Verb]:
    return (
        ("extract", photos, "-o", out / "s", "--backbone", kit.backbone, "--precision", "fp32", "--quiet"),
        ("search", kit.store, photos / "hostile.jpg", "--backbone", kit.backbone),
        ("duplicates", out / "s", "--threshold", 0.1, "--html", out / "page.html"),
    )


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_a_vector_or_a_reason(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, PICTURES[name], _verbs, place)
    store = FeatureStore.open(place / "out" / "s")
    assert len(store) == 2
    assert [error["id"] for error in store.errors()] in ([], ["hostile.jpg"])
