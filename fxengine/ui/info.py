"""Says what a store, a backbone or a head is, as JSON data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fxengine.backbones import EMBEDDED, SOURCES, load_backbone
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError
from fxengine.features.parts import list_parts
from fxengine.features.read import FeatureStore
from fxengine.train.runs import is_runs_folder, list_runs


@dataclass(frozen=True)
class Info:
    """What something is.

    Attributes:
        facts: JSON data. Of a store, a backbone or a head its `kind` and what it says of itself; of a folder of
            fine-tunings `runs`, one fine-tuning each; where the layers of a net were asked for, `layers`: tensor, op,
            shape and whether it is the default.
    """

    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the facts."""
        return self.facts


def info(target: str | Path, *, layers: bool = False) -> Info:
    """Say what `target` (a store, a folder of fine-tunings, a backbone or head file, or a source name) is.

    Args:
        target: what to look at.
        layers: instead, list the tensors of a net that can become features.

    Raises:
        InputError: it is none of these; `layers`, and it is no net, or not ONNX.
        StoreError: it is a store, but a damaged one.
    """
    return Info({"layers": _layers(str(target))} if layers else _facts(target))


def _facts(target: str | Path) -> dict[str, Any]:
    path = Path(target)
    if str(target).partition(":")[0] in SOURCES:
        return _backbone(load_backbone(str(target)))
    if path.is_dir() and is_runs_folder(path):
        return {"runs": list_runs(path)}
    if path.is_dir():
        return _store(FeatureStore.open(path))
    if path.is_file():
        try:
            return _backbone(load_backbone(path))
        except InputError as error:
            head = _head(path)
            if head is None:
                raise InputError(f"{path} is neither a backbone nor a head that fxengine wrote.") from error
            return head
    if str(target) in EMBEDDED or not ("/" in str(target) or path.suffix):
        return _backbone(load_backbone(str(target)))
    raise InputError(
        f"There is no {target}: `fxengine info` takes a store's folder, an .onnx file or a backbone's name."
    )


def _layers(source: str) -> list[dict[str, Any]]:
    import onnx

    from fxengine.backbones.sources.from_onnx import candidates
    from fxengine.backbones.spec import FEATURE_OUTPUT, PROLOGUE

    kind, _, what = source.partition(":")
    if kind == "onnx":
        return candidates(what)
    found = load_backbone(source)
    inferred = onnx.shape_inference.infer_shapes(onnx.load(found.path))
    makers = {name: node for node in inferred.graph.node for name in node.output}
    rows = []
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        shape = [dim.dim_value or dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]
        if value.name in makers and not value.name.startswith(PROLOGUE):
            op = makers[value.name].op_type
            rows.append({"tensor": value.name, "op": op, "shape": shape, "default": value.name == FEATURE_OUTPUT})
    return rows


def _store(store: FeatureStore) -> dict[str, Any]:
    labels = sorted({label for label in store.labels() if label is not None})
    files = list_parts(store.path)
    facts = store.provenance.to_dict()
    facts.pop("next_row")
    return {
        "kind": "store",
        "path": str(store.path),
        "rows": len(store),
        "with_vector": len(store.ids()),
        "failed": store.error_counts(),
        "labels": len(labels),
        "parts": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "precisions": list(store.precisions),
        **facts,
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
    }


def _head(path: Path) -> dict[str, Any] | None:
    from fxengine.heads.file import Head

    try:
        head = Head.load(path)
    except InputError:
        return None
    facts = asdict(head.facts)
    facts["head"] = facts.pop("kind")
    return {"kind": "head", "path": str(path), "dim": head.dim, **facts}
