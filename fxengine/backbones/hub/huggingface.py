"""The Hugging Face Hub by `huggingface_hub`, which only this file imports: what lies there, and one file at a time.

Its own settings count (HF_ENDPOINT, HF_HOME, HF_TOKEN, HF_HUB_OFFLINE and the others), and files lie in its own cache.
What it and the libraries below it say may hold a token or a signed address: no message of theirs is passed on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from fxengine.backbones.hub import folder
from fxengine.backbones.hub.listing import (
    COMMIT,
    Entry,
    Listing,
    find_commit,
    find_listing,
    keep_listing,
    sorted_entries,
)
from fxengine.backbones.hub.progress import telling
from fxengine.errors import InputError, reason
from fxengine.files import read_small

MAIN = "main"
_LOG = logging.getLogger("fxengine")
_INSTALL = "Repositories of Hugging Face need the package huggingface_hub: pip install 'fxengine[hub]'"
_WAY_OUT = "Try again with a network, or give a folder that it was downloaded to."
_LOG_IN = "`hf auth login`, or HF_TOKEN"
_BELOW = frozenset({"huggingface_hub", "hf_xet", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"})
_DIGITS = {64: "sha256", 40: "git"}  # of the name of a blob in its cache -> what that name is
_MOST_REF = 1000  # bytes


class _Unreachable(Exception):
    """The Hub does not answer; the message goes on after its name."""


def list_repository(name: str, revision: str) -> Listing:
    """Return what a repository holds at a revision (a branch, a tag, a commit); fetches nothing else.

    A commit that was listed before asks nobody. Offline, or where the Hub does not answer, a branch or a tag is of the
    commit that it was of when last asked for.

    Raises:
        InputError: there is none, it may not be read, or neither the Hub nor the cache tells.
    """
    hub = _hub()
    known = find_listing(name, revision) if COMMIT.fullmatch(revision) else None
    if known is not None:
        return known
    if hub.constants.HF_HUB_OFFLINE:
        return _from_cache(hub, name, revision, "HF_HUB_OFFLINE is set")
    try:
        with _in_words(hub, name, revision):
            said = hub.HfApi(endpoint=hub.constants.ENDPOINT, library_name="fxengine").model_info(
                name, revision=revision, files_metadata=True, timeout=hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
            )
    except _Unreachable as error:
        why = f"{_host(hub)} {error}"
        found = _from_cache(hub, name, revision, why)
        _LOG.warning("fxengine: %s: %s@%s is taken from the cache, at %s.", why, name, revision, found.commit[:12])
        return found
    found = _listing(name, said)
    keep_listing(found, revision)
    return found


def fetch(name: str, commit: str, file: str) -> Path:
    """Return a file of a repository in the Hub's cache on this machine, fetched where it is not there.

    Raises:
        InputError: it cannot be had; the message says why.
    """
    hub = _hub()
    try:
        with _in_words(hub, name, commit), _quiet(hub):
            return Path(
                hub.hf_hub_download(
                    name,
                    file,
                    revision=commit,
                    endpoint=hub.constants.ENDPOINT,
                    cache_dir=hub.constants.HF_HUB_CACHE,
                    library_name="fxengine",
                    tqdm_class=telling(f"{file} of {name}"),
                )
            )
    except _Unreachable as error:
        why = "HF_HUB_OFFLINE is set" if hub.constants.HF_HUB_OFFLINE else f"{_host(hub)} {error}"
        raise InputError(f"{file} of {name}@{commit[:12]} is not in the cache, and {why}. {_WAY_OUT}") from None


def find(name: str, commit: str, file: str) -> Path | None:
    """Return where a file of a repository lies in the Hub's cache on this machine, or None."""
    hub = _hub()
    found = hub.try_to_load_from_cache(name, file, cache_dir=hub.constants.HF_HUB_CACHE, revision=commit)
    return Path(found) if isinstance(found, str) else None


def _hub() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise InputError(f"{_INSTALL} ({reason(error)})") from error
    return huggingface_hub


def _listing(name: str, said: Any) -> Listing:
    """Return the listing that the Hub's answer is; raises InputError where it is none."""
    commit = str(said.sha)
    if not COMMIT.fullmatch(commit) or said.siblings is None:
        raise InputError(f"What the Hub says of {name} is no listing of a repository. Is HF_ENDPOINT right?")
    entries = (Entry(each.rfilename, each.size, _digest(each)) for each in said.siblings)
    licence = (said.card_data.get("license") if said.card_data else None) or ""
    return Listing(name, commit, sorted_entries(entries), licence if isinstance(licence, str) else ", ".join(licence))


def _digest(sibling: Any) -> str:
    if sibling.lfs is not None:
        return f"sha256:{sibling.lfs.sha256}"
    return f"git:{sibling.blob_id}" if sibling.blob_id else ""


def _from_cache(hub: ModuleType, name: str, revision: str, why: str) -> Listing:
    """Return what the caches know of a repository; raises InputError where that is nothing."""
    place = Path(hub.constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")
    commit = revision if COMMIT.fullmatch(revision) else find_commit(name, revision) or _ref(place, revision)
    snapshots = place / "snapshots"
    if commit is not None:
        found = find_listing(name, commit)
        if found is not None:
            return found
        if (snapshots / commit).is_dir():
            return _snapshot(snapshots / commit, name)
    there = sorted(each.name for each in snapshots.glob("*") if COMMIT.fullmatch(each.name))
    which = f" There is: {', '.join(f'{name}@{each}' for each in there[:3])}." if there else ""
    raise InputError(f"{name}@{revision} is not in the cache, and {why}.{which} {_WAY_OUT}")


def _ref(place: Path, revision: str) -> str | None:
    """Return the commit that other programs noted for a revision in the Hub's cache."""
    with suppress(OSError, UnicodeDecodeError):
        commit = read_small(place / "refs" / revision, _MOST_REF).decode().strip()
        return commit if COMMIT.fullmatch(commit) else None
    return None


def _snapshot(place: Path, name: str) -> Listing:
    """Return what the Hub's cache has of a commit, which other programs fetched: a part of its files, as a rule."""
    entries = tuple(
        Entry(each.name, each.size, _digest_of_blob(place / each.name)) for each in folder.list_folder(place)
    )
    return Listing(name, place.name, entries, folder.licence_of(place), whole=False)


def _digest_of_blob(path: Path) -> str:
    """Return the hash that a blob of the Hub's cache bears as its name, where a file is a link to one."""
    blob = path.readlink().name if path.is_symlink() else ""
    kind = _DIGITS.get(len(blob))
    return f"{kind}:{blob}" if kind and all(each in "0123456789abcdef" for each in blob) else ""


def _host(hub: ModuleType) -> str:
    """Return the host of the Hub alone: its address may hold a password."""
    parts = urlsplit(hub.constants.ENDPOINT)
    with suppress(ValueError):  # a port that is none
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    return str(parts.hostname)


@contextmanager
def _quiet(hub: ModuleType) -> Iterator[None]:
    """Keep the library from showing and logging addresses, which may be signed, while the block runs."""
    from huggingface_hub.utils import logging as its_logging

    verbosity, bars = its_logging.get_verbosity(), not hub.utils.are_progress_bars_disabled()
    its_logging.set_verbosity(logging.ERROR)
    if bars:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        its_logging.set_verbosity(verbosity)
        if bars:
            hub.utils.enable_progress_bars()


@contextmanager
def _in_words(hub: ModuleType, name: str, revision: str) -> Iterator[None]:
    """Turn what the library raises inside the block into a sentence, or into `_Unreachable`."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError | ValueError) and type(error).__module__.partition(".")[0] not in _BELOW:
            raise
        raise _sentence(hub, error, name, revision) from None


def _sentence(hub: ModuleType, error: BaseException, name: str, revision: str) -> Exception:
    errors = hub.errors
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return _sentence(hub, error.__cause__, name, revision)  # what it could not be fetched for
    if isinstance(error, errors.GatedRepoError):
        page = f"{_host(hub)}/{name}"
        return InputError(f"{name} is gated: ask for access at {page}, then log in ({_LOG_IN}) and try again.")
    if isinstance(error, errors.RepositoryNotFoundError):
        local = f" There is a folder of that name: give ./{name}." if Path(name).is_dir() else ""
        return InputError(
            f"There is no repository {name}, or it is private: check the name, or log in ({_LOG_IN}).{local}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{name} has no revision {revision!r}: give a branch, a tag or a commit that it has.")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return InputError(f"{name}@{revision[:40]} lists a file that the Hub does not have. Try another revision.")
    if isinstance(error, errors.HfHubHTTPError):
        return _of_status(error.response.status_code, name)
    return _of_transport(error, name)


def _of_status(status: int, name: str) -> Exception:
    if status == 401:
        return InputError(f"The Hub refuses the token that it was given for {name}. Log in again: {_LOG_IN}.")
    if status == 403:
        return InputError(f"The Hub does not let you read {name}. Log in as somebody who may: {_LOG_IN}.")
    if status == 404:
        return InputError(f"There is no repository {name}, or not this file of it: check the name.")
    if status == 429:
        return _Unreachable(f"wants fewer requests (status 429): try again later, or log in ({_LOG_IN})")
    return _Unreachable(f"answers with an error (status {status})")


def _of_transport(error: BaseException, name: str) -> Exception:
    kinds = " ".join(each.__name__ for each in type(error).__mro__)
    if "Timeout" in kinds:
        return _Unreachable("does not answer in time (HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT are seconds)")
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return InputError(f"What {name} holds cannot be kept: {reason(error)}.")
    if type(error) is OSError:  # its check of what came, by the size that the Hub told
        return InputError(f"A file of {name} arrived cut, or there is no room to keep it. Try again.")
    if "Connect" in kinds or "Offline" in kinds or "Protocol" in kinds or "Read" in kinds:
        return _Unreachable("cannot be reached")
    return _Unreachable(f"cannot be asked ({type(error).__name__})")
