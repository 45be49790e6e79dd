"""Hostile cache folders: another's, no folder, one that cannot be written, and what lies in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx

from fxengine.backbones.cache import read_backbone
from tests.conftest import tiny_model
from tests.hostile.cases import Case, Kit, victim
from tests.hostile.cases.stores import ODD

NOBODY = 65534


def cache(make: Callable[[Kit, Path, Path], object]) -> Case:
    """Return a cache folder that `make(kit, folder, victim)` made or did not make."""

    def build(kit: Kit, folder: Path) -> Path:
        make(kit, folder / "cache", victim(folder))
        return folder / "cache"

    return Case(build)


def _other_net(kit: Kit, cache: Path, _: Path | None = None) -> None:
    """Keep another net under the feature space of the tiny one."""
    (cache / "backbones").mkdir(parents=True)
    path = cache / "backbones" / f"{read_backbone(kit.backbone).fingerprint}.onnx"
    onnx.save(tiny_model(scale=2.0), path)


def _anyones(kit: Kit, cache: Path, _: Path) -> None:
    _other_net(kit, cache)
    cache.chmod(0o777)


def _anothers(kit: Kit, cache: Path, _: Path) -> None:
    _other_net(kit, cache)
    if os.geteuid() == 0:
        for path in (cache, cache / "backbones"):
            os.chown(path, NOBODY, NOBODY)
    cache.chmod(0o777)


def _itself(what: Callable[[Path, Path], object]) -> Callable[[Kit, Path, Path], object]:
    return lambda _, cache, victim: what(cache, victim)


def _within(name: str, what: Callable[[Path, Path], object]) -> Callable[[Kit, Path, Path], None]:
    def make(kit: Kit, cache: Path, victim: Path) -> None:
        (cache / name).parent.mkdir(mode=0o700, parents=True)
        what(cache / name.format(space=read_backbone(kit.backbone).fingerprint), victim)

    return make


CACHES = {
    "anyone's to write": cache(_anyones),
    "another's": cache(_anothers),
    "of another net": cache(_other_net),
    "a path too long": Case(lambda kit, folder: folder / ("x" * 300)),
    "below a file": Case(lambda kit, _: kit.head / "cache"),
    "not to be made": Case(lambda *_: Path("/proc/cache")),
    "/dev/null": Case(lambda *_: Path("/dev/null")),
    **{f"itself {name}": cache(_itself(what)) for name, what in ODD.items()},
    **{f"backbones {name}": cache(_within("backbones", what)) for name, what in ODD.items()},
    **{f"named {name}": cache(_within("named", what)) for name, what in ODD.items()},
    **{f"net {name}": cache(_within("backbones/{space}.onnx", what)) for name, what in ODD.items()},
    **{f"vectors {name}": cache(_within("vectors", what)) for name, what in ODD.items()},
    **{f"precision {name}": cache(_within("precision", what)) for name, what in ODD.items()},
}  # fmt: skip
