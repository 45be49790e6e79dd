"""Hostile folders of photos: deep ones, names that are no text, and what is no file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.conftest import make_photo
from tests.hostile.cases import Case, Kit, sparse, victim
from tests.hostile.cases.stores import ODD


def photos(change: Callable[[Path, Path], object]) -> Case:
    """Return a folder with a sound photo and what `change(folder, victim)` puts into it."""

    def build(_: Kit, folder: Path) -> Path:
        root = folder / "photos"
        make_photo(root / "a" / "sound.jpg", 1)
        change(root, victim(folder))
        return root

    return Case(build)


def named(*names: bytes) -> Case:
    """Return a folder with a photo under each of these names, one after the other also a folder's."""

    def change(root: Path, _: Path) -> None:
        data = (root / "a" / "sound.jpg").read_bytes()
        for name in map(os.fsdecode, names):
            (root / f"{name}.jpg").write_bytes(data)
            (root / name).mkdir()
            (root / name / "b.jpg").write_bytes(data)

    return photos(change)


def _deep(levels: int, name: str = "d") -> Callable[[Path, Path], None]:
    def change(root: Path, _: Path) -> None:
        data = (root / "a" / "sound.jpg").read_bytes()
        opened = os.open(root, os.O_RDONLY)
        for _level in range(levels):
            os.mkdir(name, dir_fd=opened)
            below = os.open(name, os.O_RDONLY, dir_fd=opened)
            os.close(opened)
            opened = below
        file = os.open("deep.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=opened)
        os.write(file, data)
        os.close(file)
        os.close(opened)

    return change


def _many(root: Path, _: Path) -> None:
    for i in range(2000):
        (root / f"{i}.jpg").touch()


def _loops(root: Path, _: Path) -> None:
    (root / "self").symlink_to(root)
    (root / "a" / "up").symlink_to("..")
    (root / "x.jpg").symlink_to("y.jpg")
    (root / "y.jpg").symlink_to("x.jpg")


def _devices(root: Path, victim: Path) -> None:
    for name in ("zero", "random", "tty", "full"):
        (root / f"{name}.jpg").symlink_to(f"/dev/{name}")
    (root / "proc.jpg").symlink_to("/proc/self/mem")
    os.mkfifo(root / "fifo.jpg")
    (root / "folder.jpg").mkdir()


FOLDERS = {
    "1,100 deep": photos(_deep(1100)),
    "longer than a path": photos(_deep(60, "d" * 200)),
    "names not UTF-8": named(b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80"),
    "names with line ends": named(b"a\nb", b"a\rb", b"a\tb", b" a ", b"a\x0b"),
    "names with control characters": named(b"\x1b[2J", b"\x07\x08", b"\x7f", "\u202egpj".encode(), "\x85".encode()),
    "names with quotes": named(b"'", b'"', b"`id`", b"$(id)", b"a;b", b"*", b"[a]", b"{b}", b"%2e%2e", b"%"),
    "names of script": named(b"<script>alert(1)<", b"javascript:alert(1)", b"' onerror='alert(1)"),
    "names like options": named(b"-o", b"--help", b"-", b".hidden"),
    "names of markup": named(b"[bold red]x[", b":smile:", b"\\[b]"),
    "loops of links": photos(_loops),
    "devices": photos(_devices),
    "2,000 empty files": photos(_many),
    "photos of 3 GB": photos(lambda root, _: sparse(root / "large.jpg")),
    **{
        f"photo {name}": photos(lambda root, victim, what=what: what(root / "odd.jpg", victim))  # type: ignore[misc]
        for name, what in ODD.items()
        if "private" not in name  # a link in a folder that a person names is followed
    },
}  # fmt: skip


def listing(lines: bytes) -> Case:
    """Return a list of paths."""

    def build(_: Kit, folder: Path) -> Path:
        victim(folder)
        (folder / "list.txt").write_bytes(lines)
        return folder / "list.txt"

    return Case(build)


LISTS = {
    "paths that climb": listing(b"../../../../etc/passwd\n../private/secret.txt/x\n"),
    "absolute paths": listing(b"/etc/passwd\n/dev/zero\n/proc/self/mem\n"),
    "zero bytes": listing(b"a\0b\ncats/01.jpg\n"),
    "no UTF-8": listing(b"\xff\xfe\xfd\ncats/01.jpg\n"),
    "paths too long": listing(b"x" * 100_000 + b"\n" + b"y/" * 50_000 + b"\n"),
    "one path 100,000 times": listing(b"cats/01.jpg\n" * 100_000),
    "dots": listing(b".\n..\n/\n//\n./././cats/01.jpg\n"),
    "control characters": listing(b"\x1b[2J\n\x07\n"),
    "empty": listing(b""),
    "blank": listing(b"\n \n\t\n"),
}
