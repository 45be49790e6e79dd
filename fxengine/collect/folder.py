"""Lists a folder of files: sorted, streamed, with labels from the folders' names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fxengine.collect.item import SPLITS, Filters, Item, Payload, Place, escape_path, stamp
from fxengine.collect.local import read_input
from fxengine.errors import InputError

# Only for the question which folders are classes; what a file is, its content decides.
PICTURE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"]
)


@dataclass
class FolderListing:
    """The inputs under one folder; iterating yields `Item`s sorted by id, bytewise.

    Every regular file that is not hidden is an input. Links are followed; a link into one of its own parents is
    not. Memory is that of the largest single folder, not of the tree.

    Attributes:
        root: the folder.
        filters: which files count.
        unreadable: folders that could not be listed, filled while iterating.
        labelled: folders tell labels.
        suffixes: a folder that holds a file with one of them, or with none, may be a class.
        mark: tells by its name which file is a folder to be listed by others, where any are: returns what stands behind
            its path in the ids of what it holds, with a "/" at the end, as `files` gives it; "" for all others.
    """

    root: Path
    filters: Filters = field(default_factory=Filters)
    unreadable: list[str] = field(default_factory=list)
    labelled: bool = True
    suffixes: frozenset[str] = PICTURE_SUFFIXES
    mark: Callable[[str], str] | None = None

    def __iter__(self) -> Iterator[Item]:
        for path, entry, label, split in self.files():
            yield _item(path, entry, label, split)

    def files(self) -> Iterator[tuple[str, os.DirEntry[str], str | None, str | None]]:
        """Yield path, entry, label and split of every input, in the order of the paths."""
        label_of = label_rule(self._folders_with_inputs)
        for path, entry in self._walk(str(self.root), "", ()):
            yield path, entry, *label_of(path)

    def count(self) -> int:
        """Return how many inputs there are, without asking for sizes."""
        return sum(1 for _ in self._walk(str(self.root), "", ()))

    def read(self, item: Item, max_bytes: int) -> tuple[Payload, Item]:
        """Return the file's bytes; raises DecodeError as `local.read_input` does."""
        return read_input(item, max_bytes)

    def _walk(
        self, folder: str, prefix: str, parents: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield path and entry of every input, in the order of the paths, however deep folders lie."""
        inside = [*parents]
        first = self._entries(folder, inside)
        levels = [] if first is None else [(prefix, iter(first))]
        while levels:
            prefix, entries = levels[-1]
            name, entry = next(entries, ("", None))
            if entry is None:
                levels.pop()
                inside.pop()
            elif name[-1] == "/" and not self._mark(entry):
                if (below := self._entries(entry.path, inside)) is not None:
                    levels.append((prefix + name, iter(below)))
            elif name[-1] == "/" or (_is_input(entry) and self.filters.admit(prefix + name)):
                yield prefix + name, entry

    def _entries(self, folder: str, inside: list[tuple[int, int]]) -> list[tuple[str, os.DirEntry[str]]] | None:
        """Return what is in a folder, which joins those that the walk is inside of; None where it is not entered."""
        try:
            status = os.stat(folder)
            here = (status.st_dev, status.st_ino)
            if here in inside:
                return None
            with os.scandir(folder) as entries:
                visible = [e for e in entries if e.name[0] != "."]
                found = [(e.name + ("/" if _is_folder(e) else self._mark(e)), e) for e in visible]
        except OSError:
            if folder not in self.unreadable:
                self.unreadable.append(folder)
            return None
        inside.append(here)
        # A folder sorts by its name with the slash, so that the whole listing is in the order of the paths.
        return sorted(found, key=lambda pair: escape_path(pair[0]).encode())

    def _mark(self, entry: os.DirEntry[str]) -> str:
        return "" if self.mark is None or _is_folder(entry) else self.mark(entry.name)

    def _folders_with_inputs(self, prefix: str) -> list[str]:
        try:
            with os.scandir(self.root / prefix) as entries:
                folders = [e for e in entries if e.name[0] != "." and _is_folder(e)]
        except OSError:
            return []
        return [e.name for e in folders if self._has_input(e.path, prefix + e.name + "/")]

    def _has_input(self, folder: str, prefix: str) -> bool:
        root = os.stat(self.root)
        # Without the filters: which folders are classes must not depend on what is extracted this time.
        found = FolderListing(self.root, unreadable=self.unreadable, mark=self.mark)._walk(
            folder, prefix, ((root.st_dev, root.st_ino),)
        )
        suffixes = (os.path.splitext(path)[1].lower() for path, _ in found)  # a path with a "/" behind it has none
        return any(suffix in self.suffixes or not suffix for suffix in suffixes)


def label_rule(
    folders_with_inputs: Callable[[str], list[str]],
) -> Callable[[str], tuple[str | None, str | None]]:
    """Return path -> (label, split), by prefix ("" or "NAME/") -> names of the folders there that hold inputs."""
    top = folders_with_inputs("")
    splits = [name for name in top if name.lower() in SPLITS]
    # One alone that holds no class folders, beside others: a class that is called so.
    if len(splits) == 1 < len(top) and not folders_with_inputs(splits[0] + "/"):
        splits = []
    classes = {name for split in splits for name in folders_with_inputs(split + "/")} if splits else set(top)
    labelled = classes if len(classes) >= 2 else set()

    @cache
    def of_folder(folder: str) -> tuple[str | None, str | None]:
        """Return (label, split) of a file by the first two folders of its path."""
        names = folder.split("/")[:-1]
        split = names.pop(0) if splits and names and names[0] in splits else None
        if splits and split is None:
            return None, None
        label = names[0] if names and names[0] in labelled else None
        return (escape_path(label) if label else None), (split.lower() if split else None)

    depth = 2 if splits else 1

    def rule(path: str) -> tuple[str | None, str | None]:
        end = path.find("/")
        if depth == 2 and end >= 0:
            end = path.find("/", end + 1) if path.find("/", end + 1) >= 0 else end
        return of_folder(path[: end + 1])

    return rule


def takes(_: Place) -> bool:
    """Tell whether it lists such a place: everything that nothing else takes is a folder, be it there or not."""
    return True


def open_listing(place: Place) -> FolderListing:
    """Return the listing of a folder; raises InputError as `list_folder` does."""
    return list_folder(place.root, place.filters)


def list_folder(root: Path, filters: Filters, suffixes: frozenset[str] = PICTURE_SUFFIXES) -> FolderListing:
    """Return the listing of a folder.

    Args:
        root: the folder.
        filters: which files count.
        suffixes: a folder that holds a file with one of them, or with none, may be a class.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    try:
        with os.scandir(root):
            pass
    except FileNotFoundError:
        raise InputError(f"There is no {'file or folder' if root.suffix else 'folder'} {root}.") from None
    except NotADirectoryError:
        raise InputError(f"{root} is neither a regular file nor a folder.") from None
    except OSError as error:
        raise InputError(f"The folder {root} cannot be read: {error.strerror}.") from error
    return FolderListing(root, filters, suffixes=suffixes)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_input(entry: os.DirEntry[str]) -> bool:
    """Regular files and broken links (they become error rows) are inputs; pipes, sockets and devices are not."""
    try:
        return entry.is_file() or entry.is_symlink()
    except OSError:
        return True


def _item(path: str, entry: os.DirEntry[str], label: str | None, split: str | None) -> Item:
    try:
        status = entry.stat()
    except OSError:
        return Item(escape_path(path), entry.path, -1, 0, label, split)
    return Item(escape_path(path), entry.path, *stamp(status), label, split)
