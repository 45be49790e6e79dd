"""Makes a backbone file out of any source, with a report of what it is and how true it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from fxengine.backbones import load_backbone
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.report import ExportReport, measure
from fxengine.backbones.spec import BackboneFile
from fxengine.errors import InputError


@dataclass(frozen=True)
class Exported:
    """A backbone file that was made.

    Attributes:
        file: the file with its facts.
        report: what it holds, and how far it is from the framework that it came from.
        report_path: the same as JSON, beside the file.
    """

    file: BackboneFile
    report: ExportReport
    report_path: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        facts = self.file.facts
        return {
            "path": str(self.file.path),
            "space": self.file.fingerprint,
            "name": facts.name,
            "source": facts.source,
            "licence": facts.licence,
            "cut": facts.cut,
            "pooling": facts.pooling,
            "layers": dict(facts.layers),
            **self.report.to_dict(),
        }


def export(source: str | Path, output: Path, options: ExportOptions | None = None) -> Exported:
    """Export `source` (or take it from the cache) to `output`; the report is written beside it.

    Raises:
        InputError: there is no such source, it cannot be exported, or the file cannot be written.
    """
    if output.suffix != ".onnx":
        raise InputError(f"-o {output} must end in .onnx.")
    found = load_backbone(source, options)
    noted = found.facts.notes.get("export")
    report = ExportReport(**{**noted, "failed": tuple(noted["failed"])}) if noted else measure(onnx.load(found.path))
    temporary = output.with_name(f".{output.name}.tmp")
    report_path = output.with_suffix(".report.json")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.path, temporary)
        temporary.replace(output)
        made = Exported(BackboneFile(output, found.fingerprint, found.facts), report, report_path)
        report_path.write_text(json.dumps(made.to_dict(), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"Cannot write {output}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return made
