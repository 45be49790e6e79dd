"""Makes a backbone file out of any source, with a report of what it is and how true it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from fxengine.backbones import load_backbone
from fxengine.backbones.cache import copy_backbone
from fxengine.backbones.options import Channels, ExportOptions, Pooling, Tower, WordWeights, input_size, three_numbers
from fxengine.backbones.report import ExportReport, measure
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError, path_of
from fxengine.facts import FactsError
from fxengine.files import replacing


@dataclass(frozen=True)
class Exported:
    """A backbone file that was made.

    Attributes:
        file: the file with its facts.
        report: what it holds, and how far it is from the framework that it came from.
        report_path: the same as JSON, beside the file.
        removed: the nodes that the default cut took away.
        whole: the source that keeps them, where its tensor is known.
        whole_layers: what `layers` of it keeps them, or None where it does so by itself.
        whole_dim: how many numbers a picture that gives; None where not known.
    """

    file: BackboneFile
    report: ExportReport
    report_path: Path
    removed: tuple[str, ...] = ()
    whole: str | None = None
    whole_dim: int | None = None
    whole_layers: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        facts = self.file.facts
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
) -> Exported:
    """Export `source` (or take it from the cache) to `output`; the report is written beside it.

    Args:
        source: a name, KIND:WHAT (see docs/backbones.md), or a file that fxengine exported.
        output: the .onnx file to make.
        layers: tensors or layers to keep; see `ExportOptions`, as for all of the others.
        pooling: how a map, or the vectors of a text's tokens, become one vector.
        logits: keep the net's own classifier.
        size: input height and width in pixels, or one number for both.
        weights: for Keras Applications: "imagenet", "random", or a weights file.
        trust: run a SavedModel, which is a program.
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

    Raises:
        InputError: there is no such source, it cannot be exported, or the file cannot be written.
    """
    output = path_of("output", output)
    if output.suffix != ".onnx":
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
    )
    found = load_backbone(source, options)
    report, report_path = _report(found), output.with_suffix(".report.json")
    try:
        file = copy_backbone(found, output)
        made = Exported(file, report, report_path, *_removed(str(source), found.facts.notes))
        with replacing(report_path) as temporary:
            temporary.write_text(json.dumps(made.to_dict(), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"Cannot write {output}: {error.strerror or error}.") from error
    return made


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
