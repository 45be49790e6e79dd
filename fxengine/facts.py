"""What a file says of itself: JSON that is read back as a frozen dataclass, every entry checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints


class FactsError(ValueError):
    """What a file says of itself cannot be used; the message goes on after the file's name: "is damaged: ..."."""


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


T = TypeVar("T", bound=_Dataclass)

_DEEPEST = 32  # objects and arrays within each other; what is read here goes through functions that call themselves
_SHOWN = 60  # characters of what is quoted


def read_json(text: str | bytes) -> object:
    """Return a JSON value that can be written as JSON again.

    Raises:
        FactsError: the text is none, is nested more than 32 deep, or holds a number that is not finite or text that no
            file can hold.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise FactsError("is damaged: what it says of itself is not JSON") from error
    if _depth(value) > _DEEPEST:
        raise FactsError(f"is damaged: what it says of itself is nested more than {_DEEPEST} deep")
    return value


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _depth(value: object) -> int:
    """Return how many objects and arrays lie within each other; without calling itself."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def facts_from(cls: type[T], values: object, version: int) -> T:
    """Return the facts that a JSON object of the format `version` says; its arrays become tuples.

    Raises:
        FactsError: it is of another format, an entry is missing, not of its type or what its dataclass refuses with a
            ValueError, or there is one that this version of fxengine does not know; the message says which, and by what
            version that was written.
    """
    if not isinstance(values, Mapping):
        raise FactsError("is damaged: what it says of itself is no JSON object")
    if values.get("format") != version:
        raise FactsError("is of another format version")
    return _made(cls, {key: value for key, value in values.items() if key != "format"}, "", _writer(values))


def _made(cls: type[T], values: Mapping[str, object], within: str, writer: str) -> T:
    known = {entry.name: entry for entry in fields(cls)}
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise FactsError(
            f"was written by fxengine {writer} and says {(within + unknown[0])[:_SHOWN]!r} of itself, which this "
            "version does not know"
        )
    missing = [n for n, e in known.items() if n not in values and e.default is e.default_factory is MISSING]
    if missing:
        raise FactsError(f"is damaged: {within + missing[0]!r} is missing")
    kinds = _kinds(cls)
    checked = {name: _value(value, kinds[name], within + name, writer) for name, value in values.items()}
    try:
        return cls(**checked)
    except ValueError as error:
        raise FactsError(f"is damaged: {error}") from error


def _value(value: object, kind: Any, name: str, writer: str) -> object:
    """Return a JSON value as an annotated type; a whole number is a fraction, too, and true is no number."""
    outer, inner = get_origin(kind), get_args(kind)
    if outer in (Union, UnionType):
        kinds = [each for each in inner if each is not type(None)]
        return None if value is None else _value(value, _of_modality(kinds, value, name, writer), name, writer)
    if outer is tuple and isinstance(value, list | tuple):
        if inner[-1] is ... and all(type(each) is inner[0] for each in value):
            return tuple(value)  # at once: a net has a thousand classes
        inner = inner[:1] * len(value) if inner[-1] is ... else inner
        if len(inner) == len(value):
            return tuple(_value(each, kind, name, writer) for each, kind in zip(value, inner, strict=True))
    if outer is list and type(value) is list:
        return [_value(each, inner[0], name, writer) for each in value]
    if outer is dict and type(value) is dict:
        return {key: _value(each, inner[1], f"{name}.{key}", writer) for key, each in value.items()}
    if isinstance(kind, type) and is_dataclass(kind) and type(value) is dict:
        return _made(kind, value, f"{name}.", writer)
    known = kind is Any or type(value) is kind or (kind is float and type(value) is int)
    if known or (outer is Literal and value in inner):
        return value
    raise FactsError(f"is damaged: {name[:_SHOWN]!r} cannot be {repr(value)[:_SHOWN]}")


def _of_modality(kinds: Sequence[Any], value: object, name: str, writer: str) -> Any:
    """Return that of several dataclasses which a JSON object is: its `modality` says it, the first one has none."""
    if len(kinds) == 1 or not isinstance(value, dict) or "modality" not in value:
        return kinds[0]
    said = value["modality"]
    for kind in kinds:
        if said in get_args(_kinds(kind).get("modality")):
            return kind
    raise FactsError(
        f"was written by fxengine {writer} and says that {name + '.modality'!r} is {repr(said)[:_SHOWN]}, which this "
        "version does not know"
    )


def _writer(values: Mapping[str, object]) -> str:
    versions = values.get("versions")
    said = versions.get("fxengine", "of unknown version") if isinstance(versions, dict) else "of unknown version"
    return str(said)[:_SHOWN]


@cache
def _kinds(cls: type[_Dataclass]) -> dict[str, Any]:
    return get_type_hints(cls)
