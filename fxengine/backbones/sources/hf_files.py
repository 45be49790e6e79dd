"""Which files of a repository are meant: the ONNX file by its rules, and what its makers say beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from fxengine.backbones.hub.repository import Asked, Repository
from fxengine.backbones.json_file import object_in
from fxengine.backbones.options import ExportOptions, Tower
from fxengine.errors import InputError, one_of

_WHOLE = ("onnx/model.onnx", "model.onnx")
_TOWERS: dict[Tower, tuple[str, ...]] = {
    "image": ("onnx/vision_model.onnx", "vision_model.onnx", "visual/model.onnx"),
    "text": ("onnx/text_model.onnx", "text_model.onnx", "textual/model.onnx"),
}
_LISTED = 8


@dataclass(frozen=True)
class Chosen:
    """An ONNX file of a repository.

    Attributes:
        repository: where it is.
        file: its name in it.
        tensor: the tensor of it that was asked for; None: its rules choose.
        tower: whether it is one of two nets that give vectors of one space.
    """

    repository: Repository
    file: str
    tensor: str | None
    tower: bool
    _paths: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)

    def path(self, file: str) -> Path:
        """Return a file on this machine, fetched if need be and checked, once; raises as `Repository.path`."""
        if file not in self._paths:
            self._paths[file] = self.repository.path(file)
        return self._paths[file]

    @property
    def source(self) -> str:
        """What asks for this very file."""
        revision = f"@{self.repository.commit}" if self.repository.commit else ""
        return f"hf:{self.repository.name}{revision}#{self.file}"

    @property
    def name(self) -> str:
        """What messages call the file."""
        return f"{self.file} of {self.repository.title}"

    @property
    def find(self) -> Callable[[str], Path] | None:
        """What gives the file's data files; None of a folder, where they have to be beside it."""
        folder = PurePosixPath(self.file).parent
        return (lambda name: self.path(str(folder / name))) if self.repository.commit else None

    def beside(self, name: str) -> Path | None:
        """Return a file that says something of the net: from the net's own folder, else from the repository's."""
        found = self.listed(name)
        return None if found is None else self.path(found)

    def listed(self, name: str) -> str | None:
        """Return which file of the repository `beside` returns, which this does not fetch."""
        own = str(PurePosixPath(self.file).parent / name)
        return next((file for file in (own, name) if file in self.repository.files), None)

    def said(self, name: str) -> dict[str, Any]:
        """Return the object in such a file of JSON, empty where there is none; raises InputError where it has none."""
        path = self.beside(name)
        return {} if path is None else object_in(path)


def towers_of(repository: Repository) -> dict[Tower, str]:
    """Return the ONNX files of the towers that a repository has, by which they are."""
    found = {tower: _first(repository, places) for tower, places in _TOWERS.items()}
    return {tower: file for tower, file in found.items() if file is not None}


def choose(repository: Repository, asked: Asked, options: ExportOptions) -> Chosen:
    """Return the ONNX file that is meant: the one that is named, else by its place; a quantised one is never chosen.

    Raises:
        InputError: there is none, or there are two towers and `tower` does not say which.
    """
    towers = towers_of(repository)
    if asked.file is not None:
        if options.tower is not None:
            raise InputError(f"hf:{asked.name} names the file {asked.file}: leave `tower` away.")
        file, tensor = _split(asked.file)
        return Chosen(repository, file, tensor, file in towers.values())
    if options.tower is not None:
        one_of("tower", options.tower, tuple(_TOWERS))
        found = towers.get(options.tower)
        if found is None:
            raise InputError(
                f"{repository.title} has no {options.tower} tower ({', '.join(_TOWERS[options.tower])}). "
                f"{_others(repository)}"
            )
        return Chosen(repository, found, None, True)
    there = list(towers.values())
    if len(there) > 1:
        raise InputError(
            f"{repository.title} has two towers, for pictures and for texts ({', '.join(there)}): give `tower` image "
            f"or text, one of these behind a #, or make both: `fxengine export hf:{asked.name} -o NAME`, without .onnx."
        )
    whole = _first(repository, _WHOLE)
    if whole is not None:
        return Chosen(repository, whole, None, False)
    if there:
        return Chosen(repository, there[0], None, True)
    raise InputError(f"{repository.title}: {_others(repository)}")


def _split(file: str) -> tuple[str, str | None]:
    """Return the file and the tensor of "FILE.onnx@TENSOR"; the name of a tensor may have an "@" too."""
    path, mark, tensor = file.partition(".onnx@")
    return (f"{path}.onnx", tensor) if mark else (file, None)


def _first(repository: Repository, places: tuple[str, ...]) -> str | None:
    return next((file for file in places if file in repository.files), None)


def _others(repository: Repository) -> str:
    """Return what there is where no file of the usual places is, and what to do, in a sentence."""
    files = repository.files
    nets = [file for file in files if file.endswith(".onnx")]
    if nets:
        more = f" and {len(nets) - _LISTED} more" if len(nets) > _LISTED else ""
        return (
            f"No ONNX file of it is chosen by itself. Name one of these behind a #: {', '.join(nets[:_LISTED])}{more}."
        )
    if not any(file.endswith((".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")) for file in files):
        return "There is no net in it that fxengine could use: neither an ONNX file, nor weights to make one of."
    pickles = "" if any(file.endswith(".safetensors") for file in files) else "only weights of other frameworks, and "
    return (
        f"It has {pickles}no ONNX file. torch-hf:{repository.name} makes one by PyTorch, or, of a net of timm, "
        f"timm:hf-hub:{repository.name}."
    )
