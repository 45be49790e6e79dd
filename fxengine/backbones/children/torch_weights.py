"""Weights of PyTorch's nets: of a file, checked name by name, or random ones with the statistics of trained ones.

The programs load this file by its path, and it imports PyTorch only where weights are at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

Tensor = Any  # torch's; this file is checked where there is no torch
Module = Any
_SHARE_OF_A_BLOCK = 0.3
_WRAPPED = ("state_dict", "model_state_dict", "model")  # what programs that train keep the weights under


class Refused(Exception):
    """The user asked for something that cannot be; the message says what to do."""


def read_state(path: str) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, .safetensors or .pth; a pickle of anything else is not opened."""
    import torch

    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of the pickle, the archive, safetensors
        raise Refused(
            f"{path} cannot be read as weights alone ({type(error).__name__}): more than tensors in a pickle may be a "
            "program. Save model.state_dict() alone, by safetensors or by torch.save."
        ) from error
    for key in _WRAPPED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(hasattr(value, "shape") for value in state.values()):
        raise Refused(f"{path} is no state_dict: save model.state_dict().")
    return {name.removeprefix("module."): value for name, value in state.items()}


def put_state(net: Module, state: dict[str, Tensor], path: str, spare: Sequence[str]) -> None:
    """Put weights into a net; those of the layers `spare` may be others, or not there."""
    starts = tuple(f"{name}." for name in spare)
    own = net.state_dict()
    kept = {name: value for name, value in state.items() if not (starts and name.startswith(starts))}
    needed = (name for name in own if not name.endswith("num_batches_tracked"))
    missing = [name for name in needed if name not in kept and not (starts and name.startswith(starts))]
    surplus = [name for name in kept if name not in own]
    others = [n for n in kept if n in own and kept[n].shape != own[n].shape]
    for what, names in (("it lacks", missing), ("it has in surplus", surplus), ("of another shape are", others)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise Refused(f"the weights in {path} do not fit: {what} {', '.join(names[:3])}{more}.")
    net.load_state_dict(kept, strict=False)


def classes_in(state: Mapping[str, Tensor], heads: Sequence[str]) -> int:
    """Return how many classes the classifier in a file of weights has."""
    found = next((state[f"{head}.weight"] for head in heads if f"{head}.weight" in state), None)
    if found is None:
        raise Refused(f"the weights have no classifier ({', '.join(heads)}): leave out `logits`.")
    return int(found.shape[0])


@contextmanager
def had(what: str) -> Iterator[None]:
    """Turn what a library raises while it fetches or opens weights into a sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise Refused(
            f"{what} could not be had ({first_line(error)}). Try again with a network, or give a file as `weights`."
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def randomise(net: Module, size: tuple[int, int] | None, call: Callable[[Tensor], object]) -> None:
    """Give biases, scales and statistics values that a wrong export would show.

    A net begins with 0 and 1 there, where dropping or swapping them changes nothing. The statistics of batch
    normalisation come from one pass over smooth pictures, so that the signal neither dies nor explodes. What ends a
    block, where it begins with 0, is made small, as in a trained net: a hundred random blocks of full size are chaotic,
    and the rounding of float32 alone moves their features.
    """
    import torch

    with torch.no_grad():
        for module in net.modules():
            for name, weights in module.named_parameters(recurse=False):
                _shake(name, weights)
        if size is None:
            return
        kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
        norms = [each for each in net.modules() if isinstance(each, kinds)]
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        call(smooth_pictures(size))
        for norm in norms:
            norm.momentum = 0.1
            norm.eval()
            # A channel that hardly varies over these few pictures would blow up mere rounding.
            variance = norm.running_var
            variance.copy_(variance.clamp(min=0.5 * float(variance.mean())))


def _shake(name: str, weights: Tensor) -> None:
    """Give the weights of a module values like trained ones."""
    import torch

    if name == "bias":
        weights.normal_(0, 0.1)
    elif weights.dim() <= 1 or bool((weights == weights.flatten()[0]).all()):  # scales, of a layer or of a block
        share = _SHARE_OF_A_BLOCK if float(weights.abs().max()) < 0.1 else 1.0
        weights.copy_(share * torch.empty_like(weights).uniform_(0.6, 1.4))


def smooth_pictures(size: tuple[int, int], count: int = 16) -> Tensor:
    """Return pictures as nets take them, float32 [count, 3, height, width].

    As in photos every octave has its share of what varies, colours go together, and some pictures are dark or pale.
    """
    import torch

    made = torch.randn(count, 1, 1, 1).expand(count, 3, *size)
    edge = 2
    while edge <= max(size):
        grey, colour = torch.randn(count, 1, edge, edge), 0.4 * torch.randn(count, 3, edge, edge)
        made = made + 0.4 * torch.nn.functional.interpolate(grey + colour, size=size, mode="bilinear")
        edge *= 2
    return made
