"""What a repository with two towers says of them together: how cosines of their vectors become probabilities."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from fxengine.backbones.graph.wire import fields
from fxengine.backbones.hub.repository import Asked, Repository, open_repository, parse
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.pair import Activation, Pair
from fxengine.backbones.safetensors import as_float32, read_tensors
from fxengine.backbones.sources.from_torch_hf import as_if_exported
from fxengine.backbones.sources.hf_files import Chosen, choose, towers_of
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError
from fxengine.facts import FactsError

# Files that may hold the two numbers, those first that are read soonest.
_WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "onnx/model.onnx", "model.onnx")
_SCALE, _BIAS = "logit_scale", "logit_bias"
_LARGEST = 10  # of the scale's logarithm: CLIP and SigLIP end below 5
_NUMBER = 256  # bytes that a tensor of one number takes at most, its name included
_GRAPH, _INITIALIZER = 7, 5  # fields of a model and of a graph, by their numbers in onnx.proto


def is_pair(source: str) -> bool:
    """Tell whether a source is a repository that has two towers, and names neither; raises as an export does."""
    kind, _, what = source.partition(":")
    if kind not in ("hf", "torch-hf"):
        return False
    asked = parse(what)
    return asked.file is None and len(towers_of(_opened(kind, asked))) == 2


def _opened(kind: str, asked: Asked) -> Repository:
    repository = open_repository(asked)
    return repository if kind == "hf" else as_if_exported(repository)


def pair_in(source: str, picture: BackboneFile, text: BackboneFile) -> Pair:
    """Return the pair of two towers that were exported from a repository.

    Raises:
        InputError: their vectors are not of one length.
    """
    if picture.facts.dim != text.facts.dim:
        raise InputError(
            f"{source} has no pair: its tower of pictures gives {picture.facts.dim} numbers ({picture.facts.cut}), "
            f"that of texts {text.facts.dim} ({text.facts.cut}). Export one by `tower`."
        )
    kind, _, what = source.partition(":")
    asked = parse(what)
    repository = _opened(kind, asked)
    activation = _activation(choose(repository, asked, ExportOptions(tower="text")))
    scale, bias, file = _stated(repository, activation)
    return Pair(picture.fingerprint, text.fingerprint, activation, scale, bias, file)


def _activation(chosen: Chosen) -> Activation:
    """Return what a pair was trained with: SigLIP's kinds, and what open_clip gives a bias, with "sigmoid"."""
    config, own = chosen.said("config.json"), chosen.said("open_clip_config.json")
    if str(config.get("model_type") or "").startswith("siglip"):
        return "sigmoid"
    inner = own.get("model_cfg")
    said = (config, inner if isinstance(inner, dict) else own)
    return "sigmoid" if any(each.get("init_logit_bias") is not None for each in said) else "softmax"


def _stated(repository: Repository, activation: Activation) -> tuple[float | None, float, str]:
    """Return scale, bias, and the file that says them; without a file (None, 0, "").

    Only files are read that are on this machine: nothing is fetched for two numbers. Where a training began
    (`logit_scale_init_value` of a configuration) says nothing of where it ended.
    """
    for file in _WEIGHTS:
        if file in repository.files and repository.is_here(file):
            with suppress(InputError, FactsError, OSError):  # such as a pointer of Git LFS
                found = _numbers_in(repository.path(file))
                scale, bias = found.get(_SCALE), found.get(_BIAS, None if activation == "sigmoid" else 0.0)
                if scale is not None and bias is not None and abs(scale) <= _LARGEST and math.isfinite(bias):
                    return math.exp(scale), bias if activation == "sigmoid" else 0.0, file
    return None, 0.0, ""


def _numbers_in(path: Path) -> dict[str, float]:
    names = (_SCALE, _BIAS)
    tensors = read_tensors(path, names) if path.suffix == ".safetensors" else _initializers(path, names)
    return {name: float(as_float32(values).reshape(-1)[0]) for name, values in tensors.items() if values.size == 1}


def _initializers(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the small initializers of an ONNX file that have one of these names; all else stays unread."""
    found = {}
    with path.open("rb") as stream:
        for tag, begin, end in fields(stream, 0, os.fstat(stream.fileno()).st_size):
            for inner, start, stop in fields(stream, begin, end) if tag >> 3 == _GRAPH else ():
                if inner >> 3 == _INITIALIZER and stop - start <= _NUMBER:
                    stream.seek(start)
                    with suppress(Exception):  # protobuf's own, of no public name: a tensor that cannot be read
                        tensor = onnx.TensorProto.FromString(stream.read(stop - start))
                        if tensor.name in names:
                            found[tensor.name] = numpy_helper.to_array(tensor)
    return found
