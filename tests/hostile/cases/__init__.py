"""Builders of hostile files, made when a test asks for them: a table of `Case` a kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import make_photo, tiny_model
from tests.hostile.served import Server
from tests.texts import tiny_text_model, write_table

SCRIPT = "<script>alert(1)</script>"
DEEP = 100_000
HUGE = 3 << 30  # bytes of a sparse file: more than is to be read of any


@dataclass(frozen=True)
class Kit:
    """Sound files that hostile ones are made of.

    Attributes:
        photos: 24 pictures of two classes, or a table of as many texts (id, text, label).
        backbone: a backbone that runs in milliseconds.
        store: what it makes of them.
        head: trained on the store.
        transform: a PCA of the store.
        indexed: a copy of the store that has an index.
    """

    photos: Path
    backbone: Path
    store: Path
    head: Path
    transform: Path
    indexed: Path

    def copy(self, folder: Path, of: Path | None = None) -> Path:
        """Copy the store, or another one, to `folder`/s and return it."""
        return Path(shutil.copytree(of or self.store, folder / "s"))


@dataclass(frozen=True)
class Case:
    """A hostile file.

    Attributes:
        build: makes it in an empty folder and returns what a command is to be given.
        says: what the sentence of those who refuse it must hold, a regular expression.
        refused: whether every command must refuse it; where not, a command may also find nothing wrong.
        during: what holds while commands run, such as a lock that another process has.
    """

    build: Callable[[Kit, Path], Path]
    says: str = ""
    refused: bool = False
    during: Callable[[Path], AbstractContextManager[object]] = nullcontext


Stamp = tuple[int, int, int, bytes]
LINKED = "linked.txt"


def victim(folder: Path) -> Path:
    """Make a file that is not to be opened, in a folder of its own, and return it; `stamps` tells whether it was."""
    path = folder / "private" / "secret.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("the user's own\n")
    os.utime(path, (1_000_000_000, 2_000_000_000))  # read before it was written: whoever reads it, moves that time
    return path


def linked(path: Path, victim: Path) -> None:
    """Make a second name of a private file."""
    private = victim.with_name(LINKED)
    private.write_text("the user's own\n")
    path.hardlink_to(private)


def stamps(folder: Path) -> dict[Path, Stamp]:
    """Return what would tell that somebody read or wrote the private files of a case."""
    return {path: _stamp(path) for path in sorted((folder / "private").rglob("*")) if path.is_file()}


def _stamp(path: Path) -> Stamp:
    status = os.stat(path)
    with open(path, "rb", opener=_quietly) as file:
        # Nobody can tell one name of a file from another: what has two may be read, not written.
        read = 0 if path.name == LINKED else status.st_atime_ns
        return status.st_size, status.st_mtime_ns, read, file.read()


def _quietly(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOATIME", 0))


def sparse(path: Path, size: int = HUGE) -> Path:
    """Make a file of zeros that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def make_kit(server: Server, folder: Path) -> Kit:
    """Make the sound files, by the commands that people make them by."""
    photos = folder / "photos"
    for i in range(24):
        make_photo(photos / ("cats" if i % 2 else "dogs") / f"{i:02d}.jpg", i)
    backbone = folder / "tiny.onnx"
    backbone.write_bytes(tiny_model().SerializeToString())
    kit = Kit(photos, backbone, folder / "store", folder / "head.onnx", folder / "pca.onnx", folder / "indexed")
    extract = ("extract", photos, "--backbone", backbone, "--precision", "fp32", "--quiet", "--part-rows", 12, "-o")
    for command in (
        (*extract, kit.store),
        ("probe", kit.store, "--head", "ridge", "-o", kit.head),
        ("pca", kit.store, "--dim", 4, "-o", kit.transform),
    ):
        outcome = server.run(*command, within=600)
        assert outcome.code == 0, outcome
    shutil.copytree(kit.store, kit.indexed)
    outcome = server.run("index", kit.indexed, "--factory", "IVF2,Flat", within=600)
    assert outcome.code == 0, outcome
    return kit


def make_text_kit(server: Server, folder: Path, pictures: Kit) -> Kit:
    """Make the same of texts; an index of them is no other than one of pictures."""
    texts = [(f"r{i:02d}", f"{'good' if i % 2 else 'bad'} {chr(97 + i)}", "ab"[i % 2]) for i in range(24)]
    table = write_table(folder / "texts.csv", texts)
    backbone = folder / "tiny_text.onnx"
    backbone.write_bytes(tiny_text_model().SerializeToString())
    kit = Kit(table, backbone, folder / "store", folder / "head.onnx", folder / "pca.onnx", pictures.indexed)
    columns = ("--column", "text", "--id-column", "id", "--label-column", "label", "--keep-text", "--part-rows", 12)
    for command in (
        ("extract", table, *columns, "--backbone", backbone, "--precision", "fp32", "--quiet", "-o", kit.store),
        ("probe", kit.store, "--head", "ridge", "-o", kit.head),
        ("pca", kit.store, "--dim", 4, "-o", kit.transform),
    ):
        outcome = server.run(*command, within=600)
        assert outcome.code == 0, outcome
    return kit


@contextmanager
def writable(folders: Iterable[Path]) -> Iterator[None]:
    """Give folders that may not be written to back to who removes them."""
    yield
    for folder in folders:
        folder.chmod(0o700)
