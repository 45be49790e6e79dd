"""Makes a head out of the names of classes, by the text tower of a pair: no picture has to be labelled."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones import load_backbone, named_tower, source_name
from fxengine.backbones.cache import find_by_fingerprint, read_backbone
from fxengine.backbones.export import load_pair, names_pair
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.pair import Pair, pair_of
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import DecodeError, InputError, above_zero, given, path_of
from fxengine.features.blocks import Say
from fxengine.features.parts import is_store
from fxengine.heads.file import HeadFacts, ZeroShot, save_head
from fxengine.heads.zero_shot import KIND, class_vector, zero_shot_model
from fxengine.pipeline.embed import Backbone, run_files
from fxengine.pipeline.given_texts import GivenTexts
from fxengine.pipeline.units import Task
from fxengine.probing.prompts import Prompts, read_prompts
from fxengine.storage import shown

ASSUMED = 100.0  # the scale that CLIP's training ends at, and that open_clip's own zero-shot evaluation takes
_SAY_EVERY = 5.0


@dataclass(frozen=True)
class ZeroShotReport:
    """A zero-shot head that was made.

    Attributes:
        output: its file.
        head: what that says of itself.
        texts: how many texts were embedded, one for each class and template.
        truncated: how many of them the net took only the first tokens of.
        notes: what is to be known of it, a sentence each.
        seconds: that all this took.
    """

    output: str
    head: HeadFacts
    texts: int
    truncated: int
    notes: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def zeroshot(
    pair: str | Path,
    output: str | Path,
    *,
    classes: str | Path | Sequence[str],
    templates: str | Path | Sequence[str] | None = None,
    scale: float | None = None,
    bias: float | None = None,
    device: str = "auto",
    progress: Say | None = None,
) -> ZeroShotReport:
    """Write a head of pictures that was made of the names of classes alone, by open_clip's recipe.

    Args:
        pair: the file of either tower of a pair, or its repository as hf:ORG/NAME.
        output: the .onnx file to write the head to.
        classes: a file with a class in each line, or a list of lines: its name, as labels have it; behind a tab the
            words to ask with, else the name with spaces for underscores.
        templates: a file with a text in each line, {} where these words go, or a list of lines; "photo" is a list of
            seven of open_clip's; "a photo of a {}." unless given.
        scale: what a cosine is multiplied by; that of the pair, else of one with a softmax 100, unless given.
        bias: of a pair with a sigmoid, what is added to that; that of the pair unless given.
        device: "auto", "cpu", "cuda" or "tensorrt".
        progress: called with a sentence every few seconds.

    Raises:
        InputError: `pair` names no pair, or its tower of texts is not to be had; a line of `classes` or `templates`
            cannot be used; a pair with a sigmoid states neither scale nor bias; or `output` cannot be written.
        DecodeError: a text cannot be used.
        DeviceError: the device was asked for by name and does not start.
    """
    begin = time.perf_counter()
    output = path_of("output", output)
    if output.suffix != ".onnx":
        raise InputError(f"`output` {output} must end in .onnx.")
    asked = read_prompts(classes, templates)
    text, shared, source = _towers(pair)
    made = _answered(asked, text, shared, scale, bias)
    vectors, truncated = _class_vectors(Backbone.of(text, device=device), asked, progress)
    facts = HeadFacts(
        space=shared.picture,
        source=source,
        kind=KIND,
        classes=asked.classes,
        accuracy={},
        rows=0,
        versions={"fxengine": version("fxengine")},
        zero_shot=made,
    )
    save_head(output, zero_shot_model(vectors, made.scale, made.bias, made.activation), facts)
    return ZeroShotReport(
        output=shown(output),
        head=facts,
        texts=len(asked.texts),
        truncated=truncated,
        notes=tuple(_notes(made, truncated, len(asked.texts))),
        seconds=round(time.perf_counter() - begin, 3),
    )


def _towers(source: str | Path) -> tuple[BackboneFile, Pair, str]:
    """Return the tower of texts, the pair, and the name by which that of pictures is found again."""
    if names_pair(str(source)):
        picture, of_texts, made = load_pair(str(source), ExportOptions())
        return of_texts, made, str(named_tower(source, "image", picture))
    if is_store(Path(source)):
        raise InputError(f"{source} is a feature store: give the pair, as hf:ORG/NAME or the file of either tower.")
    found = load_backbone(source)
    pair = pair_of(found)
    if pair is None:
        raise InputError(
            f"{source} is in no pair, as far as its file and the cache say: names of classes are only compared with "
            "pictures by a pair's two towers, which `fxengine export hf:ORG/NAME -o NAME` makes."
        )
    if found.fingerprint == pair.text:
        return found, pair, source_name(_beside(found.path, pair) or source)
    text = find_by_fingerprint(pair.text)
    if text is None:
        raise InputError(
            f"{source} is the tower of pictures, and its tower of texts (space {pair.text[:12]}) is not in the cache: "
            "give that one's file, or make both, `fxengine export hf:ORG/NAME -o NAME`."
        )
    return text, pair, source_name(source)


def _beside(texts: Path, pair: Pair) -> Path | None:
    """Return the tower of pictures that lies beside that of texts, as an export of both leaves them; else None."""
    path = texts.with_name(texts.name.replace(".text.", ".image."))
    with suppress(InputError):
        return path if read_backbone(path).fingerprint == pair.picture else None
    return None


def _answered(asked: Prompts, text: BackboneFile, pair: Pair, scale: float | None, bias: float | None) -> ZeroShot:
    """Return how a cosine becomes a probability, and what else the head was made of."""
    if scale is not None:
        above_zero("scale", scale)
    if bias is not None and (not isinstance(bias, Real) or not math.isfinite(bias)):
        raise InputError(f"`bias` must be a number. Got {given(bias)}.")
    if bias is not None and pair.activation == "softmax":
        raise InputError("`bias` changes nothing of a pair with a softmax, as this one is: leave it away.")
    of_pair = ZeroShot(
        texts=text.fingerprint,
        words=asked.words,
        templates=asked.templates,
        activation=pair.activation,
        scale=ASSUMED if pair.scale is None else pair.scale,
        bias=pair.bias,
        scale_from="assumed" if pair.scale is None else "pair",
    )
    if pair.scale is None and pair.activation == "sigmoid" and (scale is None or bias is None):
        raise InputError(
            "Nothing states the pair's scale and bias, without which a sigmoid says nothing: give `scale` and `bias`, "
            "exp(logit_scale) and logit_bias of its makers' weights."
        )
    if scale is None and bias is None:
        return of_pair
    return replace(
        of_pair,
        scale=of_pair.scale if scale is None else float(scale),
        bias=of_pair.bias if bias is None else float(bias),
        scale_from="given",
    )


def _class_vectors(net: Backbone, asked: Prompts, progress: Say | None) -> tuple[np.ndarray, int]:
    """Return the vector of every class at length 1, float64 [classes, dim], and how many texts were cut."""
    texts = GivenTexts(asked.texts)
    made: list[np.ndarray] = []
    of_class: list[np.ndarray] = []
    truncated, said = 0, time.monotonic()
    for number, (job, vector) in enumerate(run_files(net, map(Task, texts), read=texts.read), 1):
        if job.error is not None:
            raise DecodeError(job.error.code, f"The text {job.item.key!r}: {job.error}")
        if vector is None or not np.isfinite(vector).all():
            raise InputError(f"{net.file.facts.name} gives a number that is not finite for {job.item.key!r}.")
        truncated += bool(job.filled.further["truncated"])
        of_class.append(np.array(vector))
        if len(of_class) == len(asked.templates):
            made.append(class_vector(np.stack(of_class)))
            of_class = []
        if progress is not None and time.monotonic() - said >= _SAY_EVERY:
            said = time.monotonic()
            progress(f"{number:,} of {len(asked.texts):,} texts embedded")
    return np.stack(made), truncated


def _notes(made: ZeroShot, truncated: int, texts: int) -> list[str]:
    notes = []
    if made.scale_from == "assumed":
        notes.append(
            f"Nothing states the pair's scale: {made.scale:g} is assumed. The order of the classes does not depend on "
            "it, their probabilities do; `scale` sets it."
        )
    if truncated:
        notes.append(f"{truncated} of {texts} texts were cut: the net took only their first tokens.")
    return notes
