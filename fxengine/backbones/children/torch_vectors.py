"""What modules of a net of PyTorch take and give, and how tokens and maps become vectors.

The programs load this file by its path: it imports the standard library alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

Tensor = Any  # torch's; this file is checked where there is no torch
Module = Any


def watched(net: Module, layers: Sequence[str], run: Callable[[], Any]) -> tuple[dict[str, Tensor], Any]:
    """Run a net; return what its modules of these names give, of several tensors the first, and what it gives."""
    seen: dict[str, Tensor] = {}

    def note(name: str, module: Module, inputs: Any, made: Any) -> None:
        seen[name] = made[0] if isinstance(made, tuple | list) else made

    hooks = [net.get_submodule(name).register_forward_hook(partial(note, name)) for name in layers]
    try:
        made = run()
    finally:
        for hook in hooks:
            hook.remove()
    return seen, made


def before(net: Module, layer: str, run: Callable[[], Any]) -> tuple[Tensor, Any]:
    """Run a net; return what a layer of it takes, and what the net gives."""
    seen: list[Tensor] = []
    hook = net.get_submodule(layer).register_forward_pre_hook(lambda module, taken: seen.append(taken[0]))
    try:
        made = run()
    finally:
        hook.remove()
    return seen[0], made


def channels_last(shape: Sequence[int], size: tuple[int, int]) -> bool:
    """Tell whether a map is [n, height, width, number] (Swin's): the edges stand to each other as the picture's."""
    wanted = math.log(size[0] / size[1])
    first, last = (abs(math.log(shape[i] / shape[i + 1]) - wanted) for i in (2, 1))
    return last < first


def of_tokens(tokens: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return the vector of a text from those of its tokens, of which the mask says which are."""
    if pooling == "cls":
        return tokens[:, 0]
    if pooling == "last":
        rows = mask.sum(1, keepdim=True).sub(1).clamp(min=0)
        return tokens.gather(1, rows.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))[:, 0]
    there = mask.unsqueeze(-1).to(tokens.dtype)
    if pooling == "max":
        return tokens.masked_fill(there == 0, -math.inf).amax(1)
    weights = there * there.cumsum(1) if pooling == "weighted" else there
    return (tokens * weights).sum(1) / weights.sum(1)
