"""How much memory this process can still take, so that what would not fit is refused and not met by being killed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from fxengine.errors import DecodeError, StoreError

_ASKED_FROM = 64 << 20  # below, the question costs more than it saves
_SPARE = 64 << 20  # what everything else may take in the meantime
_CGROUPS = Path("/sys/fs/cgroup")
# Limit, use, and the parts of the use that the system takes back when it has to, in version 2 and 1.
_NAMES = ("memory.max", "memory.current", ("active_file", "inactive_file", "slab_reclaimable"))
_OLD_NAMES = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file"))


def require(count: int, doing: str) -> None:
    """Raise DecodeError `out_of_memory` where `count` bytes are more than there are; `doing` begins the sentence."""
    if count < _ASKED_FROM:
        return
    free = available()
    if free is not None and count + _SPARE > free:
        raise DecodeError("out_of_memory", f"{doing} takes about {count / 1e6:.0f} MB; {free / 1e6:.0f} MB are free.")


def demand(count: int, doing: str, advice: str) -> None:
    """Raise StoreError where long work will take more bytes than there are, before it begins.

    Args:
        count: bytes.
        doing: begins the sentence, such as "Clustering photos/".
        advice: what to do, another sentence.
    """
    free = available() if count >= _ASKED_FROM else None
    if free is not None and count > free:
        raise StoreError(f"{doing} takes about {count / 1e6:.0f} MB of memory; {free / 1e6:.0f} MB are free. {advice}")


def available() -> int | None:
    """Return the bytes that can still be taken before the system or a control group runs out; None where unknown."""
    found = [free for free in (_of_system(), *_of_groups()) if free is not None]
    return max(0, min(found)) if found else None


def _of_system() -> int | None:
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None


def _of_groups() -> list[int | None]:
    """Return what is left in each control group that this process is in, and in those around it."""
    left: list[int | None] = []
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            root = _CGROUPS
            names: tuple[str, str, tuple[str, ...]] = _NAMES
        elif "memory" in controllers.split(","):
            root, names = _CGROUPS / "memory", _OLD_NAMES
        else:
            continue
        # In a container the path may be that of the host: the container's own group is then the root.
        folder = root / path.strip("/") if (root / path.strip("/")).is_dir() else root
        while True:
            left.append(_of_group(folder, *names))
            if folder == root:
                break
            folder = folder.parent
    return left


def _of_group(folder: Path, limit: str, usage: str, reclaimable: tuple[str, ...]) -> int | None:
    with suppress(ValueError):  # "max"
        most, used = int(_text(folder / limit)), int(_text(folder / usage))
        stats = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
        return most - used + sum(int(stats.get(name, 0)) for name in reclaimable)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
