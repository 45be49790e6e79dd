"""TensorFlow Hub as a source of backbones: `tfhub:OWNER/MODEL/tensorFlow2/VARIATION[/VERSION]`, which Kaggle has now.

version -> folder in kagglehub's cache -> the way of any SavedModel (from_keras). Such a model is a program: it is
neither fetched nor run without `trust`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import helper

from fxengine.backbones.children import keras_env
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.hub import kaggle
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import from_keras
from fxengine.backbones.sources.preprocessing import preprocessing_file
from fxengine.backbones.sources.saved_model import FILE, check_trust
from fxengine.backbones.spec import METADATA_KEY, Facts

# "Common signatures for images" of TensorFlow Hub: float32 from 0 to 1, RGB.
_SCALE, _SAYS = 1 / 255, "TensorFlow Hub's common signatures: 0 to 1"


def export(what: str, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of "OWNER/MODEL/tensorFlow2/VARIATION[/VERSION]".

    Raises:
        InputError: it is not trusted, cannot be had or converted, or Keras or kagglehub is not installed.
    """
    handle = kaggle.resolve(_asked(what, options))
    folder = kaggle.fetch(handle)
    (made,) = from_keras.export_orders([_order(handle, folder, options)])
    facts = Facts.from_json(metadata_of(made)[METADATA_KEY])
    licence = kaggle.licence_of(handle) or "not stated"
    name = f"{handle.model}-{handle.variation}"
    notes = {**facts.notes, "tfhub": _notes(handle, folder)}
    said = replace(facts, name=name, licence=licence, notes=notes)
    helper.set_model_props(made, {METADATA_KEY: said.to_json()})
    return made


def pinned(what: str, options: ExportOptions) -> str:
    """Return the handle with the version that is the newest now."""
    return str(kaggle.resolve(_asked(what, options)))


def identity(what: str, options: ExportOptions) -> str:
    """Return what an export depends on beside the options: versions, and the content of files that are named."""
    handle = kaggle.resolve(_asked(what, options))
    named = [path for path in (options.preprocess, options.labels) if path is not None and path.is_file()]
    contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in named]
    return json.dumps([from_keras.BUILD, keras_env.versions(), str(handle), contents])


def _asked(what: str, options: ExportOptions) -> kaggle.Handle:
    handle = kaggle.parse(what)
    check_trust(f"tfhub:{handle}", options)
    return handle


def _order(handle: kaggle.Handle, folder: Path, options: ExportOptions) -> from_keras.Order:
    name = f"tfhub:{handle}"
    if from_keras.states_pixels(options) or preprocessing_file(options, folder) is not None:
        return from_keras.order(str(folder), options, name=name)
    found = from_keras.order(str(folder), replace(options, scale=_SCALE), name=name)
    return replace(found, preparation=replace(found.preparation, source=_SAYS))


def _notes(handle: kaggle.Handle, folder: Path) -> dict[str, str]:
    with (folder / FILE).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"model": str(handle), "file": FILE, "sha256": digest}
