"""What a backbone is: its recipe, its facts and its fingerprint. Importable from anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from fxengine.errors import InputError
from fxengine.facts import FactsError, facts_from, read_json

# Where a model's metadata has the facts of a backbone, of a transform, of a head, of a bundle.
METADATA_KEY = "fxengine"
PCA_METADATA_KEY = "fxengine_pca"
HEAD_METADATA_KEY = "fxengine_head"
BUNDLE_METADATA_KEY = "fxengine_bundle"
TOKENIZER_KEY = "fxengine_tokenizer"  # of a text backbone: the tokenizer's JSON, zlib, base64
INPUT_NAME = "images"
TOKENS_INPUT, LENGTHS_INPUT = "tokens", "lengths"  # of a text backbone
FEATURE_OUTPUT = "features"
LOGITS_OUTPUT = "logits"
SPANS_OUTPUT = "spans"  # of a net that says something of every token
LONGEST_NAME = 1000  # characters of a class's name; what a file says is shown to people
_LONGEST_TEXT = 4096  # characters of anything else that it says in words
_MOST_TOKENS = 1 << 15  # that a net takes; the row of a batch has a number for each
_LONGEST_EDGE = 1 << 14  # pixels; a net takes a few hundred, and a picture of this is 800 MB
# What the names of the nodes and weights begin with that take inputs to the net, and what it gives to features.
PROLOGUE, EPILOGUE = "fx_pre/", "fx_post/"


def check_texts(names: Iterable[str], others: Iterable[str]) -> None:
    """Raise InputError where a file says a name of a class, or another text, that is too long to be one."""
    if max(map(len, names), default=0) > LONGEST_NAME:
        raise InputError(f"the name of a class has more than {LONGEST_NAME} characters")
    if max(map(len, others), default=0) > _LONGEST_TEXT:
        raise InputError(f"a text in it has more than {_LONGEST_TEXT} characters")


def layer_output(layer: str | None) -> str:
    """Return the name of a layer's output; None is the default layer."""
    return FEATURE_OUTPUT if layer is None else f"{FEATURE_OUTPUT}@{layer}"


Kernel = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class PictureRecipe:
    """How a picture of any size becomes the uint8 array that the graph takes.

    First resize: `edge` names the edge that becomes `size` pixels long, the other one follows the aspect
    ratio; "both" squashes to `height` x `width`. Then, where the result is larger than `height` x `width`, the
    centre is cut out; where it is smaller, it is centred on `pad_color`.

    `rounding` "nearest": the other edge is rounded to the nearest pixel, the cut's offset down. "torchvision":
    the edge is rounded down, the offset to the nearest, half to even (torchvision's Resize and CenterCrop). "down":
    both are rounded down (transformers' image processors).

    `scaled_decode`: a picture much larger than it becomes may be decoded at 1/2, 1/4 or 1/8; see `shrink`.

    Colour order, scaling, mean and standard deviation are not here: they are nodes of the graph.
    """

    modality: ClassVar[Literal["picture"]] = "picture"

    height: int
    width: int
    edge: Literal["short", "long", "both"]
    size: int
    kernel: Kernel
    antialias: bool = True
    rounding: Literal["nearest", "torchvision", "down"] = "nearest"
    pad_color: tuple[int, int, int] = (0, 0, 0)
    scaled_decode: bool = False

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.size) < 1:
            raise InputError(f"A recipe needs positive sizes. Got {self.height}x{self.width}, size {self.size}.")
        if max(self.height, self.width, self.size) > _LONGEST_EDGE:
            raise InputError(
                f"A recipe's sizes end at {_LONGEST_EDGE}. Got {self.height}x{self.width}, size {self.size}."
            )
        if not all(0 <= level <= 255 for level in self.pad_color):
            raise InputError(f"A recipe's pad_color is three levels from 0 to 255. Got {self.pad_color}.")

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) after the resize and before crop or pad."""
        if self.edge == "both":
            return self.width, self.height
        short, long = sorted((width, height))
        reference, other = (short, long) if self.edge == "short" else (long, short)
        down = self.size * other // reference
        nearest = (2 * self.size * other + reference) // (2 * reference)
        scaled = max(1, nearest if self.rounding == "nearest" else down)
        return (self.size, scaled) if width == reference else (scaled, self.size)

    def shrink(self, width: int, height: int) -> int:
        """Return 8, 4, 2 or 1: what a stored picture's edges may be divided by while it is decoded.

        What is left stays at least twice as long as the resize makes it, so that the resize's own kernel still
        decides the pixels: features then differ from a whole decode's no more than Pillow's differ from ours
        (EfficientNet-Lite0, 12 million pixels: mean cosine 0.9998; at once as long, 0.9989).
        """
        if not (self.scaled_decode and self.antialias) or self.kernel == "nearest":
            return 1
        # A squash turns with the picture, which is not known yet: the longer edge then stands for both.
        across, down = [max(self.width, self.height)] * 2 if self.edge == "both" else self.resized(width, height)
        # Less one: the edge that follows the aspect ratio was rounded.
        enough = (f for f in (8, 4, 2) if width >= f * (2 * across - 1) and height >= f * (2 * down - 1))
        return next(enough, 1)

    def offset(self, larger: int, smaller: int) -> int:
        """Return where the smaller of two lengths begins when it is centred in the larger."""
        rest = larger - smaller
        return round(rest / 2) if self.rounding == "torchvision" else rest // 2

    def canonical(self) -> dict[str, Any]:
        """Return the fields that change numbers; a field added later at its default changes no fingerprint."""
        required = ("height", "width", "edge", "size", "kernel")
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name in required or getattr(self, f.name) != f.default
        }


@dataclass(frozen=True)
class TextRecipe:
    """How a text becomes the token ids that the graph takes.

    The file has the tokenizer, which neither cuts nor pads. A text of more tokens than the net takes is cut behind the
    first of them, so that the special tokens around it stay.

    Attributes:
        tokenizer: SHA-256 of its bytes, in hex.
        max_tokens: tokens that the net takes at most, special ones included.
        kind: what the tokenizer is: "" JSON of the package `tokenizers`, "words" a vocabulary whose known words are the
            tokens, see `fxengine.backbones.words.vocabulary`.
        prompt: what is put before each text, and is no part of it.
    """

    tokenizer: str
    max_tokens: int
    modality: Literal["text"] = "text"  # which its JSON always says; that of pictures says nothing
    kind: Literal["", "words"] = ""
    prompt: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.tokenizer):
            raise InputError("A recipe for texts names its tokenizer by a SHA-256.")
        if not 4 <= self.max_tokens <= _MOST_TOKENS:
            raise InputError(f"A recipe for texts needs 4 to {_MOST_TOKENS} tokens. Got {self.max_tokens}.")
        check_texts((), (self.prompt,))

    def canonical(self) -> dict[str, Any]:
        """Return the fields that change numbers; one that came later, and is at its default, changes no fingerprint."""
        return {name: value for name, value in asdict(self).items() if name not in ("kind", "prompt") or value}


Recipe = PictureRecipe | TextRecipe


@dataclass(frozen=True)
class Facts:
    """What a backbone file says of itself, stored as JSON in the model's metadata.

    Attributes:
        name: the name it is asked for by, such as "efficientnet_lite0".
        source: where the weights came from, in words.
        licence: licence of the weights.
        recipe: how pictures, or texts, are prepared.
        dim: numbers a feature vector has.
        cut: the tensor of the source net that became `features`.
        pooling: how a map became a vector: "avg", "max", "cls" or "none".
        parameters: weights in the file.
        multiply_adds: multiply-add operations for one picture; None where not known.
        classes: names of the net's own classes in the order of `logits`; empty where its head was not kept.
        class_ids: ids of those classes in their data set (for ImageNet the WordNet ids).
        layers: (name, dim) of every further layer, each an output `features@NAME`.
        notes: anything else worth keeping, such as what a tuned net was tuned on.
        metric: by what its makers compare its vectors, "cosine" where they end in a scaling to length 1, which is left
            to who reads them; "" where nothing is said.
        span_labels: names of what a token is said to be, in the order of `spans`; empty where the net says nothing of
            tokens.
    """

    name: str
    source: str
    licence: str
    recipe: Recipe
    dim: int
    cut: str
    pooling: str
    parameters: int
    multiply_adds: int | None
    classes: tuple[str, ...] = ()
    class_ids: tuple[str, ...] = ()
    layers: tuple[tuple[str, int], ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    metric: Literal["", "cosine"] = ""
    span_labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for dim in (self.dim, *(dim for _, dim in self.layers)):
            if not 1 <= dim < 2**31:
                raise InputError(f"{dim} is no count of a vector's numbers")
        layers = (name for name, _ in self.layers)
        check_texts(
            (*self.classes, *self.class_ids, *self.span_labels),
            (self.name, self.source, self.licence, self.cut, self.pooling, *layers),
        )
        if self.span_labels and (not isinstance(self.recipe, TextRecipe) or self.recipe.kind):
            raise InputError("only a net that takes the tokens of a text says what they are")

    @property
    def picture_recipe(self) -> PictureRecipe:
        """The recipe of the pictures that it takes; raises InputError where it takes texts."""
        if not isinstance(self.recipe, PictureRecipe):
            raise InputError(f"{self.name} is a backbone of texts, which this does not take.")
        return self.recipe

    def to_json(self) -> str:
        """Return the JSON text that goes into the model's metadata."""
        values = asdict(self)
        for name in ("metric", "span_labels"):  # which earlier versions do not know
            if not values[name]:
                del values[name]
        if isinstance(self.recipe, TextRecipe):
            values["recipe"] = self.recipe.canonical()
        return json.dumps({"format": 1, **values}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, name: str = "The backbone") -> Facts:
        """Rebuild the facts of `name`; raises InputError where this version cannot read them, or they are damaged."""
        try:
            return facts_from(cls, read_json(text), 1)
        except FactsError as error:
            raise InputError(f"{name} {error}. Update fxengine, or export it again: `fxengine export`.") from error


@dataclass(frozen=True)
class BackboneFile:
    """One backbone on disk: the file, what it says of itself and the feature space that it makes."""

    path: Path
    fingerprint: str
    facts: Facts

    @property
    def recipe(self) -> Recipe:
        """The recipe of what it takes."""
        return self.facts.recipe

    @property
    def picture_recipe(self) -> PictureRecipe:
        """The recipe of the pictures that it takes; raises InputError where it takes texts."""
        return self.facts.picture_recipe

    @property
    def dims(self) -> dict[str | None, int]:
        """Layer -> numbers of its vectors; the default one is None."""
        return {None: self.facts.dim, **dict(self.facts.layers)}
