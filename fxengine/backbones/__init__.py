"""Backbones: a pretrained net without its top, as one self-contained ONNX file with its recipe."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from types import ModuleType

from fxengine.backbones import cache
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError

# To add a source that is asked for by a plain name: write backbones/<file>.py with NAME, BUILD and
# build() -> onnx.ModelProto, and name it here.
EMBEDDED = {"efficientnet_lite0": "fxengine.backbones.efficientnet_lite"}
DEFAULT = "efficientnet_lite0"


def load_backbone(source: str | Path) -> BackboneFile:
    """Return the backbone that `source` names: a plain name, or a file that fxengine exported.

    A named source is exported once and then taken from the cache.

    Raises:
        InputError: there is no such name or file; the message lists the nearest.
    """
    name = str(source)
    if name in EMBEDDED:
        module = _embedded(name)
        return cache.find_by_source(module.BUILD) or cache.keep(module.build(), module.BUILD)
    if name.endswith(".onnx") or Path(name).exists():
        return cache.read_backbone(Path(name))
    near = difflib.get_close_matches(name, EMBEDDED, n=3, cutoff=0.3) or list(EMBEDDED)
    raise InputError(f"There is no backbone {name!r}. Did you mean {', '.join(near)}, or a path to an .onnx file?")


def find_space(fingerprint: str, source: str) -> BackboneFile:
    """Return the backbone of a feature space: from the cache, else a fresh export of its source.

    Raises:
        InputError: neither gives that very space.
    """
    found = cache.find_by_fingerprint(fingerprint)
    if found is None and (source in EMBEDDED or Path(source).is_file()):
        fresh = load_backbone(source)
        found = fresh if fresh.fingerprint == fingerprint else None
    if found is None:
        raise InputError(
            f"The backbone of feature space {fingerprint[:12]} (from {source!r}) is neither in the cache nor made "
            "by a fresh export. Give its file with --backbone."
        )
    return found


def source_name(source: str | Path) -> str:
    """Return how a store records where its backbone came from: a plain name, or the file's absolute path."""
    return str(source) if str(source) in EMBEDDED else str(Path(source).absolute())


def _embedded(name: str) -> ModuleType:
    return import_module(EMBEDDED[name])
