"""Hostile indexes of a store: FAISS files of another kind, and what says that they are sound."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.cases import DEEP, Case, Kit, victim
from tests.hostile.cases.stores import ODD

_DIM = 8


def signed(folder: Path) -> None:
    """Say of the files of an index that they are those it was written with, as who made them can."""
    path = folder / "index.json"
    facts = json.loads(path.read_bytes())
    names = ("index.faiss", "rows.parquet")
    facts["hashes"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    path.write_text(json.dumps(facts))


def index(change: Callable[[Path, Path], object], refused: bool = True) -> Case:
    """Return a store with an index in which `change(index folder, victim)` put something that is signed."""

    def build(kit: Kit, folder: Path) -> Path:
        store = kit.copy(folder, kit.indexed)
        change(store / "_index", victim(folder))
        signed(store / "_index")
        return store

    return Case(build, "_index" if refused else "", refused)


def faiss_file(make: Callable[[np.ndarray, Path], Any], refused: bool = True) -> Case:
    """Return a store whose FAISS file is another index of as many vectors."""

    def change(folder: Path, victim: Path) -> None:
        count = pq.read_metadata(folder / "rows.parquet").num_rows
        vectors = np.random.default_rng(0).normal(size=(count, _DIM)).astype(np.float32)
        faiss.normalize_L2(vectors)
        made = make(vectors, victim)
        if isinstance(made, bytes):
            (folder / "index.faiss").write_bytes(made)
        else:
            faiss.write_index(made, str(folder / "index.faiss"))

    return index(change, refused)


def _filled(made: Any, vectors: np.ndarray) -> Any:
    made.train(vectors)
    made.add(vectors)
    return made


def _ip(factory: str, dim: int = _DIM) -> Callable[[np.ndarray, Path], Any]:
    return lambda vectors, _: _filled(faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT), vectors)


def _on_disk(vectors: np.ndarray, victim: Path) -> Any:
    """Inverted lists that lie in a file of the user's."""
    made = faiss.index_factory(_DIM, "IVF2,Flat", faiss.METRIC_INNER_PRODUCT)
    made.train(vectors)
    lists = faiss.OnDiskInvertedLists(2, made.code_size, str(victim.with_name("lists")))
    made.replace_invlists(lists)
    made.add(vectors)
    data = faiss.serialize_index(made).tobytes()
    victim.with_name("lists").write_bytes(b"the user's own\n" * 1000)
    return data


def _patched(at: int, value: bytes) -> Callable[[np.ndarray, Path], bytes]:
    """Return the sound file with other bytes at a place of its header."""

    def make(vectors: np.ndarray, _: Path) -> bytes:
        data = bytearray(faiss.serialize_index(_ip("IVF2,Flat")(vectors, _)).tobytes())
        data[at : at + len(value)] = value
        return bytes(data)

    return make


def _without_training(vectors: np.ndarray, _: Path) -> Any:
    return faiss.index_factory(_DIM, "IVF2,Flat", faiss.METRIC_INNER_PRODUCT)


def _id_map(vectors: np.ndarray, _: Path) -> Any:
    made = faiss.IndexIDMap(faiss.IndexFlatIP(_DIM))
    made.add_with_ids(vectors, np.arange(len(vectors)) * 10**12)
    return made


def _odd_ids(vectors: np.ndarray, _: Path) -> Any:
    """Inverted lists whose numbers are of no vector."""
    made = faiss.index_factory(_DIM, "IVF2,Flat", faiss.METRIC_INNER_PRODUCT)
    made.train(vectors)
    made.add_with_ids(vectors, np.arange(len(vectors)) + 10**12)
    return made


def _nan(vectors: np.ndarray, victim: Path) -> Any:
    made = _ip("IVF2,Flat")(vectors, victim)
    made.reset()
    made.add(np.full_like(vectors, np.nan))
    return made


def _entries(change: Callable[[dict[str, Any]], object], refused: bool = True) -> Case:
    """Return a store whose index.json says something else."""

    def build(kit: Kit, folder: Path) -> Path:
        store = kit.copy(folder, kit.indexed)
        path = store / "_index" / "index.json"
        facts = json.loads(path.read_bytes())
        changed = change(facts)
        path.write_bytes(changed if isinstance(changed, bytes) else json.dumps(facts).encode())
        return store

    return Case(build, r"_index" if refused else "", refused)


def _trial(**values: object) -> Case:
    return _entries(lambda facts: facts["trials"][0].update(values))


def _rows(change: Callable[[pa.Table], pa.Table]) -> Case:
    """Return a store whose index holds another table of rows."""

    def put(folder: Path, _: Path) -> None:
        pq.write_table(change(pq.read_table(folder / "rows.parquet")), folder / "rows.parquet")

    return index(put)


FAISS = {
    "lists in a private file": faiss_file(_on_disk),
    "another class": faiss_file(_ip("PCA4,Flat"), refused=False),
    "a map of ids": faiss_file(_id_map),
    "a binary index": faiss_file(lambda vectors, _: _binary(len(vectors))),
    "of another dim": faiss_file(lambda vectors, _: _filled(faiss.IndexFlatIP(4), vectors[:, :4].copy())),
    "of another metric": faiss_file(lambda vectors, _: _filled(faiss.IndexFlatL2(_DIM), vectors)),
    "of fewer vectors": faiss_file(lambda vectors, _: _ip("IVF2,Flat")(vectors[:5], _)),
    "of no vectors": faiss_file(lambda vectors, _: faiss.IndexFlatIP(_DIM)),
    "never trained": faiss_file(_without_training),
    "ids of no vector": faiss_file(_odd_ids),
    "vectors NaN": faiss_file(_nan, refused=False),
    "dim 2^31 - 1": faiss_file(_patched(4, b"\xff\xff\xff\x7f")),
    "dim 0": faiss_file(_patched(4, bytes(4))),
    "dim -1": faiss_file(_patched(4, b"\xff" * 4)),
    "2^60 vectors": faiss_file(_patched(8, (1 << 60).to_bytes(8, "little"))),
    "2^60 lists": faiss_file(_patched(37, (1 << 60).to_bytes(8, "little"))),
    "metric 77": faiss_file(_patched(33, b"\x4d\0\0\0")),
    "cut short": faiss_file(lambda vectors, _: faiss.serialize_index(_ip("IVF2,Flat")(vectors, _)).tobytes()[:200]),
    "noise": faiss_file(lambda *_: bytes(range(256)) * 8),
    "empty": faiss_file(lambda *_: b""),
    "100,000 deep": faiss_file(lambda vectors, _: b"IxMp" * DEEP),
    "transforms 5,000 deep": faiss_file(lambda vectors, _: _chain(5000)),
}


def _binary(count: int) -> bytes:
    made = faiss.IndexBinaryFlat(64)
    made.add(np.zeros((count, 8), np.uint8))
    return bytes(faiss.serialize_index_binary(made).tobytes())


def _chain(depth: int) -> bytes:
    """Return index maps within each other, each with the header that FAISS wants."""
    header = b"IxMp" + _DIM.to_bytes(4, "little") + bytes(8) + (1 << 20).to_bytes(8, "little") * 2 + b"\1" + bytes(4)
    return header * depth


JSON = {
    "of noise": _entries(lambda _: b"\xff\xfe"),
    "empty": _entries(lambda _: b""),
    "not closed": _entries(lambda _: b"{"),
    "deep": _entries(lambda _: b"[" * DEEP + b"]" * DEEP),
    "an array": _entries(lambda _: b"[]"),
    "format another": _entries(lambda facts: facts.update(format=9)),
    "space missing": _entries(lambda facts: facts.pop("space") and None),
    "unknown entry": _entries(lambda facts: facts.update({"\x1b[2J": 1})),
    "space another": _entries(lambda facts: facts.update(space="x" * 64), refused=False),
    "store another": _entries(lambda facts: facts.update(store="x" * 64), refused=False),
    "no trials": _entries(lambda facts: facts.update(trials=[])),
    "a trial of text": _entries(lambda facts: facts.update(trials=["x"])),
    "factory of a private file": _trial(factory="IVF2,Flat,/etc/passwd"),
    "parameters unknown": _trial(parameters={"evil": 1}),
    "parameters enormous": _trial(parameters={"nprobe": 2**62}),
    "parameters of text": _trial(parameters={"nprobe": "x"}),
    "recall another": _entries(lambda facts: facts["trials"][0]["recall"].update(low=-5), refused=False),
    "wanted metric unknown": _entries(lambda facts: facts["wanted"].update(metric="evil")),
    "wanted recall 5": _entries(lambda facts: facts["wanted"].update(recall=5)),
    "wanted factory enormous": _entries(lambda facts: facts["wanted"].update(factory="IVF99999999,Flat"), False),
    "added negative": _entries(lambda facts: facts.update(added=-1)),
    "removed of many digits": _entries(
        lambda facts: json.dumps(facts).replace('"removed": 0', '"removed": ' + "9" * 5000).encode()
    ),
    "hashes none": _entries(lambda facts: facts.update(hashes={}), refused=False),
    "hashes that climb": _entries(lambda facts: facts["hashes"].update({"../../x": "y"}), refused=False),
    "queries of control characters": _entries(lambda facts: facts.update(queries="\x1b[2J"), refused=False),
}  # fmt: skip


def _column(at: int, values: Callable[[int], list[object]]) -> Case:
    """Return a store whose index holds other values in one column of its rows."""
    return _rows(lambda rows: rows.set_column(at, rows.schema.field(at), pa.array(values(len(rows)))))


ROWS = {
    "fewer": _rows(lambda rows: rows.slice(3)),
    "none": _rows(lambda rows: rows.slice(0, 0)),
    "of other columns": _rows(lambda rows: rows.drop_columns(["living"])),
    "of numbers nobody has": _column(0, lambda count: list(range(99, 99 + count))),
    "of one number": _column(0, lambda count: [0] * count),
    "negative": _column(0, lambda count: [-1] * count),
    "of other ids": _column(1, lambda count: ["../../x"] * count),
}  # fmt: skip

_FILES = ("index.faiss", "rows.parquet", "index.json")


def _instead(name: str, what: Callable[[Path, Path], object]) -> Case:
    def build(kit: Kit, folder: Path) -> Path:
        store = kit.copy(folder, kit.indexed)
        (store / "_index" / name).unlink()
        what(store / "_index" / name, victim(folder))
        return store

    return Case(build)


INDEXES = {
    **{f"FAISS {name}": case for name, case in FAISS.items()},
    **{f"JSON {name}": case for name, case in JSON.items()},
    **{f"rows {name}": Case(case.build) for name, case in ROWS.items()},  # a stale index is refused or told
    **{
        f"{name} {odd}": _instead(name, what)
        for name in _FILES
        for odd, what in ODD.items()
        if name == "index.json" or odd != "3 GB"  # as long as these may be
    },
}
