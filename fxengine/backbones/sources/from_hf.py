"""A repository of the Hugging Face Hub, or a folder laid out like one: `hf:ORG/NAME[@REVISION][#FILE]`, `hf:/folder`.

commit and list of files -> the ONNX file, by its place -> what it takes, by the names of its inputs -> a backbone of
pictures or of texts. Nothing of the repository is run, but for the operators of the ONNX file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from fxengine.backbones.graph.external_data import load_model
from fxengine.backbones.graph.model import metadata_of, tokenizer_of
from fxengine.backbones.hub.repository import open_repository, parse
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import from_onnx, hf_pictures, hf_texts
from fxengine.backbones.sources.hf_files import Chosen, choose
from fxengine.backbones.spec import METADATA_KEY, Facts
from fxengine.errors import InputError

# Bumped when `export` changes what it builds, so that caches of the older file are not used.
BUILD = "3"
_PIXELS = ("pixel_values", "pixel_mask", "image", "images", "input")
_SUFFIXES = (".onnx", ".json", ".safetensors", ".onnx_data", ".data")  # of files that an export reads


def export(what: str, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of `what`, "ORG/NAME[@REVISION][#FILE[@TENSOR]]" or "/folder[#FILE[@TENSOR]]".

    Raises:
        InputError: the repository cannot be had, has no ONNX file that is meant, two answers fit, or it cannot be used.
    """
    if options.weights != "imagenet":
        raise InputError(f"hf:{what} holds its own weights: leave out `weights` {options.weights}.")
    return assemble(_chosen(what, options), options)


def assemble(chosen: Chosen, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of a file of a repository; raises as `export`."""
    model = load_model(chosen.path(chosen.file), chosen.find)
    of_texts = _takes_texts(chosen, model)
    made = hf_texts.export(chosen, model, options) if of_texts else hf_pictures.export(chosen, model, options)
    facts = Facts.from_json(metadata_of(made)[METADATA_KEY])
    said = replace(facts, **_origin(chosen), notes={**facts.notes, "hf": _notes(chosen)})
    helper.set_model_props(made, {METADATA_KEY: said.to_json(), **tokenizer_of(made)})
    return made


def pinned(what: str, options: ExportOptions) -> str:
    """Return "ORG/NAME@COMMIT[#FILE]", the commit that a branch or a tag is of now; a folder as it is."""
    asked = parse(what)
    if asked.is_folder:
        return what
    mark = "" if asked.file is None else f"#{asked.file}"
    return f"{asked.name}@{open_repository(asked).commit}{mark}"


def identity(what: str, options: ExportOptions) -> str:
    """Return what an export depends on: the commit, of a folder size and time of its files, and what is named."""
    asked = parse(what)
    repository = open_repository(asked)
    stamps: list[tuple[str, int, int]] = []
    if asked.is_folder:
        for file in (file for file in repository.files if file.endswith(_SUFFIXES)):
            found = (Path(asked.name).expanduser() / file).stat()
            stamps.append((file, found.st_size, found.st_mtime_ns))
    stated = options.preprocess
    named = "" if stated is None or not stated.is_file() else hashlib.sha256(stated.read_bytes()).hexdigest()
    return json.dumps([BUILD, onnx.__version__, repository.commit, stamps, named])


def candidates(what: str) -> list[dict[str, Any]]:
    """Return every tensor of a net that can become features, as `from_onnx.candidates` does; of two towers by #FILE."""
    return from_onnx.candidates_of(hf_pictures.origin_of(_chosen(what, ExportOptions())))


def _chosen(what: str, options: ExportOptions) -> Chosen:
    asked = parse(what)
    return choose(open_repository(asked), asked, options)


def _takes_texts(chosen: Chosen, model: onnx.ModelProto) -> bool:
    """Tell what a net takes by the names of its inputs; raises InputError where it takes both, or neither."""
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights]
    texts, pixels = ([name for name in names if name in known] for known in (hf_texts.INPUTS, _PIXELS))
    if texts and pixels:
        raise InputError(
            f"{chosen.name} takes pictures and texts at once ({', '.join(names)}): name the file of one tower behind "
            "a #, or choose by `tower`."
        )
    if not texts and not pixels and len(names) > 1:
        raise InputError(
            f"{chosen.name} takes {', '.join(names)}: neither pictures (pixel_values) nor texts (input_ids)."
        )
    return bool(texts)


def _origin(chosen: Chosen) -> dict[str, Any]:
    """Return what facts say of where a net is from."""
    repository = chosen.repository
    name = Path(repository.name).name or "hf"
    tower = Path(chosen.file).stem if Path(chosen.file).stem != "model" else Path(chosen.file).parent.name
    commit = f"@{repository.commit}" if repository.commit else ""
    config = chosen.said("config.json")
    own = config.get("pretrained_cfg")
    licence = repository.licence or (own.get("license") if isinstance(own, dict) else None) or "not stated"
    return {
        "name": f"{name}-{tower}" if chosen.tower else name,
        "source": f"hf:{repository.name}{commit} {chosen.file}",
        "licence": str(licence),
    }


def _notes(chosen: Chosen) -> dict[str, str]:
    repository = chosen.repository
    with chosen.path(chosen.file).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"repository": repository.name, "commit": repository.commit, "file": chosen.file, "sha256": digest}
