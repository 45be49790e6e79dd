"""A head on disk: one ONNX file from features to answers, which says what it was made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from fxengine.errors import InputError, StoreError
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.files import replacing
from fxengine.heads.graph import INPUT

METADATA_KEY = "fxengine_head"
FORMAT = 1


@dataclass(frozen=True)
class HeadFacts:
    """What a head file says of itself.

    Attributes:
        space: fingerprint of the backbone whose features it takes.
        source: name of that backbone, to find it again.
        kind: which head it is, such as "logistic".
        classes: names of what it answers, in the order of its outputs.
        accuracy: the score on rows that it was not trained on: mean, low and high.
        rows: rows that it was trained on.
        versions: of the libraries that trained it.
        layer: the layer whose vectors it takes, or None for the default one.
        predicts: "classes", "labels" or "numbers".
        metric: what `accuracy` measures.
        store: folder of the store that it was trained on.
    """

    space: str
    source: str
    kind: str
    classes: tuple[str, ...]
    accuracy: dict[str, float]
    rows: int
    versions: dict[str, str] = field(default_factory=dict)
    layer: str | None = None
    predicts: str = "classes"
    metric: str = "accuracy"
    store: str | None = None


def save_head(path: Path, model: onnx.ModelProto, facts: HeadFacts) -> None:
    """Write a head's model with its facts; replaces the file whole.

    Raises:
        InputError: it cannot be written, or is over the 2 GB that one ONNX file can hold.
    """
    helper.set_model_props(model, {METADATA_KEY: json.dumps({"format": FORMAT, **asdict(facts)})})
    if model.ByteSize() >= 1 << 31:
        raise InputError(
            f"The head would be over 2 GB, more than one ONNX file holds: take another one than {facts.kind}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
    except OSError as error:
        raise InputError(f"Cannot write the head {path}: {error.strerror}.") from error


@dataclass(frozen=True)
class Head:
    """A head that is ready to run."""

    facts: HeadFacts
    dim: int
    _session: Any

    @classmethod
    def load(cls, path: Path) -> Head:
        """Read a head file.

        Raises:
            InputError: there is no such file, it is no head that fxengine wrote, or what it says of itself is damaged
                or newer than this version knows.
        """
        if not path.is_file():
            raise InputError(f"There is no head file {path}. `fxengine probe STORE -o head.onnx` makes one.")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InputError(f"{path} is not a readable ONNX file.") from error
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise InputError(f"{path} is an ONNX file, but no head that `fxengine probe` wrote.")
        try:
            facts = facts_from(HeadFacts, read_json(text), FORMAT)
        except FactsError as error:
            raise InputError(f"{path} {error}. Update fxengine, or train the head again: `fxengine probe`.") from error
        return cls(facts, session.get_inputs()[0].shape[1], session)

    def answers(self, vectors: np.ndarray) -> np.ndarray:
        """Return probabilities (or numbers), float32 [n, classes], for raw (not normalised) vectors [n, dim]."""
        result: np.ndarray = self._session.run(None, {INPUT: np.asarray(vectors, np.float32)})[0]
        return result

    def check_space(self, space: str, name: str) -> None:
        """Raise StoreError where features of `space` are not what this head was trained on."""
        if space != self.facts.space:
            raise StoreError(
                f"The head was trained on features of {self.facts.source!r} ({self.facts.space[:12]}); {name} holds "
                f"those of another space ({space[:12]}). Train a head on it: fxengine probe."
            )
