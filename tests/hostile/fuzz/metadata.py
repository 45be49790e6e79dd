"""What files say of themselves: stores, heads, transforms, backbones and indexes, each by what reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from fxengine.backbones.pca_facts import PcaFacts
from fxengine.backbones.spec import Facts
from fxengine.facts import FactsError, facts_from, read_json
from fxengine.features.schema import METADATA_KEY, Provenance, part_schema
from fxengine.heads.file import HeadFacts
from fxengine.neighbours.file import IndexFacts

MEGABYTES = 200

_TRIAL = {
    "factory": "IVF2,Flat", "parameters": {"nprobe": 2}, "recall": {"at_1": 1.0, "at_10": 1.0, "low": 0.9, "high": 1.0},
    "queries_per_second": 1.0, "latency_ms": 0.1, "megabytes": 1.0, "build_seconds": 0.1, "rows": 9,
}  # fmt: skip
SOUND: dict[str, dict[str, Any]] = {
    "store": {"format": 1, "space": "s", "source": "made", "recipe": {"a": [1]}, "root": "/", "dim": 8,
              "dtype": "float16", "precision": "fp32", "engine": "none", "provider": "none", "decoder": "none",
              "versions": {"numpy": "2"}, "next_row": 0, "layers": {"a": 4}, "int8": "", "tried": [{"b": 1}],
              "limits": {"max_pixels": 5, "max_bytes": 5}, "groups": []},
    "head": {"format": 1, "space": "s", "source": "made", "kind": "ridge", "classes": ["a", "b"],
             "accuracy": {"mean": 1, "low": 0.5, "high": 1}, "rows": 9, "versions": {}, "layer": None,
             "predicts": "classes", "metric": "accuracy", "store": None},
    "transform": {"format": 1, "space": "s", "source": "made", "layer": None, "rows": 9, "whiten": False,
                  "explained_variance": [2.0, 1.0], "total_variance": 4.0},
    "index": {"format": 1, "space": "s", "store": "s", "wanted": {}, "queries": "rows", "trials": [_TRIAL],
              "added": 0, "removed": 0, "versions": {}, "hashes": {}},
}  # fmt: skip
_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**400, 1e308, "", "\0", "\ud800", "../../x", "\x1b[2J"])
)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
_deep = st.builds(lambda depth, pair: pair[0] * depth + pair[1] * depth, st.sampled_from([30, 33, 500, 5000, 200_000]),
                  st.sampled_from(["[]", ("[", "]"), ('{"a":', "}")]))  # fmt: skip


def _text(kind: str, changes: list[tuple[int, Any]], added: dict[str, Any]) -> tuple[str, bytes]:
    facts = {**SOUND[kind], **added}
    names = list(facts)
    for at, value in changes:
        facts[names[at % len(names)]] = value
    return kind, json.dumps(facts).encode()


_changed = st.builds(
    _text,
    st.sampled_from(sorted(SOUND)),
    st.lists(st.tuples(st.integers(0, 30), _values), max_size=3),
    st.just({}) | st.dictionaries(st.text(max_size=3), _scalars, max_size=1),
)
_raw = st.tuples(st.sampled_from(sorted(SOUND)), st.binary(max_size=40) | _deep.map(str.encode))
inputs = _changed | _raw


def prepare(_: Path) -> Any:
    """Return what reads each kind."""
    return {"store": _store, "head": _facts(HeadFacts), "transform": _facts(PcaFacts), "index": _index}


def read(data: tuple[str, bytes], made: dict[str, Callable[[bytes], object]]) -> object:
    """Read what a file of a kind says of itself."""
    kind, raw = data
    with suppress(FactsError):  # its callers put the name of the file before it
        made[kind](raw)
    with suppress(FactsError):
        Facts.from_json(raw.decode(errors="replace"), "net.onnx")
    return None


def _store(raw: bytes) -> object:
    found = Provenance.from_schema(pa.schema([], metadata={METADATA_KEY: raw}), "part")
    return part_schema(found), found.to_dict(), found.lacking


def _facts(cls: type[Any]) -> Callable[[bytes], object]:
    return lambda raw: facts_from(cls, read_json(raw), 1)


def _index(raw: bytes) -> object:
    return IndexFacts.from_dict(read_json(raw)).to_dict()
