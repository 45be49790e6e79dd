"""Embeds a few pictures or texts without a store: queries, and programs that keep their own data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fxengine.backbones import DEFAULT, find_space, load_backbone, load_for_space
from fxengine.backbones.spec import BackboneFile, layer_output
from fxengine.collect.item import Item, Payload
from fxengine.collect.stored import read_stored, stat_place
from fxengine.decode import Inputs, Preparer, preparer_of
from fxengine.decode.limits import Limits, usual_limits
from fxengine.errors import DecodeError, InputError, at_least
from fxengine.execute import open_session, usable_cores
from fxengine.execute.session import Session
from fxengine.features.schema import Provenance
from fxengine.pipeline.lookahead import READERS, readers_of
from fxengine.pipeline.precision import open_stored
from fxengine.pipeline.rate import warm_rows_per_second
from fxengine.pipeline.threads import Job, Pipeline, Steps
from fxengine.pipeline.units import Task
from fxengine.storage import shown

_FEW = 2  # files that are embedded before the threads of a run have begun (a query: 9 ms against 12 to 20)


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone that embeds pictures or texts. It can be pickled: a copy loads the file again.

    Attributes:
        file: the file on disk with its facts and fingerprint.
        limits: what is refused as too large.
        _open: loads the file as it was loaded here, for a copy.
    """

    file: BackboneFile
    limits: Limits
    _open: Callable[[], Session]
    _session: Session

    @classmethod
    def load(cls, name: str | Path = DEFAULT, *, device: str = "auto", batch_size: int | None = None) -> Backbone:
        """Load a backbone by name or file.

        Raises:
            InputError: there is no such name or file.
            DeviceError: the device was asked for by name and does not start.
        """
        return cls.of(load_backbone(name), device=device, batch_size=batch_size)

    @classmethod
    def of(cls, found: BackboneFile, *, device: str = "auto", batch_size: int | None = None) -> Backbone:
        """Load a backbone that was found already; raises DeviceError as `load`."""
        open_it = partial(open_session, found.path, device, batch_size)
        return _opened(found, usual_limits(found.recipe.modality), open_it)

    @classmethod
    def for_store(
        cls, stored: Provenance, override: str | Path | BackboneFile | None = None, device: str = "auto"
    ) -> Backbone:
        """Load the backbone of a store: `override`, by name or found already, else from the cache, else a fresh export.

        It computes in the store's precision where this machine has it, else in fp32, within the store's limits.

        Raises:
            InputError: none of them is of the store's feature space.
        """
        if override is None:
            found = find_space(stored.space, stored.source)
        else:
            found = override if isinstance(override, BackboneFile) else load_for_space(override, stored.space)
            if found.fingerprint != stored.space:
                raise InputError(
                    f"`backbone` {override} makes features of space {found.fingerprint[:12]}; "
                    f"asked for is {stored.space[:12]} (from {stored.source!r})."
                )
        limits = Limits(**stored.limits) if stored.limits else usual_limits(stored.modality)
        return _opened(found, limits, partial(open_stored, found, stored, device))

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.file, self.limits, self._open)

    @property
    def dim(self) -> int:
        """Numbers in a feature vector."""
        return self.file.facts.dim

    def embed(
        self, pictures: Iterable[object], *, batch_size: int | None = None, layer: str | None = None
    ) -> np.ndarray:
        """Return raw feature vectors, float32 [n, dim], in the order given.

        A backbone of texts takes texts; a `pathlib.Path` is a file that holds one. They give the vectors of a store but
        for the last digits (a cosine of at least 0.999999), since the net runs on all cores here, on one of them there.

        A photo gives the vector that it has in a store whether it comes as a path, as bytes or as a PIL image that was
        opened and not yet touched. Of pixels (a PIL image once loaded, an array) a JPEG much larger than the input of
        the net gives nearly the same, since its file would be decoded at a fraction of its size: the cosine of 25 real
        photos was at least 0.9988, 0.9993 in the mean (EfficientNet-Lite0).

        Args:
            pictures: paths, encoded bytes, PIL images, or uint8 arrays [height, width, 3] in RGB; texts, their UTF-8
                bytes, or paths of files; any iterable.
            batch_size: pictures in one run of the model, what it was loaded with unless given; texts that are made
                ready at once.
            layer: a further layer's name; the default one unless given.

        Raises:
            DecodeError: a picture cannot be decoded, or a text is none or empty; the message says which.
            InputError: something given is none of these kinds.
        """
        modality = self.file.recipe.modality
        if isinstance(pictures, str | bytes | bytearray | memoryview) or not isinstance(pictures, Iterable):
            raise InputError(f"embed() takes a list of {modality}s. Put a single one into a list: embed([{modality}]).")
        preparer, (output, empty) = self._preparer, self._output(layer)
        window = preparer.window(self._session.batch_size)
        step, together = window.rows if batch_size is None else batch_size, window.together
        at_least("batch_size", step, 1)
        parts, remaining, done = [empty], iter(pictures), 0
        while chunk := list(islice(remaining, step)):
            room = preparer.room(len(chunk))
            for begin in range(0, len(chunk), together):
                self._fill(chunk[begin : begin + together], room, begin, done)
            parts.append(self._session.run(room, (output,))[output])
            done += len(chunk)
        return np.concatenate(parts)

    def _fill(self, given: Sequence[object], room: Inputs, begin: int, done: int) -> None:
        """Fill the rows from `begin` on; a refusal says which input it is, of `done` and those of the room."""
        payloads = []
        for i, each in enumerate(given, begin):
            with self._named(each, done + i):
                payloads.append(self._preparer.payload_of(each))
        found = self._preparer.fill_together(payloads, room, range(begin, begin + len(given)))
        for i, (each, filled) in enumerate(zip(given, found, strict=True), begin):
            if isinstance(filled, DecodeError):
                with self._named(each, done + i):
                    raise filled

    @contextmanager
    def _named(self, given: object, number: int) -> Iterator[None]:
        modality = self.file.recipe.modality
        try:
            yield
        except InputError as error:
            raise InputError(f"{modality} {number}: {error}") from error
        except DecodeError as error:
            paths = (str, os.PathLike) if modality == "picture" else os.PathLike
            name = shown(given) if isinstance(given, paths) else f"{modality} {number}"
            raise DecodeError(error.code, f"{name}: {error}") from error

    @cached_property
    def _preparer(self) -> Preparer:
        return preparer_of(self.file, self.limits)

    def _output(self, layer: str | None) -> tuple[str, np.ndarray]:
        """Return the name of a layer's output, and no vectors of it, float32 [0, dim]."""
        output, facts = layer_output(layer), self.file.facts
        if output not in self._session.outputs:
            there = ", ".join(name for name, _ in facts.layers) or "none but the default"
            raise InputError(f"{facts.name} has no layer {layer!r}. There is: {there}.")
        return output, np.empty((0, self.dim if layer is None else dict(facts.layers)[layer]), np.float32)


def _opened(found: BackboneFile, limits: Limits, open_it: Callable[[], Session]) -> Backbone:
    return Backbone(found, limits, open_it, open_it())


def run_files(
    net: Backbone,
    tasks: Iterable[Task],
    layer: str | None = None,
    read: Callable[[Item, int], tuple[Payload, Item]] = read_stored,
    readers: int = READERS,
) -> Iterator[tuple[Job, np.ndarray | None]]:
    """Yield files that went through a backbone by the threads of a run, in the order given, each with its vector.

    Args:
        net: the backbone; it refuses what is over its limits.
        tasks: the files.
        layer: a further layer's name.
        read: returns what an item holds, where that is not a file's bytes, as `Listing.read` does.
        readers: how many are read at once.

    Yields:
        The job, and its raw vector, float32 [dim], or None where the job's `error` says why there is none.
    """
    output, _ = net._output(layer)
    steps = Steps(read, net.limits.max_bytes, net._preparer, net._session, (output,), readers)
    with closing(Pipeline(steps, usable_cores()).results(tasks)) as batches:
        for batch in batches:
            for job in batch.jobs:
                yield job, None if job.error is not None else batch.outputs[output][job.slot]


def embed_files(net: Backbone, paths: Sequence[str | Path], layer: str | None = None) -> np.ndarray:
    """Return raw feature vectors of files, float32 [n, dim], in the order given, as `Backbone.embed` does.

    Raises:
        DecodeError: a file cannot be read or decoded; the message says which.
    """
    if len(paths) <= _FEW:
        return net.embed(paths, layer=layer)
    vectors: list[np.ndarray] = []
    tasks = [Task(stat_place(str(path), str(path))) for path in paths]
    for job, vector in run_files(net, tasks, layer, readers=max(map(readers_of, paths))):
        if job.error is not None:
            raise DecodeError(job.error.code, f"{shown(job.item.source)}: {job.error}") from job.error
        vectors.append(np.asarray(vector)[None])
    return np.concatenate(vectors)


def embedding_rate(net: Backbone) -> float:
    """Return how many rows a second a loaded backbone takes, warm, the preparation left out."""
    return warm_rows_per_second(net._session, net._preparer)
