"""Computes units of a plan in this process, one after another, without a pause between two."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from fxengine.backbones import load_for_space
from fxengine.backbones.cache import read_backbone
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.spec import BackboneFile, layer_output
from fxengine.collect.item import Item, Payload, sha256_of
from fxengine.decode import preparer_of
from fxengine.decode.limits import Limits
from fxengine.errors import DecodeError, DeviceError, FxError, InputError, StoreError
from fxengine.execute import open_session, usable_cores
from fxengine.execute.int8 import int8_file
from fxengine.execute.session import Session
from fxengine.features.crash_note import AllSuspect, CrashNote
from fxengine.features.schema import FEATURE, layer_column
from fxengine.pipeline.lookahead import readers_of
from fxengine.pipeline.stages import Stage
from fxengine.pipeline.threads import Pipeline, Steps
from fxengine.pipeline.unit_plan import UnitPlan
from fxengine.pipeline.unit_sink import UnitResult, UnitSink, result_of
from fxengine.pipeline.units import Task
from fxengine.storage import shown

_TOLD_EVERY = 0.2  # seconds


class Asked(NamedTuple):
    """A unit that is to be computed.

    Attributes:
        unit: its number.
        apart: whether each of its inputs is decoded in a process of its own.
    """

    unit: int
    apart: bool = False


@dataclass
class News:
    """What a runner tells while it works; each is called by the thread that runs units.

    Attributes:
        begun: with the number of a unit whose first input is about to be read.
        at: with the rows done, and those of them that failed, since the runner began; again and again.
        stages: with what the stages did, whenever there is no unit any more.
    """

    begun: Callable[[int], None] = lambda _: None
    at: Callable[[int, int], None] = lambda _, __: None
    stages: Callable[[dict[str, Stage]], None] = lambda _: None


@dataclass
class UnitRunner:
    """A backbone that was loaded to compute units of a plan.

    Attributes:
        plan: the plan.
        decoders: decoding threads.
        note: where to note what is being decoded, or None.
        session: the loaded backbone.
    """

    plan: UnitPlan
    decoders: int
    note: CrashNote | None = None
    session: Session = field(init=False)

    def __post_init__(self) -> None:
        """Load what the plan says.

        Raises:
            StoreError: this process would not make the rows that the plan is for; says what both have.
            InputError: the backbone or the inputs cannot be opened here.
            DeviceError: the device or the precision is not to be had here.
        """
        facts = self.plan.facts
        _ensure_equal("fxengine", version("fxengine"), facts.provenance.versions.get("fxengine", ""), self.plan)
        found = _backbone_of(self.plan)
        texts = found.recipe.modality == "text"
        self._listing = facts.source.open()
        preparer = preparer_of(found, Limits(**facts.provenance.limits), on_gpu=facts.computing.decode_on == "gpu")
        self.session = _open(found, self.plan)
        for name, here in {
            "precision": self.session.precision,
            "runtime": self.session.engine,
            "provider": self.session.provider,
            "decoder": preparer.decoder,
        }.items():
            planned = getattr(facts.provenance, "engine" if name == "runtime" else name)
            _ensure_equal(name, here, planned, self.plan)
        if texts:
            self.note = None  # no text is a crash's cause
        layers = {layer_output(name): layer_column(name) for name, _ in found.facts.layers}
        self._columns = {layer_output(None): FEATURE, **layers}
        self._steps = Steps(
            self._read,
            facts.provenance.limits["max_bytes"],
            preparer,
            self.session,
            (*self._columns,),
            readers_of(self._listing.root),
        )

    def run(self, units: Callable[[], Asked | None], news: News) -> Generator[UnitResult, None, None]:
        """Compute units until there is none any more; yield what became of each, as soon as it is known.

        Args:
            units: gives the next unit that is there now, None where there is none; asked by another thread, too.
            news: whom to tell what.

        Raises:
            StoreError: a file cannot be written, or another process writes there.
        """
        first = units()
        while first is not None:
            taken = _Taken(units, first)
            pipeline = Pipeline(self._steps, self.decoders, note=AllSuspect() if first.apart else self.note)
            sink = UnitSink(self.plan, self._columns)
            try:
                with closing(pipeline.results(self._tasks(taken, sink, news))) as batches:
                    told = time.monotonic()
                    for batch in batches:
                        yield from sink.take(batch)
                        yield from self._found(taken)
                        if time.monotonic() - told > _TOLD_EVERY:
                            told = time.monotonic()
                            news.at(sink.done, sink.failed)
            finally:
                sink.discard()
            news.at(sink.done, sink.failed)
            news.stages(pipeline.stages)
            yield from self._found(taken)
            first = taken.following or units()

    def _tasks(self, taken: _Taken, sink: UnitSink, news: News) -> Iterator[Task]:
        for asked in taken:
            if self.plan.is_done(asked.unit):
                taken.there.append(asked.unit)
                continue
            news.begun(asked.unit)
            unit = self.plan.unit(asked.unit)
            sink.expect(unit)
            yield from unit.tasks

    def _found(self, taken: _Taken) -> Iterator[UnitResult]:
        while taken.there:
            yield result_of(self.plan, taken.there.pop(0))

    def _read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        payload, read = self._listing.read(item, max_bytes)
        if item.content_hash is not None and sha256_of(payload) != item.content_hash:
            raise DecodeError("vanished", "Its table was written anew after the run was planned: the next run has it.")
        return payload, read

    def close(self) -> None:
        """Free the model's memory, and remove the note: the run ended by its own will."""
        self.session.close()
        if self.note is not None:
            self.note.close()


@dataclass
class _Taken:
    """Units that go through one pipeline, the next while the one before it ends; one to be decoded apart goes alone.

    Attributes:
        units: gives the next one.
        first: that it begins with.
        there: those whose file was there already.
        following: one that was given and has to go through another pipeline.
    """

    units: Callable[[], Asked | None]
    first: Asked
    there: list[int] = field(default_factory=list)
    following: Asked | None = None

    def __iter__(self) -> Iterator[Asked]:
        asked: Asked | None = self.first
        while asked is not None:
            yield asked
            if self.first.apart:
                return
            asked = self.units()
            if asked is not None and asked.apart:
                self.following = asked
                return


def from_list(units: Iterable[Asked]) -> Callable[[], Asked | None]:
    """Return units one after another, as `UnitRunner.run` asks for them."""
    waiting = iter(units)
    return lambda: next(waiting, None)


def _ensure_equal(what: str, here: str, planned: str, plan: UnitPlan) -> None:
    if here != planned:
        raise StoreError(
            f"This worker's {what} is {here}, that of the run {plan.facts.run} in {shown(plan.folder)} is {planned}: "
            "one run computes in one way. Give every worker the same."
        )


def _backbone_of(plan: UnitPlan) -> BackboneFile:
    """Return the plan's backbone: the very file where it is there, else what its source gives here."""
    computing, space = plan.facts.computing, plan.facts.provenance.space
    with suppress(InputError):
        found = read_backbone(Path(computing.path))
        if found.fingerprint == space:
            return found
    options: Any = {name: tuple(v) if isinstance(v, list) else v for name, v in computing.options.items()}
    found = load_for_space(computing.backbone, space, ExportOptions(**options))
    _ensure_equal(f"backbone {computing.backbone}", found.fingerprint[:12], space[:12], plan)
    return found


def _open(found: BackboneFile, plan: UnitPlan) -> Session:
    computing, made = plan.facts.computing, plan.facts.provenance
    path: Path | None = found.path
    if made.precision == "int8":
        path = int8_file(made.int8)
        if path is None:
            raise StoreError(f"The int8 copy {made.int8[:12]} that the run computes by is not in this worker's cache.")
    streams = usable_cores() if computing.streams else 1
    try:
        assert path is not None
        return open_session(
            path,
            computing.device,
            computing.batch_size,
            streams,
            precision=made.precision.split("+")[0],
            runtime=computing.runtime,
        )
    except (DeviceError, InputError) as error:
        raise _refused(error, plan) from error


def _refused(error: FxError, plan: UnitPlan) -> FxError:
    made = plan.facts.provenance
    planned = f"The run {plan.facts.run} computes in {made.precision} on {made.provider}, this worker cannot"
    return DeviceError(f"{planned}: {error}")
