"""Nets of transformers as an ONNX file of the Hugging Face Hub has them, for the program that PyTorch exports in.

The programs load this file by its path, and it imports PyTorch and transformers only where a net is made. A job is one
of torch_nets.py with, of a repository with two nets, the `tower` that is meant ("image" or "text").
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

# By its path, as this file itself is loaded.
torch_nets = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("torch_nets.py"))))

Module = Any  # torch's; this file is checked where there is no torch
Tensor = Any
_LENGTHS = (9, 5, 7, 3, 8, 2)  # of the texts that an export is tried on
_LEARNT_PADS = ("siglip",)  # kinds of nets that learnt with the padding, always of one length: they take no mask


def build(job: dict[str, Any]) -> Module:
    """Return what is exported, in eval mode: a module from tensors in the order of `inputs` to those of `outputs`.

    Its attribute `size` is the height and width of its pictures, None of texts; its method `examples` gives what to try
    it on.

    Raises:
        Refused: the folder has no such net, its weights do not fit, or it takes something else.
    """
    import torch

    torch.manual_seed(torch_nets.SEED)
    net = torch_nets.open_hf(job)
    config, two = net.config, hasattr(net.config, "text_config") and hasattr(net.config, "vision_config")
    of_texts = job["tower"] == "text" if two else torch_nets.takes_texts(config)
    inner = getattr(config, "text_config" if of_texts else "vision_config") if two else config
    call = _tower(net, of_texts) if two else lambda given: net(**given)
    size = (job["height"], job["width"])
    inputs = _inputs(inner, of_texts)
    outputs = _outputs(job, call, None if of_texts else _pictures(np.zeros((1, *size, 3), np.uint8)))
    torch_nets.check_layers(net, job["layers"])

    class Named(torch.nn.Module):  # type: ignore[misc]  # torch is not where types are checked
        """A net whose inputs and outputs are tensors in an order, as an exporter wants them."""

        def __init__(self) -> None:
            super().__init__()
            self.net, self.inputs, self.outputs = net, inputs, (*job["layers"], *outputs)
            self.size = None if of_texts else size

        def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
            given = dict(zip(inputs, tensors, strict=True))
            seen, made = torch_nets.vectors.watched(net, job["layers"], partial(call, given))
            return (*(seen[name] for name in job["layers"]), *(made[name] for name in outputs))

        def examples(self, photos: np.ndarray | None) -> dict[str, Tensor]:
            """Return what an export is tried on, by input: photos, uint8 [n, height, width, 3], or token ids."""
            return _texts(inputs, inner) if photos is None else _pictures(photos)

    made = Named().eval()
    if job["weights"] == "random":
        torch_nets.weights.randomise(net, made.size, lambda pictures: made(pictures))
    return made


def _tower(net: Module, of_texts: bool) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Return what runs one tower of a pair."""
    run = getattr(net, "get_text_features" if of_texts else "get_image_features", None)
    if run is None:
        kind = net.config.model_type
        raise torch_nets.Refused(f"it takes pictures and texts at once ({kind}), and has no tower for each by itself.")

    def call(given: dict[str, Tensor]) -> dict[str, Tensor]:
        made = run(**given)
        return {"text_embeds" if of_texts else "image_embeds": getattr(made, "pooler_output", made)}  # before version 5

    return call


def _outputs(job: dict[str, Any], call: Callable[..., Any], pictures: dict[str, Tensor] | None) -> tuple[str, ...]:
    """Return what a net gives that can be its vector: a tower's, `logits`, tokens or a map, of pictures the pooled."""
    if job["tower"] is not None:
        return ("text_embeds",) if job["tower"] == "text" else ("image_embeds",)
    if job["logits"]:
        return ("logits",)
    pooled = pictures is not None and call(pictures).get("pooler_output") is not None
    return ("last_hidden_state", "pooler_output") if pooled else ("last_hidden_state",)


def _inputs(config: Any, of_texts: bool) -> tuple[str, ...]:
    if not of_texts:
        return ("pixel_values",)
    return ("input_ids",) if str(config.model_type).startswith(_LEARNT_PADS) else ("input_ids", "attention_mask")


def _pictures(photos: np.ndarray) -> dict[str, Tensor]:
    import torch

    values = torch.from_numpy(photos.astype(np.float32) / 127.5 - 1)
    return {"pixel_values": values.permute(0, 3, 1, 2).contiguous()}


def _texts(inputs: Sequence[str], config: Any) -> dict[str, Tensor]:
    """Return texts of several lengths, int64 [6, length], each ending as the net's do, and which tokens are theirs."""
    import torch

    pad, end = config.pad_token_id or 0, getattr(config, "eos_token_id", None)
    longest = max(_LENGTHS) if len(inputs) == 2 else int(config.max_position_embeddings)
    ids = torch.full((len(_LENGTHS), longest), int(pad))
    mask = torch.zeros_like(ids)
    for row, length in enumerate(_LENGTHS):
        ids[row, :length] = torch.randint(0, config.vocab_size, (length,))
        ids[row, length - 1] = ids[row, length - 1] if end is None else int(end)
        mask[row, :length] = 1
    return dict(zip(inputs, (ids, mask), strict=False))
