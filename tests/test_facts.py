from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import pytest

from fxengine.facts import FactsError, facts_from, read_json


@dataclass(frozen=True)
class Part:
    share: float
    name: str | None = None


@dataclass(frozen=True)
class Whole:
    count: int
    sure: bool
    parts: tuple[Part, ...]
    names: tuple[str, ...] = ()
    sizes: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"'count' cannot be {self.count}")


WHOLE = Whole(3, True, (Part(0.5, "a"), Part(1)), ("x", "y"), {"a": 2, "b": 0.5}, {"fxengine": "9.1"})


def written(**changes: object) -> dict[str, object]:
    return {**json.loads(json.dumps({"format": 1, **asdict(WHOLE)})), **changes}


def test_what_is_written_is_read_back() -> None:
    assert facts_from(Whole, written(), 1) == WHOLE
    assert facts_from(Whole, {"format": 1, "count": 3, "sure": False, "parts": []}, 1) == Whole(3, False, ())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"count": "3"}, "is damaged: 'count' cannot be '3'"),
        ({"count": 3.5}, "is damaged: 'count' cannot be 3.5"),
        ({"count": True}, "is damaged: 'count' cannot be True"),
        ({"count": None}, "is damaged: 'count' cannot be None"),
        ({"count": 0}, "is damaged: 'count' cannot be 0"),
        ({"sure": 1}, "is damaged: 'sure' cannot be 1"),
        ({"names": "xy"}, "is damaged: 'names' cannot be 'xy'"),
        ({"names": ["x", 4]}, "is damaged: 'names' cannot be 4"),
        ({"sizes": {"a": "2"}}, "is damaged: 'sizes.a' cannot be '2'"),
        ({"parts": {}}, "is damaged: 'parts' cannot be {}"),
        ({"parts": [{"name": "a"}]}, "is damaged: 'parts.share' is missing"),
        ({"parts": [{"share": 1, "name": 5}]}, "is damaged: 'parts.name' cannot be 5"),
        ({"format": 2}, "is of another format version"),
        ({"format": None}, "is of another format version"),
    ],
)
def test_a_wrong_entry_is_named(change: dict[str, object], says: str) -> None:
    with pytest.raises(FactsError) as raised:
        facts_from(Whole, written(**change), 1)
    assert str(raised.value) == says


def test_an_entry_of_a_newer_version_is_named_with_that_version() -> None:
    with pytest.raises(FactsError, match=r"^was written by fxengine 9.1 and says 'weight' of itself"):
        facts_from(Whole, written(weight=1), 1)
    with pytest.raises(FactsError, match=r"^was written by fxengine of unknown version and says 'parts.at'"):
        facts_from(Whole, written(versions={}, parts=[{"share": 1, "at": 2}]), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"k" * 4_000_000: 1},
        {"versions": {"fxengine": "v" * 4_000_000}, "weight": 1},
        {"versions": {"k" * 4_000_000: 1}},
    ],
)
def test_what_is_quoted_is_cut(change: dict[str, object]) -> None:
    with pytest.raises(FactsError) as raised:
        facts_from(Whole, written(**change), 1)
    assert len(str(raised.value)) < 250


def test_a_missing_entry_is_named() -> None:
    values = written()
    del values["sure"]
    with pytest.raises(FactsError, match=r"^is damaged: 'sure' is missing$"):
        facts_from(Whole, values, 1)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, b"\xff", "NaN", '{"a": -Infinity}', "1e999", '"\\ud800"', "9" * 5000]
)
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(FactsError, match="is damaged: what it says of itself is not JSON"):
        read_json(text)
    with pytest.raises(FactsError, match="is no JSON object"):
        facts_from(Whole, read_json("[1]"), 1)


def test_what_is_nested_deep_is_refused_before_anything_walks_it() -> None:
    assert read_json("[" * 32 + "]" * 32) is not None
    with pytest.raises(FactsError, match="nested more than 32 deep"):
        read_json('{"recipe": ' + "[" * 32 + "]" * 32 + "}")
