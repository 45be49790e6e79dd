"""Where exported backbones are kept: one file a fingerprint, and notes of which source gave which.

The cache is never state: deleting it loses only time.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from fxengine.backbones.fingerprint import fingerprint
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.spec import METADATA_KEY, BackboneFile, Facts
from fxengine.cache import cache_folder
from fxengine.errors import InputError
from fxengine.files import replacing

_MENDED = "safe_pads"  # in the note of a source whose export went through `with_safe_pads`


def read_backbone(path: Path) -> BackboneFile:
    """Return the backbone in an .onnx file that fxengine exported.

    Raises:
        InputError: there is no such file, it is not ONNX, or it was not exported by fxengine.
    """
    if not path.is_file():
        raise InputError(f"There is no backbone file {path}.")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise InputError(f"{path} is not a readable ONNX file.") from error
    facts = metadata_of(model).get(METADATA_KEY)
    if facts is None:
        raise InputError(f"{path} is an ONNX file, but no backbone that fxengine exported: it has no recipe.")
    try:
        parsed = Facts.from_json(facts, str(path))
        return BackboneFile(path, fingerprint(model, parsed.recipe), parsed)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is a damaged backbone file: {str(error).splitlines()[0]}.") from error


def write_backbone(model: onnx.ModelProto, path: Path) -> None:
    """Write the model so that `path` is either the whole file or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def keep(model: onnx.ModelProto, source_key: str) -> BackboneFile:
    """Put an exported model into the cache, mended for plain sessions, and note that `source_key` gave it."""
    model = with_safe_pads(model)
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    digest = fingerprint(model, facts.recipe)
    path = _by_fingerprint(digest)
    write_backbone(model, path)
    note = cache_folder() / "sources" / f"{source_key}.json"
    note.parent.mkdir(exist_ok=True)
    with replacing(note) as temporary:
        temporary.write_text(json.dumps({"fingerprint": digest, _MENDED: True}))
    return BackboneFile(path, digest, facts)


def find_by_source(source_key: str) -> BackboneFile | None:
    """Return the cached export of a source, or None; a damaged cache entry counts as absent."""
    note = cache_folder() / "sources" / f"{source_key}.json"
    try:
        noted = json.loads(note.read_text())
        found = find_by_fingerprint(noted["fingerprint"])
        mended = _MENDED in noted
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # One that an earlier version kept stays beside it, for the stores that were made by it.
    return found if found is None or mended else keep(onnx.load(found.path), source_key)


def find_by_fingerprint(digest: str) -> BackboneFile | None:
    """Return the cached backbone of a feature space, or None; a damaged cache entry counts as absent."""
    try:
        found = read_backbone(_by_fingerprint(digest))
    except InputError:
        return None
    return found if found.fingerprint == digest else None


def is_mended_as(former: BackboneFile, found: BackboneFile) -> bool:
    """Tell whether `found` is what `former`, of an earlier version, becomes when it is mended for plain sessions."""
    return fingerprint(with_safe_pads(onnx.load(former.path)), former.recipe) == found.fingerprint


def has_source(source_key: str) -> bool:
    """Tell whether a source's export is kept, without reading it."""
    return (cache_folder() / "sources" / f"{source_key}.json").is_file()


def _by_fingerprint(digest: str) -> Path:
    return cache_folder() / "backbones" / f"{digest}.onnx"
