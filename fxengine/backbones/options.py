"""What an export can be asked for, whatever the source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ExportOptions:
    """How a net becomes a backbone file. Defaults mean: what the source itself says.

    Attributes:
        layers: tensors or layers to keep, the last one as `features`, the others as `features@NAME`; by default the
            one before the classifier.
        pooling: how a map becomes a vector.
        logits: whether to keep the net's own classifier as `logits`.
        size: input (height, width) in pixels, where the net leaves it open.
        weights: for Keras Applications: "imagenet", "random", or a weights file.
        trust: whether a SavedModel, which is a program, may be loaded.
        preprocess: a JSON file that states the preprocessing: fxengine's own, Hugging Face's
            `preprocessor_config.json` or timm's `config.json`.
        channels: order of the colours that the net takes.
        scale: what pixel values (0 to 255) are multiplied by before mean and std.
        mean: three numbers, in the order of `channels`, subtracted after `scale`.
        std: three numbers, in the order of `channels`, divided by after `mean`.
        resize: "short", "long", "squash", each with an optional edge length ("short:256"), and an optional kernel
            ("short:256:bicubic").
    """

    layers: tuple[str, ...] = ()
    pooling: Literal["avg", "max", "cls"] | None = None
    logits: bool = False
    size: tuple[int, int] | None = None
    weights: str = "imagenet"
    trust: bool = False
    preprocess: Path | None = None
    channels: Literal["rgb", "bgr"] | None = None
    scale: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    resize: str | None = None
