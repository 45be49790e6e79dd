"""What an export of a repository would fetch, and how large that is, told without fetching it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fxengine.backbones.hub.repository import Asked, Repository, open_repository, parse
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources.hf_files import Chosen, choose
from fxengine.backbones.sources.preprocessing import STATES_PIXELS
from fxengine.errors import InputError

# What is read beside a net where it is there; of pictures the first ones alone, which only the net itself tells.
_SAID = (
    *STATES_PIXELS,
    "modules.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
_OF_MODULES = re.compile(r"\d+_\w+/(config\.json|model\.safetensors)", re.ASCII)


@dataclass(frozen=True)
class Fetched:
    """What an export of a repository needs of it.

    Attributes:
        repository: "ORG/NAME".
        commit: of which commit.
        licence: as its card names it; "" where that is not known.
        nets: the ONNX files that are chosen: one, or both towers.
        fetches: the files that are not on this machine yet, and the bytes of each; None where that is not known.
        bytes: of them all, as far as known.
        here: the files that are.
    """

    repository: str
    commit: str
    licence: str
    nets: tuple[str, ...]
    fetches: dict[str, int | None]
    bytes: int
    here: tuple[str, ...]


def would_fetch(what: str) -> Fetched | None:
    """Return what an export of "ORG/NAME[@REVISION][#FILE[@TENSOR]]" needs at most; None of a folder of this machine.

    Raises:
        InputError: the repository cannot be had, or has no ONNX file that is meant.
    """
    asked = parse(what)
    if asked.is_folder:
        return None
    repository = open_repository(asked)
    chosen = _nets(repository, asked) if asked.file is None else [choose(repository, asked, ExportOptions())]
    wanted = sorted({file for each in chosen for file in _files(each)})
    missing = {file: repository.sizes.get(file) for file in wanted if not repository.is_here(file)}
    return Fetched(
        repository.name,
        repository.commit,
        repository.licence,
        tuple(each.file for each in chosen),
        missing,
        sum(size or 0 for size in missing.values()),
        tuple(file for file in wanted if file not in missing),
    )


def _nets(repository: Repository, asked: Asked) -> list[Chosen]:
    """Return the net that is chosen by itself, or both towers where there are two."""
    try:
        return [choose(repository, asked, ExportOptions())]
    except InputError as error:
        try:
            return [choose(repository, asked, ExportOptions(tower=tower)) for tower in ("image", "text")]
        except InputError:
            raise error from None


def _files(chosen: Chosen) -> list[str]:
    """Return the files that an export of a net reads at most; its data files are known by their names."""
    repository = chosen.repository
    repository.check_listed(chosen.file)
    found = [file for file in repository.files if file.startswith(chosen.file)]
    found += [file for name in _SAID if (file := chosen.listed(name)) is not None]
    if "modules.json" in repository.files:
        found += [file for file in repository.files if _OF_MODULES.fullmatch(file)]
    return found
