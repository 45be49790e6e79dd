"""Backbones: a pretrained net without its top, as one self-contained ONNX file with its recipe."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from fxengine.backbones import cache
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError

if TYPE_CHECKING:
    import onnx


class Embedded(Protocol):
    """A file that builds one net.

    Attributes:
        NAME: what it is asked for by.
        BUILD: its cache key; bumped when it builds another file.
    """

    NAME: str
    BUILD: str

    def build(self) -> onnx.ModelProto:
        """Return the finished backbone, its facts in the metadata."""


class Source(Protocol):
    """A file that exports the nets of one kind."""

    def export(self, what: str, options: ExportOptions) -> onnx.ModelProto:
        """Return the finished backbone, its facts in the metadata; raises InputError where it cannot be had."""

    def identity(self, what: str, options: ExportOptions) -> str:
        """Return what the export depends on beside the options (versions, content of files); raises InputError."""


# To add a net that is asked for by a plain name: write backbones/sources/<file>.py as `Embedded`, and name it here.
EMBEDDED = {"efficientnet_lite0": "fxengine.backbones.sources.efficientnet_lite"}
# To add a kind of source, asked for as KIND:WHAT: write backbones/sources/<file>.py as `Source`, and name it here.
SOURCES = {
    "keras": "fxengine.backbones.sources.from_keras",
    "onnx": "fxengine.backbones.sources.from_onnx",
    "pca": "fxengine.backbones.sources.from_pca",
}
DEFAULT = "efficientnet_lite0"


def load_embedded(name: str) -> Embedded:
    """Return the file of an embedded net."""
    return cast(Embedded, import_module(EMBEDDED[name]))


def load_source(kind: str) -> Source:
    """Return the file of a kind of source."""
    return cast(Source, import_module(SOURCES[kind]))


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
        return _embedded(load_embedded(name), options)
    if kind in SOURCES and what:
        return _exported(kind, what, options)
    if name.endswith(".onnx") or Path(name).exists():
        found = cache.read_backbone(Path(name))
        return found if not options.layers else _with_layers(found, options)
    near = difflib.get_close_matches(name, EMBEDDED, n=3, cutoff=0.3) or list(EMBEDDED)
    kinds = ", ".join(f"{kind}:NAME" for kind in SOURCES)
    raise InputError(
        f"There is no backbone {name!r}. Did you mean {', '.join(near)}, {kinds}, or a path to an .onnx file?"
    )


def _embedded(module: Embedded, options: ExportOptions) -> BackboneFile:
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


def _exported(kind: str, what: str, options: ExportOptions) -> BackboneFile:
    key = _export_key(kind, what, options)
    return cache.find_by_source(key) or cache.keep(load_source(kind).export(what, options), key)


def _export_key(kind: str, what: str, options: ExportOptions) -> str:
    identity = load_source(kind).identity(what, options)
    wanted = json.dumps([kind, what, asdict(options), identity], sort_keys=True, default=str)
    return f"{kind}-{hashlib.sha256(wanted.encode()).hexdigest()[:32]}"


def is_cached(kind: str, what: str) -> bool:
    """Tell whether KIND:WHAT with default options would come from the cache."""
    return cache.has_source(_export_key(kind, what, ExportOptions()))


def load_for_space(source: str | Path, space: str, options: ExportOptions | None = None) -> BackboneFile:
    """Return the backbone that `source` names, or of what it gave in earlier versions the one of this feature space.

    It may be of another space still, which is for the caller to refuse in its own words. Raises as `load_backbone`.
    """
    found = load_backbone(source, options)
    own = _as_it_was(found, space)
    if own is None and not (options and options.layers):
        former = former_backbone(str(source))
        own = None if former is None else _as_it_was(former, space)
    return own or found


def _as_it_was(found: BackboneFile, space: str) -> BackboneFile | None:
    """Return the file of this space that `found` is, or was before it was mended for plain sessions."""
    if found.fingerprint == space:
        return found
    kept = cache.find_by_fingerprint(space)
    return kept if kept is not None and cache.is_mended_as(kept, found) else None


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
    from fxengine.backbones.sources.from_onnx import former_cut

    try:
        tensor = former_cut(what)
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
