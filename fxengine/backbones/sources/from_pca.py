"""A backbone with a PCA transform on its output: `pca:pca.onnx`, a file that `fxengine pca` wrote.

The reduced space is then that of a backbone like any other: its fingerprint covers net and transform, and queries,
predictions and updates of a reduced store need nothing special.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

from fxengine.backbones.graph.model import tokenizer_of
from fxengine.backbones.graph.surgery import followed_by
from fxengine.backbones.options import ExportOptions, refuse_unread
from fxengine.backbones.pca_facts import read_transform
from fxengine.backbones.spec import FEATURE_OUTPUT, METADATA_KEY, layer_output
from fxengine.errors import InputError, explained

# Bumped when `export` changes what it builds, so that caches of the older file are not used.
BUILD = "1"


def export(what: str, options: ExportOptions) -> onnx.ModelProto:
    """Return the backbone that the transform `what` was computed for, with the transform in it.

    Raises:
        InputError: it is no transform, its backbone is not to be had, or layers are asked for.
    """
    from fxengine.backbones import find_space  # whose table names this file

    refuse_unread(options, f"pca:{what} has one layer, its own", read=())
    transform, facts = read_transform(Path(what))
    base = find_space(facts.space, facts.source)
    graph = transform.graph
    mean, components = (numpy_helper.to_array(tensor) for tensor in graph.initializer)
    if base.dims.get(facts.layer) != mean.size:
        raise InputError(
            f"{what} takes {mean.size} numbers of the layer {facts.layer or 'features'!r}, which {base.facts.name} "
            "does not give. Fit it again: `fxengine pca`."
        )
    graph.input[0].name = graph.node[0].input[0] = "raw"
    graph.output[0].name = graph.node[-1].output[0] = FEATURE_OUTPUT
    net = onnx.load(base.path)
    kept = tokenizer_of(net)
    # The number of nodes keeps the names of a reduction of a reduction apart.
    model = followed_by(net, layer_output(facts.layer), graph, f"pca{len(net.graph.node)}/")
    products = base.facts.multiply_adds
    reduced = replace(
        base.facts,
        name=f"{base.facts.name}+pca{len(components)}",
        dim=len(components),
        cut=f"PCA of {facts.layer or base.facts.cut}",
        parameters=base.facts.parameters + mean.size + components.size,
        multiply_adds=None if products is None else products + components.size,
        classes=(),
        class_ids=(),
        layers=(),
        span_labels=(),
        notes={},
    )
    helper.set_model_props(model, {METADATA_KEY: reduced.to_json(), **kept})
    onnx.checker.check_model(model)
    return model


def pinned(what: str, options: ExportOptions) -> str:
    """Return `what`: it names nothing that moves."""
    return what


def identity(what: str, options: ExportOptions) -> str:
    """Return what an export depends on: the transform's bytes."""
    path = Path(what)
    if not path.is_file():
        raise InputError(f"There is no transform {path}. `fxengine pca STORE -o pca.onnx` makes one.")
    with explained(f"Cannot read {path}", kind=InputError), path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size >= 1 << 31:
            raise InputError(f"{path} is over 2 GB, more than one ONNX file holds: it is no transform.")
        return f"{BUILD} {hashlib.file_digest(stream, 'sha256').hexdigest()}"
