"""How to fine-tune. The training process gets these as JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, get_args

from fxengine.errors import InputError, above_zero, at_least, check_seed, given, one_of
from fxengine.heads.estimator import Kind

AUGMENTATIONS = (
    "flip", "rotation", "zoom", "shift", "shear", "brightness", "contrast", "grey", "crop",
)  # fmt: skip
_SETS = {"none": (), "light": ("flip", "zoom", "shift", "brightness"), "strong": AUGMENTATIONS}
Optimizer = Literal["adamw", "sgd", "rmsprop"]
Net = Literal["bilstm", "average"]
_MOST_UNITS, _MOST_WORDS = 4096, 1 << 15


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune.

    Attributes:
        unfreeze: "all", how many of the last layers with weights, or the name of the first layer to train. Batch-norm
            layers stay frozen and in inference mode. Of texts "all" or "none", the vectors of the words. None: all of
            pictures, none of texts.
        rate: learning rate; unless given 1e-5, 1e-4 and 1e-3 are tried for one epoch each, of texts 3e-4, 1e-3, 3e-3.
        optimizer: what follows the gradients; its rate rises for a tenth of the steps, then falls as a cosine.
        epochs: at most.
        patience: epochs without a better validation loss after which it stops.
        batch: rows a step; halved, with gradients summed up, where memory runs out.
        label_smoothing: of the training loss.
        balanced: whether every class counts as much, whatever its rows.
        augment: "none", "light", "strong", or some of `AUGMENTATIONS` joined by commas.
        validation: share of the rows to select on, where no split is given.
        test: share of the rows to report on, where no split is given.
        near: cosine from which two rows are near-duplicates, which stay in one split.
        seed: of everything random.
        net: of texts, what stands between the vectors of the words and the head: "bilstm", the last states of both
            directions of an LSTM, or "average", the mean and a dense layer with ReLU. None: bilstm.
        units: numbers of the state of each direction, or of the dense layer.
        max_words: known words of a text that the net reads; it is cut behind them.
        kind: what to predict; see `fxengine.probing.targets.load_targets`.
    """

    unfreeze: str | None = None
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
    net: Net | None = None
    units: int = 64
    max_words: int = 256
    kind: Kind | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.unfreeze, str | None):
            raise InputError(
                "`unfreeze` must be text: 'all', how many last layers, as '3', or the name of a layer. "
                f"Got {given(self.unfreeze)}."
            )
        for name in ("epochs", "batch", "patience"):
            at_least(name, getattr(self, name), 1)
        at_least("units", self.units, 1, _MOST_UNITS)
        at_least("max_words", self.max_words, 4, _MOST_WORDS)
        if self.net is not None:
            one_of("net", self.net, get_args(Net))
        if self.kind is not None:
            one_of("kind", self.kind, get_args(Kind))
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


def for_pictures(options: FinetuneOptions, name: str) -> FinetuneOptions:
    """Return how a net of pictures, called `name`, is trained; raises InputError where something is about texts."""
    defaults = FinetuneOptions()
    given = [each for each in ("net", "units", "max_words") if getattr(options, each) != getattr(defaults, each)]
    if given:
        raise InputError(
            f"{', '.join(f'`{each}`' for each in given)} is about nets over word vectors, and {name} is none: leave it "
            "away, or give `backbone` vectors:FILE."
        )
    return replace(options, unfreeze="all" if options.unfreeze is None else options.unfreeze)


def for_texts(options: FinetuneOptions) -> FinetuneOptions:
    """Return how a net over word vectors is trained; raises InputError where something is about pictures."""
    if options.augment not in (FinetuneOptions().augment, "none"):
        raise InputError("`augment` changes pictures; there are no changes of texts: leave it away.")
    unfreeze = "none" if options.unfreeze is None else options.unfreeze
    if unfreeze not in ("none", "all"):
        raise InputError(
            f"`unfreeze` {unfreeze!r}: of a net over word vectors there are their vectors alone to unfreeze: give none "
            "or all."
        )
    return replace(options, unfreeze=unfreeze, augment="none", net=options.net or "bilstm")


def for_tokens(options: FinetuneOptions, name: str) -> FinetuneOptions:
    """Return how a net of texts is trained that takes tokens; raises InputError where something is about others."""
    if options.augment not in (FinetuneOptions().augment, "none"):
        raise InputError("`augment` changes pictures; there are no changes of texts: leave it away.")
    return replace(for_pictures(options, name), augment="none")


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
