"""What a repository holds at one commit, kept in the cache: a commit never changes, and offline nothing else tells."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass

from fxengine import cache
from fxengine.errors import InputError
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.files import read_small

KIND = "hub"  # of what is in the cache
COMMIT = re.compile("[0-9a-f]{40}")
_FORMAT = 1
_LONGEST = 8_000_000  # bytes of a listing


@dataclass(frozen=True)
class Entry:
    """A file of a repository.

    Attributes:
        name: its path in the repository, with "/".
        size: its bytes; None where that is not known.
        digest: "sha256:HEX" of the file, or "git:HEX" of the object that git makes of it; "" where neither is known.
    """

    name: str
    size: int | None = None
    digest: str = ""


@dataclass(frozen=True)
class Listing:
    """A repository at one commit.

    Attributes:
        name: "ORG/NAME".
        commit: 40 hexadecimal digits.
        entries: every file, sorted by name.
        licence: as its card names it; "" where that is not known.
        whole: whether these are all of its files, and not those alone that a cache has.
    """

    name: str
    commit: str
    entries: tuple[Entry, ...]
    licence: str = ""
    whole: bool = True


@dataclass(frozen=True)
class _Ref:
    commit: str

    def __post_init__(self) -> None:
        if not COMMIT.fullmatch(self.commit):
            raise ValueError(f"{self.commit[:60]!r} is no commit")


def sorted_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries by name, without those that name a place outside of their repository."""
    return tuple(sorted((each for each in entries if is_inside(each.name)), key=lambda each: each.name))


def is_inside(name: str) -> bool:
    """Tell whether a name with "/" is that of a file in its repository, on every system."""
    parts = name.split("/")
    return not {"", ".", ".."} & set(parts) and not re.search(r"[\\:\0-\x1f]", name)


def keep_listing(listing: Listing, revision: str) -> None:
    """Keep a listing, and that this revision (a branch, a tag) is of its commit, where that can be kept."""
    with suppress(InputError):
        _keep(_listing_key(listing.name, listing.commit), {"format": _FORMAT, **asdict(listing)})
        if revision != listing.commit:
            _keep(_ref_key(listing.name, revision), {"format": _FORMAT, "commit": listing.commit})


def find_listing(name: str, commit: str) -> Listing | None:
    """Return the listing of a commit that was kept; None where there is none, whole and of just that commit."""
    with suppress(FactsError):
        found = facts_from(Listing, _read(_listing_key(name, commit)), _FORMAT)
        if (found.name, found.commit) == (name, commit) and found.entries == sorted_entries(found.entries):
            return found
    return None


def find_commit(name: str, revision: str) -> str | None:
    """Return the commit that a revision was of when it was last asked for, or None."""
    with suppress(FactsError):
        return facts_from(_Ref, _read(_ref_key(name, revision)), _FORMAT).commit
    return None


def _listing_key(name: str, commit: str) -> str:
    return _key("commit", name, commit)


def _ref_key(name: str, revision: str) -> str:
    return _key("revision", name, revision)


def _key(*parts: str) -> str:
    return f"{KIND}/{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.json"


def _keep(key: str, value: object) -> None:
    cache.keep(key, lambda path: path.write_text(json.dumps(value)))


def _read(key: str) -> object:
    with suppress(InputError, OSError):
        found = cache.find(key)
        return None if found is None else read_json(read_small(found, _LONGEST))
    return None
