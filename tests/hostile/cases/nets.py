"""Hostile heads, transforms and backbones: other graphs, and what they say of themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from tests.hostile.cases import DEEP, SCRIPT, Case, victim
from tests.hostile.cases.graphs import BACKBONE, GRAPHS, HEAD, TRANSFORM, one, varint
from tests.hostile.cases.stores import ODD


def said(kind: str, change: Callable[[dict[str, Any]], object], says: str = "", refused: bool = True) -> Case:
    """Return a net that says of itself what `change` leaves or returns; bytes are taken as they are."""

    def changed(model: onnx.ModelProto, _: Path) -> bytes | None:
        entry = next(each for each in model.metadata_props if each.key == kind)
        facts = json.loads(entry.value)
        made = change(facts)
        if isinstance(made, bytes):
            entry.value = "PLACE"
            return _spliced(model.SerializeToString(), made)
        entry.value = json.dumps(facts if made is None else made)
        return None

    return one(kind, changed, says, refused)


def _spliced(data: bytes, raw: bytes) -> bytes:
    """Put bytes that need be no text in place of the metadata's value, and its length before them."""
    entry = data.rindex(b"\x12\x05PLACE")
    key = data.rindex(b"\x0a", 0, entry)
    start = data.rindex(b"\x72", 0, key)
    inner = data[key:entry] + b"\x12" + varint(len(raw)) + raw
    return data[:start] + b"\x72" + varint(len(inner)) + inner + data[entry + 7 :]


def entry(kind: str, name: str, value: object, refused: bool = True) -> Case:
    """Return a net that says `value` under `name`."""
    return said(kind, lambda facts: facts.update({name: value}), refused=refused)


def metadata(kind: str, required: str, number: str) -> dict[str, Case]:
    """Return what can be wrong with what any of them says of itself."""
    return {
        f"{required} missing": said(kind, lambda facts: facts.pop(required) and None, required),
        "all missing": said(kind, lambda _: {}),
        "format missing": said(kind, lambda facts: facts.pop("format") and None, "format"),
        "format another": entry(kind, "format", 99),
        "format true": entry(kind, "format", True, refused=False),
        "unknown entry": said(kind, lambda facts: facts.update(colour="red"), "'colour'"),
        "unknown entry of control characters": said(kind, lambda facts: facts.update({"\x1b[2J": 1})),
        f"{required} null": entry(kind, required, None),
        f"{required} a number": entry(kind, required, 5),
        f"{number} of text": entry(kind, number, "9"),
        f"{number} true": entry(kind, number, True),
        f"{number} negative": entry(kind, number, -1),
        f"{number} of 5,000 digits": said(kind, lambda facts: _with_number(facts, number, "9" * 5000)),
        f"{number} 1e999": said(kind, lambda facts: _with_number(facts, number, "1e999")),
        f"{number} NaN": said(kind, lambda facts: _with_number(facts, number, "NaN")),
        "an array": said(kind, lambda _: [1]),
        "a text": said(kind, lambda _: "text"),
        "not JSON": said(kind, lambda _: b"{"),
        "empty": said(kind, lambda _: b""),
        "no UTF-8": said(kind, lambda _: b"\xff\xfe{"),
        "zero bytes": said(kind, lambda _: b"\0{}"),
        "half a surrogate": entry(kind, required, "\ud800"),
        "deep": said(kind, lambda _: b"[" * DEEP + b"]" * DEEP),
        "deep objects": said(kind, lambda _: b'{"format":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}"),
        "5 MB of text": entry(kind, required, "x" * 5_000_000, refused=False),
        f"{required} of script": entry(kind, required, SCRIPT, refused=False),
        f"{required} that climbs": entry(kind, required, "../../../../etc/passwd", refused=False),
    }


HEADS = {
    **{name: cases[HEAD] for name, cases in GRAPHS.items()},
    **metadata(HEAD, "space", "rows"),
    "classes none": entry(HEAD, "classes", []),
    "classes too few": entry(HEAD, "classes", ["one"]),
    "classes too many": entry(HEAD, "classes", ["one", "two", "three"]),
    "classes a million": entry(HEAD, "classes", [str(i) for i in range(1_000_000)]),
    "classes of one name": entry(HEAD, "classes", ["same", "same"], refused=False),
    "classes of numbers": entry(HEAD, "classes", [1, 2]),
    "classes a text": entry(HEAD, "classes", "ab"),
    "classes of control characters": entry(HEAD, "classes", ["\x1b[2J", "a\nb"], refused=False),
    "classes of script": entry(HEAD, "classes", [SCRIPT, "=cmd()"], refused=False),
    "predicts nothing": entry(HEAD, "predicts", "everything"),
    "predicts numbers": entry(HEAD, "predicts", "numbers", refused=False),
    "kind unknown": entry(HEAD, "kind", "../../x", refused=False),
    "layer unknown": entry(HEAD, "layer", "../../x", refused=False),
    "accuracy empty": entry(HEAD, "accuracy", {}, refused=False),
    "accuracy of text": entry(HEAD, "accuracy", {"mean": "x"}),
    "store elsewhere": said(HEAD, lambda facts: facts.update(store="/proc/self/root"), refused=False),
    "store of zero bytes": entry(HEAD, "store", "a\0b", refused=False),
    "store too long": entry(HEAD, "store", "x" * 5000, refused=False),
    "source a private net": said(HEAD, lambda facts: facts.update(source="/dev/zero"), refused=False),
}

TRANSFORMS = {
    **{name: cases[TRANSFORM] for name, cases in GRAPHS.items()},
    **metadata(TRANSFORM, "space", "rows"),
    "variances none": entry(TRANSFORM, "explained_variance", []),
    "variances too many": entry(TRANSFORM, "explained_variance", [1.0] * 9),
    "variances negative": entry(TRANSFORM, "explained_variance", [-1.0] * 4),
    "total variance zero": entry(TRANSFORM, "total_variance", 0),
    "total variance negative": entry(TRANSFORM, "total_variance", -1.0),
    "layer unknown": entry(TRANSFORM, "layer", "../../x", refused=False),
    "source itself": said(TRANSFORM, lambda facts: facts.update(source="pca:fxengine_pca.onnx"), refused=False),
    "source a private net": said(TRANSFORM, lambda facts: facts.update(source="/dev/zero"), refused=False),
    "source of zero bytes": entry(TRANSFORM, "source", "onnx:a\0b", refused=False),
}


def recipe(**values: object) -> Case:
    """Return a backbone whose recipe says something else."""
    return said(BACKBONE, lambda facts: facts["recipe"].update(values))


# A net may hold any operator; `info` says what it says of itself, and does not run it.
_ALLOWED = frozenset(
    {"a Loop", "an If", "20 Ifs within each other", "a Scan", "a function of its own", "another domain",
     "a Loop without end", "weights NaN", "weights infinite", "weights of -1 rows", "opset 9999", "opset -1"}
)  # fmt: skip
BACKBONES = {
    **{
        name: replace(cases[BACKBONE], refused=name not in _ALLOWED and cases[BACKBONE].refused, says="")
        for name, cases in GRAPHS.items()
    },
    # `export` only says that it is none of others' nets, and not what is wrong with it.
    **{name: replace(case, says="") for name, case in metadata(BACKBONE, "recipe", "dim").items()},
    "dim another": entry(BACKBONE, "dim", 9),
    "dim enormous": entry(BACKBONE, "dim", 2**31),
    "recipe another size": recipe(height=64),
    "recipe enormous": recipe(height=10**6, width=10**6, size=10**6),
    "recipe beyond all": recipe(height=10**30),
    "recipe zero": recipe(size=0),
    "recipe resized to a line": said(BACKBONE, lambda facts: facts["recipe"].update(size=10**9), refused=False),
    "recipe of an unknown kernel": recipe(kernel="../x"),
    "recipe of an unknown edge": recipe(edge="none"),
    "recipe of a padding beyond all": recipe(pad_color=[999, -1, 0]),
    "recipe of a modality": recipe(modality="text"),
    "classes too few": entry(BACKBONE, "classes", ["one"]),
    "classes of control characters": said(
        BACKBONE, lambda facts: facts.update(classes=["\x1b[2J", "a\nb", SCRIPT]), refused=False
    ),
    "name of control characters": entry(BACKBONE, "name", "\x1b[2J\nb", refused=False),
}


def instead(kind: str) -> dict[str, Case]:
    """Return what may stand in a file's place."""

    def build(folder: Path, what: Callable[[Path, Path], object]) -> Path:
        what(folder / f"{kind}.onnx", victim(folder))
        return folder / f"{kind}.onnx"

    return {
        name: Case(lambda _, folder, what=what: build(folder, what), kind, True)  # type: ignore[misc]
        for name, what in ODD.items()
        if "private" not in name  # whoever names a link, asks for the file
    }


for table, kind in ((HEADS, HEAD), (TRANSFORMS, TRANSFORM), (BACKBONES, BACKBONE)):
    table.update(instead(kind))


def _with_number(facts: dict[str, Any], name: str, digits: str) -> bytes:
    return json.dumps({**facts, name: "DIGITS"}).replace('"DIGITS"', digits).encode()
