"""Where things are kept that only save time. Importable from anywhere; deleting the folder loses nothing else.

What lies there is taken for what its name says, so it is used only where nobody else can have put anything into it.
Where it cannot be written to, what would be kept there is kept for this process alone, and the reason is logged once.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fxengine.errors import InputError, explained
from fxengine.files import remove, remove_temporaries, replacing

_LOG = logging.getLogger("fxengine")
# What `clean` leaves: stores were computed by these very int8 copies, what a user named is no one else's to say, and
# offline nothing else tells what a repository holds.
_KEPT = ("int8", "named", "hub")
# What `clean` removes, by the names that are given here: the folder may be another program's or a project's, too.
_CLEANED = {
    "backbones": r"[0-9a-f]{64}(-[0-9a-f]{16})?\.onnx",
    "sources": r".+-[0-9a-f]{16,32}\.json",
    "pairs": r"[0-9a-f]{64}\.json",
    "precision": r"[0-9a-f]{32}\.json",
    "fp16": r"[0-9a-f]{64}\.onnx",
    "tensorrt": r"[0-9a-f]{32}",
    "vectors": r"[0-9a-f]{32}-[0-9a-f]{32}\.(npy|copy)",
    "words": r"[0-9a-f]{32}-[0-9a-f]{32}\.(npy|json)",
    "thumbnails": r"[0-9a-f]{64}\.jpg",
    "notes": r"[0-9a-f]{32}",
    "logs": r"[a-z]+-\d{8}-\d{6}-\d+\.log",
}
KINDS = (*_CLEANED, *_KEPT)

_own: Path | None = None  # what is kept for this process alone
_told = False


def cache_folder() -> Path:
    """Return the cache's folder, made with mode 0700: `FXENGINE_CACHE`, else `$XDG_CACHE_HOME/fxengine`.

    Raises:
        InputError: others own it or can write to it.
        OSError: it cannot be made; it may be there and yet not be writable.
    """
    folder = _where()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check(folder, 0o022)
    return folder


def kind_folder(kind: str) -> Path:
    """Return the folder of one of `KINDS`, made and checked.

    Raises as `cache_folder`, and InputError where it is a link.
    """
    cache = cache_folder()
    folder = cache / kind
    if folder.is_symlink():
        raise InputError(f"{folder} is a link, and none is followed within the cache: delete it.")
    folder.mkdir(mode=0o700, exist_ok=True)
    # Behind a closed door its own mode says nothing, and a umask of 002 has left those of earlier versions open.
    _check(folder, 0o022 if cache.stat().st_mode & 0o077 else 0)
    return folder


def find(name: str) -> Path | None:
    """Return the file that is kept as `name`, "KIND/NAME"; None where there is none that is this user's.

    Raises:
        InputError: others own the cache or can write to it.
    """
    kind, _, rest = name.partition("/")
    if Path(rest).name != rest or "\0" in rest:
        return None  # a store says by what name its int8 copy is kept: that is no path to elsewhere
    places = [] if _own is None else [_own / name]
    with suppress(OSError):
        places.append(kind_folder(kind) / rest)
    return next((path for path in places if _is_ours(path)), None)


def keep(name: str, write: Callable[[Path], object]) -> Path:
    """Keep a file as `name`, "KIND/NAME", until it is deleted or, where the cache cannot be written to, until the end.

    Args:
        name: what it is found by.
        write: writes it whole to the path that it is given; called again where the cache could not hold it.

    Raises:
        InputError: others own the cache or can write to it, or no temporary folder can be written to either.
    """
    kind, _, rest = name.partition("/")
    try:
        return _written(kind_folder(kind) / rest, write)
    except OSError as error:
        tell(error)
    with explained(f"Neither the cache nor {tempfile.gettempdir()} can hold {rest}", kind=InputError):
        return _written(_own_folder(kind) / rest, write)


def working_folder(name: str) -> Path:
    """Return the folder "KIND" or "KIND/NAME" for others to write into; as `keep`, where the cache cannot be written.

    Raises as `keep`.
    """
    kind, _, rest = name.partition("/")
    try:
        folder = kind_folder(kind) / rest
        folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        tell(error)
    with explained(f"Neither the cache nor {tempfile.gettempdir()} can be written to", kind=InputError):
        folder = _own_folder(kind) / rest
        folder.mkdir(exist_ok=True)
        return folder


def tell(error: OSError) -> None:
    """Log why the cache does not serve, once: a program may silence the logger "fxengine"."""
    global _told
    if not _told:
        _told = True
        where = ""
        with suppress(OSError):
            where = f" {_where()}"
        _LOG.warning(
            "fxengine: the cache%s cannot be used (%s): what it saves takes its time again. "
            "Set FXENGINE_CACHE to a folder that can be written to.",
            where,
            error.strerror or error,
        )


def sizes() -> dict[str, int]:
    """Return the bytes that each kind takes in the cache, of those that take any; raises as `cache_folder`."""
    cache = cache_folder()
    found = {kind: _bytes(cache / kind) for kind in KINDS}
    return {kind: size for kind, size in found.items() if size}


def clean() -> int:
    """Remove what only saves time and return how many bytes that freed.

    The int8 copies that stores were computed by stay, the notes of what the user named, and what is being written.

    Raises as `cache_folder`.
    """
    before = sum(sizes().values())
    for kind in KINDS:
        folder = kind_folder(kind)
        remove_temporaries(folder)
        for path in folder.iterdir() if kind in _CLEANED else ():
            if re.fullmatch(_CLEANED[kind], path.name):
                remove(path)
    return before - sum(sizes().values())


def _where() -> Path:
    named = os.environ.get("FXENGINE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        if named:
            return Path(named).expanduser().absolute()
        # One that is not absolute counts for nothing: so says the standard that the variable comes from.
        return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "fxengine"
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "there is no home directory") from error


def _check(folder: Path, forbidden: int) -> None:
    """Raise InputError where others own a folder, or a link to it, or have one of these permissions in it."""
    if not hasattr(os, "geteuid"):
        return
    for found in (os.lstat(folder), os.stat(folder)):
        if not _is_trusted(found):
            raise InputError(
                f"The cache folder {folder} belongs to another user (number {found.st_uid}), who can put anything "
                "into it. Set FXENGINE_CACHE to a folder of your own."
            )
    if os.stat(folder).st_mode & forbidden:
        raise InputError(
            f"Others can write to the cache folder {folder}: what lies there may be theirs. Set FXENGINE_CACHE to "
            f"another. Where it is fxengine's alone, delete it, or `chmod go-w {folder}` if nobody else wrote to it."
        )


def _is_trusted(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid in (os.geteuid(), 0)


def _is_ours(path: Path) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and _is_trusted(found)


def _written(path: Path, write: Callable[[Path], object]) -> Path:
    with replacing(path) as temporary:
        write(temporary)
    return path


def _own_folder(kind: str) -> Path:
    """Return the folder of a kind that this process has for itself and removes at its end."""
    global _own
    if _own is None:
        _own = Path(tempfile.mkdtemp(prefix="fxengine-cache-"))
        atexit.register(_remove_own, _own, os.getpid())
    folder = _own / kind
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _remove_own(folder: Path, process: int) -> None:
    if os.getpid() == process:  # and not one that it was forked into
        shutil.rmtree(folder, ignore_errors=True)


def _bytes(path: Path) -> int:
    """Return the bytes of all files in a folder; no link is followed or counted."""
    total = 0
    for folder, _, names in os.walk(path) if not path.is_symlink() else ():
        for name in names:
            with suppress(OSError):
                found = Path(folder, name).lstat()
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total
