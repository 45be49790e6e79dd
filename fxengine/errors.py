"""The exceptions that fxengine raises on purpose.

    FxError
    +-- InputError      a path, an option or a file that the user gave cannot be used (exit code 1)
    +-- StoreError      a feature store, head or index does not fit what is asked of it (exit code 1)
    |   +-- StoreLocked     another process is writing to the store
    +-- DeviceError     the asked-for device, runtime or precision is not to be had (exit code 1)
    +-- DecodeError     one input could not become pixels; it becomes an error row, never a stop

Each message names the input, what is wrong and what to do, in one or two lines.
"""


def first_line(error: Exception, most: int = 300) -> str:
    """Return the first line of another library's message, or the name of its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


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
