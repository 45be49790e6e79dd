"""Says what a store, a backbone, a head or a PCA file is, as JSON data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fxengine import trust
from fxengine.backbones import EMBEDDED, SOURCES, is_cached, load_backbone, source_name
from fxengine.backbones.pair import Pair, find_pair, pair_of
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError, path_of
from fxengine.facts import FactsError, read_json
from fxengine.features.parts import list_parts
from fxengine.features.read import FeatureStore
from fxengine.pipeline.run_state import run_facts
from fxengine.storage import is_remote, shown
from fxengine.store_files import place_of, sizes
from fxengine.train.runs import is_runs_folder, list_runs


@dataclass(frozen=True)
class Info:
    """What something is.

    Attributes:
        facts: JSON data. Of a store, a backbone, a head, a PCA file or a bundle its `kind` and what it says of itself;
            of a repository of the Hub that has to be fetched first, which files that takes and their bytes;
            of a folder of fine-tunings `runs`, one fine-tuning each; where the layers of a net were asked for,
            `layers`: tensor, op, shape and whether it is the default.
    """

    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the facts."""
        return self.facts


def info(target: str | Path, *, layers: bool = False) -> Info:
    """Say what `target` (a store, a folder of fine-tunings, a file that fxengine wrote, or a source name) is.

    Args:
        target: what to look at.
        layers: instead, list the tensors of a net that can become features.

    Raises:
        InputError: it is none of these, or a damaged file; `layers`, and it is no net, or not ONNX.
        StoreError: it is a store, but a damaged one.
    """
    return Info({"layers": _layers(str(target))} if layers else _facts(target))


def _facts(target: str | Path) -> dict[str, Any]:
    path = path_of("target", target)
    kind, _, what = str(target).partition(":")
    if kind in SOURCES:
        return (_repository(what) if kind == "hf" else None) or _backbone(load_backbone(str(target)))
    if is_remote(path):
        path = place_of("target", target)
    elif path.is_dir() and is_runs_folder(path):
        return {"runs": list_runs(path)}
    if is_remote(path) or path.is_dir():
        at_work = run_facts(path)
        if at_work and not list_parts(path):  # no unit is done yet
            return {"kind": "store", "path": shown(path), "rows": 0, "workers_run": at_work}
        return {**_store(FeatureStore.open(path)), **({"workers_run": at_work} if at_work else {})}
    if path.is_file():
        return _file(path)
    if str(target) in EMBEDDED or not ("/" in str(target) or path.suffix):
        return _backbone(load_backbone(str(target)))
    raise InputError(
        f"There is no {target}: `fxengine info` takes a store's folder, an .onnx file or a backbone's name."
    )


def _repository(what: str) -> dict[str, Any] | None:
    """Describe what an export of a repository would fetch; None where it would fetch nothing, or was made before."""
    from fxengine.backbones.sources.hf_fetched import would_fetch

    found = None if is_cached("hf", what) else would_fetch(what)
    if found is None or (not found.fetches and len(found.nets) == 1):
        return None
    trust.note_named("backbone", source_name(f"hf:{what}"))  # as an export would
    return {"kind": "repository", **asdict(found)}


def _file(path: Path) -> dict[str, Any]:
    """Describe a file by what its metadata say that it is, or raise what the reader of that kind says."""
    from fxengine.backbones.spec import BUNDLE_METADATA_KEY, METADATA_KEY, PCA_METADATA_KEY
    from fxengine.heads.file import METADATA_KEY as HEAD_METADATA_KEY

    try:
        return _backbone(load_backbone(path))
    except InputError as error:
        said = _metadata(path)
        if METADATA_KEY in said:
            raise
        if HEAD_METADATA_KEY in said:
            return _head(path)
        if PCA_METADATA_KEY in said:
            return _pca(path)
        if BUNDLE_METADATA_KEY in said:
            return _bundle(path, said[BUNDLE_METADATA_KEY])
        raise InputError(f"{path} is no backbone, head or PCA file that fxengine wrote.") from error


def _metadata(path: Path) -> dict[str, str]:
    import onnx

    from fxengine.backbones.graph.external_data import MAX_BYTES
    from fxengine.backbones.graph.model import metadata_of

    if path.stat().st_size > MAX_BYTES:
        return {}
    try:
        return metadata_of(onnx.load(path, load_external_data=False))
    except Exception:  # no ONNX file
        return {}


def _layers(source: str) -> list[dict[str, Any]]:
    import onnx

    from fxengine.backbones.sources import from_hf, from_onnx
    from fxengine.backbones.spec import EPILOGUE, FEATURE_OUTPUT, PROLOGUE

    kind, _, what = source.partition(":")
    if kind == "onnx":
        return from_onnx.candidates(what)
    if kind == "hf":
        return from_hf.candidates(what)
    found = load_backbone(source)
    inferred = onnx.shape_inference.infer_shapes(onnx.load(found.path))
    makers = {name: node for node in inferred.graph.node for name in node.output}
    rows = []
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        shape = [dim.dim_value or dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]
        if value.name in makers and not value.name.startswith((PROLOGUE, EPILOGUE)):
            op = makers[value.name].op_type
            rows.append({"tensor": value.name, "op": op, "shape": shape, "default": value.name == FEATURE_OUTPUT})
    return rows


def _store(store: FeatureStore) -> dict[str, Any]:
    labels = sorted({label for label in store.labels() if label is not None})
    files = list_parts(store.path)
    facts = store.provenance.to_dict()
    facts.pop("made_in", None)  # of one part alone
    facts.pop("next_row")
    return {
        "kind": "store",
        "path": store.called,
        "rows": len(store),
        "with_vector": len(store.ids()),
        "failed": store.error_counts(),
        "labels": len(labels),
        "parts": len(files),
        "bytes": sum(sizes(files)),
        "precisions": list(store.precisions),
        **facts,
        **_pair(find_pair(store.provenance.space), store.provenance.space),
    }


def _backbone(found: BackboneFile) -> dict[str, Any]:
    facts = asdict(found.facts)
    facts["classes"] = len(facts.pop("classes"))
    facts.pop("class_ids")
    return {
        "kind": "backbone",
        "path": str(found.path),
        "bytes": found.path.stat().st_size,
        "space": found.fingerprint,
        **facts,
        **_pair(pair_of(found), found.fingerprint),
    }


def _pair(pair: Pair | None, space: str) -> dict[str, Any]:
    """Return which tower of which pair a feature space is, as far as that is known."""
    if pair is None:
        return {}
    return {"pair": {"tower": "image" if space == pair.picture else "text", **asdict(pair)}}


def _head(path: Path) -> dict[str, Any]:
    from fxengine.heads.file import Head

    head = Head.load(path)
    facts = head.facts.to_dict()
    facts["head"] = facts.pop("kind")
    return {"kind": "head", "path": str(path), "dim": head.dim, **facts}


def _pca(path: Path) -> dict[str, Any]:
    from fxengine.reduce.pca import Pca

    pca = Pca.load(path)
    components, dim = pca.components.shape
    facts = asdict(pca.facts)
    del facts["total_variance"]
    facts["explained_variance"] = float(pca.facts.explained_variance_ratio.sum())
    shape = {"dim": dim, "components": components}
    return {"kind": "pca", "path": str(path), **shape, **facts, "backbone": f"pca:{path}"}


def _bundle(path: Path, text: str) -> dict[str, Any]:
    try:
        told = read_json(text)
        if not isinstance(told, dict):
            raise FactsError("is damaged: what it says of itself is no object")
    except FactsError as error:
        raise InputError(f"{path} {error}. Make it again: `fxengine bundle`.") from error
    own = {"kind": "bundle", "path": str(path), "bytes": path.stat().st_size}
    return {**own, **told, **own}  # first, and whatever the file says
