"""Where exported backbones are kept: a file for each fingerprint, and notes of which source gave which.

A file is never replaced by one that says other things of itself (another name, other classes): that one gets a file of
its own beside it, which only its source leads to. The cache is never state: deleting it loses only time.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from fxengine import cache
from fxengine.backbones.contract import another_kind, check_contract
from fxengine.backbones.fingerprint import fingerprint
from fxengine.backbones.graph.external_data import MAX_BYTES
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.graph.wire import read_metadata
from fxengine.backbones.spec import METADATA_KEY, BackboneFile, Facts
from fxengine.errors import InputError, first_line
from fxengine.facts import FactsError, read_json
from fxengine.files import read_small, replacing

_FINGERPRINT = re.compile("[0-9a-f]{64}")
# In the note of a source: the feature space of its export, that after `with_safe_pads`, and which facts its file has;
# earlier ones lack the last two.
_LONGEST = 4096  # bytes of a note
_BEFORE, _MENDED, _FACTS = "fingerprint", "safe_pads", "facts"


@dataclass(frozen=True)
class _Note:
    """What is noted of a source, as far as it is."""

    before: str | None = None
    mended: str | None = None
    facts: str = ""


def read_backbone(path: Path) -> BackboneFile:
    """Return the backbone in an .onnx file that fxengine exported.

    Raises:
        InputError: there is no such file, it is not ONNX, was not exported by fxengine, or its net is not the one that
            it describes.
    """
    if not path.is_file():
        raise InputError(f"There is no backbone file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} is over 2 GB, which no backbone is.")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise InputError(f"{path} is not a readable ONNX file.") from error
    said = metadata_of(model)
    facts = said.get(METADATA_KEY)
    if facts is None:
        raise InputError(another_kind(said, path, "backbone that fxengine exported"))
    try:
        parsed = Facts.from_json(facts, str(path))
        check_contract(model, parsed, str(path))
        return BackboneFile(path, fingerprint(model, parsed.recipe), parsed)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is a damaged backbone file: {first_line(error)}.") from error


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
    before = kept.fingerprint if mended is model else fingerprint(model, kept.recipe)
    _write_note(source_key, before, kept)
    return kept


def keep_as_it_is(model: onnx.ModelProto) -> BackboneFile:
    """Put a finished model into the cache under its feature space; what is there with other facts stays as it is."""
    facts = Facts.from_json(metadata_of(model)[METADATA_KEY])
    digest = fingerprint(model, facts.recipe)
    there = find_by_fingerprint(digest)
    if there is not None and there.facts == facts:
        return there
    name = _by_fingerprint(digest, "" if there is None else _facts_key(facts))
    path = cache.keep(name, lambda path: path.write_bytes(model.SerializeToString()))
    return BackboneFile(path, digest, facts)


def find_by_source(source_key: str) -> BackboneFile | None:
    """Return the cached export of a source, or None; a damaged cache entry counts as absent."""
    note = _read_note(source_key)
    if note.before is None:
        return None
    found = _find(note.mended or note.before, note.facts)
    return found if found is None or note.mended is not None else _mended(found, source_key)


def _mended(found: BackboneFile, source_key: str) -> BackboneFile:
    """Return what an earlier version kept, mended; it stays beside it, for the stores that were made by it.

    Where nothing can be written, it is taken as it is: our own sessions compute it right.
    """
    model = onnx.load(found.path)
    mended, kept = with_safe_pads(model), found
    with suppress(InputError):
        if mended is not model:
            kept = keep_as_it_is(mended)
        _write_note(source_key, found.fingerprint, kept)
    return kept


def space_before_mending(source_key: str) -> str | None:
    """Return the feature space that earlier versions gave a source's export, or None where it is not kept."""
    return _read_note(source_key).before


def find_by_fingerprint(digest: str) -> BackboneFile | None:
    """Return the cached backbone of a feature space, or None; a damaged cache entry counts as absent."""
    return _find(digest)


def _find(digest: str, facts: str = "") -> BackboneFile | None:
    """Return the cached backbone of a feature space, with these facts where a file of its own has them."""
    if not _FINGERPRINT.fullmatch(digest):  # a store says it: it could be a path to anywhere
        return None
    own = cache.find(_by_fingerprint(digest, facts)) if facts else None
    path = own or cache.find(_by_fingerprint(digest))
    if path is None:
        return None
    try:
        found = read_backbone(path)
    except InputError:
        return None
    return found if found.fingerprint == digest else None


def all_kept() -> list[BackboneFile]:
    """Return every backbone in the cache by what its file says, its graph left unread; damaged ones are left out."""
    found = []
    with suppress(OSError):
        for path in sorted(cache.kind_folder("backbones").glob("*.onnx")):
            with suppress(OSError, InputError, FactsError, KeyError):
                facts = Facts.from_json(read_metadata(path)[METADATA_KEY], str(path))
                found.append(BackboneFile(path, path.stem.partition("-")[0], facts))
    return found


def space_of_source(source_key: str) -> str | None:
    """Return the feature space of a source's cached export, by its note alone."""
    note = _read_note(source_key)
    return note.mended or note.before


def has_source(source_key: str) -> bool:
    """Tell whether a source's export is kept, without reading it."""
    return cache.find(_note(source_key)) is not None


def _note(source_key: str) -> str:
    return f"sources/{source_key}.json"


def _write_note(source_key: str, before: str, kept: BackboneFile) -> None:
    noted = json.dumps({_BEFORE: before, _MENDED: kept.fingerprint, _FACTS: _facts_key(kept.facts)})
    cache.keep(_note(source_key), lambda path: path.write_text(noted))


def _read_note(source_key: str) -> _Note:
    note = cache.find(_note(source_key))
    if note is None:
        return _Note()
    try:
        noted: Any = read_json(read_small(note, _LONGEST))
        before, mended, facts = noted[_BEFORE], noted.get(_MENDED), noted.get(_FACTS, "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _Note()
    known = isinstance(before, str) and isinstance(mended, str | None) and isinstance(facts, str)
    return _Note(before, mended, facts) if known else _Note()


def _facts_key(facts: Facts) -> str:
    return hashlib.sha256(facts.to_json().encode()).hexdigest()[:16]


def _by_fingerprint(digest: str, facts: str = "") -> str:
    return f"backbones/{digest}-{facts}.onnx" if facts else f"backbones/{digest}.onnx"
