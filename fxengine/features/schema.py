"""The contract of a feature store: its columns, its metadata, its error codes. Importable from anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from fxengine.collect.frames import is_rule
from fxengine.collect.item import TextColumns
from fxengine.errors import InputError, StoreError
from fxengine.facts import FactsError, facts_from, read_json

FORMAT = 1
NEWER = "update fxengine, or extract into a new folder."
_MENDED = "`fxengine verify STORE --repair` makes the part anew."
METADATA_KEY = b"fxengine"
LOCK_NAME = ".lock"
FEATURE = "feature"

# Why a row has no vector. The transient ones are tried again by every run, the others with --retry-failed.
TRANSIENT_ERRORS = frozenset({"vanished", "permission", "io", "out_of_memory"})
ERROR_CODES = TRANSIENT_ERRORS | {
    "empty",  # no bytes, or a text of none but spaces
    "not_a_file",  # a folder, pipe or device
    "not_text",  # not UTF-8, or no text at all
    "no_known_word",  # a text of whose words a vocabulary has none
    "unsupported_format",  # not an image, or a kind of image that is not on the list
    "raw_photo",  # a camera's RAW file
    "truncated",  # the data ends too early
    "corrupt",  # the data is damaged
    "too_large",  # over `max_pixels` or `max_bytes`
    "unsupported_pixels",  # decodes, but its pixels have no defined colour
    "bad_box",  # a box outside of its picture, empty, or too small
    "bad_feature",  # the net gave a value that is not finite, or too large for the store's type
    "decoder_crash",  # the decoder took its process down
}

Dtype = Literal["float16", "float32"]

KEPT_GROUP, KEPT_TEXT = "kept_text", "text"  # the group of texts that a store keeps, and its column
WORDS_GROUP = "words"  # the group of what only word vectors tell
ETAG_GROUP = "etag"  # the group, and its column, of what servers say of inputs that lie in a bucket or on the web

# Name of a group -> its further columns, which a store has where it was asked for them. To add a group: name it here,
# after those that are there, with nullable columns of one value a row, whose names no other column has; the first must
# hold a value in every row with a vector, for by it a row that lacks the group is told. Their values come in a row's
# `further`.
COLUMN_GROUPS: dict[str, tuple[pa.Field, ...]] = {
    # How many tokens a text has, special ones included, and whether the net took only the first of them.
    "text": (pa.field("tokens", pa.int32()), pa.field("truncated", pa.bool_())),
    KEPT_GROUP: (pa.field(KEPT_TEXT, pa.string()),),  # the text itself
    WORDS_GROUP: (pa.field("coverage", pa.float32()),),  # the share of a text's words that the vocabulary knows
    ETAG_GROUP: (pa.field(ETAG_GROUP, pa.string()),),  # the ETag of the input, "" where its server says none
}
KEPT_BYTES = 1_000_000  # of a text in the store, at most: a part's texts have a bound when it is read
TEXT_GROUPS = frozenset({"text", KEPT_GROUP, WORDS_GROUP})  # those that only stores of texts can have

_LIMITS = {"max_pixels", "max_bytes"}
_RUN = {"tokens", "threads"}
_MADE_IN = {"run", "unit"}
_READ = {"text", "id", "label", "split"}
_LATER = {
    "groups",
    "read_columns",
    "run",
    "of_words",
    "containers",
    "boxes",
    "margin",
    "made_in",
    "frames",
}  # entries that the first versions did not write

MOST_NUMBERS = 2**31 - 1  # in a part's column of vectors: they are counted in 32 bits
MOST_ROWS = 2**62  # row numbers stay below: int64, with room for those that are still given out


@dataclass(frozen=True)
class Provenance:
    """What a part was made from and with; JSON in the Parquet schema's metadata.

    Attributes:
        space: fingerprint of the backbone; vectors of another space are never mixed in.
        source: name or path that the backbone was asked for by.
        recipe: how pictures were prepared, for people and other programs.
        root: folder that ids are relative to, or the table that they stand in.
        dim: numbers a vector has.
        dtype: type that vectors are stored in.
        precision: what the model ran in: "fp32", "bf16", "fp16" or "int8".
        engine: runtime and its version.
        provider: what really ran the model, read back from the session.
        decoder: decoder and resizer with their versions.
        versions: of everything else that touches numbers.
        layers: further layers with their dim, a column `feature@NAME` each.
        int8: SHA-256 of the quantised copy that int8 vectors were computed by, or "".
        tried: the ways of computing that were compared before the run, with their numbers; empty where none were.
        limits: "max_pixels" and "max_bytes" of the pictures that were taken in; empty in a part made before they were
            noted.
        next_row: no row number below this is given out again; 0 where the part's own rows say enough.
        groups: of `COLUMN_GROUPS`, those whose columns the part has.
        read_columns: of a table of texts, the columns that were read: "text", and "id", "label", "split" where they
            were; empty where no table was.
        run: of texts, the "tokens" of a run of the net and its "threads", which with the runtime decide the last bits
            of a vector; empty where pictures were embedded. As `provider`, it is that of the rows that the part was
            made with: others came in only where both were allowed.
        of_words: whether the rows are the words of a file of word vectors (`root`) with the vectors that it has, and
            not what was computed of inputs; a row's number is then its word's place in the file, from 0.
        containers: whether tars, zips and Parquet files of pictures below the root were opened, which an update does,
            too.
        boxes: absolute path of the file or folder of boxes, escaped as a path is, or "" where rows are no boxes.
        margin: what was taken around a box, as a share of its edges.
        made_in: of a part that one of many workers made, the "run" and its "unit"; empty elsewhere.
        frames: which frames of videos the rows are, as `collect.frames.check_rule` takes it, which an update takes,
            too; "" where videos were not opened.
    """

    space: str
    source: str
    recipe: dict[str, Any]
    root: str
    dim: int
    dtype: Dtype
    precision: str
    engine: str
    provider: str
    decoder: str
    versions: dict[str, str] = field(default_factory=dict)
    next_row: int = 0
    layers: dict[str, int] = field(default_factory=dict)
    int8: str = ""
    tried: list[dict[str, Any]] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    read_columns: dict[str, str] = field(default_factory=dict)
    run: dict[str, int] = field(default_factory=dict)
    of_words: bool = False
    containers: bool = False
    boxes: str = ""
    margin: float = 0.0
    made_in: dict[str, Any] = field(default_factory=dict)
    frames: str = ""

    def __post_init__(self) -> None:
        if not (self.space.isprintable() and len(self.space) <= 64):
            raise ValueError(f"'space' cannot be {self.space!r:.60}")
        for dim in (self.dim, *self.layers.values()):
            if not 1 <= dim <= MOST_NUMBERS:
                raise ValueError(f"{dim!s:.60} is no count of a vector's numbers")
        if not 0 <= self.next_row <= MOST_ROWS:
            raise ValueError(f"'next_row' cannot be {self.next_row}")
        if self.read_columns and not {"text"} <= self.read_columns.keys() <= _READ:
            raise ValueError(f"'read_columns' cannot be {self.read_columns!s:.60}")
        if self.run and (self.run.keys() != _RUN or min(self.run.values()) < 1):
            raise ValueError(f"'run' cannot be {self.run!s:.60}")
        if self.made_in and self.made_in.keys() != _MADE_IN:
            raise ValueError(f"'made_in' cannot be {self.made_in!s:.60}")
        if self.frames and not is_rule(self.frames):
            raise ValueError(f"'frames' cannot be {self.frames!s:.60}")
        if self.limits and (self.limits.keys() != _LIMITS or min(self.limits.values()) < 1):
            raise ValueError(f"'limits' cannot be {self.limits!s:.60}")

    @property
    def modality(self) -> str:
        """What was embedded: "picture" or "text"."""
        return "text" if self.recipe.get("modality") == "text" else "picture"

    @property
    def knows_words(self) -> bool:
        """Whether its texts were taken apart by a vocabulary, whose words alone count."""
        return self.recipe.get("kind") == "words"

    @property
    def text_columns(self) -> TextColumns:
        """What is what in the table that texts were read from; the lines of a .txt have a column that none can name."""
        if self.root.lower().endswith(".txt"):
            return TextColumns()
        return TextColumns(**self.read_columns)

    @property
    def columns(self) -> dict[str, int]:
        """Vector column -> dim."""
        return {FEATURE: self.dim, **{layer_column(name): dim for name, dim in self.layers.items()}}

    @property
    def part_rows(self) -> int:
        """The most rows that a part can have."""
        return MOST_NUMBERS // max(self.columns.values())

    def column(self, layer: str | None) -> str:
        """Return the column of a layer, `feature` for None.

        Raises:
            StoreError: there is no such layer; says which there are.
        """
        if layer is None:
            return FEATURE
        if layer not in self.layers:
            there = ", ".join(map(repr, self.layers)) or "none but the default"
            raise StoreError(f"The store has no layer {layer!r}. There is: {there}.")
        return layer_column(layer)

    def dim_of(self, layer: str | None) -> int:
        """Return how many numbers a layer's vectors have, those of the default one for None; raises StoreError."""
        return self.columns[self.column(layer)]

    @property
    def further(self) -> list[pa.Field]:
        """The columns of its groups, in the order of the table."""
        return [column for group, columns in COLUMN_GROUPS.items() if group in self.groups for column in columns]

    @property
    def lacking(self) -> list[pa.Field]:
        """The columns of the groups that it has not."""
        return [column for group, columns in COLUMN_GROUPS.items() if group not in self.groups for column in columns]

    def to_dict(self) -> dict[str, Any]:
        """Return its entries as JSON data, without the later ones that say nothing: older versions do not know them."""
        return {name: value for name, value in asdict(self).items() if value or name not in _LATER}

    def to_metadata(self) -> dict[bytes, bytes]:
        """Return the schema metadata."""
        return {METADATA_KEY: json.dumps({"format": FORMAT, **self.to_dict()}, sort_keys=True).encode()}

    @classmethod
    def from_schema(cls, schema: pa.Schema, name: str) -> Provenance:
        """Read it back.

        Raises:
            StoreError: the file was not written by fxengine, or by a newer one, or what it says of itself is broken.
        """
        raw = (schema.metadata or {}).get(METADATA_KEY)
        if raw is None:
            raise StoreError(f"{name} was not written by fxengine. Move it out of the store's folder.")
        try:
            made = facts_from(cls, read_json(raw), FORMAT)
        except FactsError as error:
            damaged = str(error).startswith("is damaged")
            raise StoreError(f"{name} {error}. {_MENDED}" if damaged else f"{name} {error}: {NEWER}") from error
        foreign = [group for group in made.groups if group not in COLUMN_GROUPS]
        if foreign:
            raise StoreError(
                f"{name} was written by fxengine {made.versions.get('fxengine', 'of unknown version'):.60} and has the "
                f"column group {foreign[0]!r:.60}, which this version does not know: {NEWER}"
            )
        return made


def widest_limits(made: Sequence[Provenance]) -> dict[str, int]:
    """Return the widest limits that parts were made with; empty where none says."""
    stated = [provenance.limits for provenance in made if provenance.limits]
    return {name: max(limits[name] for limits in stated) for name in (stated[0] if stated else ())}


def united_groups(
    made: Iterable[Provenance],
    asked: Iterable[str] = (),
    modality: str = "text",
    *,
    knows_words: bool = False,
    remote: bool = False,
) -> list[str]:
    """Return the column groups that a store has or is to have, in the order of the table: it keeps what a part has.

    Args:
        made: what its parts were made with.
        asked: groups to add.
        modality: what the store is made from.
        knows_words: whether by a vocabulary.
        remote: whether its inputs lie on servers.

    Raises:
        InputError: a store of this modality has no such group; lists what there is.
    """
    asked = list(asked)
    others = set() if modality == "text" else set(TEXT_GROUPS)
    if not knows_words:
        others.add(WORDS_GROUP)
    if not remote:
        others.add(ETAG_GROUP)
    for group in asked:
        possible = [name for name in COLUMN_GROUPS if name not in others]
        if group not in possible:
            there = ", ".join(possible) or "none in this version"
            of = "" if group not in COLUMN_GROUPS else " of pictures" if modality == "picture" else " of such a net"
            of = " of inputs on a disk" if group == ETAG_GROUP else of
            raise InputError(f"There is no column group {group!r}{of}. Available: {there}.")
    wanted = {*asked, *(group for provenance in made for group in provenance.groups)}
    return [group for group in COLUMN_GROUPS if group in wanted]


@dataclass(frozen=True)
class FeatureTable:
    """Rows of a store in memory, sorted by id.

    Attributes:
        rows: int64 [n], the permanent row numbers.
        keys: ids, n of them.
        vectors: float [n, dim].
        labels: n of them, None where unknown.
        splits: n of them, None where unknown.
    """

    rows: np.ndarray
    keys: list[str]
    vectors: np.ndarray
    labels: list[str | None]
    splits: list[str | None]

    def __post_init__(self) -> None:
        lengths = {len(self.rows), len(self.keys), len(self.vectors), len(self.labels), len(self.splits)}
        if len(lengths) != 1 or self.vectors.ndim != 2:
            raise ValueError(f"A feature table needs equal lengths. Got {lengths}, vectors {self.vectors.shape}.")

    def __repr__(self) -> str:
        return f"FeatureTable({len(self.keys)} rows, vectors {self.vectors.dtype} {self.vectors.shape})"


def part_schema(provenance: Provenance) -> pa.Schema:
    """Return the columns of a part, with its provenance in the metadata."""
    number = pa.float16() if provenance.dtype == "float16" else pa.float32()
    # Not a fixed-size list, which Parquet stores no differently: pyarrow before 25 cannot read one with null rows.
    vector = pa.list_(pa.field("element", number, nullable=False))
    vectors = [pa.field(name, vector) for name in provenance.columns]
    return pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("label", pa.string()),
            pa.field("split", pa.string()),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("mtime_ns", pa.int64(), nullable=False),
            pa.field("content_hash", pa.string()),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("error_code", pa.string()),
            pa.field("error", pa.string()),
            *vectors,
            *provenance.further,
        ],
        metadata=provenance.to_metadata(),
    )


def layer_column(layer: str) -> str:
    """Return the name of a further layer's column."""
    return f"{FEATURE}@{layer}"


def is_vector_column(name: str) -> bool:
    """Tell whether a column holds vectors."""
    return name == FEATURE or name.startswith(layer_column(""))
