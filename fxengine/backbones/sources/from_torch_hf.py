"""A repository of transformers without an ONNX file: `torch-hf:ORG/NAME[@REVISION]`, `torch-hf:/folder`.

commit and list of files -> the child (torch_child.py) makes the ONNX file that the repository lacks -> compared with
PyTorch -> the way of any repository (from_hf). Code of a repository is run, and its pickles are opened, with `trust`
alone.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from fxengine.backbones.children import layout, torch_env
from fxengine.backbones.graph.model import metadata_of, tokenizer_of
from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.hub.repository import Repository, open_repository, parse, with_files
from fxengine.backbones.json_file import object_in
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.report import differences
from fxengine.backbones.sources import from_hf, hf_pictures
from fxengine.backbones.sources.compared import MOST_RELATIVE
from fxengine.backbones.sources.hf_files import Chosen, choose
from fxengine.backbones.sources.hf_modules import tokens_of
from fxengine.backbones.sources.preprocessing import prepare
from fxengine.backbones.sources.text_check import padded_difference, sample_rows
from fxengine.backbones.sources.torch_pictures import weights_file
from fxengine.backbones.spec import METADATA_KEY, Facts, TextRecipe
from fxengine.errors import InputError, first_line

# Part of every cache key: bumped when this file or the child changes what they make.
BUILD = 1
KIND = "torch-hf"
_NET = "onnx/model.onnx"
_TOWERS = {"image": "onnx/vision_model.onnx", "text": "onnx/text_model.onnx"}
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
_SAFE = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?", re.ASCII)
_PICKLES = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?", re.ASCII)
# How far a text's vector may be from its own alone, ||a-b||/||b||, beside longer ones.
_MOST_OF_PADDING = 1e-5


def export(what: str, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of a repository's net, or of one of its towers.

    Raises:
        InputError: the repository cannot be had or has no safe weights, PyTorch is not installed, the net cannot be
            exported, or the file does not compute what PyTorch does.
    """
    return export_many([(what, options)])[0]


def export_many(wanted: Sequence[tuple[str, ExportOptions]]) -> list[onnx.ModelProto]:
    """Return the finished backbones of several nets from one child process; PyTorch is loaded only once."""
    chosen = [_chosen(what, options) for what, options in wanted]
    with tempfile.TemporaryDirectory(prefix="fxengine-torch-") as name:
        works = [Path(name) / str(i) for i in range(len(wanted))]
        jobs = [
            {**_job(net, options), "name": f"{KIND}:{what}", "folder": str(work)}
            for net, (what, options), work in zip(chosen, wanted, works, strict=True)
        ]
        torch_env.run(KIND, jobs, Path(name))
        return [
            _assembled(net, job["name"], options, work)
            for net, job, (_, options), work in zip(chosen, jobs, wanted, works, strict=True)
        ]


def pinned(what: str, options: ExportOptions) -> str:
    """Return "ORG/NAME@COMMIT[#FILE]", the commit that a branch or a tag is of now; a folder as it is."""
    return from_hf.pinned(what, options)


def identity(what: str, options: ExportOptions) -> str:
    """Return what an export depends on: versions, the commit, of a folder size and time of its files, and weights."""
    weights = ""
    if options.weights not in ("imagenet", "random"):
        found = weights_file(options.weights).stat()
        weights = f"{found.st_size}-{found.st_mtime_ns}"
    return json.dumps([BUILD, from_hf.identity(what, options), torch_env.versions(KIND), weights])


def as_if_exported(repository: Repository) -> Repository:
    """Return a repository as if it had the ONNX files that can be made of it: one, or one for each of two towers."""
    config = object_in(repository.path("config.json"))
    two = isinstance(config.get("vision_config"), dict) and "text_config" in config
    return with_files(repository, dict.fromkeys(_TOWERS.values() if two else [_NET]))


def _chosen(what: str, options: ExportOptions) -> Chosen:
    asked = parse(what)
    repository = open_repository(asked)
    if "config.json" not in repository.files:
        raise InputError(f"{repository.title} has no config.json: it holds no net of transformers.")
    return choose(as_if_exported(repository), asked, options)


def assembled(what: str, options: ExportOptions, work: Path) -> onnx.ModelProto:
    """Return the backbone of a repository's net whose weights were changed, from what a child left in a folder.

    Raises:
        InputError: the file does not compute what PyTorch does.
    """
    return _assembled(_chosen(what, options), f"{KIND}:{what}", options, work)


def job_of(what: str, options: ExportOptions) -> dict[str, Any]:
    """Return what a child is to build of a repository; raises InputError as `export` where that is known before."""
    return _job(_chosen(what, options), options)


def _job(chosen: Chosen, options: ExportOptions) -> dict[str, Any]:
    """Return what the child is to do; the files that it reads are fetched."""
    repository, own = chosen.repository, options.weights == "imagenet"
    tower = next((tower for tower, file in _TOWERS.items() if file == chosen.file), None)
    height, width = None, None
    if tower == "image" or (tower is None and not set(_TOKENIZERS) & set(repository.files)):
        recipe = prepare(replace(options, weights="imagenet"), (None, None), hf_pictures.beside(chosen)).recipe
        height, width = recipe.height, recipe.width
    files = _weights(repository, options) if own else []
    files += [file for file in repository.files if options.trust and file.endswith(".py")]
    for file in ["config.json", *files]:
        repository.path(file)
    return {
        "kind": KIND,
        "what": str(repository.path("config.json").parent.absolute()),
        "weights": options.weights
        if options.weights in ("imagenet", "random")
        else str(Path(options.weights).absolute()),
        "height": height,
        "width": width,
        "layers": list(options.layers),
        "pooling": options.pooling,
        "logits": options.logits,
        "tower": tower,
        "trust": options.trust,
    }


def _weights(repository: Repository, options: ExportOptions) -> list[str]:
    """Return the files of weights; raises InputError where there are pickles alone, and those are not trusted."""
    safe, pickles = ([file for file in repository.files if kind.fullmatch(file)] for kind in (_SAFE, _PICKLES))
    if safe or (pickles and options.trust):
        return safe or pickles
    if pickles:
        raise InputError(
            f"{repository.title} has its weights as a pickle alone ({pickles[0]}), which may be a program: take a "
            "revision with model.safetensors, or say by `trust` that you trust it."
        )
    raise InputError(f"{repository.title} has no weights of transformers (model.safetensors).")


def _assembled(chosen: Chosen, name: str, options: ExportOptions, work: Path) -> onnx.ModelProto:
    """Return the backbone from what the child left in a folder, after comparing it with PyTorch's own outputs."""
    apart = _difference(name, work)
    net = replace(chosen, repository=with_files(chosen.repository, {chosen.file: work / layout.NET}))
    made = from_hf.assemble(net, replace(options, weights="imagenet", trust=False, tower=None))
    facts = Facts.from_json(metadata_of(made)[METADATA_KEY])
    if isinstance(facts.recipe, TextRecipe):
        apart["relative_beside_longer"] = _padding(net, name, made, facts.recipe.max_tokens)
    said = _facts(name, facts, options, json.loads((work / layout.ANSWER).read_text()), apart)
    helper.set_model_props(made, {METADATA_KEY: said.to_json(), **tokenizer_of(made)})
    return made


def _difference(name: str, work: Path) -> dict[str, float]:
    """Return how far the file is from PyTorch, ||a-b||/||b||, the worst row of several batches and orders.

    Raises:
        InputError: it does not run, or does not compute what PyTorch does.
    """
    with np.load(work / layout.REFERENCE) as arrays:
        inputs = {key.removeprefix("in:"): arrays[key] for key in arrays if key.startswith("in:")}
        wanted = {key.removeprefix("out:"): arrays[key] for key in arrays if key.startswith("out:")}
    count = len(next(iter(wanted.values())))
    orders = [np.arange(rows) for rows in (count, 1, 2, 5)] + [np.random.default_rng(0).permutation(count)]
    worst = []
    try:
        session = open_plain(onnx.load(work / layout.NET))
        for order in orders:
            made = session.run(list(wanted), {each: values[order] for each, values in inputs.items()})
            pairs = zip(made, (values[order] for values in wanted.values()), strict=True)
            worst += [differences(a.reshape(len(order), -1), b.reshape(len(order), -1))["relative"] for a, b in pairs]
    except Exception as error:  # ONNX Runtime has a class for each kind of failure, of no common parent
        raise InputError(f"{name}: the exported file does not run: {first_line(error)}.") from error
    if not max(worst) <= MOST_RELATIVE:  # not ">": NaN must fail
        raise InputError(
            f"{name}: the exported file does not compute what PyTorch does, so nothing is kept: its outputs are off by "
            f"{max(worst):.3g} (||a-b||/||b||). Please report it with the versions of torch and transformers."
        )
    return {"relative": max(worst)}


def _padding(chosen: Chosen, name: str, made: onnx.ModelProto, most: int) -> float:
    """Return how far a text's vector is from its own alone beside longer ones; raises InputError where it depends."""
    tokens = tokens_of(chosen)
    found = padded_difference(made, sample_rows(tokens.begin, tokens.end, tokens.count, most))
    if not found <= _MOST_OF_PADDING:  # not ">": NaN must fail
        raise InputError(
            f"{name} gives a text another vector beside a longer one (by {found:.2g}, ||a-b||/||b||): its features "
            "would depend on their neighbours, so nothing is kept."
        )
    return found


def _facts(name: str, facts: Facts, options: ExportOptions, answer: dict[str, Any], apart: dict[str, float]) -> Facts:
    own = options.weights == "imagenet"
    weights = "" if own else f", weights {Path(options.weights).name}"
    versions = ", ".join(f"{library} {version}" for library, version in answer["versions"].items())
    report = {**facts.notes["export"], "differences": apart, "recipe": answer["recipe"], "failed": answer["tried"][:-1]}
    cost = {"seconds": answer["seconds"], "peak_megabytes": answer["peak_megabytes"]}
    return replace(
        facts,
        source=f"{name}{weights} ({versions})",
        licence=facts.licence if own else "that of the given weights",
        notes={**facts.notes, "export": report, **cost},
    )
