"""Heads, transforms and backbones that somebody else made, through every command that takes one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.cases import Kit
from tests.hostile.cases.nets import BACKBONES, HEADS, TRANSFORMS
from tests.hostile.check import Verb, check
from tests.hostile.served import Server


def _head_verbs(kit: Kit, head: Path, out: Path) -> Sequence[Verb]:
    return (
        ("predict", kit.store, "--model", head),
        ("predict", kit.photos, "--model", head, "--backbone", kit.backbone, "--limit", 3, "--json"),
        ("bundle", kit.backbone, head, "--store", kit.store, "-o", out / "bundle.onnx"),
        ("info", head),
    )


def _transform_verbs(kit: Kit, transform: Path, out: Path) -> Sequence[Verb]:
    reduced = f"pca:{transform}"
    return (
        ("extract", kit.photos, "-o", out / "s", "--backbone", reduced, "--precision", "fp32", "--quiet"),
        ("info", reduced),
        ("bundle", reduced, kit.head, "-o", out / "bundle.onnx"),
        ("export", reduced, "-o", out / "reduced.onnx"),
    )


def _backbone_verbs(kit: Kit, backbone: Path, out: Path) -> Sequence[Verb]:
    return (
        ("extract", kit.photos, "-o", out / "s", "--backbone", backbone, "--quiet", "--limit", 3),
        ("predict", kit.photos, "--backbone", backbone, "--limit", 3, "--json"),
        ("info", backbone),
        ("info", backbone, "--layers"),
        ("bundle", backbone, kit.head, "-o", out / "bundle.onnx"),
        ("export", f"onnx:{backbone}", "-o", out / "exported.onnx", "--scale", 0.01),
    )


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_used_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, HEADS[name], _head_verbs, place)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_used_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, TRANSFORMS[name], _transform_verbs, place)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_used_or_refused_in_a_sentence(name: str, server: Server, kit: Kit, place: Path) -> None:
    check(server, kit, BACKBONES[name], _backbone_verbs, place)
