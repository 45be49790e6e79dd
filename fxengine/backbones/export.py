"""Makes a backbone file out of any source, with a report of what it is and how true it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from fxengine.backbones import load_backbone
from fxengine.backbones.cache import copy_backbone, write_backbone
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.options import (
    Channels,
    ExportOptions,
    Pooling,
    Tower,
    WordWeights,
    input_size,
    refuse_unread,
    three_numbers,
)
from fxengine.backbones.pair import PAIR_KEY, Pair, keep_pair
from fxengine.backbones.report import ExportReport, measure
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError, path_of
from fxengine.facts import FactsError
from fxengine.files import replacing

# What an export of a pair can be asked for: all about pixels is for its tower of pictures, a prompt for that of texts.
_OF_PAIRS = ("size", "preprocess", "channels", "scale", "mean", "std", "resize", "prompt")


@dataclass(frozen=True)
class Exported:
    """A backbone file that was made; of a pair that of pictures, with that of texts in `text`.

    Attributes:
        file: the file with its facts.
        report: what it holds, and how far it is from the framework that it came from.
        report_path: the same as JSON, beside the file.
        removed: the nodes that the default cut took away.
        whole: the source that keeps them, where its tensor is known.
        whole_layers: what `layers` of it keeps them, or None where it does so by itself.
        whole_dim: how many numbers a picture that gives; None where not known.
        pair: what both towers share, where a pair was made.
        text: the pair's tower of texts.
    """

    file: BackboneFile
    report: ExportReport
    report_path: Path
    removed: tuple[str, ...] = ()
    whole: str | None = None
    whole_dim: int | None = None
    whole_layers: str | None = None
    pair: Pair | None = None
    text: Exported | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data; only of a pair it has `pair`, and `text`, a report of its own."""
        facts = self.file.facts
        paired = {} if self.pair is None else {"pair": asdict(self.pair)}
        if self.text is not None:
            paired["text"] = self.text.to_dict()
        return {
            "path": str(self.file.path),
            "space": self.file.fingerprint,
            "name": facts.name,
            "source": facts.source,
            "licence": facts.licence,
            "cut": facts.cut,
            "pooling": facts.pooling,
            "layers": dict(facts.layers),
            "removed": list(self.removed),
            "whole": self.whole,
            "whole_dim": self.whole_dim,
            "whole_layers": self.whole_layers,
            **self.report.to_dict(),
            **paired,
        }


def export(
    source: str | Path,
    output: str | Path,
    *,
    layers: str | Sequence[str] = (),
    pooling: Pooling | None = None,
    logits: bool = False,
    size: int | Sequence[int] | None = None,
    weights: str = "imagenet",
    trust: bool = False,
    preprocess: str | Path | None = None,
    channels: Channels | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: str | None = None,
    tokens: str = "words",
    word_weights: WordWeights | None = None,
    words: int | None = None,
    tower: Tower | None = None,
    prompt: str | None = None,
    labels: str | Path | None = None,
) -> Exported:
    """Export `source` (or take it from the cache) to `output`; the report is written beside it.

    Of a repository with two towers, a name without .onnx makes both, NAME.image.onnx and NAME.text.onnx, which know of
    each other; `tower` makes one by itself.

    Args:
        source: a name, KIND:WHAT (see docs/backbones.md), or a file that fxengine exported.
        output: the .onnx file to make; of a pair what its two files begin with.
        layers: tensors or layers to keep; see `ExportOptions`, as for all of the others.
        pooling: how a map, or the vectors of a text's tokens, become one vector.
        logits: keep the net's own classifier.
        size: input height and width in pixels, or one number for both.
        weights: of a net that is named (Keras, timm, torchvision): "imagenet", its own, "random", or a weights file.
        trust: run a SavedModel, which is a program, or of torch-hf: a repository's own code and pickles.
        preprocess: a JSON file that states the preprocessing.
        channels: order of the colours that the net takes.
        scale: factor of pixel values from 0 to 255.
        mean: three numbers, subtracted after `scale`, in the order of `channels`.
        std: three numbers, divided by after `mean`.
        resize: the rule of resizing, as "short:256:bicubic".
        tokens: of word vectors, how the words of a text are found: "words" or "keras".
        word_weights: of word vectors, "sif" makes frequent words count less.
        words: of word vectors, only the first so many.
        tower: of a repository with a net for pictures and one for texts, "image" or "text".
        prompt: of a repository's net of texts, what is put before each text: a name that it has, or NAME=TEXT.
        labels: of a net of a framework, the file that names the classes of `logits`, a line each.

    Raises:
        InputError: there is no such source, it cannot be exported, or the file cannot be written.
    """
    output = path_of("output", output)
    both = output.suffix != ".onnx" and bool(output.name) and tower is None and names_pair(str(source))
    if output.suffix != ".onnx" and not both:
        raise InputError(f"`output` {output} must end in .onnx.")
    options = ExportOptions(
        layers=(layers,) if isinstance(layers, str) else tuple(layers),
        pooling=pooling,
        logits=logits,
        size=input_size(size),
        weights=weights,
        trust=trust,
        preprocess=None if preprocess is None else Path(preprocess),
        channels=channels,
        scale=scale,
        mean=three_numbers(mean, "mean"),
        std=three_numbers(std, "std"),
        resize=resize,
        tokens=tokens,
        word_weights=word_weights,
        words=words,
        tower=tower,
        prompt=prompt,
        labels=None if labels is None else Path(labels),
    )
    try:
        return _write_pair(str(source), output, options) if both else _write(str(source), output, options)
    except OSError as error:
        raise InputError(f"Cannot write {output}: {error.strerror or error}.") from error


def _write(source: str, output: Path, options: ExportOptions) -> Exported:
    """Write one backbone and its report."""
    found = load_backbone(source, options)
    removed = _removed(source, found.facts.notes)
    made = Exported(copy_backbone(found, output), _report(found), _report_path(output), *removed)
    _write_report(made)
    return made


def names_pair(source: str) -> bool:
    """Tell whether a source is a repository with two towers, and names neither."""
    from fxengine.backbones.sources.hf_pair import is_pair

    return is_pair(source)


def load_pair(source: str, options: ExportOptions) -> tuple[BackboneFile, BackboneFile, Pair]:
    """Return the towers of pictures and of texts of such a source, and their pair, which is noted in the cache.

    Raises:
        InputError: an option is for neither, or they cannot be exported, or are no pair.
    """
    from fxengine.backbones.sources.hf_pair import pair_in

    refuse_unread(options, f"{source} has two towers, and both are exported", read=_OF_PAIRS)
    picture = load_backbone(source, replace(options, tower="image", prompt=None))
    text = load_backbone(source, ExportOptions(tower="text", prompt=options.prompt))
    pair = pair_in(source, picture, text)
    keep_pair(pair)
    return picture, text, pair


def _write_pair(source: str, output: Path, options: ExportOptions) -> Exported:
    """Write both towers of a repository, each with the pair in its metadata, and note the pair in the cache."""
    picture, text, pair = load_pair(source, options)
    made = []
    for found, tower in ((picture, "image"), (text, "text")):
        model = onnx.load(found.path)
        onnx.helper.set_model_props(model, {**metadata_of(model), PAIR_KEY: pair.to_json()})
        path = output.with_name(f"{output.name}.{tower}.onnx")
        write_backbone(model, path)
        made.append(Exported(replace(found, path=path), _report(found), _report_path(path), pair=pair))
        _write_report(made[-1])
    return replace(made[0], text=made[1])


def _report_path(file: Path) -> Path:
    return file.with_suffix(".report.json")


def _write_report(made: Exported) -> None:
    with replacing(made.report_path) as temporary:
        temporary.write_text(json.dumps(made.to_dict(), indent=2) + "\n")


def _report(found: BackboneFile) -> ExportReport:
    """Return the report that the file holds of its own export; measured where it holds none that can be read."""
    try:
        return ExportReport.from_dict(found.facts.notes.get("export"))
    except FactsError:
        return measure(onnx.load(found.path))


def _removed(source: str, notes: dict[str, Any]) -> tuple[tuple[str, ...], str | None, int | None, str | None]:
    """Return what the cut removed, the source that keeps it, how many numbers that gives, and by which `layers`."""
    removed, whole = tuple(notes.get("removed", ())), notes.get("whole")
    if removed and source.startswith("keras:"):
        return removed, source, None, removed[-1].split(" ", 1)[1]
    if whole is None or not source.startswith("onnx:"):  # a finished backbone has no tensor of the file's own names
        return removed, None, None, None
    return removed, f"{source}@{whole['tensor']}", whole["dim"], None
