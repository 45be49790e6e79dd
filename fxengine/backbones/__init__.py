"""Backbones: a pretrained net without its top, as one self-contained ONNX file with its recipe."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from fxengine import trust
from fxengine.backbones import cache
from fxengine.backbones.options import (
    ExportOptions,
    Tower,
    refuse_of_frameworks,
    refuse_of_hub,
    refuse_of_words,
    refuse_unread,
)
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

    def pinned(self, what: str, options: ExportOptions) -> str:
        """Return what names for ever what `what` names now: a branch may move between two questions; raises
        InputError.
        """

    def export(self, what: str, options: ExportOptions) -> onnx.ModelProto:
        """Return the finished backbone, its facts in the metadata; raises InputError where it cannot be had."""

    def identity(self, what: str, options: ExportOptions) -> str:
        """Return what the export depends on beside the options (versions, content of files); raises InputError."""


# To add a net that is asked for by a plain name: write backbones/sources/<file>.py as `Embedded`, and name it here.
EMBEDDED = {
    "efficientnet_lite0": "fxengine.backbones.sources.efficientnet_lite",
    "minilm_l6": "fxengine.backbones.sources.minilm_l6",
}
# To add a kind of source, asked for as KIND:WHAT: write backbones/sources/<file>.py as `Source`, and name it here.
SOURCES = {
    "hf": "fxengine.backbones.sources.from_hf",
    "keras": "fxengine.backbones.sources.from_keras",
    "onnx": "fxengine.backbones.sources.from_onnx",
    "pca": "fxengine.backbones.sources.from_pca",
    "tfhub": "fxengine.backbones.sources.from_tfhub",
    "timm": "fxengine.backbones.sources.from_timm",
    "torch-hf": "fxengine.backbones.sources.from_torch_hf",
    "torchvision": "fxengine.backbones.sources.from_torchvision",
    "vectors": "fxengine.backbones.sources.from_vectors",
}
_HUB = ("hf", "torch-hf")  # kinds whose sources are repositories of the Hugging Face Hub
DEFAULT = "efficientnet_lite0"
DEFAULT_OF_TEXTS = "minilm_l6"


def load_embedded(name: str) -> Embedded:
    """Return the file of an embedded net."""
    return cast(Embedded, import_module(EMBEDDED[name]))


def load_source(kind: str) -> Source:
    """Return the file of a kind of source."""
    return cast(Source, import_module(SOURCES[kind]))


def load_backbone(source: str | Path, options: ExportOptions | None = None) -> BackboneFile:
    """Return the backbone that `source` names: a plain name, KIND:WHAT, or a file that fxengine exported.

    A named source is exported once and then taken from the cache. It is what this user names: see `find_space`.

    Raises:
        InputError: there is no such name or file (the message lists the nearest), or it cannot be exported.
    """
    found = _load(source, options or ExportOptions(), None)
    trust.note_named("backbone", source_name(source))
    return found


def _load(source: str | Path, options: ExportOptions, space: str | None) -> BackboneFile:
    """Return what `load_backbone` does; where that was of this feature space before it was mended, as it was."""
    name = plain_name(str(source))
    kind, _, what = name.partition(":")
    if kind != "vectors":
        refuse_of_words(options, name)
    if kind not in _HUB:
        refuse_of_hub(options, name)
    if kind not in ("keras", "tfhub", "timm", "torchvision"):
        refuse_of_frameworks(options, name)
    if name in EMBEDDED:
        return _embedded(load_embedded(name), options, space)
    if kind in SOURCES and what:
        what = load_source(kind).pinned(what, options)
        return _kept(_export_key(kind, what, options), lambda: load_source(kind).export(what, options), space)
    if (meant := meant_by(name)) is not None:
        raise InputError(f"{name} is no backbone by itself. Did you mean {meant}?")
    if name.endswith(".onnx") or Path(name).exists():
        return _with_layers(cache.read_backbone(Path(name)), options, space)
    near = difflib.get_close_matches(name, EMBEDDED, n=3, cutoff=0.3) or list(EMBEDDED)
    kinds = ", ".join(f"{kind}:NAME" for kind in SOURCES)
    raise InputError(
        f"There is no backbone {name!r}. Did you mean {', '.join(near)}, {kinds}, or a path to an .onnx file?"
    )


def meant_by(name: str) -> str | None:
    """Return the source that a path without its kind stands for: a Keras model, or a SavedModel's folder."""
    is_keras = name.endswith(".keras") or (Path(name) / "saved_model.pb").is_file()
    return f"keras:{name}" if is_keras and ":" not in name else None


def _embedded(module: Embedded, options: ExportOptions, space: str | None) -> BackboneFile:
    return _with_layers(_kept(module.BUILD, module.build, space), options, space)


def _with_layers(found: BackboneFile, options: ExportOptions, space: str | None) -> BackboneFile:
    """Return the backbone with the outputs that are asked for, made once; as it is where none are."""
    read = ("layers", "pooling") if options.layers else ()
    kept = ("logits",) if found.facts.classes else ()
    refuse_unread(options, f"{found.facts.name} is a finished backbone", read=(*read, *kept))
    if not options.layers:
        return found
    wanted = json.dumps([found.fingerprint, options.layers, options.pooling])

    def make() -> onnx.ModelProto:
        import onnx

        from fxengine.backbones.graph.layers import with_layers

        return with_layers(onnx.load(found.path), options.layers, options.pooling or "avg")

    return _kept(f"layers-{hashlib.sha256(wanted.encode()).hexdigest()[:32]}", make, space)


def _kept(key: str, make: Callable[[], onnx.ModelProto], space: str | None) -> BackboneFile:
    """Return an export, made once: mended for plain sessions, or as it was before where that is of this space."""
    model = None
    found = cache.find_by_source(key)
    if found is None:
        model = make()
        found = cache.keep(model, key)
    if space is None or found.fingerprint == space or cache.space_before_mending(key) != space:
        return found
    return cache.find_by_fingerprint(space) or cache.keep_as_it_is(make() if model is None else model)


def _export_key(kind: str, what: str, options: ExportOptions) -> str:
    identity = load_source(kind).identity(what, options)
    wanted = json.dumps([kind, what, options.to_dict(), identity], sort_keys=True, default=str)
    return f"{kind}-{hashlib.sha256(wanted.encode()).hexdigest()[:32]}"


def is_cached(kind: str, what: str) -> bool:
    """Tell whether KIND:WHAT with default options would come from the cache."""
    pinned = load_source(kind).pinned(what, ExportOptions())
    return cache.has_source(_export_key(kind, pinned, ExportOptions()))


def cached_space(kind: str, what: str) -> str | None:
    """Return the feature space of the cached export of KIND:WHAT with default options; None where there is none."""
    return cache.space_of_source(_export_key(kind, what, ExportOptions()))


def load_for_space(source: str | Path, space: str, options: ExportOptions | None = None) -> BackboneFile:
    """Return the backbone that `source` names, or of what it gave in earlier versions the one of this feature space.

    It may be of another space still, which is for the caller to refuse in its own words. It is what this user names,
    as for `load_backbone`, which says what is raised.
    """
    found = _load(source, options or ExportOptions(), space)
    trust.note_named("backbone", source_name(source))
    if found.fingerprint == space or (options and options.layers):
        return found
    former = former_source(str(source))
    if former is not None:
        with suppress(InputError):
            older = _load(former, ExportOptions(), space)
            return older if older.fingerprint == space else found
    return found


def find_space(fingerprint: str, source: str) -> BackboneFile:
    """Return the backbone of a feature space: from the cache, else what its source gives, now or in earlier versions.

    A store, a head or a transform names the source, and somebody else may have made that: a file is opened, and a net
    of a framework fetched, only where this user named it before, by `load_backbone` or `load_for_space`.

    Raises:
        InputError: neither gives that very space, or this user did not name the source.
    """
    found = cache.find_by_fingerprint(fingerprint)
    if found is not None:
        return found
    if source not in EMBEDDED and not trust.was_named("backbone", source):
        raise InputError(
            f"The backbone of feature space {fingerprint[:12]} is not in the cache, and you have not named its source "
            f"{source!r} here. Where you trust it, give it as `backbone`, or once to `fxengine info`."
        )
    for name in _names(source):
        try:
            fresh = _load(name, ExportOptions(), fingerprint)
        except InputError:  # gone, or it wants the flags of its first export
            if name in EMBEDDED:  # an extra is not installed
                raise
            continue
        if fresh.fingerprint == fingerprint:
            return fresh
    former = former_source(source)
    way_out = f" It may be what {former} gives: its default cut was there before." if former is not None else ""
    raise InputError(
        f"The backbone of feature space {fingerprint[:12]} (from {source!r}) is neither in the cache nor made "
        f"by a fresh export. Give its file as `backbone`.{way_out}"
    )


def _names(source: str) -> Iterator[str]:
    """Yield the source, and the one that gives what it gave in earlier versions where that is another."""
    yield source
    former = former_source(source)
    if former is not None:
        yield former


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
    # a name on a hub, or a whole path
    if kind == "tfhub" or (kind in _HUB and not what.startswith((".", "~"))):
        return str(source)
    if kind in SOURCES and what:
        file, mark, part = _file_and_part(kind, what)
        return f"{kind}:{Path(file).absolute() if Path(file).exists() else file}{mark}{part}"
    name = plain_name(str(source))
    return name if name in EMBEDDED else str(Path(source).absolute())


def named_tower(source: str | Path, tower: Tower | None, found: BackboneFile) -> str | Path:
    """Return the source that gives a tower without `tower`, hf:ORG/NAME#FILE, which this user names, too.

    Args:
        source: what was asked for.
        tower: which tower of it; None: it is none.
        found: what that gave.
    """
    if tower is None:
        return source
    named = f"{source}#{found.facts.notes['hf']['file']}"
    trust.note_named("backbone", source_name(named))
    return named


def _file_and_part(kind: str, what: str) -> tuple[str, str, str]:
    """Return the file that a source names, "@" or "#", and which part of it: a tensor, of an archive a member."""
    if kind in _HUB:
        file, mark, part = what.partition("#")
        return str(Path(file).expanduser()), mark, part
    if kind != "vectors":
        return what.partition("@")
    return (what, "", "") if Path(what).exists() else what.partition("#")


def plain_name(name: str) -> str:
    """Return the name of an embedded net, which may be written with hyphens; every other name as it is."""
    written = name.replace("-", "_")
    return written if written in EMBEDDED else name
