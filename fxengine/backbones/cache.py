"""Where exported backbones are kept: one file a fingerprint, and notes of which source gave which.

The cache is never state: deleting it loses only time.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import onnx

from fxengine.backbones.fingerprint import fingerprint
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.spec import METADATA_KEY, BackboneFile, Facts
from fxengine.cache import cache_folder
from fxengine.errors import InputError
from fxengine.files import replacing

# In the note of a source: the feature space of its export, and that after `with_safe_pads`, which earlier ones lack.
_BEFORE, _MENDED = "fingerprint", "safe_pads"


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


def copy_backbone(found: BackboneFile, path: Path) -> BackboneFile:
    """Copy a backbone so that `path` is either the whole file or what it was; return the copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        shutil.copyfile(found.path, temporary)
    return replace(found, path=path)


def keep(model: onnx.ModelProto, source_key: str) -> BackboneFile:
    """Put an exported model into the cache, mended for plain sessions, and note that `source_key` gave it."""
    mended = with_safe_pads(model)
    kept = keep_as_it_is(mended)
    _write_note(source_key, kept.fingerprint if mended is model else fingerprint(model, kept.recipe), kept.fingerprint)
    return kept


def keep_as_it_is(model: onnx.ModelProto) -> BackboneFile:
    """Put a finished model into the cache under its feature space alone."""
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    digest = fingerprint(model, facts.recipe)
    path = _by_fingerprint(digest)
    write_backbone(model, path)
    return BackboneFile(path, digest, facts)


def find_by_source(source_key: str) -> BackboneFile | None:
    """Return the cached export of a source, or None; a damaged cache entry counts as absent."""
    before, mended = _read_note(source_key)
    if before is None:
        return None
    found = find_by_fingerprint(before if mended is None else mended)
    return found if found is None or mended is not None else _mended(found, source_key)


def _mended(found: BackboneFile, source_key: str) -> BackboneFile:
    """Return what an earlier version kept, mended; it stays beside it, for the stores that were made by it.

    Where the cache cannot be written, it is taken as it is: our own sessions compute it right.
    """
    model = onnx.load(found.path)
    mended, kept = with_safe_pads(model), found
    with suppress(OSError):
        if mended is not model:
            kept = keep_as_it_is(mended)
        _write_note(source_key, found.fingerprint, kept.fingerprint)
    return kept


def space_before_mending(source_key: str) -> str | None:
    """Return the feature space that earlier versions gave a source's export, or None where it is not kept."""
    return _read_note(source_key)[0]


def find_by_fingerprint(digest: str) -> BackboneFile | None:
    """Return the cached backbone of a feature space, or None; a damaged cache entry counts as absent."""
    try:
        found = read_backbone(_by_fingerprint(digest))
    except InputError:
        return None
    return found if found.fingerprint == digest else None


def has_source(source_key: str) -> bool:
    """Tell whether a source's export is kept, without reading it."""
    return _note(source_key).is_file()


def _note(source_key: str) -> Path:
    return cache_folder() / "sources" / f"{source_key}.json"


def _write_note(source_key: str, before: str, mended: str) -> None:
    note = _note(source_key)
    note.parent.mkdir(exist_ok=True)
    with replacing(note) as temporary:
        temporary.write_text(json.dumps({_BEFORE: before, _MENDED: mended}))


def _read_note(source_key: str) -> tuple[str | None, str | None]:
    """Return the feature spaces of a source's export, before and after it was mended, as far as they are noted."""
    try:
        noted = json.loads(_note(source_key).read_text())
        return noted[_BEFORE], noted.get(_MENDED)
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _by_fingerprint(digest: str) -> Path:
    return cache_folder() / "backbones" / f"{digest}.onnx"
