"""The exceptions that fxengine raises on purpose.

    FxError
    +-- InputError      a path, an option or a file that the user gave cannot be used (exit code 1)
    +-- StoreError      a feature store, head or index does not fit what is asked of it (exit code 1)
    |   +-- StoreLocked     another process is writing to the store
    +-- DeviceError     the asked-for device, runtime or precision is not to be had (exit code 1)
    +-- DecodeError     one input could not become pixels; it becomes an error row, never a stop

Each message names the input, what is wrong and what to do, in one or two lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_FOREIGN = frozenset({"google", "h5py", "onnx", "onnxruntime", "openvino", "pyarrow", "sklearn"})


def first_line(error: BaseException, most: int = 300) -> str:
    """Return the first line of another library's message, or the name of its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def is_foreign(error: BaseException) -> bool:
    """Tell whether the system or another library failed, and not fxengine itself.

    A plain RuntimeError is what FAISS, OpenVINO and UMAP raise; one of Python's own is a class of its own.
    """
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError | MemoryError | ImportError) or type(error) is RuntimeError or library in _FOREIGN


def reason(error: BaseException, most: int = 300) -> str:
    """Return in one line, for people, why the system or another library failed."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, ImportError):
        return f"{error.name or 'a library'} cannot be loaded: {first_line(error, most)}"
    if isinstance(error, OSError) and error.strerror:
        named = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{named}"
    return first_line(error, most)


@contextmanager
def explained(failed: str, advice: str = "", kind: type[FxError] | None = None) -> Iterator[None]:
    """Turn what the system or another library raises inside the block into a sentence.

    Args:
        failed: what could not be done, such as "Cannot write photos.parquet"; the reason follows it.
        advice: what to do; follows the reason.
        kind: what to raise, `StoreError` unless given. Errors of fxengine pass, and so do its faults.
    """
    try:
        yield
    except FxError:
        raise
    except Exception as error:
        if not is_foreign(error):
            raise
        raise (kind or StoreError)(f"{failed}: {reason(error).rstrip('.')}. {advice}".rstrip()) from error


class FxError(Exception):
    """Base of every error that fxengine raises on purpose."""


class InputError(FxError, ValueError):
    """What the user gave (a path, an option, a file) cannot be used."""


class StoreError(FxError):
    """A feature store, head or index does not fit what is asked of it."""


class StoreLocked(StoreError):
    """Another process is writing to the store; the message says which."""


class DeviceError(FxError):
    """The asked-for device, runtime or precision is not to be had on this machine."""


class DecodeError(FxError):
    """One input could not become pixels.

    Attributes:
        code: one of `fxengine.features.schema.ERROR_CODES`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
