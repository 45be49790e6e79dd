"""Pairs for tests: repositories of two small random towers, as their makers lay them out, and finished files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto

from fxengine.backbones.cache import read_backbone, write_backbone
from fxengine.backbones.pair import PAIR_KEY, Activation, Pair
from fxengine.backbones.spec import BackboneFile
from tests.backbones.sources import hf_nets
from tests.backbones.sources.hf_nets import DIM, POSITIONS, Graph, hidden_states, ids
from tests.conftest import tiny_model
from tests.texts import VOCABULARY, tiny_text_model

SIDE, PATCH, WIDTH, SHARED = 16, 8, 6, 5  # numbers of a vector that both towers give: SHARED; SigLIP's give DIM
LOG_SCALE, BIAS = 4.0, -9.5  # what a pair's weights say: e to the first multiplies a cosine, the second is added
MEAN, STD = [0.5, 0.4, 0.3], [0.5, 0.6, 0.7]
HUGGING_FACE = {
    "do_resize": True, "size": {"height": SIDE, "width": SIDE}, "resample": 2, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN, "image_std": STD,
}  # fmt: skip
OPEN_CLIP = {
    "size": SIDE, "mode": "RGB", "mean": MEAN, "std": STD, "interpolation": "bilinear", "resize_mode": "squash",
    "fill_color": 0,
}  # fmt: skip
CARD = b"---\nlicense: mit\n---\n# card\n"
Layout = Literal["clip", "siglip", "immich", "open_clip"]
TOWERS: dict[Layout, tuple[str, str]] = {
    "clip": ("onnx/vision_model.onnx", "onnx/text_model.onnx"),
    "siglip": ("onnx/vision_model.onnx", "onnx/text_model.onnx"),
    "immich": ("visual/model.onnx", "textual/model.onnx"),
    "open_clip": ("onnx/vision_model.onnx", "onnx/text_model.onnx"),
}


def write_pair(folder: Path, layout: Layout = "clip") -> Path:
    """Write a repository of two towers: `TOWERS[layout]`, what its makers say beside them, and a tokenizer.

    "clip" and "siglip" as Xenova's, "immich" as immich-app's, "open_clip" with its one file of settings. The weights of
    "siglip" say scale and bias, those of "clip" the scale; the others say none.
    """
    picture, text = (folder / file for file in TOWERS[layout])
    if layout == "siglip":
        vision_tower(picture, "pooler_output", dim=DIM)
        siglip_text(text)
    elif layout == "immich":
        vision_tower(picture, "output", name="image")
        immich_text(text)
    else:
        vision_tower(picture, "image_embeds")
        clip_text(text)
    return hf_nets.write(folder, {"README.md": CARD, **_said(layout)})


def _said(layout: Layout) -> dict[str, object]:
    """Return the files beside the towers."""
    places, end_last = {"max_position_embeddings": POSITIONS}, with_end_last()
    if layout == "siglip":
        return {
            "config.json": {"model_type": "siglip", "text_config": {"model_type": "siglip_text_model", **places}},
            "preprocessor_config.json": HUGGING_FACE,
            "tokenizer.json": hf_nets.tokenizer(),
            "tokenizer_config.json": {"pad_token": {"content": "[SEP]"}, "model_max_length": POSITIONS},
            "model.safetensors": _weights(logit_scale=LOG_SCALE, logit_bias=BIAS),
        }
    if layout == "immich":
        clean = {"tokenizer_kwargs": {"clean": "canonicalize"}}
        return {
            "config.json": {
                "embed_dim": SHARED, "vision_cfg": {}, "text_cfg": {"context_length": IMMICH_LENGTH, **clean}
            },
            "visual/preprocess_cfg.json": OPEN_CLIP,
            "textual/tokenizer.json": hf_nets.tokenizer(),
            "textual/tokenizer_config.json": {"pad_token": "[PAD]"},
        }  # fmt: skip
    if layout == "open_clip":
        config = {"embed_dim": SHARED, "vision_cfg": {}, "text_cfg": {"context_length": POSITIONS}}
        return {
            "open_clip_config.json": {"model_cfg": config, "preprocess_cfg": OPEN_CLIP},
            "tokenizer.json": end_last,
        }
    return {
        "config.json": {"model_type": "clip", "text_config": {"model_type": "clip_text_model", **places}},
        "preprocessor_config.json": HUGGING_FACE,
        "tokenizer.json": end_last,
        "model.safetensors": _weights(logit_scale=LOG_SCALE),
    }


def _weights(**numbers: float) -> bytes:
    return hf_nets.safetensors({name: np.array([number], np.float32) for name, number in numbers.items()})


def vision_tower(path: Path, output: str, *, name: str = "pixel_values", dim: int = SHARED) -> Path:
    """Save a tower of pictures: the first of its patches, mixed with them all, projected."""
    net = Graph(2)
    net.op("Conv", [name, net.random("patches", WIDTH, 3, PATCH, PATCH)], "map", strides=[PATCH, PATCH])
    net.op("Reshape", ["map", net.const("flat", np.array([0, WIDTH, -1]))], "columns")
    net.op("ReduceMean", ["columns"], "mean", axes=[2], keepdims=0)
    net.op("Tanh", ["mean"], "bent")
    net.op("MatMul", ["bent", net.random("projection", WIDTH, dim)], output)
    return net.save(path, {name: (TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])}, {output: ["batch", dim]})


def clip_text(path: Path) -> Path:
    """Save CLIP's text tower: causal, the vector of the last real token, which has the largest id."""
    net = Graph(3)
    hidden = hidden_states(net, mask=None, causal=True)
    net.op("ArgMax", ["input_ids"], "end", axis=1, keepdims=1)
    net.op("GatherND", [hidden, "end"], "at_end", batch_dims=1)
    net.op("MatMul", ["at_end", net.random("projection", DIM, SHARED)], "text_embeds")
    outputs: dict[str, Sequence[int | str]] = {"text_embeds": ["batch", SHARED], hidden: ["batch", "sequence", DIM]}
    return net.save(path, {"input_ids": ids()}, outputs)


def with_end_last() -> bytes:
    """Return a tokenizer that ends a text in the largest id, as CLIP's does."""
    values, last = json.loads(hf_nets.tokenizer()), VOCABULARY[-1]
    post = values["post_processor"]
    post["single"] = [*post["single"][:-1], {"SpecialToken": {"id": last, "type_id": 0}}]
    post["special_tokens"][last] = {"id": last, "ids": [len(VOCABULARY) - 1], "tokens": [last]}
    return json.dumps(values).encode()


def siglip_text(path: Path) -> Path:
    """Save SigLIP's text tower: no mask, the vector of the last of all positions, padding included."""
    net = Graph(4)
    hidden = hidden_states(net, mask=None)
    net.op("Gather", [hidden, net.const("minus_one", np.int64(-1))], "pooler_output", axis=1)
    outputs: dict[str, Sequence[int | str]] = {hidden: ["batch", "sequence", DIM], "pooler_output": ["batch", DIM]}
    return net.save(path, {"input_ids": ids()}, outputs)


IMMICH_LENGTH = 12


def immich_text(path: Path) -> Path:
    """Save a text tower of one text of one length, as immich's are."""
    net = Graph(6)
    hidden = hidden_states(net, ids="text", mask=None, causal=True)
    net.op("Reshape", [hidden, net.const("flat", np.array([1, IMMICH_LENGTH * DIM]))], "joined")
    net.op("MatMul", ["joined", net.random("projection", IMMICH_LENGTH * DIM, SHARED)], "output")
    return net.save(path, {"text": ids(1, IMMICH_LENGTH, TensorProto.INT32)}, {"output": [1, SHARED]})


def tiny_pair(
    folder: Path, activation: Activation = "softmax", scale: float | None = 20.0, bias: float = 0.0
) -> tuple[BackboneFile, BackboneFile, Pair]:
    """Write folder/tiny.image.onnx and folder/tiny.text.onnx, of 8 numbers each, as an export of a pair does."""
    models = {"image": tiny_model(), "text": tiny_text_model()}
    towers = {}
    for name, model in models.items():
        write_backbone(model, folder / f"tiny.{name}.onnx")
        towers[name] = read_backbone(folder / f"tiny.{name}.onnx")
    pair = Pair(towers["image"].fingerprint, towers["text"].fingerprint, activation, scale, bias)
    for name, model in models.items():
        model.metadata_props.append(onnx.StringStringEntryProto(key=PAIR_KEY, value=pair.to_json()))
        write_backbone(model, towers[name].path)
    return towers["image"], towers["text"], pair
