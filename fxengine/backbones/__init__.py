"""Backbones: a pretrained net without its top, as one self-contained ONNX file with its recipe."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType

from fxengine.backbones import cache
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError

# To add a net that is asked for by a plain name: write backbones/sources/<file>.py with NAME, BUILD and
# build() -> onnx.ModelProto, and name it here.
EMBEDDED = {"efficientnet_lite0": "fxengine.backbones.sources.efficientnet_lite"}
# To add a kind of source, asked for as KIND:WHAT: write backbones/sources/<file>.py with
# export(what, options) -> onnx.ModelProto and identity(what, options) -> str (what the export depends on: versions,
# content of files), and name it here.
SOURCES = {
    "keras": "fxengine.backbones.sources.from_keras",
    "onnx": "fxengine.backbones.sources.from_onnx",
    "pca": "fxengine.backbones.sources.from_pca",
}
DEFAULT = "efficientnet_lite0"


def load_backbone(source: str | Path, options: ExportOptions | None = None) -> BackboneFile:
    """Return the backbone that `source` names: a plain name, KIND:WHAT, or a file that fxengine exported.

    A named source is exported once and then taken from the cache.

    Raises:
        InputError: there is no such name or file (the message lists the nearest), or it cannot be exported.
    """
    name = str(source)
    kind, _, what = name.partition(":")
    options = options or ExportOptions()
    if name in EMBEDDED:
        return _embedded(import_module(EMBEDDED[name]), options)
    if kind in SOURCES and what:
        return _exported(import_module(SOURCES[kind]), kind, what, options)
    if name.endswith(".onnx") or Path(name).exists():
        found = cache.read_backbone(Path(name))
        return found if not options.layers else _with_layers(found, options)
    near = difflib.get_close_matches(name, EMBEDDED, n=3, cutoff=0.3) or list(EMBEDDED)
    kinds = ", ".join(f"{kind}:NAME" for kind in SOURCES)
    raise InputError(
        f"There is no backbone {name!r}. Did you mean {', '.join(near)}, {kinds}, or a path to an .onnx file?"
    )


def _embedded(module: ModuleType, options: ExportOptions) -> BackboneFile:
    found = cache.find_by_source(module.BUILD) or cache.keep(module.build(), module.BUILD)
    return found if not options.layers else _with_layers(found, options)


def _with_layers(found: BackboneFile, options: ExportOptions) -> BackboneFile:
    """Return the backbone with other outputs, made once."""
    wanted = json.dumps([found.fingerprint, options.layers, options.pooling])
    key = f"layers-{hashlib.sha256(wanted.encode()).hexdigest()[:32]}"
    known = cache.find_by_source(key)
    if known is not None:
        return known
    import onnx

    from fxengine.backbones.graph.layers import with_layers

    return cache.keep(with_layers(onnx.load(found.path), options.layers, options.pooling or "avg"), key)


def _exported(module: ModuleType, kind: str, what: str, options: ExportOptions) -> BackboneFile:
    key = _export_key(module, kind, what, options)
    return cache.find_by_source(key) or cache.keep(module.export(what, options), key)


def _export_key(module: ModuleType, kind: str, what: str, options: ExportOptions) -> str:
    wanted = json.dumps([kind, what, asdict(options), module.identity(what, options)], sort_keys=True, default=str)
    return f"{kind}-{hashlib.sha256(wanted.encode()).hexdigest()[:32]}"


def is_cached(kind: str, what: str) -> bool:
    """Tell whether KIND:WHAT with default options would come from the cache."""
    module = import_module(SOURCES[kind])
    return cache.has_source(_export_key(module, kind, what, ExportOptions()))


def find_space(fingerprint: str, source: str) -> BackboneFile:
    """Return the backbone of a feature space: from the cache, else a fresh export of its source.

    Raises:
        InputError: neither gives that very space.
    """
    found = cache.find_by_fingerprint(fingerprint)
    if found is not None:
        return found
    try:
        fresh = load_backbone(source)
    except InputError:
        fresh = None  # gone, or it wants the flags of its first export
    if fresh is not None and fresh.fingerprint == fingerprint:
        return fresh
    found = former_backbone(source)
    if found is not None and found.fingerprint == fingerprint:
        return found
    former = former_source(source)
    way_out = f" It may be what {former} gives: its default cut was there before." if former is not None else ""
    raise InputError(
        f"The backbone of feature space {fingerprint[:12]} (from {source!r}) is neither in the cache nor made "
        f"by a fresh export. Give its file with --backbone.{way_out}"
    )


def former_backbone(source: str) -> BackboneFile | None:
    """Return the backbone that a source gave by default in earlier versions; None where it is the same or not made."""
    former = former_source(source)
    try:
        return None if former is None else load_backbone(former)
    except InputError:
        return None


def former_source(source: str) -> str | None:
    """Return the source that gives what this one gave by default in earlier versions; None where that is the same."""
    kind, _, what = source.partition(":")
    if kind != "onnx":
        return None
    try:
        tensor = import_module(SOURCES[kind]).former_cut(what)
    except InputError:
        return None
    return None if tensor is None else f"{source}@{tensor}"


def source_name(source: str | Path) -> str:
    """Return how a store records where its backbone came from: a name, or a path made absolute."""
    kind, _, what = str(source).partition(":")
    if kind in SOURCES and what:
        file, at, tensor = what.partition("@")
        return f"{kind}:{Path(file).absolute() if Path(file).exists() else file}{at}{tensor}"
    return str(source) if str(source) in EMBEDDED else str(Path(source).absolute())
