"""Kaggle, where TensorFlow Hub's models are, by `kagglehub`, which only this file imports: one version, in its cache.

Its own settings count (KAGGLEHUB_CACHE, KAGGLE_API_TOKEN, KAGGLE_CONFIG_DIR and the others). It prints and logs
addresses, and in some settings headers: what it says is not shown, and no message of its own is passed on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from fxengine.errors import InputError, reason

_FRAMEWORK = "tensorFlow2"  # as Kaggle writes it
_PART = r"[A-Za-z0-9][\w.-]*"
_HANDLE = re.compile(rf"({_PART})/({_PART})/({_PART})/({_PART})(?:/([1-9]\d{{0,8}}))?", re.ASCII)
_PAGE = re.compile(r"https://(www\.)?kaggle\.com/models/")
_FORM = (
    "OWNER/MODEL/tensorFlow2/VARIATION[/VERSION], as Kaggle writes it: "
    "google/mobilenet-v2/tensorFlow2/100-224-feature-vector"
)
_LOG = logging.getLogger("fxengine")
_INSTALL = "Models of TensorFlow Hub need the package kagglehub: pip install 'fxengine[tfhub]'"
_LOG_IN = "KAGGLE_API_TOKEN, or kagglehub.login()"
_WAY_OUT = "Try again with a network, or give the folder of the SavedModel as keras:FOLDER."
_BELOW = frozenset({"kagglehub", "kagglesdk", "requests", "urllib3"})


@dataclass(frozen=True)
class Handle:
    """A model on Kaggle, a SavedModel of TensorFlow 2.

    Attributes:
        owner: who published it.
        model: its name.
        variation: which one of it.
        version: a number from 1; None: the newest.
    """

    owner: str
    model: str
    variation: str
    version: int | None = None

    def __str__(self) -> str:
        version = "" if self.version is None else f"/{self.version}"
        return f"{self.owner}/{self.model}/{_FRAMEWORK}/{self.variation}{version}"


class _Unreachable(Exception):
    """Kaggle does not answer; the message goes on after its name."""


def parse(what: str) -> Handle:
    """Return what a text asks for: "OWNER/MODEL/tensorFlow2/VARIATION[/VERSION]", or the address of such a page.

    Raises:
        InputError: it is neither, or of another framework; another address is not repeated, since it may hold a
            password.
    """
    place = _PAGE.sub("", what).rstrip("/")
    if "://" in place:
        raise InputError(
            f"An address of tfhub.dev or elsewhere names no model of Kaggle, where TensorFlow Hub's are now (a browser "
            f"leads from the one to the other). Give {_FORM}."
        )
    found = _HANDLE.fullmatch(place)
    if found is None:
        raise InputError(f"{place!r} names no model of Kaggle. Give {_FORM}.")
    owner, model, framework, variation, version = found.groups()
    if framework.lower() != _FRAMEWORK.lower():
        raise InputError(
            f"{place} is of the framework {framework}, and only SavedModels of TensorFlow 2 are taken: "
            f"give {owner}/{model}/{_FRAMEWORK}/VARIATION, where its page has one."
        )
    return Handle(owner, model, variation, None if version is None else int(version))


def resolve(handle: Handle) -> Handle:
    """Return the handle with its version: one without means the newest that Kaggle has.

    A version asks nobody. Where Kaggle does not answer, the newest in the cache is taken, with a warning.

    Raises:
        InputError: there is no such model, it may not be read, or neither Kaggle nor the cache tells.
    """
    if handle.version is not None:
        return handle
    hub = _hub()
    try:
        with _in_words(hub, handle):
            newest = _ask(handle).version_number
    except _Unreachable as error:
        here = _newest_here(hub, handle)
        if here is None:
            raise InputError(f"{handle} is not in the cache, and Kaggle {error}. {_WAY_OUT}") from None
        _LOG.warning("fxengine: Kaggle %s: %s is taken from the cache.", error, here)
        return here
    if newest < 1:
        raise InputError(f"Kaggle names no version of {handle}: choose one on its page.")
    return replace(handle, version=newest)


def fetch(handle: Handle) -> Path:
    """Return the SavedModel's folder in kagglehub's cache, fetched where it is not there.

    Args:
        handle: with its version.

    Raises:
        InputError: it cannot be had, or is no SavedModel.
    """
    hub = _hub()
    try:
        with _in_words(hub, handle):
            place = Path(hub.model_download(str(handle)))
    except _Unreachable as error:
        raise InputError(f"{handle} is not in the cache, and Kaggle {error}. {_WAY_OUT}") from None
    if not (place / "saved_model.pb").is_file():
        raise InputError(f"{handle} is no SavedModel: {place} has no saved_model.pb.")
    return place


def licence_of(handle: Handle) -> str:
    """Return the licence that Kaggle names for a model, or "" where it names none or does not answer."""
    with suppress(InputError, _Unreachable), _in_words(_hub(), handle):
        return str(_ask(handle).license_name)
    return ""


def _hub() -> Any:
    try:
        import kagglehub
        import kagglehub.cache
        import kagglehub.exceptions
    except ImportError as error:
        raise InputError(f"{_INSTALL} ({reason(error)})") from error
    return kagglehub


def _ask(handle: Handle) -> Any:
    """Return what Kaggle says of a variation: its newest version and its licence, which kagglehub gives to nobody."""
    from kagglehub.clients import build_kaggle_client
    from kagglehub.exceptions import handle_call
    from kagglesdk.models.types.model_api_service import ApiGetModelInstanceRequest

    request = ApiGetModelInstanceRequest()
    known = _known(handle)
    request.owner_slug, request.model_slug = handle.owner, handle.model
    request.framework, request.instance_slug = known.framework_enum(), handle.variation
    with build_kaggle_client() as client:
        return handle_call(lambda: client.models.model_api_client.get_model_instance(request))


def _known(handle: Handle) -> Any:
    from kagglehub.handle import ModelHandle

    return ModelHandle(handle.owner, handle.model, _FRAMEWORK, handle.variation, handle.version)


def _newest_here(hub: Any, handle: Handle) -> Handle | None:
    """Return the newest version that lies whole in kagglehub's cache."""
    versions = Path(hub.cache.get_cached_path(_known(replace(handle, version=1)))).parent
    here = [int(each.stem) for each in versions.glob("*.complete") if each.stem.isascii() and each.stem.isdigit()]
    whole = [number for number in here if (versions / str(number)).is_dir()]
    return replace(handle, version=max(whole)) if whole else None


@contextmanager
def _in_words(hub: Any, handle: Handle) -> Iterator[None]:
    """Keep the library quiet, and turn what it raises inside the block into a sentence, or into `_Unreachable`."""
    log = logging.getLogger("kagglehub")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    except Exception as error:
        if not isinstance(error, OSError | ValueError) and type(error).__module__.partition(".")[0] not in _BELOW:
            raise
        raise _sentence(hub, error, handle) from None
    finally:
        log.setLevel(level)


def _sentence(hub: Any, error: Exception, handle: Handle) -> Exception:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None and status >= 400:
        return _of_status(status, handle)
    kinds = " ".join(each.__name__ for each in type(error).__mro__)
    if "JSON" in kinds:  # the page of a hotel's network
        return _Unreachable("does not answer as it should")
    if isinstance(error, hub.exceptions.DataCorruptionError) or "ChunkedEncoding" in kinds or "Decod" in kinds:
        return InputError(f"A file of {handle} arrived cut or damaged. Try again.")
    if "Timeout" in kinds:
        return _Unreachable("does not answer in time")
    if "RequestException" in kinds or "HTTPError" in kinds:
        return _Unreachable("cannot be reached")
    if isinstance(error, OSError):
        return InputError(f"What {handle} holds cannot be kept: {reason(error)}.")
    if "credentials" in str(error):
        return InputError(
            f"The file of Kaggle's credentials (kaggle.json) is damaged: write it anew, or use {_LOG_IN}."
        )
    return InputError(f"{handle} cannot be fetched: kagglehub does not understand what Kaggle sent.")


def _of_status(status: int, handle: Handle) -> Exception:
    if status == 401:
        return InputError(f"Kaggle refuses the credentials that it was given for {handle}. Log in again: {_LOG_IN}.")
    if status == 403:
        return InputError(
            f"Kaggle does not let you read {handle}: check the name, and where its page asks for consent, give it "
            f"there and log in ({_LOG_IN})."
        )
    if status == 404:
        return InputError(f"There is no model {handle} on Kaggle: check the name and the version on its page.")
    if status == 429:
        return _Unreachable(f"wants fewer requests (status 429): try again later, or log in ({_LOG_IN})")
    return _Unreachable(f"answers with an error (status {status})")
