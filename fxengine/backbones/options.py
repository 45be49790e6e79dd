"""What an export can be asked for, whatever the source."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from fxengine.errors import InputError

Pooling = Literal["avg", "max", "cls", "last", "weighted"]
Tower = Literal["image", "text"]
Channels = Literal["rgb", "bgr"]
WordWeights = Literal["sif"]
_OF_WORDS = ("tokens", "word_weights", "words")  # fields that only word vectors have a use for
_OF_HUB = ("tower", "prompt")  # those that only repositories of models have one for
_OF_FRAMEWORKS = ("labels",)  # those that only nets of Keras, TensorFlow Hub, timm and torchvision have one for
_OF_TOKENS = ("last", "weighted")  # ways of pooling that a map has no use for


@dataclass(frozen=True)
class ExportOptions:
    """How a net becomes a backbone file. Defaults mean: what the source itself says.

    Attributes:
        layers: tensors or layers to keep, the last one as `features`, the others as `features@NAME`; by default the
            one before the classifier.
        pooling: how a map, or the vectors of a text's tokens, become one vector; "last" and "weighted" are of tokens
            alone.
        logits: whether to keep the net's own classifier as `logits`.
        size: input (height, width) in pixels, where the net leaves it open.
        weights: of a net that is named (Keras, timm, torchvision): "imagenet", its own, "random", or a weights file.
        trust: whether a SavedModel, which is a program, may be loaded, or of torch-hf: a repository's code and pickles.
        preprocess: a JSON file that states the preprocessing: fxengine's own, Hugging Face's
            `preprocessor_config.json` or timm's `config.json`.
        channels: order of the colours that the net takes.
        scale: what pixel values (0 to 255) are multiplied by before mean and std.
        mean: three numbers, in the order of `channels`, subtracted after `scale`.
        std: three numbers, in the order of `channels`, divided by after `mean`.
        resize: "short", "long", "squash", each with an optional edge length ("short:256"), and an optional kernel
            ("short:256:bicubic").
        tokens: of word vectors, the rule by which the words of a text are found, one of `words.rule.RULES`.
        word_weights: of word vectors, what each is multiplied with: "sif" makes frequent words count less.
        words: of word vectors, take only the first so many of the file, which has the most frequent ones first.
        tower: of a repository with two nets, one for pictures and one for texts, which is meant.
        prompt: of a repository's net of texts, what is put before each text: the name of one of its prompts, or
            NAME=TEXT.
        labels: of a net of a framework, the file that names the classes of `logits`, a line each.
    """

    layers: tuple[str, ...] = ()
    pooling: Pooling | None = None
    logits: bool = False
    size: tuple[int, int] | None = None
    weights: str = "imagenet"
    trust: bool = False
    preprocess: Path | None = None
    channels: Channels | None = None
    scale: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    resize: str | None = None
    tokens: str = "words"
    word_weights: WordWeights | None = None
    words: int | None = None
    tower: Tower | None = None
    prompt: str | None = None
    labels: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, without later ones at their defaults: the cache has keys from before them."""
        defaults = {entry.name: entry.default for entry in fields(self)}
        later = {*_OF_WORDS, *_OF_HUB, *_OF_FRAMEWORKS}
        return {n: value for n, value in asdict(self).items() if n not in later or value != defaults[n]}


def refuse_unread(options: ExportOptions, why: str, *, read: Collection[str]) -> None:
    """Raise InputError where an option is given that a source does not read; `trust` only allows something."""
    entries = [entry for entry in fields(options) if entry.name not in {"trust", *read}]
    unread = [entry.name for entry in entries if getattr(options, entry.name) != entry.default]
    if unread:
        raise InputError(f"{why}: leave {', '.join(f'`{name}`' for name in unread)} away.")


def refuse_of_words(options: ExportOptions, name: str) -> None:
    """Raise InputError where an option of word vectors is given for the backbone `name`, which is none of them."""
    others = [entry.name for entry in fields(options) if entry.name not in _OF_WORDS]
    refuse_unread(options, f"{name} is no file of word vectors (vectors:FILE)", read=others)


def refuse_of_hub(options: ExportOptions, name: str) -> None:
    """Raise InputError where an option of repositories is given for the backbone `name`, which is in none."""
    others = [entry.name for entry in fields(options) if entry.name not in _OF_HUB]
    refuse_unread(options, f"{name} is in no repository of models (hf:NAME, torch-hf:NAME)", read=others)
    if options.pooling in _OF_TOKENS:
        raise InputError(f"{name}: `pooling` {options.pooling} is for the tokens of a net of texts (hf:NAME).")


def refuse_of_frameworks(options: ExportOptions, name: str) -> None:
    """Raise InputError where an option of frameworks' nets is given for the backbone `name`, which is none."""
    others = [entry.name for entry in fields(options) if entry.name not in _OF_FRAMEWORKS]
    refuse_unread(options, f"{name} is no net of Keras, TensorFlow Hub, timm or torchvision", read=others)


def input_size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return (height, width) of a size that is given as both at once or as one of each; None for None.

    Raises:
        InputError: it is neither.
    """
    numbers = (size,) if isinstance(size, int) else tuple(size or ())
    if len(numbers) > 2 or any(number < 1 for number in numbers):
        raise InputError(f"`size` must be a height and a width in pixels, or one number for both. Got {size}.")
    return (numbers[0], numbers[-1]) if numbers else None


def three_numbers(numbers: Sequence[float] | None, name: str) -> tuple[float, float, float] | None:
    """Return a number for each colour; raise InputError where there are more or fewer."""
    if numbers is None:
        return None
    if len(numbers) != 3:
        raise InputError(f"`{name}` must be three numbers, one for each colour. Got {numbers}.")
    return numbers[0], numbers[1], numbers[2]
