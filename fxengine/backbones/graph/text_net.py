"""A net of texts as others export it, behind the contract's inputs: `tokens` and `lengths` become what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from fxengine.backbones.graph.surgery import prefixed
from fxengine.backbones.graph.texts import MASK, POSITIONS, Nodes, text_inputs, text_prologue
from fxengine.backbones.spec import PROLOGUE, SPANS_OUTPUT, TOKENS_INPUT

NET = "net/"
# What an input is, by its name.
IDS = ("input_ids", "text", "tokens")
MASKS = ("attention_mask", "mask")
TYPES = ("token_type_ids", "input_type", "segment_ids")
PLACES = ("position_ids",)
OLDEST_OPSET = 13  # from which on the operators around a net mean the same
_TYPES = (TensorProto.INT64, TensorProto.INT32)


@dataclass(frozen=True)
class Feed:
    """How a net is fed.

    Attributes:
        kinds: its inputs, and the kind of numbers that each takes.
        pad: the id behind a text.
        fixed: tokens that it always takes; None: any number.
        sees_pads: whether what is behind a text counts as tokens inside the net, which learnt so.
    """

    kinds: Mapping[str, int]
    pad: int
    fixed: int | None
    sees_pads: bool

    @property
    def mask(self) -> str:
        """The tensor that says what is a token, as long as what the net gives."""
        return MASK if self.fixed is None else f"{PROLOGUE}fixed_mask"


def problem_of(kinds: Mapping[str, int]) -> str:
    """Return what is wrong with the inputs of a net of texts; empty where nothing is."""
    unknown = [name for name in kinds if name not in (*IDS, *MASKS, *TYPES, *PLACES)]
    if unknown:
        return f"takes {', '.join(unknown[:5])} besides token ids"
    if not set(kinds) & set(IDS):
        return f"takes no token ids ({', '.join(IDS)})"
    wrong = [name for name, kind in kinds.items() if kind not in _TYPES and name in IDS]
    return f"takes {wrong[0]} as {TensorProto.DataType.Name(kinds[wrong[0]]).lower()}" if wrong else ""


def fed_by_hand(feed: Feed, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the net takes for texts of one length, as its makers feed it."""
    ids = np.stack(rows).astype(np.int64)
    mask = np.ones_like(ids)
    if feed.fixed is not None:
        behind = ((0, 0), (0, feed.fixed - ids.shape[1]))
        ids = np.pad(ids, behind, constant_values=feed.pad)
        mask = np.pad(mask, behind, constant_values=int(feed.sees_pads))
    places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    values = {**dict.fromkeys(IDS, ids), **dict.fromkeys(MASKS, mask)}
    values |= {**dict.fromkeys(TYPES, np.zeros_like(ids)), **dict.fromkeys(PLACES, places)}
    return {name: values[name].astype(helper.tensor_dtype_to_np_dtype(kind)) for name, kind in feed.kinds.items()}


def head(feed: Feed) -> Nodes:
    """Return the nodes that compute every input of a net that has the prefix `NET`."""
    made = text_prologue()
    pad = made.constant("pad", np.int32(feed.pad))
    ids, mask, places = made.node("Where", [MASK, TOKENS_INPUT, pad], "ids"), MASK, POSITIONS
    if feed.fixed is not None:
        rest = made.node("Sub", [made.constant("fixed", [feed.fixed]), _length(made)], "rest")
        ends = made.node("Concat", [made.constant("no_ends", [0, 0, 0]), rest], "ends", axis=0)
        ids = made.node("Pad", [ids, ends, pad], "fixed_ids")
        ones = made.node("Cast", [MASK], "ones", to=TensorProto.INT64)
        mask = made.node("Pad", [ones, ends, made.constant("none", np.int64(0))], "fixed_mask")
        places = made.constant("fixed_places", list(range(feed.fixed)))
    zeros = ""
    for name, kind in feed.kinds.items():
        if name in IDS:
            current = ids
        elif name in MASKS:
            current = made.node("GreaterOrEqual", [ids, ids], f"all_{name}") if feed.sees_pads else mask
        else:
            zeros = zeros or made.node("Sub", [ids, ids], "zeros")
            current = zeros if name in TYPES else _places(made, zeros, places)
        made.nodes.append(helper.make_node("Cast", [current], [NET + name], name=made.named(f"feed_{name}"), to=kind))
    return made


def _length(made: Nodes) -> str:
    return made.node("Unsqueeze", [made.named("length"), made.constant("front", [0])], "length_row")


def _places(made: Nodes, zeros: str, places: str) -> str:
    """Return 0, 1, 2, ... for every text: the zeros make a row for each."""
    return made.node("Add", [made.node("Cast", [zeros], "rows", to=TensorProto.INT64), places], "place_rows")


def of_tokens(feed: Feed, tensor: str, output: str, prefix: str) -> Nodes:
    """Return the nodes that compute `output`, float32 [batch, length, dim], from what the net gives for each token."""
    made = Nodes(prefix)
    made.nodes.append(helper.make_node("Cast", [tensor], [output], name=made.named("exact"), to=TensorProto.FLOAT))
    if feed.fixed is not None:  # what is behind the longest text is nothing
        made.nodes[-1].output[0] = made.named("whole")
        ends = [made.constant("begin", [0]), f"{PROLOGUE}length_row", made.constant("axis", [1])]
        made.nodes.append(helper.make_node("Slice", [made.named("whole"), *ends], [output], name=made.named("cut")))
    return made


def assembled(net: onnx.ModelProto, feed: Feed, tail: Sequence[Nodes], outputs: Mapping[str, int]) -> onnx.ModelProto:
    """Return prologue, net and tail as one model.

    Args:
        net: of the opset 13 or later; its tensors get the prefix `NET`.
        feed: how it is fed.
        tail: what makes the outputs.
        outputs: their names, and how many numbers each has: a text, of `spans` a token.
    """
    body, before = prefixed(net, NET), head(feed)
    parts = [before, *tail]
    graph = helper.make_graph(
        [*before.nodes, *body.graph.node, *(node for part in tail for node in part.nodes)],
        "text_net",
        text_inputs(),
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, _shape(name, dim)) for name, dim in outputs.items()],
        [*(tensor for part in parts for tensor in part.initializers), *body.graph.initializer],
    )
    return helper.make_model(graph, opset_imports=list(body.opset_import), ir_version=body.ir_version)


def _shape(output: str, dim: int) -> list[str | int]:
    return ["batch", "length", dim] if output == SPANS_OUTPUT else ["batch", dim]
