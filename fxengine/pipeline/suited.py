"""Inputs that suit a backbone, or a sentence that says what it takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from fxengine.backbones.spec import BackboneFile, TextRecipe
from fxengine.collect import Listing, TextColumns, collect
from fxengine.collect.bucket import names_in
from fxengine.collect.item import Item, Payload
from fxengine.collect.opened import holds_pictures, usual_frames
from fxengine.collect.remote import kind_of
from fxengine.collect.stored import is_there
from fxengine.collect.table_rows import READERS
from fxengine.decode import Preparer
from fxengine.errors import DecodeError, InputError
from fxengine.pipeline.given_texts import SUFFIX
from fxengine.storage import BUCKETS, absolute, is_remote, split

WANTED = {
    "picture": "a picture, or a folder of pictures",
    "text": f"a table of texts ({', '.join(READERS)}), or a folder of {SUFFIX} files",
}


def collect_for(
    found: BackboneFile,
    inputs: Path,
    columns: TextColumns = TextColumns(),  # noqa: B008 - frozen
    *,
    containers: bool = False,
    boxes: Path | None = None,
    margin: float = 0.0,
    frames: str | None = None,
    allow_private: bool = False,
) -> Listing:
    """Return the inputs that a backbone is to take.

    Raises:
        InputError: they are texts and it takes pictures, or the other way round; or as `collect` does.
    """
    modality = found.recipe.modality
    if modality == "picture" and holds_texts(inputs) and not _names_picture_column(inputs, columns):
        raise _unsuited(found, f"{inputs} holds texts")
    if modality == "picture":
        frames = usual_frames(frames, containers=containers, boxed=boxes is not None)
    listing = collect(
        inputs,
        modality=modality,
        columns=columns,
        containers=containers,
        boxes=boxes,
        margin=margin,
        frames=frames,
        allow_private=allow_private,
    )
    is_folder = os.path.isdir(inputs) or is_remote(inputs)  # noqa: PTH112
    if modality == "text" and is_folder and next(iter(listing), None) is None:
        raise _unsuited(found, f"{inputs} holds no {SUFFIX} file")
    return listing


def ensure_suited(found: BackboneFile, inputs: Path, columns: TextColumns, *, containers: bool) -> None:
    """Raise InputError where inputs are a table of texts, which the backbone does not take, or a folder of tables."""
    if found.recipe.modality == "picture" and is_table(inputs) and not _names_picture_column(inputs, columns):
        raise _unsuited(found, f"{inputs} holds texts")
    if not containers and _is_named_table(next(_names(inputs), "")) and all(map(_is_named_table, _names(inputs))):
        raise InputError(f"{inputs} holds tables ({min(_names(inputs))}, ...): extract from one of them at a time.")


def ensure_known(
    found: BackboneFile, preparer: Preparer, items: Iterable[Item], read: Callable[[Item], tuple[Payload, Item]]
) -> None:
    """Raise InputError where a vocabulary knows no word of any text; the first text that has one ends the search."""
    if not isinstance(found.recipe, TextRecipe) or found.recipe.kind != "words":
        return
    unknown = 0
    for item in items:
        try:
            preparer.open(read(item)[0]).fill(preparer.room(1), 0)
        except DecodeError as error:
            unknown += error.code == "no_known_word"
        else:
            return
    if unknown:
        raise InputError(
            f"{found.facts.name} knows no word of any of the {unknown} texts: are they of another language, or is it "
            "another column? Give other vectors."
        )


def is_table(inputs: Path) -> bool:
    """Tell whether it is a file of texts, one after the other."""
    # Not by `Path.is_file`, which raises on a name that is too long to be one.
    is_file = inputs.suffix.lower() in READERS and is_there(inputs) and not os.path.isdir(inputs)  # noqa: PTH112
    return is_file and not holds_pictures(inputs)


def holds_texts(inputs: Path) -> bool:
    """Tell whether it is a table of texts, or a folder of nothing but .txt files."""
    if is_table(inputs):
        return True
    if not os.path.isdir(inputs) and not is_remote(inputs):  # noqa: PTH112
        return False
    kinds = (name.lower().endswith(SUFFIX) for name in _names(inputs))
    return next(kinds, False) and all(kinds)


def _names_picture_column(inputs: Path, columns: TextColumns) -> bool:
    """Tell whether a column of a Parquet file is named, which then says what it does not hold."""
    return columns.text is not None and inputs.suffix.lower() == ".parquet"


def _is_named_table(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in READERS and suffix != SUFFIX


def _names(folder: Path) -> Iterator[str]:
    """Yield the names of the files in a folder, in no order, so that the first ones are there at once; of a bucket's
    only the first.
    """
    if is_remote(folder):
        place = absolute(folder)
        yield from names_in(place) if split(place)[0] in BUCKETS and kind_of(place) == "folder" else ()
        return
    waiting = [os.fspath(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield entry.name


def _unsuited(found: BackboneFile, what: str) -> InputError:
    modality = found.recipe.modality
    return InputError(f"{what}, and {found.facts.name} takes {modality}s: give {WANTED[modality]}.")
