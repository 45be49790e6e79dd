"""A head on disk: one ONNX file from features to answers, which says what it was made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from fxengine import store_files
from fxengine.backbones.contract import another_kind
from fxengine.backbones.graph.gate import Passed, check_graph
from fxengine.backbones.graph.model import metadata_of
from fxengine.backbones.graph.wire import read_small_model
from fxengine.backbones.pair import Activation, why_apart
from fxengine.backbones.spec import FEATURE_OUTPUT, HEAD_METADATA_KEY, BackboneFile, check_texts
from fxengine.errors import InputError, StoreError, explained, reason
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.heads.estimator import Kind, output_name
from fxengine.heads.graph import INPUT
from fxengine.storage import is_remote, shown

METADATA_KEY = HEAD_METADATA_KEY
FORMAT = 1
_AT_ONCE = 1 << 26  # numbers in the largest tensor of a run, 256 MB: the nearest rows of many take all of them


@dataclass(frozen=True)
class ZeroShot:
    """What a head was made of that no row trained.

    Attributes:
        texts: fingerprint of the backbone that embedded the texts; that of the pictures is the head's `space`.
        words: what each class was called in them, in the order of the classes.
        templates: the texts, with {} for these words.
        activation: what made scaled cosines probabilities.
        scale: what a cosine is multiplied by.
        bias: what is added to that.
        scale_from: who says both: "pair", "given" or "assumed".
    """

    texts: str
    words: tuple[str, ...]
    templates: tuple[str, ...]
    activation: Activation
    scale: float
    bias: float
    scale_from: Literal["pair", "given", "assumed"]

    def __post_init__(self) -> None:
        check_texts((*self.words, *self.templates), (self.texts,))
        if max(abs(self.scale), abs(self.bias)) > 1e300:
            raise ValueError("'scale' or 'bias' is out of range")


@dataclass(frozen=True)
class HeadFacts:
    """What a head file says of itself.

    Attributes:
        space: fingerprint of the backbone whose features it takes.
        source: name of that backbone, to find it again.
        kind: which head it is, such as "logistic".
        classes: names of what it answers, in the order of its outputs.
        accuracy: the score on rows that it was not trained on: mean, low and high; empty where no row trained it.
        rows: rows that it was trained on.
        versions: of the libraries that trained it.
        layer: the layer whose vectors it takes, or None for the default one.
        predicts: what kind of target.
        metric: what `accuracy` measures.
        store: folder of the store that it was trained on.
        zero_shot: what it was made of where no row trained it.
    """

    space: str
    source: str
    kind: str
    classes: tuple[str, ...]
    accuracy: dict[str, float]
    rows: int
    versions: dict[str, str] = field(default_factory=dict)
    layer: str | None = None
    predicts: Kind = "classes"
    metric: str = "accuracy"
    store: str | None = None
    zero_shot: ZeroShot | None = None

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError("'classes' names none, or one twice")
        check_texts(self.classes, (self.space, self.source, self.kind, self.metric, self.layer or "", self.store or ""))
        if not 0 <= self.rows < 1 << 62:
            raise ValueError("'rows' is out of range")
        if ("mean" in self.accuracy) == (self.zero_shot is not None) or not set(self.accuracy) <= {
            "mean",
            "low",
            "high",
        }:
            raise ValueError("'accuracy' is not said as mean, low and high")
        if any(abs(score) > 1e300 for score in self.accuracy.values()):
            raise ValueError("'accuracy' is out of range")
        if self.zero_shot is not None and len(self.zero_shot.words) != len(self.classes):
            raise ValueError("'zero_shot.words' are not as many as the classes")

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON data, without what only heads of another kind say."""
        said = asdict(self)
        if self.zero_shot is None:  # which earlier versions do not know
            del said["zero_shot"]
        return said


def save_head(path: Path, model: onnx.ModelProto, facts: HeadFacts) -> None:
    """Write a head's model with its facts; replaces the file whole.

    Raises:
        InputError: it cannot be written, or is over the 2 GB that one ONNX file can hold.
    """
    helper.set_model_props(model, {METADATA_KEY: json.dumps({"format": FORMAT, **facts.to_dict()})})
    if model.ByteSize() >= 1 << 31:
        raise InputError(
            f"The head would be over 2 GB, more than one ONNX file holds: take another one than {facts.kind}."
        )
    try:
        if not is_remote(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with store_files.making(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
    except OSError as error:
        raise InputError(f"Cannot write the head {shown(path)}: {error.strerror}.") from error


@dataclass(frozen=True)
class HeadFile:
    """A head's file that was looked through, and is safe to run.

    Attributes:
        content: the graph, as bytes.
        facts: what it says of itself.
        passed: what its graph says.
    """

    content: bytes
    facts: HeadFacts
    passed: Passed


def read_head(path: Path) -> HeadFile:
    """Return what is in a head's file.

    Raises:
        InputError: there is no such file, it is no head that fxengine wrote, or what it says of itself is damaged
            or newer than this version knows.
    """
    path, called = Path(path), shown(path)
    missing = f"There is no head file {called}. `fxengine probe STORE -o head.onnx` makes one."
    if not (is_remote(path) or path.is_file()):
        raise InputError(missing)
    try:
        with store_files.here(path) as copied:
            found = read_small_model(copied)
        said = metadata_of(found.model)
        text = said.get(METADATA_KEY)
        if text is None:
            raise InputError(another_kind(said, path, "head that `fxengine probe` wrote"))
        facts = facts_from(HeadFacts, read_json(text), FORMAT)
        passed = check_graph(found.model, found.weights, INPUT)
        if (passed.output, passed.outputs) != (output_name(facts.predicts), len(facts.classes)):
            raise FactsError(
                f"is damaged: it gives {passed.outputs} {passed.output}, not a number for each name it has"
            )
    except FactsError as error:
        raise InputError(f"{called} {error}. Update fxengine, or train the head again: `fxengine probe`.") from error
    except FileNotFoundError as error:
        raise InputError(missing) from error
    except OSError as error:
        raise InputError(f"{called} cannot be read: {store_files.reason_of(path, error) or reason(error)}") from error
    return HeadFile(found.content, facts, passed)


@dataclass(frozen=True)
class Head:
    """A head that is ready to run."""

    facts: HeadFacts
    dim: int
    _session: Any
    _rows: int

    @classmethod
    def load(cls, path: Path) -> Head:
        """Read a head file.

        Raises:
            InputError: as `read_head` does.
        """
        found = read_head(path)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        with explained(f"ONNX Runtime cannot load {shown(path)}", kind=InputError):
            session = ort.InferenceSession(found.content, options, providers=["CPUExecutionProvider"])
        return cls(found.facts, found.passed.dim, session, max(1, _AT_ONCE // found.passed.widest))

    def answers(self, vectors: np.ndarray) -> np.ndarray:
        """Return probabilities (or numbers), float32 [n, classes], for raw (not normalised) vectors [n, dim].

        Raises:
            StoreError: the vectors are of another length, the answers are not finite, or memory does not suffice.
        """
        if vectors.shape[1] != self.dim:
            raise StoreError(f"The head takes vectors of {self.dim} numbers. Got some of {vectors.shape[1]}.")
        with explained("ONNX Runtime cannot run the head"):
            blocks = [self._run(vectors[i : i + self._rows]) for i in range(0, max(1, len(vectors)), self._rows)]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def _run(self, vectors: np.ndarray) -> np.ndarray:
        result: np.ndarray = self._session.run(None, {INPUT: np.asarray(vectors, np.float32)})[0]
        if not np.isfinite(result).all():
            raise StoreError("The head's answers are not finite numbers: train it again, `fxengine probe`.")
        return result

    def check_space(self, space: str, name: str) -> None:
        """Raise StoreError where features of `space` are not what this head was trained on."""
        if space != self.facts.space:
            raise StoreError(
                f"The head was trained on features of {self.facts.source!r} ({self.facts.space[:12]}); {name} holds "
                f"those of another space ({space[:12]}). Train a head on it: fxengine probe."
                f"{why_apart(self.facts.space, space)}"
            )

    def check_backbone(self, found: BackboneFile, name: str) -> None:
        """Raise StoreError where a backbone does not give the features that this head was trained on."""
        self.check_space(found.fingerprint, name)
        if found.dims.get(self.facts.layer) != self.dim:
            raise StoreError(
                f"The head takes {self.dim} numbers of the layer {self.facts.layer or FEATURE_OUTPUT!r}, which {name} "
                "does not give. Train a head on it: `fxengine probe`."
            )
