"""What the library answers beside what its judges answer: NumPy, scikit-learn and DuckDB, on inputs at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
import onnxruntime as ort
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from fxengine.collect.item import Item
from fxengine.errors import FxError
from fxengine.features.parts import Row
from fxengine.features.read import FeatureStore
from fxengine.features.schema import Provenance
from fxengine.features.where import matching
from fxengine.features.write import PartWriter
from fxengine.heads import HeadSettings, answers_of, head_model, heads_for, make_head
from fxengine.heads.estimator import Kind
from fxengine.heads.evaluate.calibration import TINY, calibrate, sharpen
from fxengine.heads.evaluate.scores import Problem, all_answers, all_scores, assign_folds, out_of_fold
from fxengine.neighbours.index import Index
from fxengine.neighbours.kmeans import kmeans
from fxengine.probing.probe import probe
from fxengine.reduce.fit import fit_pca

Random = np.random.Generator


class Trial(Protocol):
    """One comparison with a judge, of inputs drawn by `rng`; `folder` is empty."""

    def __call__(self, rng: Random, folder: Path) -> str:
        """Return what differs; nothing where the judge agrees."""


def write_store(
    folder: Path, x: np.ndarray, *, start: int = 0, labels: Sequence[str | None] | None = None
) -> FeatureStore:
    """Write the rows [n, dim] as a part of a store; ids count from `start`, and some have a label unless all do."""
    provenance = Provenance(
        space="a" * 64, source="made up", recipe={}, root=str(folder), dim=x.shape[1], dtype="float32",
        precision="fp32", engine="none", provider="none", decoder="none",
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    writer = PartWriter(folder, provenance, start, part_rows=10_000)
    told = [None if i % 4 == 3 else f"c{i % 3}" for i in range(start, start + len(x))] if labels is None else labels
    for i, (vector, label) in enumerate(zip(x, told, strict=True), start):
        item = Item(f"{i:06d}", "", i * 7 % 50, 0, label)
        writer.append(Row(i, item, f"{i:064x}", 1, 1, None, None), {"feature": vector})
    writer.commit()
    return FeatureStore.open(folder)


def rows_of(rng: Random, n: int, dim: int) -> np.ndarray:
    """Return float32 [n, dim] of a length, a centre and copies at random."""
    x = rng.normal(0, 1, (n, dim)) + rng.choice([0, 0, 5]) * rng.normal(0, 1, dim)
    x *= rng.choice([1e-3, 1, 15, 1000])
    return np.asarray(x[rng.integers(0, n, n)] if rng.random() < 0.3 else x, np.float32)


def by_definition(rows: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """Return the scores of rows [n, dim], [n], in extended precision."""
    a, b = query.astype(np.longdouble), rows.astype(np.longdouble)
    if metric == "l2":
        return np.asarray(-np.sqrt(((a - b) ** 2).sum(axis=1)))
    products = np.asarray(b @ a)
    return products if metric == "ip" else np.asarray(products / np.sqrt((a**2).sum() * (b**2).sum(axis=1)))


def _wrong_answers(found: list[int], scores: np.ndarray, exact: np.ndarray, level: float) -> str:
    """Return how an exact search's answers differ from scores by definition [n] by more than `level`."""
    if len(set(found)) < len(found):
        return f"a row twice: {found}"
    gap = float(np.abs(scores - exact[found]).max())
    short = float(np.abs(exact[found] - np.sort(exact)[::-1][: len(found)]).max())
    return "" if max(gap, short) <= level else f"scores {gap:.1e}, ranks {short:.1e} off, {level:.1e} allowed"


def _level(rows: np.ndarray, query: np.ndarray, metric: str, exact: np.ndarray) -> float:
    if metric == "cosine":
        return 2e-6
    size = np.abs(exact).max() if metric == "l2" else np.linalg.norm(query) * np.linalg.norm(rows, axis=1).max()
    return float(2e-6 * size)


def exact_search(rng: Random, folder: Path) -> str:
    """The k nearest rows, their scores, and the order of copies: NumPy in extended precision."""
    metric = str(rng.choice(["cosine", "ip", "l2"]))
    x = rows_of(rng, int(rng.integers(3, 300)), int(rng.integers(2, 40)))
    index = Index.exact(write_store(folder / "s", x), metric)
    queries = np.concatenate([x[:2], x[1:2] + np.float32(x.std())])
    k = int(rng.integers(1, len(x) + 1))
    found, scores = index.positions(queries, k)
    for i, query in enumerate(queries):
        exact = by_definition(x, query, metric)
        if wrong := _wrong_answers(found[i].tolist(), scores[i], exact, _level(x, query, metric, exact)):
            return f"{metric}, {x.shape}, k {k}: {wrong}"
        alone = index.positions(query[None], k)[0][0]
        if (x[alone] != x[found[i]]).any():
            return f"{metric}, {x.shape}, k {k}: another order alone than in a batch"
        if any(a > b and (x[a] == x[b]).all() for a, b in zip(found[i], found[i][1:], strict=False)):
            return f"{metric}, {x.shape}, k {k}: copies out of their order"
    return ""


def selection(rng: Random, folder: Path) -> str:
    """Search of some rows of a store, exact or by an index made of them: NumPy on these rows alone."""
    x = np.asarray(rng.normal(0, 1, (200, 8)), np.float32)
    chosen = rng.permutation(200)[: int(rng.integers(12, 60))]
    view = write_store(folder / "s", x).select(ids=[f"{i:06d}" for i in chosen])
    index = Index.exact(view) if rng.random() < 0.5 else Index.build(view, factory="Flat")
    least = int(chosen.min()) + 20
    kept = chosen[chosen >= least]
    if not len(kept):
        return ""
    k, query = int(rng.integers(1, len(kept) + 1)), x[rng.integers(200)] + np.float32(0.1)
    exact = by_definition(x[kept], query, "cosine")
    best = [f"{kept[i]:06d}" for i in np.argsort(-exact, kind="stable")[:k]]
    found = index.search(query, k, where=f"row >= {least}").ids[0]
    return "" if found == best else f"{found} instead of {best}"


def updated_index(rng: Random, folder: Path) -> str:
    """An index after rows were added: the scores of its answers are the definition's, and nine in ten are right."""
    x = np.asarray(rng.normal(0, 1, (900, 16)), np.float32)
    write_store(folder / "s", x[:600])
    index = Index.build(folder / "s", factory=str(rng.choice(["HNSW16", "IVF8,Flat", "Flat"])))
    index.save()
    write_store(folder / "s", x[600:700], start=600)
    index = Index.load(folder / "s").update()
    queries = x[rng.integers(0, 700, 20)] + np.float32(0.05)
    found, scores = index.positions(queries, 10)
    right = 0
    for i, query in enumerate(queries):
        exact = by_definition(x[:700], query, "cosine")
        if np.abs(exact[found[i]] - scores[i]).max() > 1e-5:
            return "a score that is not its row's"
        right += len(set(found[i]) & set(np.argsort(-exact)[:10]))
    return "" if right >= 180 else f"{right / 2:.0f}% of the neighbours are right"


def recall_at_k(rng: Random, folder: Path) -> str:
    """An index that promises 95% at 10 neighbours keeps it at more: the share found, against exact search."""
    metric, k = str(rng.choice(["cosine", "l2"])), int(rng.choice([10, 100, 500]))
    centres = rng.normal(0, 1, (60, 24))
    x = np.asarray(centres[rng.integers(0, 60, 4000)] + rng.normal(0, 0.7, (4000, 24)), np.float32)
    factory = str(rng.choice(["HNSW16", "IVF64,Flat"]))
    index = Index.build(write_store(folder / "s", x), metric=metric, factory=factory, recall=0.95)
    queries = x[rng.integers(0, 4000, 50)] + np.asarray(rng.normal(0, 0.2, (50, 24)), np.float32)
    found = index.positions(queries, k)[0]
    exact = Index.exact(FeatureStore.open(folder / "s"), metric).positions(queries, k)[0]
    share = float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found, exact, strict=True)]))
    return "" if share >= 0.93 else f"{factory}, {metric}: {share:.1%} of {k}"


_COLUMNS: dict[str, list[object]] = {
    "row": [-1, 0, 3.0, 57, 100.5, 1e6],
    "size": [0, 7, 20.5, 49, 2**24 + 1, 10**25],
    "label": ["c0", "c1", "it's", ""],
    "id": ["000003", "000010", "b"],
}
_OPERATORS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def _sql(value: object) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _condition(rng: Random, depth: int) -> tuple[str, str]:
    """Return a filter at random in our syntax and in SQL."""
    if depth and rng.random() < 0.6:
        a, b, word = _condition(rng, depth - 1), _condition(rng, depth - 1), str(rng.choice(["and", "or", "not"]))
        if word == "not":
            return f"not ({a[0]})", f"NOT ({a[1]})"
        return f"({a[0]}) {word} ({b[0]})", f"({a[1]}) {word} ({b[1]})"
    column = str(rng.choice(list(_COLUMNS)))
    values = [_COLUMNS[column][i] for i in rng.integers(0, len(_COLUMNS[column]), 3)]
    kind = str(rng.choice(["in", "not in", "is None", "is not None", *_OPERATORS]))
    if kind.startswith("is"):
        return f"{column} {kind}", f'"{column}" {kind.replace("None", "NULL")}'
    if kind.endswith("in"):
        return f"{column} {kind} {values!r}", f'"{column}" {kind} ({", ".join(map(_sql, values))})'
    return f"{column} {kind} {values[0]!r}", f'"{column}" {_OPERATORS[kind]} {_sql(values[0])}'


def filters(rng: Random, folder: Path) -> str:
    """Which rows ten filters let through: DuckDB on the same Parquet files."""
    store = write_store(folder / "s", np.zeros((120, 2), np.float32))
    with duckdb.connect() as judge:
        for _ in range(10):
            ours, theirs = _condition(rng, 3)
            query = f"SELECT \"row\" FROM read_parquet('{folder}/s/*.parquet') WHERE {theirs} ORDER BY 1"
            wanted = [row for (row,) in judge.execute(query).fetchall()]
            if np.flatnonzero(matching(store.rows(), ours)).tolist() != wanted:
                return ours
    return ""


def pca(rng: Random, folder: Path) -> str:
    """Components, variances and reduced vectors: scikit-learn."""
    n, dim = int(rng.integers(10, 200)), int(rng.integers(3, 30))
    x = np.asarray(rng.normal(0, 1, (n, dim)) * np.arange(1, dim + 1) ** -0.7 + rng.normal(0, 5, dim), np.float32)
    k, whiten = int(rng.integers(1, min(n - 1, dim) + 1)), bool(rng.random() < 0.5)
    ours, variances = fit_pca(write_store(folder / "s", x), dim=k, whiten=whiten)
    theirs = PCA(k, whiten=whiten, svd_solver="full").fit(x.astype(np.float64))
    a, b = ours.transform(x), theirs.transform(x.astype(np.float64))
    signs = np.sign((a * b).sum(axis=0))
    gap = float(np.abs(a * signs - b).max() / np.abs(b).max())
    spread = float(np.abs(variances[:k] / theirs.explained_variance_ - 1).max())
    return "" if gap < 1e-3 and spread < 1e-3 else f"{x.shape}, {k}: vectors {gap:.1e}, variances {spread:.1e} off"


def clusters(rng: Random, folder: Path) -> str:
    """Inertia of planted clusters: scikit-learn's k-means++ with ten starts."""
    k, dim = int(rng.choice([3, 10, 30])), int(rng.choice([16, 64]))
    centres = rng.normal(0, 1, (k, dim))
    x = centres[rng.integers(0, k, 1500)] + rng.normal(0, rng.uniform(0.1, 0.6), (1500, dim))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    seed = int(rng.integers(1000))
    assigned, _ = kmeans(x.astype(np.float32), k, seed)
    judge = float(KMeans(k, n_init=10, random_state=seed).fit(unit).inertia_)
    groups = [unit[assigned == number] for number in np.unique(assigned)]
    own = sum(float(((rows - rows.mean(axis=0)) ** 2).sum()) for rows in groups)
    return "" if own <= 1.1 * judge else f"k {k}, dim {dim}: {own:.1f} against {judge:.1f}"


def draw_problem(rng: Random, n: int, kind: Kind = "classes") -> tuple[np.ndarray, Problem]:
    """Return rows float32 [n, dim], each class at least twice, and what is to be predicted of them."""
    classes, dim = int(rng.choice([2, 3, 6])), int(rng.choice([8, 24]))
    y = np.concatenate([np.arange(classes), np.arange(classes), rng.integers(0, classes, n - 2 * classes)])
    centres = rng.normal(0, rng.uniform(0.3, 2), (classes, dim))
    x = np.asarray(centres[y] + rng.normal(0, 1, (n, dim)) + 0.5, np.float32)
    names = tuple(f"c{i}" for i in range(classes))
    if kind == "labels":
        return x, Problem(kind, names, (x[:, :classes] > 0.5).astype(np.int64), np.arange(n))
    if kind == "numbers":
        return x, Problem(kind, names[:2], x[:, :2] @ rng.normal(0, 1, (2, 2)) + x[:, 2:4], np.arange(n))
    return x, Problem(kind, names, y, np.arange(n))


def heads(rng: Random, folder: Path) -> str:
    """Answers of a head's ONNX graph: its scikit-learn estimator."""
    kind: Kind = (("classes", "labels", "numbers"))[int(rng.integers(3))]
    name = str(rng.choice(heads_for(kind)))
    x, problem = draw_problem(rng, int(rng.integers(40, 150)), kind)
    settings = HeadSettings(pca=int(rng.choice([0, 0, 4])), seed=int(rng.integers(100)))
    pipeline = make_head(name, kind, settings, rows=len(x)).fit(x, problem.y)
    graph = head_model(name, pipeline, x.shape[1], kind, len(problem.names)).SerializeToString()
    found = ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"features": x})[0]
    gap = float(np.abs(found - answers_of(pipeline, x, kind)).max())
    return "" if gap <= 2e-5 * max(1.0, float(np.abs(found).max())) else f"{name}, {kind}: {gap:.1e} off"


def cross_validation(rng: Random, folder: Path) -> str:
    """Out-of-fold answers and their scores: scikit-learn's `cross_val_predict` and metrics."""
    x, problem = draw_problem(rng, int(rng.integers(40, 150)))
    fold = assign_folds(problem, 5, int(rng.integers(100)))
    name = str(rng.choice(["logistic", "lda", "knn"]))
    found = out_of_fold(lambda: make_head(name, rows=len(x) // 2), x, problem, fold)
    theirs = cross_val_predict(make_head(name, rows=len(x) // 2), x, problem.y, cv=PredefinedSplit(fold),
                               method="predict_proba")  # fmt: skip
    gap = float(np.abs(found - theirs).max())
    scores, y = all_scores(problem, theirs), problem.y
    judge = {
        "accuracy": accuracy_score(y, theirs.argmax(axis=1)),
        "macro_f1": f1_score(y, theirs.argmax(axis=1), average="macro"),
        "log_loss": log_loss(y, np.clip(theirs, TINY, 1)),
        "auc": roc_auc_score(y, theirs if theirs.shape[1] > 2 else theirs[:, 1], multi_class="ovr"),
    }
    off = [key for key, value in judge.items() if abs(float(scores[key] or 0) - value) > 2e-3]
    return "" if gap <= 1e-6 and not off else f"{name}: answers {gap:.1e} off, scores {off}"


def calibration(rng: Random, folder: Path) -> str:
    """The log loss on 4,000 fresh rows after calibration: not above that before it by more than 2%."""
    rows, n = draw_problem(rng, 4300), int(rng.choice([60, 200, 300]))
    order = rng.permutation(4300)
    x, problem = rows[0][order[:n]], rows[1].take(order[:n])
    if np.bincount(problem.y, minlength=len(problem.names)).min() < 2:
        return ""
    name = str(rng.choice(heads_for("classes")[:5]))
    fold = assign_folds(problem, 5, 0)
    _, scale = calibrate(out_of_fold(lambda: make_head(name, rows=n // 2), x, problem, fold), problem.y, fold)
    fresh = rows[1].take(order[300:])
    p = all_answers(make_head(name, rows=n).fit(x, problem.y), rows[0][order[300:]], fresh)
    labels = list(range(len(problem.names)))
    before, after = (log_loss(fresh.y, np.clip(each, TINY, 1), labels=labels) for each in (p, sharpen(p, scale)))
    return "" if after <= 1.02 * before or scale == 1 else f"{name}, {n} rows: {before:.3f} to {after:.3f}"


def small_sets(rng: Random, folder: Path) -> str:
    """Few rows, any options: a report, or a refusal in a sentence."""
    n = int(rng.integers(2, 20))
    x = np.asarray(rng.normal(0, 1, (n, int(rng.choice([3, 16])))), np.float32)
    store = write_store(folder / "s", x)
    head = str(rng.choice(["auto", "ridge", "lda", "logistic", "svm", "knn"]))
    options: dict[str, Any] = {name: True for name in ("balanced", "calibrate", "curve") if rng.random() < 0.4}
    folds, pca = int(rng.integers(2, 6)), int(rng.choice([0, 0, 1, 3, 20]))
    try:
        report = probe(store.path, head=head, folds=folds, pca=pca, **options)
    except FxError as error:
        return "" if "\n" not in str(error) else str(error)
    return "" if 0 <= report.score.low <= report.score.mean <= report.score.high <= 1 else f"{report.score}"


JUDGES: dict[str, Trial] = {
    "exact search": exact_search,
    "search of a selection": selection,
    "an index after an update": updated_index,
    "recall at 10, 100 and 500": recall_at_k,
    "filters, ten a trial": filters,
    "PCA": pca,
    "clusters": clusters,
    "heads as ONNX": heads,
    "cross-validation": cross_validation,
    "calibration": calibration,
    "small sets": small_sets,
}
