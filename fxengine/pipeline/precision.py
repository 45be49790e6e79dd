"""Chooses how a run computes: the fastest runtime and precision that keep the features.

sample of the inputs -> features in fp32 and in every other way -> those that keep them, timed in turns -> the fastest
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from fxengine.backbones.spec import FEATURE_OUTPUT, BackboneFile
from fxengine.cache import find, keep
from fxengine.collect import Listing
from fxengine.collect.item import Item
from fxengine.decode import Inputs, preparer_of
from fxengine.decode.limits import Limits, usual_limits
from fxengine.errors import DecodeError, DeviceError, FxError, InputError, at_least, one_of
from fxengine.execute import (
    DEVICES,
    PRECISIONS,
    Way,
    open_session,
    runtime_for,
    runtime_versions,
    usable_cores,
    ways,
)
from fxengine.execute.cpus import processor
from fxengine.execute.fidelity import Fidelity, compare
from fxengine.execute.int8 import int8_file, quantise
from fxengine.execute.session import Session
from fxengine.facts import read_json
from fxengine.features.schema import Provenance
from fxengine.files import read_small
from fxengine.pipeline.rate import rows_in, rows_per_second, warm_rows_per_second
from fxengine.pipeline.threads import run_on_streams

SECONDS = 30.0  # a comparison takes at most so long
_COMPARED, _CALIBRATION = 256, 64
_FEWEST = 32  # on fewer pictures neighbours say nothing
_WORTH_SECONDS = 60.0  # a job that takes less in fp32 has nothing to gain
_PASS_SECONDS = 3.0
_ROUNDS, _ROUND_SECONDS = 4, 0.5
_LONGEST = 1 << 20  # bytes of what was found before
_ON_CPU = ("CPU", "OpenVINO CPU")  # providers
_GAIN = 1.05  # what is not faster by so much is not worth leaving the reference for


@dataclass(frozen=True)
class Tried:
    """What became of one way of computing.

    Attributes:
        way: runtime, precision and streams.
        verdict: "chosen", "slower", or why it is out.
        images_per_second: of the model alone, the best of a few rounds taken in turns; None where it was not timed.
        fidelity: how it keeps the features; None where it was not compared.
    """

    way: Way
    verdict: str
    images_per_second: float | None = None
    fidelity: Fidelity | None = None


@dataclass(frozen=True)
class Choice:
    """How to compute, and what it was chosen from.

    Attributes:
        way: runtime, precision and streams.
        int8: SHA-256 of the quantised copy where the precision is int8, else "".
        tried: every way that was looked at; empty where none was.
        images: pictures that the ways were compared on.
        seconds: that choosing took.
    """

    way: Way
    int8: str = ""
    tried: tuple[Tried, ...] = ()
    images: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as JSON data."""
        return asdict(self)


@dataclass
class _Contender:
    way: Way
    session: Session
    int8: str = ""
    fidelity: Fidelity | None = None
    rates: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Wish:
    """How a person wants a run to compute.

    Attributes:
        precision: "auto" or one of `execute.PRECISIONS`.
        device: "auto", "cpu", "cuda" or "tensorrt".
        batch_size: rows in one run of the model; the runtime's own unless given.
    """

    precision: str = "auto"
    device: str = "auto"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        one_of("precision", self.precision, ("auto", *PRECISIONS))
        one_of("device", self.device, DEVICES)
        if self.batch_size is not None:
            at_least("batch_size", self.batch_size, 1)


def open_chosen(
    found: BackboneFile,
    inputs: Listing,
    count: int,
    wish: Wish,
    *,
    stored: Provenance | None = None,
    limits: Limits | None = None,
) -> tuple[Session, Choice]:
    """Load a backbone for a run over `count` inputs.

    A precision that is asked for is taken. "auto" goes on as the store was begun (in fp32 where this machine
    cannot), else as this machine was found to run the backbone best; a job that is too small to pay for a comparison
    runs in fp32.

    Raises:
        InputError: there is no such precision.
        DeviceError: the device or the precision that was asked for is not to be had here.
    """
    precision, device, batch_size = wish.precision, wish.device, wish.batch_size
    if precision == "int8" and found.recipe.modality == "text":
        raise DeviceError("Nets of texts are not computed in int8, which changes their features: see docs/texts.md.")
    if stored is not None and stored.run:
        batch_size = stored.run["tokens"] if batch_size is None else batch_size
        if device == "auto" and stored.provider.startswith(_ON_CPU):
            device = "cpu"
    plain = Choice(Way("onnxruntime", "fp32", usable_cores()))
    if precision == "auto" and stored is not None:
        choice = _as_stored(stored, device, usable_cores())
        try:
            return _open(found, choice, device, batch_size), choice
        except DeviceError:
            return _open(found, plain, device, batch_size), plain
    if precision == "auto":
        choice = recall(found, device) or plain
        session = _open(found, choice, device, batch_size)
        if choice is plain and count > _COMPARED and count / _rate(session, found) > _WORTH_SECONDS:
            session.close()
            choice = calibrate(found, inputs, count, device=device, batch_size=batch_size, limits=limits)
            session = _open(found, choice, device, batch_size)
        return session, choice
    digest = ""
    if precision == "int8":
        digest = stored.int8 if stored is not None else ""
        if not digest or int8_file(digest) is None:
            sample = _sample(found, inputs, count, _CALIBRATION, limits or usual_limits(found.recipe.modality))
            digest = quantise(found.path, sample)
    choice = Choice(Way(_runtime(precision, device, stored), precision, usable_cores()), digest)
    return _open(found, choice, device, batch_size), choice


def open_stored(found: BackboneFile, stored: Provenance, device: str) -> Session:
    """Load a backbone to compute single pictures as a store's vectors were computed; in fp32 where that cannot be."""
    try:
        return _open(found, _as_stored(stored, device, 1), device, None)
    except DeviceError:
        return open_session(found.path, device)


def _as_stored(stored: Provenance, device: str, streams: int) -> Choice:
    precision = stored.precision.split("+")[0]
    return Choice(Way(_runtime(precision, device, stored), precision, streams), stored.int8)


def _runtime(precision: str, device: str, stored: Provenance | None) -> str:
    """Return the runtime that has a precision; for a store of texts its own, which decides the last bits."""
    if stored is not None and stored.modality == "text" and device in ("auto", "cpu"):
        own = stored.engine.partition(" ")[0]
        if own == "openvino" and precision == stored.precision.split("+")[0]:
            return own
    return runtime_for(precision, device)


def calibrate(
    found: BackboneFile,
    inputs: Listing,
    count: int,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    limits: Limits | None = None,
) -> Choice:
    """Compare the ways of computing on pictures spread evenly over the listing, and remember what came of it.

    The fastest wins whose features have a mean cosine of at least 0.999 to those in fp32 and keep 95% of the
    neighbours, where it is 5% faster than fp32 by ONNX Runtime. Pictures for int8's calibration are others than those
    that the ways are compared on. It takes at most 30 seconds.

    Raises:
        InputError: too few pictures can be decoded to compare on.
    """
    begin = time.perf_counter()
    sample = _sample(found, inputs, count, _COMPARED + _CALIBRATION, limits or usual_limits(found.recipe.modality))
    there = rows_in(sample)
    if there < 2 * _FEWEST:
        things = "1 input" if there == 1 else f"{there} inputs"
        raise InputError(f"Only {things} of {inputs.root} can be decoded; comparing needs {2 * _FEWEST}.")
    aside = np.arange(there) % 5 == 4
    compared, calibration = _taken(sample, ~aside), _taken(sample, aside)
    reference = _open(found, Choice(Way("onnxruntime", "fp32", usable_cores())), device, batch_size)
    modality = found.recipe.modality
    candidates = ways(reference.provider != "CPUExecutionProvider", modality)
    rate = _rate(reference, found)
    batch = 1 if modality == "text" else reference.batch_size
    compared = _taken(compared, slice(max(_FEWEST, int(_PASS_SECONDS * rate)) // batch * batch))
    features = run_on_streams(reference, compared, FEATURE_OUTPUT)
    tried: list[Tried] = []
    contenders = [_Contender(candidates[0], reference)]
    for way in candidates[1:]:
        # Without the optimiser, which the quantiser switches off, a net takes about three times as long.
        takes = 3 * rows_in(calibration) / rate if way.precision == "int8" else 0.0
        if time.perf_counter() - begin + takes > SECONDS / 2:
            tried.append(Tried(way, "no time left to look at it"))
            continue
        contender = _enter(found, way, device, batch_size, calibration, tried)
        if contender is not None:
            contender.fidelity = compare(features, run_on_streams(contender.session, compared, FEATURE_OUTPUT))
            if contender.fidelity.keeps_features:
                contenders.append(contender)
            else:
                contender.session.close()
                tried.append(Tried(way, "changes the features", None, contender.fidelity))
    _time_in_turns(contenders, compared, begin + SECONDS)
    choice = _judge(contenders, tried, rows_in(compared), begin)
    for contender in contenders:
        contender.session.close()
    _remember(found, device, choice)
    return choice


def recall(found: BackboneFile, device: str) -> Choice | None:
    """Return what this machine was found to run the backbone best by, or None where it was not looked into."""
    note = find(_memory(found, device))
    if note is None:
        return None
    try:
        values: Any = read_json(read_small(note, _LONGEST))
        way = values["way"]
        choice = Choice(Way(way["runtime"], way["precision"], way["streams"]), values["int8"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return choice if choice.way.precision != "int8" or int8_file(choice.int8) is not None else None


def _remember(found: BackboneFile, device: str, choice: Choice) -> None:
    with suppress(InputError):  # there is no room for it
        keep(_memory(found, device), lambda path: path.write_text(json.dumps(choice.to_dict())))


def _memory(found: BackboneFile, device: str) -> str:
    """Return what the cache keeps it as."""
    key = [found.fingerprint, device, *processor(), *runtime_versions()]
    return f"precision/{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.json"


def _open(found: BackboneFile, choice: Choice, device: str, batch_size: int | None) -> Session:
    way, path = choice.way, found.path
    if way.precision == "int8":
        copy = int8_file(choice.int8)
        if copy is None:
            raise DeviceError(f"The int8 copy {choice.int8[:12]} that the store was computed by is not in the cache.")
        path = copy
    return open_session(path, device, batch_size, way.streams, precision=way.precision, runtime=way.runtime)


def _enter(
    found: BackboneFile, way: Way, device: str, batch_size: int | None, calibration: Inputs, tried: list[Tried]
) -> _Contender | None:
    """Load the backbone in another way, or note in `tried` why that cannot be done."""
    try:
        digest = quantise(found.path, calibration) if way.precision == "int8" else ""
        return _Contender(way, _open(found, Choice(way, digest), device, batch_size), digest)
    except FxError as error:
        tried.append(Tried(way, str(error)))
        return None


def _time_in_turns(contenders: list[_Contender], inputs: Inputs, deadline: float) -> None:
    """Time each way, a short slice each, A B C A B C: the machine's speed drifts."""
    for _ in range(_ROUNDS):
        for contender in contenders:
            if time.perf_counter() + 2 * _ROUND_SECONDS > deadline and contender.rates:
                return
            session = contender.session
            rows = _taken(inputs, slice(session.batch_size * session.streams * 4))  # all of the texts
            contender.rates.append(rows_per_second(session, rows, _ROUND_SECONDS))


def _judge(contenders: list[_Contender], out: list[Tried], images: int, begin: float) -> Choice:
    best = max(contenders, key=lambda c: max(c.rates))
    # One run over all cores waits whenever decoding takes one of them, which is not timed here: where a run a core is
    # about as fast, it is faster in the whole.
    for other in contenders:
        alike = (other.way.runtime, other.way.precision) == (best.way.runtime, best.way.precision)
        if alike and other.way.streams > best.way.streams and max(best.rates) < _GAIN * max(other.rates):
            best = other
    if max(best.rates) < _GAIN * max(contenders[0].rates):
        best = contenders[0]
    timed = [Tried(c.way, "chosen" if c is best else "slower", round(max(c.rates), 1), c.fidelity) for c in contenders]
    seconds = round(time.perf_counter() - begin, 1)
    return Choice(best.way, best.int8, (*timed, *out), images, seconds)


def _rate(session: Session, found: BackboneFile) -> float:
    """Return about how many rows a second the model takes, warm."""
    return warm_rows_per_second(session, preparer_of(found))


def _sample(found: BackboneFile, inputs: Listing, count: int, wanted: int, limits: Limits) -> Inputs:
    """Return up to `wanted` decoded inputs, name -> array [n, ...], spread evenly over the listing."""
    preparer, most = preparer_of(found, limits), min(wanted, count)
    sample, done = preparer.room(most), 0
    for item in islice(_spread(inputs, count, wanted), most):
        try:
            payload, _ = inputs.read(item, limits.max_bytes)
            preparer.open(payload).fill(sample, done)
            done += 1
        except DecodeError:
            continue
    return _taken(sample, slice(done))


def _taken(inputs: Inputs, rows: slice | np.ndarray) -> Inputs:
    return {name: values[rows] for name, values in inputs.items()}


def _spread(inputs: Listing, count: int, wanted: int) -> Iterator[Item]:
    step = max(1.0, count / wanted)
    following = 0.0
    for number, item in enumerate(inputs):
        if number >= following:
            yield item
            following += step
