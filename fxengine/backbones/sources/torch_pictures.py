"""Nets of pictures that a library of PyTorch names, timm and torchvision: one module a library makes them sources.

PyTorch runs in a child process (torch_child.py), never in this one. The child answers by files: the net, what its
makers say of preprocessing and classes, and what PyTorch makes of photos. Here the prologue is put in front, and the
finished file is compared with that, also at other sizes and orders of the batch.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from fxengine.backbones.children import layout, torch_env
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.graph.run import open_plain, outputs_of
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.report import differences
from fxengine.backbones.sources.compared import Checked, attach, check_export
from fxengine.backbones.sources.feature_check import check_vectors
from fxengine.backbones.sources.preprocessing import Preparation, prepare
from fxengine.backbones.sources.saved_model import class_names
from fxengine.backbones.spec import FEATURE_OUTPUT, LOGITS_OUTPUT, METADATA_KEY, Facts, layer_output
from fxengine.errors import InputError

# Part of every cache key: bumped when this file or the child changes what they make.
BUILD = 1
WEIGHTS = (".safetensors", ".pth", ".pt")
_SAID = "preprocessing.json"
# How far a vector may be from the same picture's in another batch, ||a-b||/||b||: rounding in another order.
_MOST_OF_BATCHES = 1e-4


def export(kind: str, what: str, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of a net of a library, with its facts.

    Args:
        kind: of source, which is the library's name.
        what: the net's name there, or a folder that the library wrote.
        options: how.

    Raises:
        InputError: there is no such net, PyTorch is not installed, it cannot be exported, or the file's features are
            not PyTorch's own.
    """
    name = f"{kind}:{what}"
    _check(name, options)
    with tempfile.TemporaryDirectory(prefix="fxengine-torch-") as folder:
        work = Path(folder) / "net"
        torch_env.run(kind, [{**job_of(kind, what, options), "name": name, "folder": str(work)}], Path(folder))
        return _assembled(kind, what, options, work)


def identity(kind: str, what: str, options: ExportOptions) -> str:
    """Return what an export depends on beside the options: versions, and the content of files."""
    files = [Path(what) / name for name in ("config.json", "model.safetensors")] if Path(what).is_dir() else []
    if options.weights not in ("imagenet", "random"):
        files.append(weights_file(options.weights))
    files += [path for path in (options.preprocess, options.labels) if path is not None]
    digests = []
    for path in (path for path in files if path.is_file()):
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return json.dumps([BUILD, torch_env.versions(kind), digests])


def weights_file(weights: str) -> Path:
    """Return a file of weights; raises InputError where it is none."""
    path = Path(weights)
    if not path.is_file() or path.suffix not in WEIGHTS:
        raise InputError(f"Weights {weights!r}: give imagenet (its own), random, or a file: {', '.join(WEIGHTS)}.")
    return path


def _check(name: str, options: ExportOptions) -> None:
    if options.pooling in ("last", "weighted"):
        raise InputError(f"{name}: `pooling` {options.pooling} is for the tokens of a net of texts.")
    if options.labels is not None and not options.logits:
        raise InputError("`labels` names the classes of a net's own classifier: keep that by `logits`.")


def job_of(kind: str, what: str, options: ExportOptions) -> dict[str, Any]:
    """Return what the child is to build; raises InputError where a file of weights is none."""
    height, width = options.size or (None, None)
    own = options.weights in ("imagenet", "random")
    return {
        "kind": kind,
        "what": str(Path(what).absolute()) if Path(what).is_dir() else what,
        "weights": options.weights if own else str(weights_file(options.weights).absolute()),
        "height": height,
        "width": width,
        "layers": list(options.layers),
        "pooling": options.pooling,
        "logits": options.logits,
    }


def _assembled(kind: str, what: str, options: ExportOptions, work: Path) -> onnx.ModelProto:
    """Return the backbone from what the child left: its own preprocessing is checked, and may then be another."""
    name, answer = f"{kind}:{what}", json.loads((work / layout.ANSWER).read_text())
    said = work / _SAID
    said.write_text(json.dumps(answer["preprocessing"]))
    size: tuple[int, int] = (answer["size"][0], answer["size"][1])
    own = prepare(ExportOptions(size=size), size, (said,))
    checked = check_export(name, own, work, torch_env.TORCH)
    with np.load(work / layout.REFERENCE) as arrays:
        reference = dict(arrays)
    photos = reference.pop("photos")
    del reference["preprocessed"]
    check_vectors(reference[FEATURE_OUTPUT], name, "Keep another layer with `layers`, or take other weights.")
    apart = _check_batches(name, checked.model, photos, reference)
    wants = prepare(replace(options, size=size), size, (said,))
    stated = (wants.pixels, wants.recipe) != (own.pixels, own.recipe)
    wants = replace(wants, source=wants.source.replace(_SAID, f"{kind}'s own") if stated else f"{kind}'s own")
    if wants.pixels != own.pixels:
        checked = replace(checked, model=attach(wants, onnx.load(work / layout.NET), reference, torch_env.TORCH))
    found = {**checked.report.differences, "relative_in_other_batches": apart}
    checked = replace(checked, report=replace(checked.report, differences=found))
    facts = _facts(name, kind, options, wants, checked)
    helper.set_model_props(checked.model, {METADATA_KEY: facts.to_json()})
    return checked.model


def _check_batches(name: str, model: onnx.ModelProto, photos: np.ndarray, reference: dict[str, np.ndarray]) -> float:
    """Return the largest ||a-b||/||b|| of a picture in batches of 1, 2 and 5, and in another order, to all at once."""
    session = open_plain(with_safe_pads(model))
    whole = outputs_of(session, photos)
    orders = [np.arange(count) for count in (1, 2, 5)] + [np.random.default_rng(0).permutation(len(photos))]
    worst = 0.0
    for order in orders:
        for output, values in outputs_of(session, photos[order]).items():
            worst = max(worst, differences(values, whole[output][order])["relative"])
    if not worst <= _MOST_OF_BATCHES:  # not ">": NaN must fail
        raise InputError(
            f"{name} gives a picture another vector in another batch (by {worst:.2g}, ||a-b||/||b||): its features "
            "would depend on their neighbours, so nothing is kept."
        )
    return worst


def _facts(name: str, kind: str, options: ExportOptions, wants: Preparation, checked: Checked) -> Facts:
    dims, answer, report = checked.dims, checked.answer, checked.report
    prefix = layer_output("")
    classes, ids = (tuple(answer.get(key) or ()) for key in ("classes", "class_ids"))
    if LOGITS_OUTPUT not in dims:
        classes, ids = (), ()
    elif options.labels is not None or len(classes) != dims[LOGITS_OUTPUT]:
        classes, ids = class_names(options.labels, None, dims[LOGITS_OUTPUT]), ()
    own = options.weights == "imagenet"
    weights = "" if own else f", weights {Path(options.weights).name}"
    versions = ", ".join(f"{library} {version}" for library, version in answer["versions"].items())
    return Facts(
        name=name,
        source=f"{kind} {answer['name']}{weights} ({versions})",
        licence=str(answer.get("licence") or "not stated") if own else "that of the given weights",
        recipe=replace(wants.recipe, scaled_decode=True),
        dim=dims[FEATURE_OUTPUT],
        cut=answer["cut"],
        pooling=options.pooling or answer["pooling"],
        parameters=report.parameters,
        multiply_adds=report.multiply_adds,
        classes=classes,
        class_ids=ids,
        layers=tuple((output.removeprefix(prefix), dim) for output, dim in dims.items() if output.startswith(prefix)),
        notes={
            "export": report.to_dict(),
            "preprocessing": wants.source,
            "seconds": answer["seconds"],
            "peak_megabytes": answer["peak_megabytes"],
        },
    )
