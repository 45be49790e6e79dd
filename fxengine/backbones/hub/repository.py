"""A repository of a model, wherever it lies: its commit, its files, and each of them on this machine, checked."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fxengine.backbones.hub import folder, huggingface
from fxengine.backbones.hub.listing import Entry, Listing, is_inside
from fxengine.errors import InputError, explained

_POINTER = b"version https://git-lfs.github.com/spec/"  # how a file of Git LFS that was not fetched begins
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"\w[\w./+-]*", re.ASCII)
_FORM = "ORG/NAME, ORG/NAME@REVISION, ORG/NAME#FILE, or a folder such as /models/bert or ./bert"


@dataclass(frozen=True)
class Asked:
    """What somebody asks for.

    Attributes:
        name: "ORG/NAME", or the path of a folder: what begins with "/", "." or "~".
        revision: a branch, a tag or a commit; None: the branch `main`.
        file: the file in it that is meant; None: the one that its rules choose.
    """

    name: str
    revision: str | None = None
    file: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine, and no repository of the Hub."""
        return _is_path(self.name)


@dataclass(frozen=True)
class Repository:
    """A repository at one commit, or a folder.

    Attributes:
        name: "ORG/NAME", or the folder as given.
        commit: 40 hexadecimal digits; "" of a folder.
        files: every file that it lists, relative, with "/", sorted.
        sizes: the bytes of each, where known.
        licence: as its card names it; "" where that is not known.
        whole: whether `files` are all, and not those alone that a cache has of it, offline.
    """

    name: str
    commit: str
    files: tuple[str, ...]
    sizes: Mapping[str, int]
    licence: str
    whole: bool
    _digests: Mapping[str, str] = field(repr=False)
    _take: Callable[[str], Path] = field(repr=False, compare=False)
    _find: Callable[[str], Path | None] = field(repr=False, compare=False)

    def path(self, file: str) -> Path:
        """Return a file on this machine, fetched if need be, and checked: no pointer, all its bytes, its very hash.

        Raises:
            InputError: there is none of that name, it cannot be had, or it is not what the repository says.
        """
        self.check_listed(file)
        path = self._take(file)
        with explained(f"{path} cannot be read", kind=InputError):
            self._check(path, file)
        return path

    def check_listed(self, file: str) -> None:
        """Raise InputError where there is no file of that name; the message names the nearest."""
        if file not in self.files:
            near = difflib.get_close_matches(file, self.files, n=3, cutoff=0.4)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            offline = "" if self.whole else " in the cache, and the Hub does not tell what else there is"
            raise InputError(f"{self.title} has no file {file}{offline}.{hint}")

    def is_here(self, file: str) -> bool:
        """Tell whether a file is on this machine already."""
        return self._find(file) is not None

    @property
    def title(self) -> str:
        """What it is called in a message: its name, and its commit's first digits."""
        return f"{self.name}@{self.commit[:12]}" if self.commit else self.name

    def _check(self, path: Path, file: str) -> None:
        size, said = path.stat().st_size, self.sizes.get(file)
        with path.open("rb") as opened:
            if opened.read(len(_POINTER)) == _POINTER:
                way_out = f"Fetch it: `git lfs pull` in {self.name}." if not self.commit else "Take another file."
                raise InputError(f"{file} of {self.title} is a Git LFS pointer, not the file itself. {way_out}")
        if said is not None and size != said:
            raise InputError(
                f"{file} of {self.title} is cut: it has {size:,} bytes of {said:,}. Delete {path} and try again."
            )
        if not _is_of(path, size, self._digests.get(file, "")):
            raise InputError(f"{file} of {self.title} is not what its hash says. Delete {path} and try again.")


def parse(what: str) -> Asked:
    """Return what a text asks for: "ORG/NAME[@REVISION][#FILE]", or "/local/folder[#FILE]".

    Raises:
        InputError: it is neither; an address is not repeated, since it may hold a password.
    """
    if "://" in what:
        raise InputError(f"An address names no repository. Give {_FORM}.")
    if _is_path(what) and Path(what).expanduser().is_dir():
        return Asked(what)  # whatever signs its name has
    place, mark, file = what.partition("#")
    if mark and not is_inside(file):
        raise InputError(f"{file!r} (after the #) is no file within a repository, such as onnx/model.onnx.")
    if _is_path(place):
        return Asked(place, None, file or None)
    name, mark, revision = place.partition("@")
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError(f"{name!r} names no repository. Give {_FORM}.")
    if mark and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise InputError(f"{revision!r} (after the @) is no revision: give a branch, a tag or a commit.")
    return Asked(name, revision or None, file or None)


def open_repository(asked: Asked) -> Repository:
    """Return the repository, its revision resolved to a commit; nothing but its listing is fetched.

    A commit that was listed before asks nobody; offline, a branch is of the commit that it was of when last asked for.

    Raises:
        InputError: there is no such repository, revision or folder, it is not to be had without logging in, the Hub
            cannot be reached and the cache does not have it, or `huggingface_hub` is not installed.
    """
    if asked.is_folder:
        place = Path(asked.name).expanduser()
        found = Listing(asked.name, "", folder.list_folder(place), folder.licence_of(place))
        return _repository(found, lambda file: folder.path_in(place, file), lambda file: place / file)
    found = huggingface.list_repository(asked.name, asked.revision or huggingface.MAIN)
    return _repository(
        found,
        lambda file: huggingface.fetch(found.name, found.commit, file),
        lambda file: huggingface.find(found.name, found.commit, file),
    )


def with_files(repository: Repository, made: Mapping[str, Path | None]) -> Repository:
    """Return a repository as if it held these files and no other ONNX file; None: one that is not made yet."""

    def take(file: str) -> Path:
        found = made.get(file)
        return repository.path(file) if found is None else found

    kept = (file for file in repository.files if not file.endswith(".onnx"))
    return replace(
        repository,
        files=tuple(sorted({*kept, *made})),
        sizes={file: size for file, size in repository.sizes.items() if file not in made},
        _digests={file: digest for file, digest in repository._digests.items() if file not in made},
        _take=take,
    )


def _repository(listing: Listing, take: Callable[[str], Path], find: Callable[[str], Path | None]) -> Repository:
    entries: tuple[Entry, ...] = listing.entries
    return Repository(
        listing.name,
        listing.commit,
        tuple(each.name for each in entries),
        {each.name: each.size for each in entries if each.size is not None},
        listing.licence,
        listing.whole,
        {each.name: each.digest for each in entries},
        take,
        find,
    )


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or Path(name).is_absolute()


def _is_of(path: Path, size: int, digest: str) -> bool:
    """Tell whether a file has the hash that its repository says; one that says none has it."""
    kind, _, wanted = digest.partition(":")
    if not wanted:
        return True
    made = hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as opened:
        while block := opened.read(1 << 20):
            made.update(block)
    return made.hexdigest() == wanted
