"""A repository's net of pictures: what it gives by the names of its outputs, its preprocessing, its classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources.from_onnx import Origin, export_net
from fxengine.backbones.sources.hf_files import Chosen
from fxengine.backbones.sources.preprocessing import STATES_PIXELS
from fxengine.backbones.spec import METADATA_KEY, Facts
from fxengine.errors import InputError

# Kinds of nets whose `pooler_output` is what their makers mean as the vector; ViT's is a layer that no training saw.
_POOLED = ("siglip", "clip", "dinov2", "dinov3", "convnext", "resnet", "regnet", "swin", "mobilenet", "efficientnet")
_OF_TOKENS = ("last", "weighted")


def export(chosen: Chosen, model: onnx.ModelProto, options: ExportOptions) -> onnx.ModelProto:
    """Return the finished backbone of a net of pictures.

    Raises:
        InputError: two answers fit and none was asked for, the preprocessing is not stated, or as `onnx:` refuses it.
    """
    if options.pooling in _OF_TOKENS or options.prompt is not None:
        raise InputError(f"{chosen.name} takes pictures: `prompt`, and `pooling` last and weighted, are for texts.")
    tensor, outputs = chosen.tensor, [value.name for value in model.graph.output]
    if tensor is None and not options.layers:
        tensor = _output(chosen, outputs, options)
        if outputs == ["logits"] and isinstance(chosen.said("config.json").get("id2label"), dict):
            options = replace(options, logits=True)  # which names its classes, for `predict`
    made = export_net(origin_of(chosen), tensor, replace(options, tower=None))
    if chosen.tower:
        facts = Facts.from_json(metadata_of(made)[METADATA_KEY])
        onnx.helper.set_model_props(made, {METADATA_KEY: replace(facts, metric="cosine").to_json()})
    return made


def origin_of(chosen: Chosen) -> Origin:
    """Return the file with what its makers say beside it."""
    path, config = chosen.path(chosen.file), chosen.beside("config.json")
    return Origin(path, chosen.source, chosen.name, chosen.find, beside(chosen), config)


def beside(chosen: Chosen) -> tuple[Path, ...]:
    """Return the files that may state the preprocessing."""
    return tuple(path for path in map(chosen.beside, STATES_PIXELS) if path is not None)


def _output(chosen: Chosen, outputs: list[str], options: ExportOptions) -> str | None:
    """Return the output that is the vector; None: what stands before the classifier."""
    if "image_embeds" in outputs:
        return "image_embeds"
    if chosen.tower and len(outputs) == 1:  # no classifier, whatever its last layer looks like
        return outputs[0]
    if "logits" in outputs:
        return None
    config = chosen.said("config.json")
    inner = config.get("vision_config")
    kind = str((inner if isinstance(inner, dict) else config).get("model_type") or config.get("model_type") or "")
    if "pooler_output" in outputs and kind.startswith(_POOLED):
        return "pooler_output"
    if "last_hidden_state" in outputs:
        if options.pooling is None:
            other = f", or {chosen.source}@pooler_output" if "pooler_output" in outputs else ""
            raise InputError(
                f"{chosen.name} gives vectors of its patches, and nothing says which one stands for the picture: give "
                f"`pooling` cls (the first) or avg{other}."
            )
        return "last_hidden_state"
    return None
