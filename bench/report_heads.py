"""Rows of docs/figures.md: exports, heads, PCA and fine-tuning."""

from __future__ import annotations

from typing import Any

Row = tuple[str, str, str]


def _export(export: dict[str, Any]) -> list[Row]:
    what = "features of exported Keras Applications against Keras, relative difference"
    return [(what, _differences(export["nets"]), "`scripts/bench export`")]


def _export_torch(export: dict[str, Any]) -> list[Row]:
    what = "features of exported nets of timm and torchvision against PyTorch, relative difference"
    return [(what, _differences(export["nets"]), "`scripts/bench export_torch`")]


def _differences(nets: dict[str, Any]) -> str:
    worst = max(nets, key=lambda name: nets[name]["relative"])
    middle = sorted(row["relative"] for row in nets.values())[len(nets) // 2]
    return f"{len(nets)} nets, worst {nets[worst]['relative']:.1e} ({worst}), median {middle:.1e}"


def _heads(heads: dict[str, Any]) -> list[Row]:
    rows = [
        (
            f"accuracy, Lite0 features, {name}",
            "; ".join(f"{head} {score}" for head, score in found.items() if head in ("auto", "logistic"))
            + f"; plain scikit-learn LogisticRegression {found['scikit-learn LogisticRegression']}",
            "`scripts/bench heads`",
        )
        for name, found in heads["accuracy"].items()
    ]
    first = heads["wrong_labels"]["first_5_percent"]
    figure = (
        f"precision and recall {first['precision_and_recall']:.1%} of the first 5%, mean of "
        f"{heads['wrong_labels']['rounds']} rounds; worst {first['worst_round']:.1%}"
    )
    return [*rows, ("5% planted wrong labels in caltech_20, found by `mislabeled`", figure, "`scripts/bench heads`")]


def _probe(probe: dict[str, Any]) -> list[Row]:
    ours = probe["contenders"]["fxengine"]
    said = [f"fxengine ridge {ours['median_s']:.0f} s, peak {ours['peak_mb']} MB, accuracy {ours['accuracy']:.1%}"]
    for name, row in probe["contenders"].items():
        if name == "fxengine":
            continue
        if name.startswith("fxengine"):
            said.append(f"{name} {row['seconds']:.0f} s, peak {row['peak_mb']} MB, accuracy {row['accuracy']:.1%}")
        elif "seconds" in row:
            said.append(f"{name} {row['seconds']:.0f} s ({row['times_fxengine']}x), accuracy {row['accuracy']:.1%}")
        else:
            said.append(f"{name} not done after {row['not_done_after_s']:.0f} s (over {row['times_fxengine']}x)")
    series = ", ".join(f"{int(rows):,} rows {row['median_s']:.0f} s" for rows, row in probe["by_rows"].items())
    what = f"heads, {probe['rows']:,} x 1280, 100 classes, 5 folds (ridge: 10 strengths), from Parquet"
    return [(what, f"{'; '.join(said)}. {series}", "`scripts/bench probe`")]


def _pca(pca: dict[str, Any]) -> list[Row]:
    last = pca["last"]
    figure = (
        f"**{pca['ratio']['best']}x, {pca['ratio']['median']}x** IncrementalPCA (best, median); peak "
        f"{last['fxengine']['peak_mb']} MB; explained {last['fxengine']['explained']:.3f}, "
        f"{last['IncrementalPCA']['explained']:.3f}"
    )
    return [(f"PCA to {pca['dim']} of {pca['rows']:,} x 1280, from Parquet", figure, "`scripts/bench pca`")]


def _finetune(finetune: dict[str, Any]) -> list[Row]:
    rows = []
    for name, run in finetune["runs"].items():
        if "probe" in run:
            figure = (
                f"probe {_percent(run['probe']['test'])}, tuned {_percent(run['tuned']['test'])}; kept: {run['kept']}"
            )
        else:
            figure = f"{run['test_accuracy']:.1%}"
        rows.append(
            (f"fine-tuning, test accuracy: {name}", f"{figure}; {run['seconds']:.0f} s", "`scripts/bench finetune`")
        )
    return rows


def _percent(score: dict[str, float]) -> str:
    return f"{score['mean']:.1%} ({score['low']:.1%} to {score['high']:.1%})"


def _advise(advise: dict[str, Any]) -> list[Row]:
    figure = f"{advise['inside']} of {len(advise['splits'])} inside the stated 95% interval"
    return [("accuracy with all labels, foretold from half of them", figure, "`scripts/bench advise`")]


HEADS = {
    "export": _export,
    "export_torch": _export_torch,
    "heads": _heads,
    "probe": _probe,
    "pca": _pca,
    "finetune": _finetune,
    "advise": _advise,
}  # result -> rows of (what, figure, command)
