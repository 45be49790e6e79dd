"""How to fine-tune. The training process gets these as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from fxengine.errors import InputError, above_zero, at_least, check_seed, given, one_of

AUGMENTATIONS = (
    "flip", "rotation", "zoom", "shift", "shear", "brightness", "contrast", "grey", "crop",
)  # fmt: skip
_SETS = {"none": (), "light": ("flip", "zoom", "shift", "brightness"), "strong": AUGMENTATIONS}
Optimizer = Literal["adamw", "sgd", "rmsprop"]


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune.

    Attributes:
        unfreeze: "all", how many of the last layers with weights, or the name of the first layer to train. Batch-norm
            layers stay frozen and in inference mode.
        rate: learning rate; unless given 1e-5, 1e-4 and 1e-3 are tried for one epoch each.
        optimizer: what follows the gradients; its rate rises for a tenth of the steps, then falls as a cosine.
        epochs: at most.
        patience: epochs without a better validation loss after which it stops.
        batch: pictures a step; halved, with gradients summed up, where memory runs out.
        label_smoothing: of the training loss.
        balanced: whether every class counts as much, whatever its rows.
        augment: "none", "light", "strong", or some of `AUGMENTATIONS` joined by commas.
        validation: share of the rows to select on, where no split is given.
        test: share of the rows to report on, where no split is given.
        near: cosine from which two pictures are near-duplicates, which stay in one split.
        seed: of everything random.
    """

    unfreeze: str = "all"
    rate: float | None = None
    optimizer: Optimizer = "adamw"
    epochs: int = 15
    patience: int = 4
    batch: int = 16
    label_smoothing: float = 0.0
    balanced: bool = False
    augment: str = "light"
    validation: float = 0.2
    test: float = 0.2
    near: float = 0.97
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.unfreeze, str):
            raise InputError(
                "`unfreeze` must be text: 'all', how many last layers, as '3', or the name of a layer. "
                f"Got {given(self.unfreeze)}."
            )
        for name in ("epochs", "batch", "patience"):
            at_least(name, getattr(self, name), 1)
        one_of("optimizer", self.optimizer, get_args(Optimizer))
        if self.rate is not None:
            above_zero("rate", self.rate, 1)
        if not isinstance(self.label_smoothing, Real) or not 0 <= self.label_smoothing < 1:
            raise InputError(f"`label_smoothing` must be at least 0 and below 1. Got {given(self.label_smoothing)}.")
        for name in ("validation", "test", "near"):
            above_zero(name, getattr(self, name))
        if self.validation + self.test >= 1:
            raise InputError("`validation` and `test` must leave something to train on: together less than 1.")
        check_seed(self.seed)
        augmentations(self.augment)


def augmentations(text: str) -> tuple[str, ...]:
    """Return the names of the changes that `augment` asks for.

    Raises:
        InputError: one of them is unknown.
    """
    if text in _SETS:
        return _SETS[text]
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in AUGMENTATIONS:
            one_of("augment", name, (*_SETS, *AUGMENTATIONS))
    return names
