"""Ends a run: compares the tuned net with the probe on the rows to select on, and writes the better one."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from fxengine.backbones import cache, source_name
from fxengine.backbones.fingerprint import fingerprint
from fxengine.backbones.graph.pads import with_safe_pads
from fxengine.backbones.spec import METADATA_KEY, BackboneFile
from fxengine.errors import InputError, explained
from fxengine.files import replacing
from fxengine.heads.evaluate.interval import Interval
from fxengine.heads.evaluate.scores import DECIDES, interval_of
from fxengine.heads.file import HeadFacts, save_head
from fxengine.probing.report import Answered, ProbeReport, describe
from fxengine.train import layout
from fxengine.train.data import TrainingData, probe_name
from fxengine.train.gain import Gain, gain_of
from fxengine.train.report import FinetuneReport, Side
from fxengine.train.runs import Kept
from fxengine.train.splits import TEST, TRAIN, VALIDATION
from fxengine.train.tuned import Tuned
from fxengine.trust import note_named

_SIDES = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def finish(
    output: Path, original: BackboneFile, data: TrainingData, found: Tuned, there: Kept | None = None
) -> FinetuneReport:
    """Write the better of the tuned net and the probe, and say which and why.

    Args:
        output: the .onnx file to make; its head goes beside it.
        original: what was trained.
        data: the rows.
        found: what came of it.
        there: what an earlier run left in `output`, which a worse one does not replace; None where it may.

    Raises:
        InputError: what is there is better, or the files cannot be written.
    """
    tuned = np.array(data.answers)
    tuned[found.rows] = _as_answers(found.logits, data.problem.kind)
    sides = {"probe": _sides(data, data.answers), "tuned": _sides(data, tuned)}
    gain = _gain(data, tuned)
    better = _is_better(gain, found)
    kept = "tuned" if better else "probe"
    _refuse_worse(output, sides[kept], data, there)
    counts = {name: int((data.split == side).sum()) for name, side in _SIDES.items()}
    file = _tuned_file(original, data, found, sides["tuned"]) if better else original
    score = sides[kept].test
    head_path = output.with_suffix(layout.HEAD)
    facts = HeadFacts(
        space=file.fingerprint,
        source=source_name(output),
        kind="dense" if better else probe_name(data.problem.kind),
        classes=data.problem.names,
        accuracy=asdict(score),
        rows=counts["train"],
        versions={name: version(name) for name in ("scikit-learn", "onnx")},
        predicts=data.problem.kind,
        metric=DECIDES[data.problem.kind],
    )
    _write(output, file, head_path, found.head if better else data.head, facts)
    return FinetuneReport(
        output=str(output),
        head=str(head_path),
        run=str(output.with_suffix(layout.RUN)),
        backbone=original.facts.name,
        space=file.fingerprint,
        kept=kept,
        why=_why(gain, found, data),
        gain=gain,
        kind=data.problem.kind,
        metric=DECIDES[data.problem.kind],
        classes=data.problem.names,
        rows=counts,
        probe=sides["probe"],
        tuned=sides["tuned"],
        rate=found.state["rate"],
        batch=found.state["batch"],
        best_epoch=found.state["best_epoch"],
        history=tuple(found.state["history"]),
        trained_layers=len(found.trained),
        differences=found.differences,
        details=_details(data, tuned if better else data.answers, facts, score, output),
        notes=(*data.labelled.notes, *found.notes, *_notes(output, found, data, there)),
        modality=data.modality,
    )


def _write(output: Path, file: BackboneFile, head_path: Path, head: onnx.ModelProto, facts: HeadFacts) -> None:
    again = "Run the same command again: what was trained is kept."
    with explained(f"Cannot write {output}", again, InputError), replacing(output) as temporary:
        shutil.copyfile(file.path, temporary)
        save_head(head_path, head, facts)  # before it is in its place: neither of the two without the other
    note_named("backbone", facts.source)


def _gain(data: TrainingData, tuned: np.ndarray) -> Gain:
    """Compare the two on the rows to select on; those to report on say nothing here."""
    rows = np.flatnonzero(data.split == VALIDATION)
    return gain_of(data.problem.take(rows), tuned[rows], data.answers[rows])


def _is_better(gain: Gain, found: Tuned) -> bool:
    """Tell whether the tuned net is kept: another net than before, and better by more than chance."""
    return found.changed and gain.real


def _why(gain: Gain, found: Tuned, data: TrainingData) -> str:
    """Return what decided, in a sentence."""
    if data.finished:
        return data.finished
    if not found.changed:
        return "Training left the weights as they were: no epoch did better than the beginning, or the rate is too low."
    metric = DECIDES[data.problem.kind].replace("_", " ")
    said = f"On the {data.modality}s to select on the tuned net gains {gain} of {metric}"
    if gain.real:
        return f"{said}: more than chance explains."
    if gain.difference.low > 0:
        return f"{said}: too little to count."
    return f"{said}: " + ("no more than chance explains." if gain.difference.mean > 0 else "it is no better.")


def _refuse_worse(output: Path, kept: Side, data: TrainingData, there: Kept | None) -> None:
    """Raise InputError where `output` holds what did better on these very rows."""
    if there is None or there.data != data.fingerprint() or there.score <= kept.validation.mean:
        return
    metric = DECIDES[data.problem.kind].replace("_", " ")
    raise InputError(
        f"{output} holds what did better on the {data.modality}s to select on ({metric} {there.score:.3f}; now "
        f"{kept.validation.mean:.3f}), and stays. Give `force` to replace it; what was trained now is kept for that."
    )


def _notes(output: Path, found: Tuned, data: TrainingData, there: Kept | None) -> list[str]:
    notes = [*found.state.get("notes", ())]
    if found.state.get("diverged"):
        notes.append(
            f"In epoch {found.state['diverged']} the loss was no finite number, so that training ended there; a lower "
            "rate may do better."
        )
    if there is not None and there.data != data.fingerprint():
        notes.append(
            f"{output} was made of other {data.modality}s or sides before, so that the two could not be compared."
        )
    return notes


def _sides(data: TrainingData, answers: np.ndarray) -> Side:
    """Return the score on the rows to select on and on those to report on, each with its interval."""
    found = []
    for side in (VALIDATION, TEST):
        rows = np.flatnonzero(data.split == side)
        found.append(interval_of(data.problem.take(rows), [answers[rows]]))
    return Side(*found)


def _details(data: TrainingData, answers: np.ndarray, head: HeadFacts, score: Interval, output: Path) -> ProbeReport:
    """Return every score on the rows to report on."""
    rows = np.flatnonzero(data.split == TEST)
    ids = [data.labelled.ids[i] for i in rows]
    tested = Answered(data.problem.take(rows), answers[rows], ids)
    found = describe(tested, head=head.kind, score=score, evaluation="tested once", trained_on=head.rows)
    store = output.with_suffix(layout.RUN) / layout.FEATURES
    return replace(found, root=str(data.root), store=str(store) if data.modality == "text" else "")


def _as_answers(logits: np.ndarray, kind: str) -> np.ndarray:
    """Return probabilities of logits, or the numbers themselves."""
    if kind == "numbers":
        return logits
    if kind == "labels":
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _tuned_file(original: BackboneFile, data: TrainingData, found: Tuned, scores: Side) -> BackboneFile:
    """Return the tuned backbone in the cache, with facts that say from what, on what, and how well."""
    old, count, things = original.facts, len(data.labelled.ids), f"{data.modality}s"
    tuned = {
        "from": old.name,
        "from_space": original.fingerprint,
        "on": str(data.root),
        "data": data.fingerprint(),
        things: count,
        DECIDES[data.problem.kind]: asdict(scores.test),
    }
    facts = replace(
        found.facts,
        name=f"{old.name}-tuned",
        source=f"{old.source}, fine-tuned on {count} {things} of {data.root.name}",
        classes=(),
        class_ids=(),
        layers=(),
        notes={**found.facts.notes, "tuned": tuned},
    )
    model = with_safe_pads(found.model)
    helper.set_model_props(model, {METADATA_KEY: facts.to_json(), **found.metadata})
    digest = fingerprint(model, facts.recipe)
    return cache.keep(model, f"tuned-{digest[:32]}")
