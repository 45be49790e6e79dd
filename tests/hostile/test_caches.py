"""Cache folders that somebody else can have written to, or nobody can: they lose time and change no number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.cases import Kit
from tests.hostile.cases.caches import CACHES
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _verbs(kit: Kit, _: Path, out: Path) -> Sequence[Verb]:
    return (
        ("verify", kit.store, "--sample", 3),
        ("verify", kit.store, "--sample", 3, "--backbone", kit.backbone),
        ("search", kit.store, kit.photos / "cats" / "01.jpg", "--backbone", kit.backbone),
        ("probe", kit.store, "--head", "ridge"),
        ("predict", kit.photos, "--model", kit.head, "--backbone", kit.backbone, "--limit", 3, "--json"),
        ("extract", kit.photos, "-o", out / "s", "--backbone", kit.backbone, "--precision", "fp32", "--quiet"),
        ("info", kit.store),
    )


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_is_used_left_alone_or_refused(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, CACHES[name], _verbs, place, "FXENGINE_CACHE")
